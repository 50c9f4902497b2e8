"""The native spans are, byte for byte, what their specification in Python writes."""

import ctypes

from hypothesis import given, settings
from hypothesis import strategies as st
from native_lab import Sample, SpanTemplate, Str, door

from sidecar.telemetry.spans import Decided, encode, template

IDS = st.integers(0, 2**64 - 1)
NAMES = st.text("abc-é", max_size=70)


def native(one: Decided, span_id: int) -> bytes:
    parts = template(one.rollout, one.variant, one.reason, one.version)
    known = SpanTemplate(*(Str(part, len(part)) for part in parts))
    state = one.tracestate.encode()
    sample = Sample(
        second=one.second,
        end_ns=one.end_ns,
        took_ns=one.took_ns,
        trace_high=one.trace_id >> 64,
        trace_low=one.trace_id & (2**64 - 1),
        parent=one.parent,
        span=span_id,
        tracestate_len=len(state),
        tracestate=state,
    )
    size = door().sc_span_size(ctypes.byref(sample), ctypes.byref(known))
    # One byte more, which must stay as it is.
    written = ctypes.create_string_buffer(b"\xee" * (size + 1), size + 1)
    door().sc_span_write(ctypes.byref(sample), ctypes.byref(known), written)
    assert written.raw[size:] == b"\xee"
    return written.raw[:size]


@settings(max_examples=500)
@given(
    one=st.builds(
        Decided,
        rollout=NAMES,
        variant=NAMES,
        reason=st.sampled_from(["weight", "no_unit", "segment:staff", "killed"]),
        version=st.text("0123456789abcdef", max_size=64),
        second=IDS,
        trace_id=st.integers(1, 2**128 - 1),
        parent=st.one_of(st.just(0), IDS),
        tracestate=st.text("abc=,1", max_size=160),
        end_ns=st.integers(2**40, 2**63),
        took_ns=st.integers(0, 2**40),
    ),
    span_id=st.integers(1, 2**64 - 1),
)
def test_every_span_is_the_specifications(one, span_id):
    assert native(one, span_id) == encode(one, span_id)
