"""The native sampling decides as the OpenTelemetry SDK's samplers do, whatever a caller says."""

import ctypes

from hypothesis import example, given, settings
from hypothesis import strategies as st
from native_lab import Sampling, SpanContext, Str, door
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN_CONTEXT, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROPAGATOR = TraceContextTextMapPropagator()
RATES = st.one_of(st.sampled_from([0.0, 2.0**-64, 0.5, 1.0]), st.floats(0, 1))
IDS = st.integers(0, 2**64 - 1)


@st.composite
def traceparents(draw):
    """Most are right; some are cut, or have a byte that does not belong there."""
    version = draw(st.sampled_from(["00", "00", "00", "01", "fe", "ff"]))
    trace = f"{draw(st.one_of(st.just(0), IDS)):016x}{draw(st.one_of(st.just(0), IDS)):016x}"
    flags = draw(st.integers(0, 255))
    text = f"{version}-{trace}-{draw(st.one_of(st.just(0), IDS)):016x}-{flags:02x}"
    if draw(st.integers(0, 3)) > 0:
        return text
    at = draw(st.integers(0, len(text) - 1))
    return draw(
        st.one_of(
            st.just(text[:at]),
            st.sampled_from("-0fgF:/`\x7f").map(lambda c: text[:at] + c + text[at + 1 :]),
        )
    )


def native(sampler, traceparent, seed):
    """Return what is decided, and the trace and parent it was decided for."""
    follows = isinstance(sampler, ParentBased)
    root = sampler._root if follows else sampler
    always = root is ALWAYS_ON or root.bound > root.TRACE_ID_LIMIT
    sampling = Sampling(True, follows, always, 0 if always else root.bound)
    span, random = SpanContext(), ctypes.c_uint64(seed)
    encoded = traceparent.encode()
    decided = door().sc_sampling_decide(
        ctypes.byref(sampling), Str(encoded, len(encoded)), ctypes.byref(random), ctypes.byref(span)
    )
    return decided, span.trace_high << 64 | span.trace_low, span.parent, random.value != seed


@settings(max_examples=1_000)
@given(traceparents(), RATES, st.booleans(), st.booleans(), IDS)
@example("00-" + "0" * 31 + "1-" + "0" * 15 + "1-01", 0.0, True, True, 0)
def test_the_sdk_decides_the_same_for_the_same_caller(text, rate, everything, follows, seed):
    root = ALWAYS_ON if everything else TraceIdRatioBased(rate)
    sampler = ParentBased(root) if follows else root
    context = PROPAGATOR.extract({"traceparent": text})
    parent = get_current_span(context).get_span_context()
    decided, trace, parent_span, drew = native(sampler, text, seed)
    wanted = sampler.should_sample(context, parent.trace_id or trace, "decision")
    assert decided == wanted.decision.is_sampled()
    assert parent_span == parent.span_id
    if parent == INVALID_SPAN_CONTEXT:
        assert drew
        assert trace
    else:
        assert trace == parent.trace_id
        assert not drew


def test_a_ratio_takes_that_share_of_the_traces_that_begin_here():
    sampling = Sampling(True, True, False, 2**64 // 10)
    span, random = SpanContext(), ctypes.c_uint64(7)
    arguments = (ctypes.byref(sampling), Str(None, 0), ctypes.byref(random), ctypes.byref(span))
    taken = sum(door().sc_sampling_decide(*arguments) for _ in range(20_000))
    # Six standard deviations of a binomial, with a fixed seed.
    assert abs(taken - 2_000) < 6 * (20_000 * 0.1 * 0.9) ** 0.5
