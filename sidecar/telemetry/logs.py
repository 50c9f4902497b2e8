"""The lines a process writes to stderr: one per change of state, none per request.

For people as key=value, for machines as one JSON object a line. A line that was caused by a call
that carried a trace context names its trace.
"""

import json
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PROPAGATOR = TraceContextTextMapPropagator()


def configure(style: str) -> None:
    """Write log lines to stderr, `style` being "console" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if style == "json" else KeyValue())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


class KeyValue(logging.Formatter):
    """One line per record: time, level, message, then every extra as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; line breaks in values stay inside their quotes."""
        head = f"{self.formatTime(record)} {record.levelname.lower()} {record.getMessage()}"
        pairs = (f"{key}={_quoted(value)}" for key, value in _fields(record).items())
        line = " ".join([head, *pairs])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One JSON object per record: timestamp, severity, message, logger, then every extra."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; what JSON does not know becomes its text."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {key: value for key, value in vars(record).items() if key not in _KNOWN}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        extra["trace_id"] = trace.format_trace_id(span.trace_id)
        extra["span_id"] = trace.format_span_id(span.span_id)
    return extra


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and not any(c.isspace() or c in '"=' for c in text)
    return text if plain else '"' + text.replace('"', "'").replace("\n", " |") + '"'


class TraceContext(grpc.aio.ServerInterceptor):
    """Lets what a unary call causes, log lines first, know the trace of its caller."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Run the call in the context that its metadata carries (W3C traceparent)."""
        handler = await continuation(handler_call_details)
        carrier = {key: str(value) for key, value in handler_call_details.invocation_metadata}
        if handler is None or handler.unary_unary is None or "traceparent" not in carrier:
            return handler

        async def traced(request: Any, servicer_context: Any) -> Any:
            token = context.attach(_PROPAGATOR.extract(carrier))
            try:
                return await handler.unary_unary(request, servicer_context)
            finally:
                context.detach(token)

        return grpc.unary_unary_rpc_method_handler(
            traced, handler.request_deserializer, handler.response_serializer
        )
