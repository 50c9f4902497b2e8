"""What can be seen from outside: logs, traces and metrics, by OpenTelemetry.

The only room that knows OpenTelemetry, and a pure onlooker: it is handed what it may read, nothing
waits for it, and nothing it meets (no collector, a slow one, a full queue) reaches a decision.
A process that exports nothing does not load the SDK. Everything exported: docs/observe.md.
"""

import os
from collections.abc import Mapping

from sidecar.errors import CanaryError
from sidecar.telemetry import environment
from sidecar.telemetry.logs import TraceContext
from sidecar.telemetry.logs import configure as configure_logs
from sidecar.telemetry.sources import (
    ControllerSources,
    ControlStream,
    SidecarSources,
    Telemetry,
)

__all__ = [
    "ControlStream",
    "ControllerSources",
    "SidecarSources",
    "Telemetry",
    "TraceContext",
    "configure_logs",
    "start",
]


def start(
    service: str,
    instance: str,
    scrape: tuple[str, int] | None = None,
    env: Mapping[str, str] | None = None,
) -> Telemetry:
    """Export what the environment asks for, and let Prometheus scrape `scrape` (host, port).

    `service` and `instance` name the process unless `OTEL_*` variables do. Raises CanaryError on
    variables that cannot be meant, and on an address that cannot be had.
    """
    wanted = environment.read(os.environ if env is None else env)
    if wanted.disabled or not (wanted.traces or wanted.metrics or wanted.events or scrape):
        return Telemetry()
    from sidecar.telemetry import providers  # noqa: PLC0415 - most of the SDK, for who wants it

    try:
        return providers.Exporting(wanted, service, instance, scrape)
    except CanaryError:
        raise
    except Exception as error:
        raise CanaryError(
            f"the OpenTelemetry SDK does not start: {error}", remedy="check the OTEL_* variables"
        ) from error
