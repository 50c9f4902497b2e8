"""What the guard says at one look: an answer, the evidence for it, and one sentence for people."""

from dataclasses import dataclass
from enum import StrEnum

from sidecar.analysis.guardrails import Per


class Answer(StrEnum):
    """HARMFUL stays so: evidence once found is not unfound by a quiet minute."""

    HEALTHY = "healthy"
    HARMFUL = "harmful"
    NOT_MEASURED = "not_measured"
    PASSED = "passed"


class Why(StrEnum):
    """Why nothing could be measured."""

    NO_DATA = "no_data"
    STALE = "stale"
    ONE_ARM = "one_arm"
    TOO_FEW = "too_few"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds that hold at every look at once, with the policy's confidence; None: unbounded."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one guardrail shows.

    baseline, candidate: the rate of errors (with `Per.UNIT` of first errors) per request, or the
    duration of the quantile in seconds; the baseline's is weighted as the candidate's traffic was,
    so a ramp does not distort it.
    estimate, interval: candidate minus baseline, or their ratio minus 1 for a relative margin;
    None where nothing was seen. margin: None if only a limit counts. evidence: the e-value, 1 is
    none, 1/alpha is enough alone.
    answer: about this guardrail by itself, as `Verdict.answer` is about all of them.
    """

    metric: str
    baseline: float | None
    candidate: float | None
    estimate: float | None
    interval: Interval
    relative: bool
    margin: float | None
    evidence: float
    weight: float
    per: Per
    baseline_count: int
    candidate_count: int
    looks: int
    limit_broken: bool = False
    answer: Answer = Answer.NOT_MEASURED
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of all guardrails together.

    evidence: the weighted mean of the guardrails' e-values, harmful from `bar` = 1/alpha on.
    culprits: the metrics that are at fault each by itself (closed testing, or a broken limit);
    empty if only all together are. mismatch: the e-value against the designed split.
    """

    answer: Answer
    sentence: str
    at_s: float
    findings: tuple[Finding, ...]
    evidence: float
    bar: float
    culprits: tuple[str, ...] = ()
    why: Why | None = None
    mismatch: float = 0.0
    harmful_since_s: float | None = None
    requests: tuple[int, int] = (0, 0)
    units: tuple[int, int] = (0, 0)
