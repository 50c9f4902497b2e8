"""The Envoy configuration made from rollouts, judged by Envoy's own message definitions."""

import copy
import importlib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap

from sidecar import rollout
from sidecar.cli import canary
from sidecar.extproc import bootstrap as making
from sidecar.extproc.bootstrap import BootstrapError, Options, Upstream

ROOT = Path(__file__).parents[3]
EXAMPLE = "deploy/examples/rollouts/chat-model.yaml"

# A typed_config can be judged only once its message is registered.
for _message in (
    "access_loggers.grpc",
    "filters.network.http_connection_manager",
    "filters.http.ext_proc",
    "filters.http.router",
    "http.early_header_mutation.header_mutation",
    "upstreams.http",
):
    importlib.import_module(f"envoy_data_plane.envoy.extensions.{_message}.v3")


def document(name="chat", *, unit=None, variants=None, segments=(), **match):
    declared = {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "match": match,
            "unit": unit or [{"header": "x-user-id"}],
            "variants": variants
            or [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}],
            "segments": list(segments),
        },
    }
    reading = rollout.read([rollout.Source("test.yaml", yaml.safe_dump(declared).encode())])
    assert not reading.mistakes
    return reading.declared[0].rollout


def made(*rollouts, **options):
    upstreams = {name: Upstream("127.0.0.1:8081") for name in making.clusters_of(rollouts)}
    return making.bootstrap(rollouts, Options(**{"upstreams": upstreams, **options}))


def manager(config):
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]


def ext_proc(config):
    return manager(config)["http_filters"][-2]["typed_config"]


def routes(config):
    """Per domain: (path, deciding header or None, cluster) in the order of matching."""
    table = {}
    for host in manager(config)["route_config"]["virtual_hosts"]:
        for domain in host["domains"]:
            table[domain] = [
                (
                    one["match"].get("path_separated_prefix") or one["match"]["prefix"],
                    next((h["name"] for h in one["match"].get("headers", [])), None),
                    one["route"]["cluster"],
                )
                for one in host["routes"]
            ]
    return table


def forwarded(config):
    patterns = ext_proc(config)["forward_rules"]["allowed_headers"]["patterns"]
    return [one["exact"] for one in patterns]


def clusters(config):
    return {one["name"]: one for one in config["static_resources"]["clusters"]}


MANY = [
    document("address", unit=[{"clientAddress": True}], hosts=["a.example.com"]),
    document("chat", unit=[{"header": "X-User"}, {"cookie": "sid"}], hosts=["*.example.com"]),
    document("search", unit=[{"query": "q"}], pathPrefix="/search"),
    document(
        "three",
        hosts=["three.example.com"],
        variants=[{"name": name, "weight": 1} for name in ("a", "b", "c")],
    ),
]


def test_every_typed_part_is_known_to_envoy_field_by_field():
    Bootstrap.from_dict(made(*MANY))


@pytest.mark.parametrize("where", [manager, ext_proc])
def test_the_strict_parser_would_notice_a_field_that_is_not_there(where):
    config = copy.deepcopy(made(*MANY))
    where(config)["no_such_field"] = 1
    with pytest.raises(KeyError, match="no_such_field"):
        Bootstrap.from_dict(config)


def test_the_forwarded_headers_are_exactly_what_the_rollouts_read():
    everybodys = [":authority", ":path", "canary-force"]
    made_for = made(document(unit=[{"header": "X-User"}, {"cookie": "sid"}]))
    assert forwarded(made_for) == [*everybodys, "cookie", "x-user"]
    assert forwarded(made(document(unit=[{"query": "q"}]))) == everybodys


def test_what_segments_look_at_is_forwarded_and_nothing_else():
    segments = [
        {
            "name": "some",
            "when": [
                {"header": "X-Country", "in": ["de"]},
                {"method": True, "exact": "POST"},
                {"not": {"anyOf": [{"attribute": "connection.mtls", "exact": "true"}]}},
                {"metadata": {"filter": "f.one", "path": ["a", "b"]}, "exact": "c"},
                {"clientAddress": True, "cidr": ["10.0.0.0/8"]},
            ],
            "weights": {"canary": 10},
        }
    ]
    config = made(document(segments=segments), filters=({"name": "before"},))
    assert forwarded(config) == [
        ":authority", ":path", "canary-force", ":method", "x-country", "x-user-id",
    ]  # fmt: skip
    asks = ext_proc(config)
    assert asks["request_attributes"] == ["connection.mtls", "source.address"]
    assert asks["metadata_options"]["forwarding_namespaces"] == {"untyped": ["f.one"]}
    assert manager(config)["http_filters"][0] == {"name": "before"}


def test_the_client_address_is_asked_for_only_when_it_is_a_unit():
    assert ext_proc(made(MANY[0]))["request_attributes"] == ["source.address"]
    assert "request_attributes" not in ext_proc(made(MANY[1]))


def test_each_candidate_has_a_route_before_the_default_which_is_the_baseline():
    assert routes(made(MANY[3])) == {
        "three.example.com": [
            ("/", "x-canary-three", "three-b"),
            ("/", "x-canary-three", "three-c"),
            ("/", None, "three-a"),
        ]
    }


def test_the_most_specific_path_is_tried_first():
    config = made(
        document("all"), document("v1", pathPrefix="/v1"), document("z", pathPrefix="/v1/z")
    )
    assert [path for path, header, _ in routes(config)["*"] if header is None] == [
        "/v1/z",
        "/v1",
        "/",
    ]


def test_a_more_specific_host_wins_over_a_longer_path():
    config = made(
        document("any", pathPrefix="/v1"),
        document("host", hosts=["a.example.com"]),
        document("wild", hosts=["*.example.com"], pathPrefix="/v1"),
    )
    defaults = {
        domain: [(path, cluster) for path, header, cluster in table if header is None]
        for domain, table in routes(config).items()
    }
    assert defaults == {
        "*": [("/v1", "any-stable")],
        "*.example.com": [("/v1", "wild-stable")],
        "a.example.com": [("/", "host-stable")],
    }


def test_a_rollout_for_every_host_also_serves_the_named_hosts_where_they_leave_room():
    config = made(document("all"), document("chat", hosts=["chat.example.com"], pathPrefix="/v1"))
    assert [cluster for _, header, cluster in routes(config)["chat.example.com"] if not header] == [
        "chat-stable",
        "all-stable",
    ]


def test_two_rollouts_that_route_the_same_requests_are_refused_by_name():
    with pytest.raises(BootstrapError, match=r"'one' and 'two' both route") as refused:
        made(document("one"), document("two"))
    assert "match.pathPrefix" in refused.value.remedy


def test_a_rollout_whose_variants_share_a_cluster_speaks_beside_the_one_that_routes():
    flag = [{"name": name, "weight": 1, "cluster": "chat-stable"} for name in ("off", "on")]
    config = made(document("a-flag", variants=flag), document("chat"))
    assert routes(config)["*"] == [
        ("/", "x-canary-chat", "chat-canary"),
        ("/", None, "chat-stable"),
    ]


def test_two_rollouts_that_only_speak_must_agree_on_the_cluster():
    one, two = (
        document(name, variants=[{"name": "v", "weight": 1, "cluster": name}])
        for name in ("one", "two")
    )
    with pytest.raises(BootstrapError, match="both route"):
        made(one, two)


def test_http2_and_names_are_told_to_the_cluster():
    upstreams = {
        "chat-stable": Upstream("stable.example.com:80", http2=True),
        "chat-canary": Upstream("[::1]:8082"),
    }
    found = clusters(made(document(), upstreams=upstreams))
    assert found["chat-stable"]["type"] == "STRICT_DNS"
    assert "typed_extension_protocol_options" in found["chat-stable"]
    assert found["chat-canary"]["type"] == "STATIC"
    assert "typed_extension_protocol_options" not in found["chat-canary"]


def test_the_sidecar_may_listen_on_a_socket_or_on_loopback():
    def endpoint(config):
        groups = clusters(config)["canary_sidecar"]["load_assignment"]["endpoints"]
        return groups[0]["lb_endpoints"][0]["endpoint"]["address"]

    socket, tcp = (
        endpoint(made(document(), ext_proc=address))
        for address in ("unix:///run/x.sock", "127.0.0.1:50051")
    )
    assert socket == {"pipe": {"path": "/run/x.sock"}}
    assert tcp == {"socket_address": {"address": "127.0.0.1", "port_value": 50051}}


@pytest.mark.parametrize(
    ("upstreams", "message"),
    [
        ({}, "no upstream for cluster 'chat-stable', 'chat-canary'"),
        (
            {name: Upstream("127.0.0.1:1") for name in ("chat-stable", "chat-canary", "typo")},
            "no variant is served by cluster 'typo'",
        ),
    ],
)
def test_clusters_and_upstreams_must_fit(upstreams, message):
    with pytest.raises(BootstrapError, match=message):
        made(document(), upstreams=upstreams)


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:70000", "127.0.0.1", "unix:"])
def test_an_address_that_cannot_be_is_refused_with_an_example(address):
    with pytest.raises(BootstrapError, match="neither host:port nor unix") as refused:
        made(document(), listen=address)
    assert "127.0.0.1:8081" in refused.value.remedy


@pytest.mark.parametrize("text", ["a", "a=", "=127.0.0.1:1", "a=127.0.0.1:1,h3", "a=127.0.0.1"])
def test_an_upstream_that_cannot_be_read_is_refused(text):
    with pytest.raises(BootstrapError):
        making.parse_upstreams([text])


def test_two_upstreams_for_one_cluster_are_refused():
    with pytest.raises(BootstrapError, match="two upstreams for cluster 'a'"):
        making.parse_upstreams(["a=127.0.0.1:1", "a=127.0.0.1:2"])


@pytest.mark.parametrize("own", ["canary_sidecar", "canary_otlp"])
def test_the_sidecars_own_cluster_cannot_be_a_variants(own):
    variants = [{"name": "v", "weight": 1, "cluster": own}]
    with pytest.raises(BootstrapError, match="the sidecar's own"):
        made(document(variants=variants))


def test_the_committed_configuration_is_what_the_command_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CANARY_RUN_DIR", "/run/canary")
    upstreams = [f"chat-model-{v}=127.0.0.1:{p}" for v, p in (("stable", 8081), ("canary", 8082))]
    flags = [word for text in upstreams for word in ("--upstream", text)]
    flags += ["--access-log", "/dev/stdout"]
    result = CliRunner().invoke(canary, ["envoy", EXAMPLE, *flags])
    assert result.exit_code == 0
    assert (ROOT / "deploy/envoy/envoy.yaml").read_text() == result.output


def test_the_readme_gives_a_reason_for_every_hardening_line():
    text = (ROOT / "deploy/envoy/README.md").read_text()
    others = document("b", unit=[{"clientAddress": True}], pathPrefix="/b")
    config = made(document(), others, access_log="/dev/null", otlp="127.0.0.1:4317")
    settings = [*manager(config), *ext_proc(config), *clusters(config)["canary_sidecar"]]
    told = {"@type", "stat_prefix", "http_filters", "name", "type", "load_assignment"}
    missing = [name for name in settings if name not in told and f"`{name}" not in text]
    assert missing == []
