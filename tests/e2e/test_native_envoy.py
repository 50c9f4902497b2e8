"""The native engine in conversation with a real Envoy, on the ways each of them ends a call."""

import contextlib
import signal
import threading

import envoy_lab
import pytest
from transport_lab import make_table, serving, wait_for

from bench.lab.process import Child, wait_until
from bench.lab.stack import Plan, Stack

ANSWER_END = b"stable\n"
GRACEFUL = {"envoy.reloadable_features.ext_proc_graceful_grpc_close": True}
ALL_BODIES = {
    "request_header_mode": "SEND",
    "response_header_mode": "SEND",
    "request_body_mode": "BUFFERED",
    "response_body_mode": "BUFFERED",
    "request_trailer_mode": "SEND",
    "response_trailer_mode": "SEND",
}


def no_failures(envoy):
    stats = envoy.stats()
    wrong = ("streams_failed", "message_timeouts", "failure_mode_allowed", "spurious_msgs_received")
    assert {name: stats.ext_proc(name) for name in wrong} == dict.fromkeys(wrong, 0)
    for name in (
        "upstream_cx_protocol_error",
        "upstream_cx_close_notify",
        "upstream_cx_connect_fail",
    ):
        assert stats[f"cluster.engine.{name}"] == 0, name
    return stats


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_five_thousand_decisions_share_one_connection(kind, work_folders):
    with (
        serving(kind) as (server, place),
        envoy_lab.running(envoy_lab.config(place.address), work_folders.plan) as envoy,
    ):
        answers = envoy_lab.ask(envoy, 5_000, connections=5)
        assert envoy_lab.answered_by(answers) == {(200, "stable"): 5_000}
        assert no_failures(envoy)["cluster.engine.upstream_cx_total"] == 1
        counted = server.counters()
        assert counted["streams"] == counted["answers"] == 5_000
        assert counted["protocol_errors"] == counted["resets_unanswered"] == 0


def test_an_envoy_that_ends_its_calls_gracefully_gets_its_trailers(work_folders):
    with (
        serving() as (server, place),
        envoy_lab.running(
            envoy_lab.config(place.address, runtime=GRACEFUL), work_folders.plan
        ) as envoy,
    ):
        answers = envoy_lab.ask(envoy, 2_000, connections=4)
        assert envoy_lab.answered_by(answers) == {(200, "stable"): 2_000}
        wait_for(lambda: no_failures(envoy)["cluster.engine.upstream_rq_active"] == 0, "trailers")
        # Envoy had the end of every call from us: it reset none.
        assert no_failures(envoy)["cluster.engine.upstream_rq_tx_reset"] == 0
        assert server.counters()["refused"] == 0


@pytest.mark.parametrize("mode", [None, ALL_BODIES], ids=["default", "everything"])
def test_whatever_else_envoy_sends_is_answered_so_that_the_request_goes_on(mode, work_folders):
    post = b"POST / HTTP/1.1\r\nhost: x\r\nx-user-id: u1\r\ntransfer-encoding: chunked\r\n\r\n"
    post += b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"
    with (
        serving() as (server, place),
        envoy_lab.running(envoy_lab.config(place.address, mode=mode), work_folders.plan) as envoy,
    ):
        answers = envoy_lab.ask(envoy, 100, request=post)
        assert envoy_lab.answered_by(answers) == {(200, "stable"): 100}
        no_failures(envoy)
        assert server.counters()["answers"] >= 200


def test_an_envoy_that_only_observes_gets_no_answer_and_no_failure(work_folders):
    observing = {"observability_mode": True, "deferred_close_timeout": "0.05s"}
    with (
        serving() as (server, place),
        envoy_lab.running(
            envoy_lab.config(place.address, ext_proc=observing), work_folders.plan
        ) as envoy,
    ):
        answers = [one for _ in range(50) for one in envoy_lab.ask(envoy, 1)]
        assert envoy_lab.answered_by(answers) == {(200, ""): 50}
        wait_for(lambda: server.counters()["streams"] == 50, "every request observed")
        assert no_failures(envoy).ext_proc("stream_msgs_received") == 0
        assert server.counters()["answers"] == 0


def test_envoys_own_health_check_sees_the_first_table_and_the_drain(work_folders):
    check = {
        "timeout": "5s",
        "interval": "0.05s",
        "no_traffic_interval": "0.05s",
        "no_traffic_healthy_interval": "0.05s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": "envoy.service.ext_proc.v3.ExternalProcessor"},
    }
    healthy = "cluster.engine.membership_healthy"
    with serving(table=None) as (server, place):
        made = envoy_lab.config(place.address, cluster={"health_checks": [check]})
        with envoy_lab.running(made, work_folders.plan) as envoy:
            wait_for(lambda: envoy.stats()["cluster.engine.health_check.attempt"] > 2, "checks")
            assert envoy.stats()[healthy] == 0
            server.swap(make_table())
            server.set_serving(True)
            wait_for(lambda: envoy.stats()[healthy] == 1, "healthy")
            server.set_serving(False)
            wait_for(lambda: envoy.stats()[healthy] == 0, "unhealthy")


def test_tables_swapped_all_the_time_lose_no_request_of_envoys(work_folders):
    tables = [make_table(f"v{i}", f"t{i}") for i in range(4)]
    over = threading.Event()
    with (
        serving(threads=2) as (server, place),
        envoy_lab.running(envoy_lab.config(place.address), work_folders.plan) as envoy,
    ):

        def swap():
            for at in range(1 << 30):
                if over.wait(0.002):
                    return
                server.swap(tables[at % len(tables)])

        swapping = threading.Thread(target=swap)
        server.swap(tables[0])
        swapping.start()
        answers = envoy_lab.answered_by(envoy_lab.ask(envoy, 3_000, connections=5))
        over.set()
        swapping.join()
        no_failures(envoy)
        assert sum(answers.values()) == 3_000
        assert set(answers) == {(200, f"v{i}") for i in range(4)}


def redirected(stack):
    """Envoy reaches the sidecar by a link, which can be turned to another sidecar."""

    def change(made):
        link = stack().work / "current.sock"
        link.symlink_to(stack().work / "run" / "ext_proc.sock")
        static = made["static_resources"]
        [cluster] = [c for c in static["clusters"] if c["name"] == "canary_sidecar"]
        [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["endpoint"]["address"] = {"pipe": {"path": str(link)}}
        [chain] = static["listeners"][0]["filter_chains"]
        filters = chain["filters"][0]["typed_config"]["http_filters"]
        filters[0]["typed_config"]["message_timeout"] = "5s"
        return made

    return change


def test_a_sidecar_that_is_told_to_stop_under_load_loses_no_call(work_folders):
    stack = Stack(Plan(name=work_folders.plan, apart=True, adjust=redirected(lambda: stack)))
    with stack:
        answers, over = [], threading.Event()

        def load():
            while not over.is_set():
                answers.extend(envoy_lab.ask(stack.envoy, 60, connections=3, end=ANSWER_END))

        other = {
            "CANARY_RUN_DIR": str(stack.work / "run2"),
            "CANARY_STATE_DIR": str(stack.work / "state2"),
            "CANARY_CONTROL": f"unix://{stack.work}/run/control.sock",
        }
        argv = [*stack.plan.canary, "sidecar"]
        env = {**stack.env, **other}
        with (
            Child("sidecar2", argv, stack.work, env=env) as second,
            contextlib.ExitStack() as ended,
        ):
            kept = stack.work / "state2" / "sidecar.resources"
            wait_until("the second sidecar's table", kept.exists, alive=[second])
            loading = threading.Thread(target=load)
            loading.start()
            ended.callback(loading.join)
            ended.callback(over.set)
            wait_until("traffic", lambda: len(answers) > 200)
            turned = stack.work / "next.sock"
            turned.symlink_to(stack.work / "run2" / "ext_proc.sock")
            turned.replace(stack.work / "current.sock")
            stack.children["sidecar"].kill(signal.SIGTERM)
            assert stack.children["sidecar"].wait(10) == 0
            so_far = len(answers)
            wait_until("traffic afterwards", lambda: len(answers) > so_far + 200)
            ended.close()
            stats = stack.envoy.stats()
            assert stats["cluster.canary_sidecar.upstream_cx_close_notify"] >= 1  # GOAWAY
            assert stats["cluster.canary_sidecar.upstream_cx_total"] >= 2
            assert not any(stats.failures().values()), stats.failures()
            assert stats.ext_proc("stream_msgs_received") == len(answers)
    stack.remove()
