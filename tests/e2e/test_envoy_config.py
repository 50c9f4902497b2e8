"""The configuration that `canary envoy` makes, in a real Envoy: alone, and with the product."""

import contextlib
import http.client
import http.server
import json
import shutil
import threading
from fractions import Fraction

import pytest
import yaml

from bench.lab import oracle
from bench.lab.envoy import Envoy, validate
from bench.lab.process import LabError
from bench.lab.stack import ROOT, Plan, Stack
from sidecar import rollout
from sidecar.extproc.bootstrap import Options, Upstream, bootstrap, clusters_of

VARIANTS = [{"name": "stable", "weight": 50}, {"name": "canary", "weight": 50}]


def document(name, unit, **match):
    return {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {"match": match, "unit": unit, "variants": VARIANTS},
    }


USER = [{"header": "x-user-id"}]
DOCUMENTS = [
    document("all", USER),
    document("host", USER, hosts=["chat.example.com"]),
    document("wild", USER, hosts=["*.example.com"], pathPrefix="/v1/chat"),
    document("v1", USER, pathPrefix="/v1/chat"),
    document("address", [{"clientAddress": True}], pathPrefix="/address"),
    document("cookie", [{"header": "x-absent"}, {"cookie": "sid"}], pathPrefix="/cookie"),
    document("query", [{"query": "u"}], pathPrefix="/query"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollouts")
    (folder / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
    running = Stack(Plan(rollouts=folder, name="envoy-config"))
    with running:
        yield running
    running.remove()


def declared(documents):
    source = rollout.Source("test.yaml", yaml.safe_dump_all(documents).encode())
    reading = rollout.read([source])
    assert not reading.mistakes
    return [one.rollout for one in reading.declared]


def made(documents, address="127.0.0.1:8081", *, http2=False, **options):
    rollouts = declared(documents)
    upstreams = {name: Upstream(address, http2=http2) for name in clusters_of(rollouts)}
    return bootstrap(rollouts, Options(upstreams=upstreams, **options))


def ask(envoy, path, host="any.example.org", **headers):
    """Send one request exactly as given; no client library tidies its path."""
    connection = http.client.HTTPConnection(envoy.address, timeout=10)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"host": host, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer


def test_envoy_itself_accepts_the_committed_configuration(tmp_path):
    committed = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())
    validate(committed, tmp_path)


@pytest.mark.parametrize(
    "variation",
    [
        {},
        {"http2": True},
        {"ext_proc": "127.0.0.1:50051"},
        {"ext_proc": "[::1]:50051"},
        {"address": "chat.example.com:80"},
        {"address": "unix:///run/chat.sock"},
    ],
    ids=str,
)
def test_envoy_itself_accepts_what_can_be_asked_for(variation, tmp_path):
    validate(made(DOCUMENTS, **variation), tmp_path)


def test_envoy_would_refuse_a_field_that_is_not_there(tmp_path):
    with pytest.raises(LabError, match="no_such_field"):
        validate({**made(DOCUMENTS), "no_such_field": 1}, tmp_path)


@contextlib.contextmanager
def upstream(status):
    """Answer every request with a status, and list the requests."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serving(address, work):
    return Envoy(made([document("all", USER)], address), work)


def retries(envoy):
    stats = json.loads(envoy.get("/stats?format=json&filter=all-stable.upstream_rq_retry$"))
    return sum(one["value"] for one in stats["stats"])


def test_only_what_no_upstream_has_begun_is_tried_again(tmp_path):
    """A model's answer is dear, and asking twice is not always the same as asking once."""
    with upstream(503) as (address, seen), serving(address, tmp_path) as envoy:
        assert (ask(envoy, "/").status, retries(envoy)) == (503, 0)
    assert seen == ["/"]
    with serving(address, tmp_path) as envoy:
        assert (ask(envoy, "/").status, retries(envoy)) == (503, 2)


def test_without_a_sidecar_the_baseline_answers_and_sees_no_reserved_header(work_folders):
    running = Stack(Plan(name=work_folders.plan))
    running.start_canary = lambda: None
    with running:
        for spoof in ("x-canary-chat-model", "X-Canary-Chat-Model", "x_canary_chat-model"):
            answer = ask(running.envoy, "/", **{spoof: "canary"})
            assert (answer.status, answer.headers["x-answered-by"]) == (200, "stable")
        seen = [one.canary for reader in running.logs.values() for one in reader.new()]
        assert seen == [{}, {}, {}]
        assert running.envoy.stats().ext_proc("failure_mode_allowed") == 3
    running.remove()


def asked(stack, *args, **kwargs):
    """Return the cluster that a request reached, and what it carried there."""
    for reader in stack.logs.values():
        list(reader.new())
    answer = ask(stack.envoy, *args, **kwargs)
    assert answer.status == 200
    [(cluster, seen)] = [(name, one) for name, log in stack.logs.items() for one in log.new()]
    return cluster, seen


def units(salt, wanted):
    """Two units whose variants at 50 % are known: (in the canary, not in the canary)."""
    found = {oracle.in_canary(salt, f"u{i}", Fraction(1, 2)): f"u{i}" for i in range(50)}
    return found[wanted == "canary"]


@pytest.mark.parametrize(
    ("host", "path", "router"),
    [
        ("any.example.org", "/", "all"),
        ("any.example.org", "/v1/chat", "v1"),
        ("any.example.org", "/v1/chat/stream?x=1", "v1"),
        ("any.example.org", "/v1/chatter", "all"),
        ("chat.example.com", "/v1/chat", "host"),
        ("chat.example.com:8443", "/", "host"),
        ("CHAT.Example.com", "/", "host"),
        ("chat.example.com.", "/", "all"),
        ("a.b.example.com", "/v1/chat", "wild"),
        ("a.b.example.com", "/v1", "all"),
        ("example.com", "/v1/chat", "v1"),
        ("any.example.org", "//v1///chat", "v1"),
        ("any.example.org", "/x/../v1/./chat", "v1"),
        ("any.example.org", "/v1/chat/../../", "all"),
        ("any.example.org", "/%76%31/chat", "v1"),
    ],
)
@pytest.mark.parametrize("variant", ["stable", "canary"])
def test_the_route_and_the_decision_agree_on_host_and_path(stack, host, path, router, variant):
    unit = units(router, variant)
    cluster, seen = asked(stack, path, host, **{"x-user-id": unit})
    assert cluster == f"{router}-{variant}"
    assert "x-canary-host" not in seen.canary or router == "host"
    assert seen.canary[f"x-canary-{router}"] == variant
    assert stack.envoy.stats().ext_proc("rejected_header_mutations") == 0


def test_an_escaped_slash_is_redirected_so_that_everybody_reads_the_same_path(stack):
    answer = ask(stack.envoy, "/v1%2fchat")
    assert (answer.status, answer.headers["location"]) == (
        307,
        "/v1/chat",
    )


def test_others_speak_beside_the_one_that_routes(stack):
    _, seen = asked(stack, "/v1/chat", "a.example.com", **{"x-user-id": "u1"})
    assert sorted(seen.canary) == ["x-canary-all", "x-canary-v1", "x-canary-wild"]


def variant_of(salt, unit):
    return "canary" if oracle.in_canary(salt, unit, Fraction(1, 2)) else "stable"


@pytest.mark.parametrize("wanted", ["stable", "canary"])
def test_a_cookie_is_forwarded_and_decides(stack, wanted):
    unit = units("cookie", wanted)
    cluster, _ = asked(stack, "/cookie", cookie=f"a=b; sid={unit}; c=d")
    assert cluster == f"cookie-{wanted}"


@pytest.mark.parametrize("wanted", ["stable", "canary"])
def test_a_query_parameter_is_forwarded_and_decides(stack, wanted):
    cluster, _ = asked(stack, f"/query?a=b&u={units('query', wanted)}")
    assert cluster == f"query-{wanted}"


def test_the_clients_address_decides_without_its_port_and_cannot_be_claimed(stack):
    variant = variant_of("address", "127.0.0.1")
    others = (f"10.0.0.{number}" for number in range(99))
    other = next(one for one in others if variant_of("address", one) != variant)
    for claim in ({}, {"x-forwarded-for": other}, {"x-envoy-external-address": other}):
        for _ in range(3):
            cluster, seen = asked(stack, "/address", **claim)
            assert cluster == f"address-{variant}"
            assert seen.canary["x-canary-address"] == variant


def test_a_busy_port_is_avoided(work_folders, tmp_path):
    config = made(DOCUMENTS)
    with Envoy(config, tmp_path) as one:
        other_work = tmp_path / "other"
        other_work.mkdir()
        with Envoy(config, other_work) as other:
            assert one.address != other.address


def test_a_checkout_with_a_long_path_still_has_its_sockets(work_folders, monkeypatch):
    deep = ROOT / "build" / "lab" / f"{work_folders.plan}-{'x' * 120}"
    monkeypatch.setattr("bench.lab.stack.ROOT", deep)
    running = Stack(Plan(env={"PYTHONPATH": str(ROOT)}))
    assert len(str(running.work / "run")) > 107
    with running:
        assert ask(running.envoy, "/", **{"x-user-id": "u1"}).status == 200
        assert set(running.envoy.stats().failures().values()) == {0}
        assert "chat-model" in running.canary("status").output
    shutil.rmtree(deep)
