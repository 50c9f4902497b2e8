"""OTLP exporters that say once when a collector is lost, and once when it is back.

Export happens on the SDK's threads. What those report of every single try is kept for the one line
that counts.
"""

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import MeterProvider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from sidecar.telemetry.spans import request

# Below the 4 MB that a gRPC server takes by default.
_POINTS_PER_MESSAGE = 5_000
_log = logging.getLogger(__name__)


class _LastWords(logging.Handler):
    """Keeps the last thing that an exporter said."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class _Reach:
    """Whether a signal's collector takes what it is sent."""

    def __init__(self, signal: str, words: _LastWords) -> None:
        self._signal = signal
        self._words = words
        self._well = True

    def saw(self, *, success: bool) -> None:
        if success and not self._well:
            _log.info("telemetry exported again", extra={"signal": self._signal})
        elif self._well and not success:
            extra = {"signal": self._signal, "error": self._words.text}
            _log.warning("telemetry not exported", extra=extra)
        self._well = success


class _Raw:
    """The collector's service for requests that are bytes already; the SDK calls it as its own."""

    def __init__(self, channel: Any) -> None:
        self.Export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            response_deserializer=ExportTraceServiceResponse.FromString,
        )


class Spans(OTLPSpanExporter):
    """Exports encoded spans (spans.py) as those of `resource`, as `OTEL_EXPORTER_OTLP_*` says."""

    def __init__(self, meter_provider: MeterProvider, resource: Resource) -> None:
        super().__init__(meter_provider=meter_provider)
        self._resource = resource
        self._reach = _Reach("traces", hushed())

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()
        self._client = _Raw(self._channel)

    def _translate_data(self, data: Sequence[Any]) -> Any:
        return request(data, self._resource)

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Export a batch; called by the SDK."""
        result = super().export(spans)
        self._reach.saw(success=result is SpanExportResult.SUCCESS)
        return result


class Batches(BatchSpanProcessor):
    """The SDK's bounded queue and its thread, for encoded spans that come many at once.

    To be asked for its context and handed over alone costs more than a span does. So they enter
    the queue together, which takes a hand in the SDK's own parts: its names end with an underscore
    that is not ours. What finds no room is counted where the SDK counts it.
    """

    def take(self, spans: Sequence[bytes]) -> None:
        """Queue them; never blocks. One thread only."""
        inner = self._batch_processor
        room = 0 if inner._shutdown else inner._max_queue_size - len(inner._queue)  # noqa: SLF001
        inner._queue.extendleft(spans[:room])  # noqa: SLF001
        if lost := len(spans) - min(room, len(spans)):
            inner._metrics.drop_items(lost)  # noqa: SLF001
        if len(inner._queue) >= inner._max_export_batch_size:  # noqa: SLF001
            inner._worker_awaken.set()  # noqa: SLF001


class Events(OTLPLogExporter):
    """Exports events to where `OTEL_EXPORTER_OTLP_*` says."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        super().__init__(meter_provider=meter_provider)
        self._reach = _Reach("events", hushed())

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export a batch; called by the SDK."""
        result = super().export(batch)
        self._reach.saw(success=result is LogRecordExportResult.SUCCESS)
        return result


class Metrics(OTLPMetricExporter):
    """Exports metrics to where `OTEL_EXPORTER_OTLP_*` says."""

    def __init__(self) -> None:
        super().__init__(max_export_batch_size=_POINTS_PER_MESSAGE)
        self._reach = _Reach("metrics", hushed())

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export a reading; called by the SDK."""
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self._reach.saw(success=result is MetricExportResult.SUCCESS)
        return result


def hushed() -> _LastWords:
    """Keep what the exporters say of every try out of the log; drops are metrics."""
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
    exporter = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    exporter.propagate = False
    words = next((h for h in exporter.handlers if isinstance(h, _LastWords)), None)
    if words is None:
        words = _LastWords()
        exporter.addHandler(words)
    return words
