"""Which decisions are sampled, and by whom they are kept.

Whether a decision is sampled is known before anything is built. With a parent that is not sampled,
which is nearly every call, it takes one look at one character; the sampler is asked about the rest.
The unit itself never leaves the process: spans name its pseudonym, as the metadata does.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.errors import CanaryError
from sidecar.telemetry.sources import Metadata, Sampling, Table, Watch
from sidecar.telemetry.spans import NAME, Decided, encode, template

_NO_PARENT = Context()
_PROPAGATOR = TraceContextTextMapPropagator()
# version-traceid-parentid-flags: where the last hexadecimal digit of the flags stands.
_SAMPLED_AT = 54
_EVEN = frozenset("02468aceACE")


class Tracing:
    """Tells an engine which decisions are sampled, and hands those on to `keep` as encoded spans."""

    def __init__(self, sampler: Sampler, keep: Callable[[Sequence[bytes]], None]) -> None:
        self._sampler = sampler
        self._keep = keep
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

    def template(
        self, rollout: str, variant: str, reason: str, version: str
    ) -> tuple[bytes, bytes]:
        """Return what an engine that samples by itself writes spans from."""
        return template(rollout, variant, reason, version)

    def record(self, spans: Sequence[bytes]) -> None:
        """Keep decisions that an engine sampled by itself."""
        self._keep(spans)

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
        state = above.trace_state.to_header()
        return partial(self._decided, (above.trace_id, above.span_id, state))

    def _root(self) -> Watch | None:
        trace_id = random.getrandbits(128) | 1
        if not self._samples(_NO_PARENT, trace_id):
            return None
        return partial(self._decided, (trace_id, 0, ""))

    def _samples(self, parent: Context, trace_id: int) -> bool:
        result = self._sampler.should_sample(parent, trace_id, NAME, SpanKind.SERVER)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def _decided(
        self, trace: tuple[int, int, str], table: Table, message: bytes, took_ns: int
    ) -> None:
        end_ns = time.time_ns()
        said = [
            Decided(rollout, variant, reason, table.version, second, *trace, end_ns, took_ns)
            for rollout, variant, reason, _, second in table.decide(message, end_ns // 10**9)
        ]
        self._keep([encode(one, random.getrandbits(64) or 1) for one in said])


def _unknown(sampler: Sampler) -> CanaryError:
    return CanaryError(
        f"the native engine cannot sample as {sampler.get_description()} does",
        remedy="set OTEL_TRACES_SAMPLER to one of the specification's, or use --engine grpcio",
    )


def _unsampled_parent() -> Context:
    parent = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))
    return set_span_in_context(NonRecordingSpan(parent), _NO_PARENT)
