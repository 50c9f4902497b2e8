"""The nouns of a launch: its phase, how far it is, and what the guard says about it.

Invariant: `step` counts the steps that have begun, 0 being none, and never exceeds the plan's.
All moments are absolute and kept, so a restart neither skips nor repeats a step.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

NO_TIME = timedelta(0)


class Phase(StrEnum):
    """Where a launch stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    PAUSED = "Paused"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ERROR = "Error"
    INCONCLUSIVE = "Inconclusive"


# The clock may move these on, nothing moves those.
MOVING = (Phase.PENDING, Phase.RUNNING, Phase.ERROR, Phase.INCONCLUSIVE)
UNDER_WAY = (*MOVING, Phase.PAUSED)
OVER = (Phase.PROMOTED, Phase.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a launch is.

    `launch` counts the launches of the rollout, from 1. `since` is when the phase began, `began`
    when the step did (before the first: the launch). `hold_left` counts instead of `held_until`
    while paused. `approved` is the number of the last step somebody approved; `gate_said` is what
    the next step's gate answered last; `why` is one sentence for people.
    """

    phase: Phase
    since: datetime
    began: datetime
    held_until: datetime
    launch: int = 1
    step: int = 0
    hold_left: timedelta = NO_TIME
    approved: int = 0
    gate_said: str = ""
    why: str = ""


class Verdict(StrEnum):
    """What the guard says: no harm seen, harm proved, nothing to go by, or proved well enough."""

    HEALTHY = "healthy"
    HARMFUL = "harmful"
    NOT_MEASURED = "not_measured"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Reading:
    """One guardrail as it was measured; `margin` is as the document writes it.

    `estimate`, `low` and `high` are differences to the baseline in the unit of `unit`, None where
    nothing could be measured.
    """

    metric: str
    verdict: Verdict
    margin: str = ""
    limit: str = ""
    unit: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    e_value: float | None = None
    baseline_count: int = 0
    candidate_count: int = 0
    looks: int = 0
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Seconds of a sidecar that the guard could not take, and why in one word: late, future, ..."""

    node: str
    why: str
    count: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The guard's word on one rollout at one moment.

    It counts only for the `launch` and the `step` it is about, and only while it is fresh.
    `samples`: requests that the candidate answered since that step began. `sentence` is for
    people. `unjudged`: what came and was not taken. `evidence`: whatever else belongs in the
    record, as JSON values.
    """

    verdict: Verdict
    launch: int
    step: int
    at: datetime
    samples: int = 0
    sentence: str = ""
    readings: tuple[Reading, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    evidence: Mapping[str, Any] | None = None

    def record(self) -> str:
        """Write it as JSON, for the audit trail. What is not a number there becomes null."""
        said = {**asdict(self), "at": self.at.isoformat(), "evidence": dict(self.evidence or {})}
        return json.dumps(_plain(said), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    known = value is None or isinstance(value, str | int | float | bool)
    return value if known else str(value)


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; `judgement` is the newest word of the guard, if there is one."""

    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class GateAnswered:
    """The gate before step `step` of launch `launch` answered, or did not in time.

    `judgement` is the guard's word of that moment: all else must still hold.
    """

    launch: int
    step: int
    passed: bool
    said: str
    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """The wall clock went `by` further than time did; deadlines go with it."""

    by: timedelta


class Command(StrEnum):
    """What people ask of a launch."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLL_BACK = "rollback"
    APPROVE = "approve"
    LAUNCH = "launch"


Input = Tick | GateAnswered | ClockJumped | Command
InputKind = type[Tick] | type[GateAnswered] | type[ClockJumped] | Command
WaitKind = Literal["hold", "samples", "verdict", "approval", "window", "gate"]
