"""A real OTLP receiver, broken ones, and what was received as plain values."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

SAMPLED, UNSAMPLED = "01", "00"


def traceparent(trace: int, parent: int, flags: str = SAMPLED) -> str:
    return f"00-{trace:032x}-{parent:016x}-{flags}"


@dataclass
class Span:
    service: str
    name: str
    trace: int
    id: int
    parent: int
    kind: int
    attributes: dict[str, Any]
    start_ns: int
    end_ns: int


@dataclass
class Collector(
    trace_grpc.TraceServiceServicer,
    metrics_grpc.MetricsServiceServicer,
    logs_grpc.LogsServiceServicer,
):
    """Keeps what it is sent; `answers` false: takes calls and never answers them.

    `metrics` holds the newest of each name, `readings` all that came in one export.
    """

    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    readings: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    answers: bool = True
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def env(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}"}

    def Export(self, request, context):  # noqa: N802 - gRPC's name
        if not self.answers:
            self.over.wait(60)
        if isinstance(request, trace_pb.ExportTraceServiceRequest):
            self._spans(request)
            return trace_pb.ExportTraceServiceResponse()
        if isinstance(request, logs_pb.ExportLogsServiceRequest):
            self._events(request)
            return logs_pb.ExportLogsServiceResponse()
        self._metrics(request)
        return metrics_pb.ExportMetricsServiceResponse()

    def _spans(self, request):
        for resource in request.resource_spans:
            named = _plain(resource.resource.attributes)
            self.resources.append(named)
            for scope in resource.scope_spans:
                self.spans += [_span(named["service.name"], span) for span in scope.spans]

    def _events(self, request):
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for one in scope.log_records:
                    self.events.append((one.event_name, _plain(one.attributes)))

    def _metrics(self, request):
        reading = {}
        for resource in request.resource_metrics:
            self.resources.append(_plain(resource.resource.attributes))
            for scope in resource.scope_metrics:
                reading |= {metric.name: metric for metric in scope.metrics}
        self.readings.append(reading)
        self.metrics.update(reading)

    def of(self, service):
        return [span for span in self.spans if span.service == service]


@contextlib.contextmanager
def collector(port: int = 0, *, answers: bool = True) -> Iterator[Collector]:
    kept = Collector(answers=answers)
    server = grpc.server(ThreadPoolExecutor(8))
    trace_grpc.add_TraceServiceServicer_to_server(kept, server)
    metrics_grpc.add_MetricsServiceServicer_to_server(kept, server)
    logs_grpc.add_LogsServiceServicer_to_server(kept, server)
    kept.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield kept
    finally:
        kept.over.set()
        server.stop(0).wait()


@contextlib.contextmanager
def speaking(answer: bytes) -> Iterator[int]:
    """A port that answers whoever connects with these bytes and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(listener.accept()[0])
                    with contextlib.suppress(OSError):
                        held[-1].sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in held:
            connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def scrape(port: int) -> dict[str, float]:
    """Every series of a Prometheus endpoint, by name and labels as they stand."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def _span(service: str, span: Any) -> Span:
    ids = (span.trace_id, span.span_id, span.parent_span_id)
    return Span(
        service,
        span.name,
        *(int.from_bytes(one) for one in ids),
        span.kind,
        _plain(span.attributes),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
