"""Which signals are wanted, by the `OTEL_*` variables of the OpenTelemetry specification.

One difference to it: without an endpoint or a named exporter nothing is exported. Where a signal
goes, how and how often is left to the SDK, which reads its own variables.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.errors import CanaryError

_DELTA = {"delta", "lowmemory"}


class Wanted(NamedTuple):
    """What is to be exported by OTLP; `delta` histograms tell only what is new.

    `events` are what happened to launches, as OpenTelemetry's log records.
    """

    traces: bool
    metrics: bool
    delta: bool
    disabled: bool
    events: bool = False


class EnvironmentError(CanaryError):  # noqa: A001 - it is about the environment
    """An `OTEL_*` variable that cannot be meant."""


def read(env: Mapping[str, str]) -> Wanted:
    """Read them. Raises CanaryError on an exporter or a protocol that is not there."""
    disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    preference = env.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "")
    return Wanted(
        traces=not disabled and _wanted(env, "TRACES"),
        metrics=not disabled and _wanted(env, "METRICS"),
        delta=preference.strip().lower() in _DELTA,
        disabled=disabled,
        events=not disabled and _wanted(env, "LOGS"),
    )


def _wanted(env: Mapping[str, str], signal: str) -> bool:
    variable = f"OTEL_{signal}_EXPORTER"
    exporter = env.get(variable, "").strip().lower()
    if exporter not in {"", "otlp", "none"}:
        raise EnvironmentError(
            f"there is no exporter {exporter!r} ({variable})",
            remedy="use otlp or none; for Prometheus give --metrics HOST:PORT",
        )
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    wanted = exporter == "otlp" or (not exporter and any(env.get(name) for name in endpoints))
    if wanted:
        _check_protocol(env, signal)
    return wanted


def _check_protocol(env: Mapping[str, str], signal: str) -> None:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := env.get(variable, "").strip():
            if protocol != "grpc":
                raise EnvironmentError(
                    f"OTLP goes by gRPC, not by {protocol!r} ({variable})",
                    remedy="unset it or write grpc, and name the collector's gRPC port (4317)",
                )
            return
