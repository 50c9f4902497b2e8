import subprocess
import sys

import pytest

from sidecar import telemetry
from sidecar.errors import CanaryError
from sidecar.telemetry.environment import read

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


@pytest.mark.parametrize(
    ("env", "traces", "metrics"),
    [
        ({}, False, False),
        (ENDPOINT, True, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_METRICS_EXPORTER": " OTLP "}, False, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x:1"}, False, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:1"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True, True),
    ],
)
def test_what_is_exported_is_what_was_asked_for(env, traces, metrics):
    wanted = read(env)
    assert (wanted.traces, wanted.metrics) == (traces, metrics)


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "--metrics"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "gRPC port"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "TRACES_PROTOCOL"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(env, named):
    with pytest.raises(CanaryError, match=named):
        read(env)


def test_a_signals_own_protocol_wins():
    env = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    own = {f"OTEL_EXPORTER_OTLP_{one}_PROTOCOL": "grpc" for one in ("TRACES", "METRICS", "LOGS")}
    assert read({**env, **own}).traces


@pytest.mark.parametrize("preference", ["delta", "LowMemory", "cumulative", ""])
def test_histograms_tell_what_is_new_where_the_collector_wants_deltas(preference):
    wanted = read({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference})
    assert wanted.delta == (preference in {"delta", "LowMemory"})


def test_who_exports_nothing_has_nothing_to_observe_or_stop():
    off = telemetry.start("canary-sidecar", "node", env={})
    assert off.observer is None
    off.stop()


def test_a_disabled_sdk_serves_no_metrics_either():
    disabled = {"OTEL_SDK_DISABLED": "true"}
    assert type(telemetry.start("s", "n", ("256.0.0.1", 1), disabled)) is telemetry.Telemetry


def test_who_exports_nothing_does_not_load_the_sdk():
    program = (
        "import sys; from sidecar import app, telemetry; "
        "telemetry.start('canary-sidecar', 'node', ENV); "
        "print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    for env, loaded in (({}, "False"), (ENDPOINT, "True")):
        ran = subprocess.run(
            [sys.executable, "-c", program.replace("ENV", f"env={env}")],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert ran.stdout.strip() == loaded
