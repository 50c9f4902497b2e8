"""Real Envoy, controller and sidecar as processes of their own: who answers, whatever happens.

The witnesses are the upstreams' logs, Envoy's statistics and the oracle, which shares no code with
the product.
"""

import asyncio
import contextlib
import json
import queue
import signal
import sys

import aiohttp
import grpc
import pytest

from bench.lab import oracle
from bench.lab.load import user
from bench.lab.process import Child, LabError, wait_until
from bench.lab.stack import Plan, Stack

pytestmark = pytest.mark.envoy

STABLE, CANARY = "chat-model-stable", "chat-model-canary"
USERS = 200
RATE = 200.0
COHORT = {
    percent: oracle.cohort("chat-model", map(user, range(USERS)), oracle.share(percent, 100))
    for percent in (0, 5, 50, 100)
}
IN_AT_5 = min(COHORT[5])
OUT_AT_50 = min(set(map(user, range(USERS))) - COHORT[50])


@contextlib.contextmanager
def running(name, **plan):
    stack = Stack(Plan(name=name, apart=True, **plan))
    with stack:
        yield stack
    stack.remove()


@pytest.fixture(scope="module")
def stack():
    with running("traffic") as started:
        yield started


def get(stack, who, path="/", **headers):
    async def once():
        async with (
            aiohttp.ClientSession() as session,
            session.get(stack.envoy.url + path, headers={"x-user-id": who, **headers}) as answer,
        ):
            return answer.status, answer.headers["x-answered-by"]

    return asyncio.run(once())


def drain_logs(stack):
    return {cluster: list(reader.new()) for cluster, reader in stack.logs.items()}


def weights(stack, canary):
    stack.canary("weights", "chat-model", f"canary={canary}")
    settled(stack, canary)


def settled(stack, percent):
    """Wait until somebody whom only these weights put there is answered there."""
    expected = {True: "canary", False: "stable"}

    def probe():
        sample = [IN_AT_5, OUT_AT_50, *sorted(COHORT[50] - COHORT[5])[:3]]
        return all(get(stack, who)[1] == expected[who in COHORT[percent]] for who in sample)

    wait_until(f"{percent} % in force", probe)


@contextlib.contextmanager
def load(stack, seconds=30):
    """Drive traffic from all users; yields the report, filled at the end."""
    report = {}
    path = stack.work / "load.json"
    path.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "bench.lab.load", "--url", stack.envoy.url, "--users", str(USERS)]
    argv += ["--rate", str(RATE), "--seconds", str(seconds), "--report", str(path)]
    with Child("load", argv, stack.work, env=stack.env) as driver:
        wait_until("traffic", lambda: any(drain_logs(stack).values()), alive=[driver])
        yield report
        driver.kill(signal.SIGTERM)
        driver.wait(20)
    report.update(json.loads(path.read_text()))


def everybody_seen(stack):
    """Who was answered where, once every user was seen at least once from now on."""
    where = {}
    drain_logs(stack)

    def probe():
        for cluster, seen in drain_logs(stack).items():
            where.update({request.user: cluster for request in seen})
        return len(where) == USERS

    wait_until("every user seen", probe)
    return where


def expected(percent):
    return {u: CANARY if u in COHORT[percent] else STABLE for u in map(user, range(USERS))}


def all_answered(report):
    return report["errors"] == {} and set(report["statuses"]) == {"200"}


def unanswered(stats):
    """Questions without an answer. Envoy must have counted each: a silent one is never allowed.

    server_half_closed alone does not tell: Envoy 1.40 adds two to it for every failed stream.
    """
    return stats.ext_proc("stream_msgs_sent") - stats.ext_proc("stream_msgs_received")


SPOOFS = [
    {"x-canary-chat-model": "canary"},
    {"X-Canary-Chat-Model": "canary"},
    {"x_canary_chat-model": "canary"},
    {"x-canary-shadow-chat-model": CANARY},
    {"x-canary-anything": "canary", "x-canary-": "canary"},
]


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: next(iter(spoof)))
def test_a_client_cannot_choose_with_the_sidecar_up(stack, spoof):
    weights(stack, 5)
    drain_logs(stack)
    assert get(stack, OUT_AT_50, **spoof) == (200, "stable")
    assert get(stack, IN_AT_5, **dict.fromkeys(spoof, "stable")) == (200, "canary")
    seen = [request.canary for requests in drain_logs(stack).values() for request in requests]
    assert sorted(c["x-canary-chat-model"] for c in seen) == ["canary", "stable"]
    assert {name for canary in seen for name in canary} == {"x-canary-chat-model"}


def test_a_client_cannot_choose_with_the_sidecar_starting_or_down():
    stack = Stack(Plan(name="starting", apart=True))
    stack.start_canary = lambda: stack.start("sidecar", *stack.plan.canary, "sidecar")
    with stack:
        socket = stack.work / "run" / "ext_proc.sock"
        wait_until("the sidecar's socket", socket.exists, alive=[stack.children["sidecar"]])
        for spoof in SPOOFS:
            assert get(stack, IN_AT_5, **spoof) == (200, "stable")
        assert stack.envoy.stats().ext_proc("failure_mode_allowed") == len(SPOOFS)
        stack.start("controller", *stack.plan.canary, "controller", str(stack.work / "rollouts"))
        stack.wait_ready("sidecar")
        assert get(stack, IN_AT_5) == (200, "canary")
        stack.children["sidecar"].kill()
        for spoof in SPOOFS:
            assert get(stack, IN_AT_5, **spoof) == (200, "stable")
        seen = [r.canary for requests in drain_logs(stack).values() for r in requests]
        assert [canary for canary in seen if canary] == [{"x-canary-chat-model": "canary"}]
    stack.remove()


def test_weight_changes_under_load_put_everybody_where_they_belong_and_fail_nothing(stack):
    failed_before = stack.envoy.stats().failures()
    pids = stack.identities()
    with load(stack) as report:
        for percent in (5, 50, 5, 0, 50, 100, 0):
            weights(stack, percent)
            assert everybody_seen(stack) == expected(percent)
    assert all_answered(report)
    assert stack.envoy.stats().failures() == failed_before
    assert stack.identities() == pids


def test_a_broken_document_leaves_the_weights_in_force_and_status_names_it(stack):
    weights(stack, 50)
    document = stack.work / "rollouts" / "chat-model.yaml"
    good = document.read_text()
    document.write_text(good.replace("weight: 5", "weight: -5"))
    try:
        wait_until("the mistake", lambda: "chat-model.yaml:" in stack.canary("status").output)
        settled(stack, 50)
    finally:
        document.write_text(good)
    wait_until("no mistake", lambda: "chat-model.yaml:" not in stack.canary("status").output)
    settled(stack, 50)


def test_retries_keep_the_decision():
    def retrying(config):
        for host in http_manager(config)["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                route["route"]["retry_policy"] = {"retry_on": "5xx", "num_retries": 3}
        return config

    with running("retries", adjust=retrying) as stack:
        weights(stack, 50)
        for who, cluster in ((IN_AT_5, CANARY), (OUT_AT_50, STABLE)):
            drain_logs(stack)
            status, _ = get(stack, who, **{"x-fail-times": "2", "x-request-key": who})
            tries = {name: len(seen) for name, seen in drain_logs(stack).items()}
            assert (status, tries[cluster], sum(tries.values())) == (200, 3, 3)
        assert (
            stack.envoy.stats().ext_proc("streams_started")
            == sum(stack.envoy.stats().requests(c) for c in (STABLE, CANARY)) - 4
        )


def http_manager(config):
    [listener] = config["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_a_websocket_stays_with_its_variant_through_a_change(stack):
    weights(stack, 5)

    async def talk():
        url = stack.envoy.url.replace("http", "ws", 1) + "/ws"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers={"x-user-id": IN_AT_5}) as socket,
        ):
            await socket.send_str("one")
            first = (await socket.receive()).data
            await asyncio.to_thread(weights, stack, 0)
            await socket.send_str("two")
            return first, (await socket.receive()).data

    drain_logs(stack)
    assert asyncio.run(talk()) == ("one", "two")
    sockets = {c: [r for r in seen if r.path == "/ws"] for c, seen in drain_logs(stack).items()}
    assert {cluster: len(seen) for cluster, seen in sockets.items()} == {CANARY: 1, STABLE: 0}


def test_grpc_calls_and_streams_keep_one_decision_through_a_change():
    with (
        running("grpc", http2=frozenset([STABLE, CANARY])) as stack,
        grpc.insecure_channel(stack.envoy.address) as channel,
    ):
        unary = channel.unary_unary("/lab.Echo/Unary")
        chat = channel.stream_stream("/lab.Echo/Chat")

        def answered_by(who):
            return unary(b"", metadata=[("x-user-id", who)], timeout=10)

        assert answered_by(IN_AT_5) == b"canary"
        assert answered_by(OUT_AT_50) == b"stable"
        say, said = _conversation(chat, IN_AT_5)
        assert said("one") == b"canary:one"
        stack.canary("weights", "chat-model", "canary=0")
        wait_until("the change", lambda: answered_by(IN_AT_5) == b"stable")
        assert said("two") == b"canary:two"
        say(None)
        failures = stack.envoy.stats().failures()
        assert set(failures.values()) == {0}


def _conversation(chat, who):
    outbox = queue.Queue()
    answers = chat(iter(outbox.get, None), metadata=[("x-user-id", who)], timeout=30)

    def said(text):
        outbox.put(text.encode())
        return next(answers)

    return outbox.put, said


def test_a_sidecar_killed_under_load_costs_no_answer_and_comes_back_from_disk():
    with running("killed") as stack:
        with load(stack) as report:
            weights(stack, 50)
            assert everybody_seen(stack) == expected(50)
            stack.children["controller"].kill()
            stack.children["sidecar"].kill()
            stack.children["sidecar"].wait(10)
            assert everybody_seen(stack) == expected(0)
            stack.start_sidecar()
            assert everybody_seen(stack) == expected(50)
        assert all_answered(report)
        stats = stack.envoy.stats()
        assert unanswered(stats) == stats.ext_proc("failure_mode_allowed") > 0


def test_a_controller_killed_and_restarted_moves_nobody():
    with running("controller") as stack:
        with load(stack) as report:
            weights(stack, 50)
            for _ in range(2):
                stack.children["controller"].kill()
                stack.children["controller"].wait(10)
                assert everybody_seen(stack) == expected(50)
                rollouts = str(stack.work / "rollouts")
                stack.start("controller", *stack.plan.canary, "controller", rollouts)
                wait_until("status", lambda: both_sides(stack))
                assert everybody_seen(stack) == expected(50)
            weights(stack, 5)
            assert everybody_seen(stack) == expected(5)
        assert all_answered(report)
        assert set(stack.envoy.stats().failures().values()) == {0}


def both_sides(stack):
    try:
        said = json.loads(stack.canary("status", "--json").output)
    except LabError:
        return False
    return bool(said["controller"]["sidecars"])


def test_a_drain_under_load_leaves_nothing_silently_open():
    with running("drain") as stack:
        weights(stack, 50)
        with load(stack) as report:
            everybody_seen(stack)
            stack.children["sidecar"].kill(signal.SIGTERM)
            assert stack.children["sidecar"].wait(15) == 0
            everybody_seen(stack)
        stats = stack.envoy.stats()
        assert all_answered(report)
        assert unanswered(stats) == stats.ext_proc("failure_mode_allowed") > 0
        cut = ("upstream_rq_rx_reset", "upstream_cx_destroy_remote_with_active_rq")
        assert {name: stats[f"cluster.canary_sidecar.{name}"] for name in cut} == dict.fromkeys(
            cut, 0
        )
