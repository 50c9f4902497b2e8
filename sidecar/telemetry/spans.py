"""A decision as a span, from the moment it is sampled to its bytes.

The SDK's own spans cost 30 µs to make and 50 to encode, which is several times what the decision
costs in the native engine. A decision needs neither: it is over before anybody hears of it, and
nearly everything its span says is the same for every request of one variant. So it is protobuf, by
a template, from the moment it enters the SDK's queue, and is sent as it is. What is written here is
the specification of native/sc_span.c, which does the same without Python.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_attributes,
    _encode_instrumentation_scope,
    _encode_resource,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as semconv

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


def request(batch: Sequence[bytes], resource: Resource) -> bytes:
    """Return a batch of encoded spans as OTLP's ExportTraceServiceRequest."""
    scope = ScopeSpans(scope=_encode_instrumentation_scope(InstrumentationScope(SCOPE)))
    about = ResourceSpans(resource=_encode_resource(resource), schema_url=resource.schema_url)
    # By hand, and joined once: to put messages into messages copies every span at each level.
    named, spans = scope.SerializeToString(), sum(map(len, batch))
    head = about.SerializeToString() + _opening(_SCOPE_SPANS, len(named) + spans) + named
    return b"".join([_opening(_RESOURCE_SPANS, len(head) + spans), head, *batch])


# Of opentelemetry.proto.trace.v1.Span: trace_id 1, span_id 2, start_time_unix_nano 7,
# end_time_unix_nano 8;
_OWN = struct.Struct("<2s16s2s8ssQsQ")
# parent_span_id 4, flags 16, trace_state 3
_PARENT = struct.Struct("<2s8s2sI")
_TRACE_STATE = b"\x1a"
# spans 2 of ScopeSpans, scope_spans 2 of ResourceSpans, resource_spans 1 of the request
_SPANS, _SCOPE_SPANS, _RESOURCE_SPANS = b"\x12", b"\x12", b"\x0a"


def encode(one: Decided, span_id: int) -> bytes:
    """Return a decision as one of the `spans` of a ScopeSpans, tag and length included."""
    start_ns = one.end_ns - one.took_ns
    trace, span = one.trace_id.to_bytes(16), span_id.to_bytes(8)
    common, unit = template(one.rollout, one.variant, one.reason, one.version)
    parts = [
        common,
        _OWN.pack(b"\x0a\x10", trace, b"\x12\x08", span, b"\x39", start_ns, b"\x41", one.end_ns),
    ]
    if unit:
        parts.append(unit + f"{one.second:016x}".encode())
    if one.parent:
        parts.append(_PARENT.pack(b"\x22\x08", one.parent.to_bytes(8), b"\x85\x01", _HAS | _REMOTE))
        parts.append(_within(_TRACE_STATE, one.tracestate.encode()))
    return _within(_SPANS, b"".join(parts))


def _within(tag: bytes, body: bytes) -> bytes:
    return _opening(tag, len(body)) + body


def _opening(tag: bytes, size: int) -> bytes:
    return tag + _varint(size)


def _varint(x: int) -> bytes:
    return bytes([x]) if x < 0x80 else bytes([x & 0x7F | 0x80]) + _varint(x >> 7)


@lru_cache(maxsize=4096)
def template(rollout: str, variant: str, reason: str, version: str) -> tuple[bytes, bytes]:
    """Return what the spans of such decisions have in common, and the attribute of their unit.

    The latter lacks the 16 digits of the pseudonym, which stand last; without a unit it is empty.
    """
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
    common = Span(
        name=f"{NAME} {rollout}",
        kind=Span.SpanKind.SPAN_KIND_SERVER,
        attributes=_encode_attributes(attributes),
        flags=_HAS,
    )
    unit = Span(attributes=_encode_attributes({semconv.FEATURE_FLAG_CONTEXT_ID: "0" * 16}))
    return (
        common.SerializeToString(),
        b"" if reason == NO_UNIT else unit.SerializeToString()[:-16],
    )
