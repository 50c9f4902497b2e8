"""The SDK, wired: what goes to a collector, what a scraper reads, and a bounded end of both.

Spans wait in the SDK's bounded queue; what does not fit is dropped. How much was exported, failed
and dropped stands in the SDK's own metrics, which are therefore on.
"""

import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.environment_variables import OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter, ObservableGauge
from opentelemetry.sdk.metrics.export import CardinalityLimits
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, start_http_server

from sidecar.errors import CanaryError
from sidecar.telemetry import exporting, metrics
from sidecar.telemetry.environment import Wanted
from sidecar.telemetry.histogram import Adding, PeriodicReader, PrometheusReader
from sidecar.telemetry.sources import Attributes, ControllerSources, SidecarSources, Telemetry
from sidecar.telemetry.spans import SCOPE
from sidecar.telemetry.tracing import Tracing

# Longer than a collector that is there needs, shorter than anybody waits for one that is not.
STOP_S = 3.0
# The SDK would put every series above 2,000 into one; rollouts times variants times reasons.
_LIMITS: CardinalityLimits = {ObservableCounter: 200_000, ObservableGauge: 200_000}
_Call = Callable[[], object]


class Exporting(Telemetry):
    """Exports what is wanted until `stop`."""

    def __init__(
        self, wanted: Wanted, service: str, instance: str, scrape: tuple[str, int] | None
    ) -> None:
        os.environ.setdefault(OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED, "true")
        # What is left is flushed first; whoever has not ended then is cut.
        self._flush: list[_Call] = []
        self._cut: list[_Call] = []
        self._readers: list[Adding] = []
        self.scraped_at = self._serve(*scrape) if scrape else None
        pushing = self._push(delta=wanted.delta) if wanted.metrics else None
        resource = _resource(service, instance)
        self._meters = MeterProvider(self._readers, resource, shutdown_on_exit=False)
        if pushing:
            pushing.set_meter_provider(self._meters)
        self._flush.append(self._meters.shutdown)
        self._meter = self._meters.get_meter(SCOPE)
        metrics.measure_process(self._meter)
        if wanted.traces:
            self.observer = self._trace(resource)
        self._events = self._tell(resource) if wanted.events else None

    def measure_sidecar(self, sources: SidecarSources) -> None:
        """Export the metrics of a sidecar."""
        for reader in self._readers:
            reader.durations = sources.durations
        metrics.measure_sidecar(self._meter, sources)

    def measure_controller(self, sources: ControllerSources) -> None:
        """Export the metrics of a controller."""
        metrics.measure_controller(self._meter, sources)

    def event(self, name: str, attributes: Attributes) -> None:
        """Export something that happened; it waits in the SDK's bounded queue."""
        if self._events:
            now_ns = time.time_ns()
            self._events.emit(
                timestamp=now_ns,
                observed_timestamp=now_ns,
                severity_number=SeverityNumber.INFO,
                event_name=name,
                attributes=dict(attributes),
            )

    def stop(self) -> None:
        """Export what is left, in at most STOP_S seconds and a little more."""
        threads = [threading.Thread(target=flush, daemon=True) for flush in self._flush]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for cut in self._cut:
            cut()

    def _serve(self, host: str, port: int) -> tuple[str, int]:
        registry = CollectorRegistry()
        try:
            server, _ = start_http_server(port, host, registry)
        except OSError as error:
            raise CanaryError(
                f"cannot serve metrics on {host}:{port}: {error.strerror}",
                remedy="choose another --metrics HOST:PORT",
            ) from error
        self._cut += [server.shutdown, server.server_close]
        reader = PrometheusReader(
            registry=registry, scope_info_enabled=False, cardinality_limits=_LIMITS
        )
        self._readers.append(reader)
        return host, server.server_port

    def _push(self, *, delta: bool) -> exporting.Metrics:
        exporter = exporting.Metrics()
        reader = PeriodicReader(exporter, cardinality_limits=_LIMITS)
        reader.delta = delta
        self._readers.append(reader)
        self._cut.append(exporter.shutdown)
        return exporter

    def _tell(self, resource: Resource) -> Logger:
        provider = LoggerProvider(
            resource=resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider()
        )
        exporter = exporting.Events(self._meters)
        provider.add_log_record_processor(
            BatchLogRecordProcessor(exporter, meter_provider=self._meters)
        )
        self._flush.append(provider.shutdown)
        self._cut.append(exporter.shutdown)
        return provider.get_logger(SCOPE)

    def _trace(self, resource: Resource) -> Tracing:
        # The provider reads OTEL_TRACES_SAMPLER; our spans do without the rest of it.
        provider = TracerProvider(shutdown_on_exit=False, meter_provider=NoOpMeterProvider())
        exporter = exporting.Spans(self._meters, resource)
        processor = exporting.Batches(exporter, meter_provider=self._meters)
        self._flush.append(processor.shutdown)
        self._cut.append(exporter.shutdown)
        return Tracing(provider.sampler, processor.take)


def _resource(service: str, instance: str) -> Resource:
    """Name the process; what the environment says of it wins."""
    ours = {
        "service.name": service,
        "service.instance.id": instance,
        "service.version": version("canary-sidecar"),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
