"""Decisions as spans: for each rollout that spoke, one span below the call that asked.

Whether a decision is sampled is known before anything is built. With a parent that is not sampled,
which is nearly every call, it takes one look at one character; the sampler is asked about the rest.
The unit itself never leaves the process: spans name its pseudonym, as the metadata does.
"""

import time
from functools import partial

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as semconv
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceState

from sidecar.errors import CanaryError
from sidecar.telemetry.sources import Metadata, Sample, Sampling, Table, Watch

SCOPE = "canary"
ROLLOUT, VARIANT = "canary.rollout", "canary.variant"
VERSION, REASON = "canary.version", "canary.reason"
Reasons = semconv.FeatureFlagResultReasonValues
# Our reasons in the words of the semantic conventions; the rest is unknown to them.
REASONS = {"weight": Reasons.SPLIT.value, "no_unit": Reasons.DEFAULT.value}
NO_UNIT = "no_unit"
_NAME = "decide"
_NO_PARENT = Context()
_PROPAGATOR = TraceContextTextMapPropagator()
# version-traceid-parentid-flags: where the last hexadecimal digit of the flags stands.
_SAMPLED_AT = 54
_EVEN = frozenset("02468aceACE")


class RootIds(RandomIdGenerator):
    """Gives the next trace the id for which it was sampled."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        """Return the id that was drawn, else draw one."""
        return self.trace_id or super().generate_trace_id()


class Tracing:
    """Tells an engine which decisions are sampled, and makes their spans.

    `provider` must have been made with `ids`.
    """

    def __init__(self, provider: TracerProvider, ids: RootIds) -> None:
        self._tracer: Tracer = provider.get_tracer(SCOPE)
        self._sampler = provider.sampler
        self._ids = ids
        self._follows = not self._samples(_unsampled_parent(), 0)

    @property
    def sampling(self) -> Sampling | None:
        """The sampler in numbers, for an engine that samples by itself; None samples nothing.

        Raises CanaryError on a sampler that cannot be put so.
        """
        sampler, follows = self._sampler, False
        if isinstance(sampler, ParentBased):
            parents = (sampler._remote_parent_sampled, sampler._remote_parent_not_sampled)  # noqa: SLF001
            sampler, follows = sampler._root, parents == (ALWAYS_ON, ALWAYS_OFF)  # noqa: SLF001
            if not follows:
                raise _unknown(self._sampler)
        if sampler is ALWAYS_ON:
            return Sampling(follows, always=True, bound=0)
        if sampler is ALWAYS_OFF:
            return Sampling(follows, always=False, bound=0) if follows else None
        if isinstance(sampler, TraceIdRatioBased):
            whole = sampler.bound > sampler.TRACE_ID_LIMIT
            return Sampling(follows, always=whole, bound=0 if whole else sampler.bound)
        raise _unknown(self._sampler)

    def record(self, sample: Sample) -> None:
        """Make the span of a decision that an engine sampled by itself."""
        rollout, variant, reason, version, second, trace_id, parent, state, end_ns, took_ns = sample
        above = _NO_PARENT
        if parent:
            flags = TraceFlags(TraceFlags.SAMPLED)
            context = SpanContext(
                trace_id, parent, is_remote=True, trace_flags=flags, trace_state=_state(state)
            )
            above = set_span_in_context(NonRecordingSpan(context), _NO_PARENT)
        self._ids.trace_id = trace_id
        self._span(above, (rollout, variant, reason, version, second), end_ns, took_ns)

    def watch(self, metadata: Metadata) -> Watch | None:
        """Return what is to be called with the decision, or None if it is not sampled."""
        for key, value in metadata:
            if key == "traceparent":
                if self._follows and value[_SAMPLED_AT : _SAMPLED_AT + 1] in _EVEN:
                    return None
                return self._below(metadata)
        return self._root()

    def _below(self, metadata: Metadata) -> Watch | None:
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        parent = _PROPAGATOR.extract(carrier, _NO_PARENT)
        above = get_current_span(parent).get_span_context()
        if not above.is_valid:
            return self._root()
        if not self._samples(parent, above.trace_id):
            return None
        return partial(self._record, parent, above.trace_id)

    def _root(self) -> Watch | None:
        trace_id = RandomIdGenerator.generate_trace_id(self._ids)
        if not self._samples(_NO_PARENT, trace_id):
            return None
        return partial(self._record, _NO_PARENT, trace_id)

    def _samples(self, parent: Context, trace_id: int) -> bool:
        result = self._sampler.should_sample(parent, trace_id, _NAME, SpanKind.SERVER)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def _record(
        self, parent: Context, trace_id: int, table: Table, message: bytes, took_ns: int
    ) -> None:
        end_ns = time.time_ns()
        self._ids.trace_id = trace_id
        for rollout, variant, reason, _, second in table.decide(message):
            decided = (rollout, variant, reason, table.version, second)
            self._span(parent, decided, end_ns, took_ns)

    def _span(
        self, parent: Context, decided: tuple[str, str, str, str, int], end_ns: int, took_ns: int
    ) -> None:
        rollout, variant, reason, version, second = decided
        attributes = _attributes(rollout, variant, reason, version)
        if reason != NO_UNIT:
            attributes[semconv.FEATURE_FLAG_CONTEXT_ID] = f"{second:016x}"
        name, begin_ns = f"{_NAME} {rollout}", end_ns - took_ns
        span = self._tracer.start_span(
            name, parent, SpanKind.SERVER, attributes, start_time=begin_ns
        )
        span.end(end_ns)


def _unknown(sampler: Sampler) -> CanaryError:
    return CanaryError(
        f"the native engine cannot sample as {sampler.get_description()} does",
        remedy="set OTEL_TRACES_SAMPLER to one of the specification's, or use --engine grpcio",
    )


def _state(text: str) -> TraceState | None:
    return TraceState.from_header([text]) if text else None


def _attributes(rollout: str, variant: str, reason: str, version: str) -> dict[str, str]:
    return {
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


def _unsampled_parent() -> Context:
    parent = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))
    return set_span_in_context(NonRecordingSpan(parent), _NO_PARENT)
