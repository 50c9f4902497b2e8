"""Export never reaches a decision: collectors that are gone, silent, or talk nonsense.

Real processes, real sockets; what happened is read from the answers, the Prometheus endpoint and
the log.
"""

import contextlib
import socket
import time

import grpc
import pytest
from app_lab import USERS, House
from control_lab import short_dir
from messages import request_headers
from telemetry_lab import collector, free_port, scrape, speaking, traceparent

from bench.lab.process import wait_until

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
QUEUE = 20
# The engine has nothing to drain; what remains is the bound that telemetry has, and some room.
STOP_S = 8.0
MESSAGES = [request_headers([(":path", b"/"), ("x-user-id", user)]) for user in USERS]
HTTP2_NONSENSE = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff" * 64
NOT_EXPORTED = "telemetry not exported"


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        made.write()
        made.env |= {
            "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        yield made


def exporting_to(house, port):
    house.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    scraped = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{scraped}"
    return house.up(), scraped


def everybody_asks(house):
    """One stream per user, as Envoy does, all of them sampled; every answer."""
    with grpc.insecure_channel(house.settings.listen) as channel:
        process = channel.stream_stream(PROCESS)
        return [
            next(process(iter([message]), timeout=5, metadata=[("traceparent", traceparent(n, n))]))
            for n, message in enumerate(MESSAGES, 1)
        ]


def counted(port, name, *labels):
    series = scrape(port)
    return sum(
        value
        for key, value in series.items()
        if key.startswith(name) and all(label in key for label in labels)
    )


def dropped(port):
    return counted(port, "otel_sdk_processor_span_processed_total", 'error_type="queue_full"')


def failed(port):
    return counted(port, "otel_sdk_exporter_span_exported_total", "error_type=")


@contextlib.contextmanager
def gone():
    yield free_port()


@contextlib.contextmanager
def silent():
    with collector(answers=False) as one:
        yield one.port


BROKEN = {
    "gone": gone,
    "taking and never answering": silent,
    "not even speaking HTTP/2": lambda: speaking(b""),
    "answering in another protocol": lambda: speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "answering nonsense": lambda: speaking(HTTP2_NONSENSE),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_collector_costs_no_answer_and_no_end(house, broken):
    with broken() as port:
        up, scraped = exporting_to(house, port)
        answers = everybody_asks(house)
        assert all(b"x-canary-chat" in answer for answer in answers)
        wait_until("dropped spans", lambda: dropped(scraped), alive=[up])
        wait_until("failed spans", lambda: failed(scraped), alive=[up])
        for signal_name in ("traces", "metrics", "events"):
            line = f"signal={signal_name}"
            wait_until(line, lambda line=line: line in up.log.read_text(), alive=[up])
        assert len(everybody_asks(house)) == len(USERS)
        begun = time.monotonic()
        assert up.stop() == 0
        assert time.monotonic() - begun < STOP_S
    log = up.log.read_text()
    assert log.count(NOT_EXPORTED) == 3
    assert "Traceback" not in log
    assert "opentelemetry" not in log.lower()


def test_a_collector_that_comes_back_is_told_of_and_gets_what_is_new(house):
    # The lab's collectors take traces and metrics, and no events.
    house.env["OTEL_LOGS_EXPORTER"] = "none"
    with collector() as first:
        port = first.port
        up, _ = exporting_to(house, port)
        everybody_asks(house)
        wait_until("spans", lambda: first.spans, alive=[up])
    everybody_asks(house)
    wait_until("both losses", lambda: up.log.read_text().count(NOT_EXPORTED) == 2, alive=[up])
    with collector(port) as second:

        def received():
            everybody_asks(house)
            return second.spans and second.metrics

        wait_until("spans again", received, alive=[up])
        assert second.spans[0].attributes["canary.rollout"] == "chat"
        wait_until("both told", lambda: up.log.read_text().count("exported again") == 2)
        assert up.stop() == 0
    assert up.log.read_text().count(NOT_EXPORTED) == 2


def test_a_scraper_that_hangs_holds_up_no_other_and_no_end(house):
    port = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    up = house.up()
    with socket.create_connection(("127.0.0.1", port)) as hanging:
        hanging.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert scrape(port)["canary_control_stream_connected"] == 1
        begun = time.monotonic()
        assert up.stop() == 0
        assert time.monotonic() - begun < STOP_S


def test_a_variable_that_cannot_be_meant_ends_the_start_with_a_remedy(house):
    house.env["OTEL_TRACES_EXPORTER"] = "zipkin"
    status, said = house.run("up", house.folder)
    assert status == 1
    assert "OTEL_TRACES_EXPORTER" in said
    assert "use otlp or none" in said


def test_what_the_sdk_refuses_is_told_without_a_traceback(house):
    house.env |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "21"}
    status, said = house.run("up", house.folder)
    assert status == 1
    assert "check the OTEL_* variables" in said
    assert "Traceback" not in said


def test_a_metrics_address_that_is_taken_is_named(house):
    with speaking(b"") as port:
        status, said = house.run("up", house.folder, "--metrics", f"127.0.0.1:{port}")
    assert status == 1
    assert f"cannot serve metrics on 127.0.0.1:{port}" in said
