"""A decision as a span, from the moment it is sampled to its bytes.

The SDK's own spans cost 30 µs to make and 50 to encode, which is several times what the decision
costs in the native engine. A decision needs neither: it is over before anybody hears of it, and
nearly everything its span says is the same for every request of one variant. So it goes into the
SDK's queue as it is, and becomes protobuf from a template when the SDK's thread exports it.
"""

import random
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_attributes,
    _encode_instrumentation_scope,
    _encode_resource,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as semconv
from opentelemetry.trace import SpanContext, TraceFlags

SCOPE = "canary"
ROLLOUT, VARIANT = "canary.rollout", "canary.variant"
VERSION, REASON = "canary.version", "canary.reason"
Reasons = semconv.FeatureFlagResultReasonValues
# Our reasons in the words of the semantic conventions; the rest is unknown to them.
REASONS = {"weight": Reasons.SPLIT.value, "no_unit": Reasons.DEFAULT.value}
NO_UNIT = "no_unit"
NAME = "decide"
_HAS = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class Decided(NamedTuple):
    """A sampled decision. `parent` 0: its span is a root. Times are ns, `end_ns` since 1970."""

    rollout: str
    variant: str
    reason: str
    version: str
    second: int
    trace_id: int
    parent: int
    tracestate: str
    end_ns: int
    took_ns: int

    @property
    def context(self) -> SpanContext:
        """What the SDK's processor looks at: sampled."""
        return _SAMPLED


_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def encode(batch: Iterable[Decided], resource: Resource) -> ExportTraceServiceRequest:
    """Return a batch as OTLP."""
    scope = ScopeSpans(scope=_encode_instrumentation_scope(InstrumentationScope(SCOPE)))
    about = ResourceSpans(resource=_encode_resource(resource), schema_url=resource.schema_url)
    spans = b"".join([scope.SerializeToString(), *map(_span, batch)])
    # Parsed once: to put messages into messages would copy every span at each level.
    within = about.SerializeToString() + _within(_SCOPE_SPANS, spans)
    return ExportTraceServiceRequest.FromString(_within(_RESOURCE_SPANS, within))


# Of opentelemetry.proto.trace.v1.Span: trace_id 1, span_id 2, start_time_unix_nano 7,
# end_time_unix_nano 8;
_OWN = struct.Struct("<2s16s2s8ssQsQ")
# parent_span_id 4, flags 16, trace_state 3
_PARENT = struct.Struct("<2s8s2sI")
_TRACE_STATE = b"\x1a"
# spans 2 of ScopeSpans, scope_spans 2 of ResourceSpans, resource_spans 1 of the request
_SPANS, _SCOPE_SPANS, _RESOURCE_SPANS = b"\x12", b"\x12", b"\x0a"


def _span(one: Decided) -> bytes:
    start_ns = one.end_ns - one.took_ns
    trace, span = one.trace_id.to_bytes(16), random.getrandbits(64).to_bytes(8)
    parts = [
        _template(one.rollout, one.variant, one.reason, one.version),
        _OWN.pack(b"\x0a\x10", trace, b"\x12\x08", span, b"\x39", start_ns, b"\x41", one.end_ns),
    ]
    if one.reason != NO_UNIT:
        parts.append(_UNIT + f"{one.second:016x}".encode())
    if one.parent:
        parts.append(_PARENT.pack(b"\x22\x08", one.parent.to_bytes(8), b"\x85\x01", _HAS | _REMOTE))
        state = one.tracestate.encode()
        parts.append(_within(_TRACE_STATE, state))
    return _within(_SPANS, b"".join(parts))


def _within(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def _varint(x: int) -> bytes:
    return bytes([x]) if x < 0x80 else bytes([x & 0x7F | 0x80]) + _varint(x >> 7)


def _unit_prefix() -> bytes:
    """Return the attribute of a pseudonym of 16 digits, without the digits: they stand last."""
    one = Span(attributes=_encode_attributes({semconv.FEATURE_FLAG_CONTEXT_ID: "0" * 16}))
    return one.SerializeToString()[:-16]


_UNIT = _unit_prefix()


@lru_cache(maxsize=4096)
def _template(rollout: str, variant: str, reason: str, version: str) -> bytes:
    """Return what the spans of such decisions have in common."""
    attributes = {
        semconv.FEATURE_FLAG_KEY: rollout,
        semconv.FEATURE_FLAG_PROVIDER_NAME: SCOPE,
        semconv.FEATURE_FLAG_RESULT_VARIANT: variant,
        semconv.FEATURE_FLAG_RESULT_REASON: REASONS.get(reason, Reasons.UNKNOWN.value),
        semconv.FEATURE_FLAG_VERSION: version,
        ROLLOUT: rollout,
        VARIANT: variant,
        REASON: reason,
        VERSION: version,
    }
    return Span(
        name=f"{NAME} {rollout}",
        kind=Span.SpanKind.SPAN_KIND_SERVER,
        attributes=_encode_attributes(attributes),
        flags=_HAS,
    ).SerializeToString()
