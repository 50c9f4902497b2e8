"""What is measured, as a collector and a scraper see it; and docs/observe.md names exactly that."""

import contextlib
import re
import threading
import time
from itertools import chain
from pathlib import Path

import grpc
import launch_lab
import pytest
from app_lab import USERS, House
from control_lab import document, short_dir
from envoy_data_plane.envoy.service.accesslog import v3 as als
from messages import request_headers
from telemetry_lab import collector, free_port, scrape, traceparent

from bench.lab.process import wait_until
from sidecar.control import calls
from sidecar.extproc.engine import ACCESS_LOG
from sidecar.routing.force import Key, sign

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
DURATION = "canary.decision.duration"
OBSERVE = Path(__file__).parents[2] / "docs" / "observe.md"
MESSAGES = [request_headers([(":path", b"/"), ("x-user-id", user)]) for user in USERS]
ROW = re.compile(
    r"^\| `(?P<name>[a-z_.]+)` \| (?P<kind>[a-z ]+) \| `(?P<unit>[^`]+)` \|", re.MULTILINE
)


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        made.write()
        made.env |= {"OTEL_METRIC_EXPORT_INTERVAL": "100", "OTEL_BSP_SCHEDULE_DELAY": "20"}
        yield made


def everybody_asks(house):
    with grpc.insecure_channel(house.settings.listen) as channel:
        process = channel.stream_stream(PROCESS)
        metadata = [("traceparent", traceparent(1, 1))]
        return [next(process(iter([one]), timeout=5, metadata=metadata)) for one in MESSAGES]


def malformed(house):
    with grpc.insecure_channel(house.settings.listen) as channel:
        call = channel.stream_stream(PROCESS)(iter([b"\xff"]), timeout=5)
        with pytest.raises(grpc.RpcError):
            next(call)


@contextlib.contextmanager
def an_envoy_that_forwards(header, house):
    named = als.StreamAccessLogsMessageIdentifier(log_name=f"canary?header={header}")
    over = threading.Event()

    def messages():
        yield bytes(als.StreamAccessLogsMessage(identifier=named))
        over.wait(60)

    with grpc.insecure_channel(house.settings.listen) as channel:
        call = channel.stream_unary(f"/{ACCESS_LOG}/StreamAccessLogs").future(messages())
        yield
        over.set()
        call.cancel()


def kind(metric):
    which = metric.WhichOneof("data")
    if which != "sum":
        return which
    return "counter" if metric.sum.is_monotonic else "up down counter"


def histogram_count(reading):
    [point] = reading[DURATION].histogram.data_points
    assert sum(point.bucket_counts) == point.count
    return point.count


def test_the_documented_metrics_are_those_that_are_exported(house):
    with collector() as received:
        house.env |= received.env
        house.write(text=launch_lab.text(*launch_lab.GUARDED))
        up = house.up()
        everybody_asks(house)
        documented = {m["name"]: (m["kind"], m["unit"]) for m in ROW.finditer(OBSERVE.read_text())}
        with an_envoy_that_forwards("x-user-id", house):
            wait_until("all", lambda: documented.keys() <= received.metrics.keys(), alive=[up])
        exported = {name: (kind(m), m.unit) for name, m in received.metrics.items()}
        assert exported == documented
        assert all(metric.description for metric in received.metrics.values())


def test_decisions_are_counted_by_variant_and_go_on_through_changes_of_the_table(house):
    port = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    up = house.up()
    versions = set()
    for weight in (5, 50, 0):
        calls.set_weights(house.settings.control, "chat", {"canary": weight})
        house.until_agreed(up)
        everybody_asks(house)
        versions.add(house.sidecar().table.version)
    malformed(house)
    series = scrape(port)
    decided = {k: v for k, v in series.items() if k.startswith("canary_decisions_total")}
    assert sum(decided.values()) == 3 * len(USERS)
    on_canary = (
        'canary_decisions_total{canary_reason="weight",canary_rollout="chat",canary_variant='
    )
    assert 0 < decided[on_canary + '"canary"}'] < len(USERS) < decided[on_canary + '"stable"}']
    assert series["canary_decision_duration_seconds_count"] == 3 * len(USERS)
    assert 0 < series["canary_decision_duration_seconds_sum"] < 3 * len(USERS)
    assert series["canary_ext_proc_streams_total"] == 3 * len(USERS) + 1
    assert series["canary_ext_proc_answers_total"] == 3 * len(USERS)
    assert series['canary_ext_proc_refusals_total{error_type="malformed"}'] == 1
    ages = [key for key in series if key.startswith("canary_table_age_seconds")]
    assert ages == [f'canary_table_age_seconds{{canary_version="{house.sidecar().table.version}"}}']
    assert len(versions) == 3


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_force_tokens_that_are_ignored_are_counted_by_why(house, engine):
    ours, foreign = Key("qa", b"s" * 32), Key("other", b"s" * 32)
    keys = house.root / "keys"
    keys.write_text(f"{ours.id} {ours.secret.decode()}\n")
    house.env |= {"CANARY_FORCE_KEYS": str(keys), "CANARY_ENGINE": engine}
    later, variants = int(time.time()) + 600, {"chat": "canary"}
    fine = sign(ours, variants, later)
    tokens = {
        "": [fine],
        "malformed": ["canary"],
        "unknown_key": [sign(foreign, variants, later)] * 2,
        "bad_signature": [fine.replace("=canary", "=stable")] * 3,
        "expired": [sign(ours, variants, 1)] * 4,
    }
    with collector() as received:
        house.env |= received.env
        up = house.up()
        with grpc.insecure_channel(house.settings.listen) as channel:
            for token in chain.from_iterable(tokens.values()):
                headers = [(":path", b"/"), ("canary-force", token.encode())]
                next(channel.stream_stream(PROCESS)(iter([request_headers(headers)]), timeout=5))

        def counted():
            metric = received.metrics.get("canary.force.refusals")
            points = metric.sum.data_points if metric else []
            return {one.attributes[0].value.string_value: one.as_int for one in points}

        wait_until("all", lambda: sum(counted().values()) == 10, alive=[up])
        assert counted() == {why: len(them) for why, them in tokens.items() if why}


@pytest.mark.parametrize(("header", "unseen"), [("x-user-id", 0), (":path", 1)])
def test_what_an_envoy_says_it_hides_is_counted(house, header, unseen):
    port = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    up = house.up()
    assert "canary_inputs_unseen" not in scrape(port)
    with an_envoy_that_forwards(header, house):
        wait_until("said", lambda: scrape(port).get("canary_inputs_unseen") == unseen, alive=[up])
    wait_until("gone", lambda: "canary_inputs_unseen" not in scrape(port), alive=[up])


def test_the_control_stream_is_measured(house):
    port = free_port()
    house.env["CANARY_METRICS"] = ""
    controller = house.start("controller", house.folder)
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    sidecar = house.start("sidecar")
    house.until_ready(controller, sidecar)
    name = "canary_control_stream_"
    series = scrape(port)
    assert (series[f"{name}connected"], series[f"{name}connections_total"]) == (1, 1)
    assert controller.stop() == 0
    wait_until("lost", lambda: scrape(port)[f"{name}connected"] == 0, alive=[sidecar])
    house.env["CANARY_METRICS"] = ""
    again = house.start("controller", house.folder)
    wait_until("back", lambda: scrape(port)[f"{name}connected"] == 1, alive=[sidecar, again])
    assert scrape(port)[f"{name}connections_total"] == 2
    assert scrape(port)[f"{name}nacks_total"] == 0


def test_a_controller_measures_its_sidecars(house):
    port = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    controller = house.start("controller", house.folder)
    house.env["CANARY_METRICS"] = ""
    sidecar = house.start("sidecar")
    house.until_ready(controller, sidecar)

    def current():
        return scrape(port)['canary_controller_sidecars{canary_sidecar_state="current"}']

    wait_until("the sidecar", lambda: current() == 1, alive=[controller, sidecar])
    assert sidecar.stop() == 0
    wait_until("nobody", lambda: current() == 0, alive=[controller])


@pytest.mark.parametrize("preference", ["cumulative", "delta"])
def test_the_histogram_is_cumulative_or_delta_as_the_environment_says(house, preference):
    with collector() as received:
        house.env |= received.env
        house.env["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] = preference
        up = house.up()
        everybody_asks(house)
        begun = len(received.readings)
        wait_until("readings", lambda: len(received.readings) > begun + 2, alive=[up])
        assert up.stop() == 0
    # The first readings may come before there is a sidecar.
    counts = [histogram_count(one) for one in received.readings if DURATION in one]
    if preference == "delta":
        assert sum(counts) == len(USERS)
        assert counts[-1] == 0
    else:
        assert counts[-1] == len(USERS)


def test_a_document_of_many_rollouts_is_measured_whole(house):
    names = [f"r-{n}" for n in range(2100)]
    house.write(text="---\n".join(document(name) for name in names))
    port = free_port()
    house.env["CANARY_METRICS"] = f"127.0.0.1:{port}"
    up = house.up()
    house.until_agreed(up)
    [message] = MESSAGES[:1]
    with grpc.insecure_channel(house.settings.listen) as channel:
        next(channel.stream_stream(PROCESS)(iter([message]), timeout=20))
    decided = [key for key in scrape(port) if key.startswith("canary_decisions_total")]
    assert len(decided) == len(names)
