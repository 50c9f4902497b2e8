"""The state machine of a launch: one table of (phase, input), and this theory.

A launch is Pending until its first step begins, then Running from step to step until it is
Promoted (everybody has the candidate) or RolledBack (nobody has). It never goes on by itself
unless everything that `conditions` lists holds in one moment, and then by one step, because the
next step's hold begins then: neither a late clock nor a wrong one skips a step. Error means that a
step's time is over and nothing could be measured, Inconclusive that too little was: both keep the
weights, say so, and end by themselves when the numbers come. Harm takes the candidate out from
every phase before the end, Paused included: a pause stops the launch, not the guard. What is over
stays as it is until somebody asks. Paused is where weights moved by hand lead, too.

Every cell gives the next state with its event, None where there is nothing to change, or a
RefusedError that says what would be possible. Time is the origin's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from sidecar.delivery import conditions
from sidecar.delivery.launching import begun, hold_of, reached, share_of, shares
from sidecar.delivery.progress import (
    MOVING,
    NO_TIME,
    OVER,
    UNDER_WAY,
    ClockJumped,
    Command,
    GateAnswered,
    Input,
    InputKind,
    Judgement,
    Phase,
    Progress,
    Tick,
    Verdict,
    WaitKind,
)
from sidecar.delivery.state import Change, Kind, Origin, State, Weights, moved
from sidecar.delivery.transitions import RetiredError
from sidecar.errors import CanaryError
from sidecar.rollout import Plan

# A phase that says "not measured" lasts this long at least, or it would flicker with the guard.
SETTLE = timedelta(seconds=60)
_WHOLE = Decimal(100)
# A killed launch goes nowhere: nobody has the candidate, so nothing can be learnt.
_NEEDS_LIFE = (Command.RESUME, Command.PROMOTE, Command.LAUNCH)


class RefusedError(CanaryError):
    """The launch is in no phase for this."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A state with its plan and progress in hand, and when and by whom it is asked."""

    state: State
    plan: Plan
    progress: Progress
    origin: Origin

    @property
    def now(self) -> datetime:
        return self.origin.at


_Handler = Callable[[_Case, Input], Change | None]


def handle(state: State, given: Input, origin: Origin) -> Change | None:
    """Return what `given` changes, None if nothing.

    Raises RetiredError or RefusedError on a command that the rollout cannot take now.
    """
    plan, progress = state.document.rollout.plan, state.progress
    if plan is None or progress is None or state.retired:
        if isinstance(given, Command):
            raise _not_launching(state)
        return None
    if state.killed and given in _NEEDS_LIFE:
        raise RefusedError(
            f"rollout {state.name} is killed: everybody gets the baseline",
            remedy="bring it back first: `canary revive`",
        )
    if state.killed and not isinstance(given, Command):
        return None
    kind = given if isinstance(given, Command) else type(given)
    return TABLE[progress.phase, kind](_Case(state, plan, progress, origin), given)


def gate_wanted(state: State, judgement: Judgement | None, now: datetime) -> bool:
    """Whether the next step's gate is all that is missing, so that it should be asked."""
    plan, progress = state.document.rollout.plan, state.progress
    if plan is None or progress is None or state.retired or state.killed:
        return False
    if progress.phase not in MOVING:
        return False
    if progress.step >= len(plan.steps) or not plan.steps[progress.step].gate.url:
        return False
    missing = conditions.waits(plan, progress, judgement, now)
    return [wait.kind for wait in missing] == ["gate"]


def _proceed(case: _Case, given: Input) -> Change | None:
    assert isinstance(given, Tick)
    if harm := _harm(case, given.judgement):
        return harm
    if case.now < case.progress.began:
        return _began_later(case)
    if case.progress.phase is Phase.RUNNING and case.now < case.progress.held_until:
        return None  # most looks at most launches end here
    missing = conditions.waits(case.plan, case.progress, given.judgement, case.now)
    if not missing:
        return _advance(case, given.judgement)
    kinds = {wait.kind for wait in missing}
    if "verdict" in kinds and "hold" not in kinds and case.plan.on_not_measured == "rollback":
        why = "not measured when the hold was over (onNotMeasured: rollback)"
        return _end(case, Kind.ROLLED_BACK, Phase.ROLLED_BACK, why, given.judgement)
    return _settle(case, kinds, given.judgement, "; ".join(wait.sentence for wait in missing))


def _watch(case: _Case, given: Input) -> Change | None:
    """A paused launch goes nowhere, except out when it does harm."""
    assert isinstance(given, Tick)
    return _harm(case, given.judgement)


def _harm(case: _Case, judgement: Judgement | None) -> Change | None:
    if judgement is None or judgement.verdict is not Verdict.HARMFUL:
        return None
    if case.progress.step == 0 and not case.state.in_force[case.plan.candidate]:
        return None
    if not conditions.fresh(judgement, case.progress, case.now):
        return None
    why = judgement.sentence or "the guard found harm"
    return _end(case, Kind.ROLLED_BACK, Phase.ROLLED_BACK, why, judgement)


def _began_later(case: _Case) -> Change:
    """The clock was set back while nobody watched it: the step's hold begins anew."""
    now = case.now
    anew = replace(
        case.progress, since=now, began=now, held_until=now + hold_of(case.plan, case.progress.step)
    )
    why = f"the clock is {case.progress.began - now} behind the step's beginning"
    return _moved(case, Kind.CLOCK_JUMPED, anew, why)


def _advance(case: _Case, judgement: Judgement | None) -> Change:
    """Begin the next step; after the last one, or into one that waits for nothing, promote."""
    number = case.progress.step + 1
    if number > len(case.plan.steps):
        return _end(case, Kind.PROMOTED, Phase.PROMOTED, "every step is done", judgement)
    step, last = case.plan.steps[number - 1], number == len(case.plan.steps)
    if last and step.weight == _WHOLE and not (step.hold_time or step.min_samples):
        return _end(case, Kind.PROMOTED, Phase.PROMOTED, "every step is done", judgement)
    why = f"step {number} of {len(case.plan.steps)} begins: {step.weight:f} %"
    progress = replace(
        case.progress,
        phase=Phase.RUNNING,
        since=case.now if case.progress.phase is not Phase.RUNNING else case.progress.since,
        began=case.now,
        held_until=case.now + step.hold_time,
        step=number,
        gate_said="",
        why=why,
    )
    weights = shares(case.plan, case.state.in_force, step.weight)
    return _moved(case, Kind.STEP_BEGUN, progress, why, weights, judgement)


def _settle(
    case: _Case, kinds: set[WaitKind], judgement: Judgement | None, why: str
) -> Change | None:
    """Say by the phase why a step whose hold is over does not go on."""
    progress = case.progress
    fitting = Phase.RUNNING if progress.step else Phase.PENDING
    if "hold" not in kinds and "verdict" in kinds:
        fitting = Phase.ERROR
    elif "hold" not in kinds and "samples" in kinds:
        fitting = Phase.INCONCLUSIVE
    settled = case.now - max(progress.since, progress.held_until) >= SETTLE
    if fitting is progress.phase or not settled:
        return None
    fresh = replace(progress, phase=fitting, since=case.now, why=why)
    return _moved(case, Kind.PHASE_CHANGED, fresh, why, judgement=judgement)


def _gate(case: _Case, given: Input) -> Change | None:
    assert isinstance(given, GateAnswered)
    progress = case.progress
    if (given.launch, given.step) != (progress.launch, progress.step + 1):
        return None
    missing = conditions.waits(case.plan, progress, given.judgement, case.now)
    if [wait.kind for wait in missing] != ["gate"]:
        return None
    if given.passed:
        return _advance(case, given.judgement)
    if given.said == progress.gate_said:
        return None
    why = f"the gate of step {given.step} says no: {given.said}"
    return _moved(case, Kind.GATE_REFUSED, replace(progress, gate_said=given.said, why=why), why)


def _shift(case: _Case, given: Input) -> Change | None:
    """Let the deadlines go with a clock that jumped: time itself did not."""
    assert isinstance(given, ClockJumped)
    by, progress = given.by, case.progress
    try:
        shifted = replace(
            progress,
            since=progress.since + by,
            began=progress.began + by,
            held_until=progress.held_until + by,
        )
    except OverflowError:
        return None
    return _moved(case, Kind.CLOCK_JUMPED, shifted, f"the clock jumped by {by}; deadlines follow")


def _pause(case: _Case, given: Input) -> Change | None:
    del given
    left = max(NO_TIME, case.progress.held_until - case.now)
    paused = replace(case.progress, phase=Phase.PAUSED, since=case.now, hold_left=left)
    return _asked(case, Kind.PAUSED, paused)


def _resume(case: _Case, given: Input) -> Change | None:
    """Go on where it stands; where weights were moved by hand, at the step they amount to."""
    del given
    progress, plan = case.progress, case.plan
    stands = plan.steps[progress.step - 1].weight if progress.step else Decimal(0)
    left, step = progress.hold_left, progress.step
    if share_of(plan, case.state.in_force) != stands:
        step = reached(plan, case.state.in_force)
        left = hold_of(plan, step)
    began = progress.began if step == progress.step else case.now
    going = replace(
        progress,
        phase=Phase.RUNNING if step else Phase.PENDING,
        since=case.now,
        began=began,
        held_until=case.now + left,
        hold_left=NO_TIME,
        step=step,
    )
    return _asked(case, Kind.RESUMED, going)


def _promote(case: _Case, given: Input) -> Change | None:
    del given
    return _end(case, Kind.PROMOTED, Phase.PROMOTED, case.origin.why)


def _abort(case: _Case, given: Input) -> Change | None:
    del given
    return _end(case, Kind.ABORTED, Phase.ROLLED_BACK, case.origin.why)


def _roll_back(case: _Case, given: Input) -> Change | None:
    del given
    return _end(case, Kind.ROLLED_BACK, Phase.ROLLED_BACK, case.origin.why)


def _approve(case: _Case, given: Input) -> Change | None:
    del given
    number = case.progress.step + 1
    if number > len(case.plan.steps) or not case.plan.steps[number - 1].approval:
        raise _refused(case, "its next step needs no approval", "look at `canary status`")
    if case.progress.approved >= number:
        return None
    return _asked(case, Kind.APPROVED, replace(case.progress, approved=number))


def _launch(case: _Case, given: Input) -> Change | None:
    del given
    number = case.progress.launch + 1
    nobody, anew = begun(case.plan, case.state.in_force, case.now, launch=number)
    return _moved(case, Kind.LAUNCHED, replace(anew, why=case.origin.why), case.origin.why, nobody)


def _nothing(case: _Case, given: Input) -> Change | None:
    del case, given
    return None


def _refuse(what: str, remedy: str) -> _Handler:
    def refuse(case: _Case, given: Input) -> Change | None:
        del given
        raise _refused(case, what, remedy)

    return refuse


_IS_OVER = _refuse("its launch is over", "begin another with `canary launch`")
_RUNS = _refuse("its launch is under way", "end it first: `canary promote` or `canary abort`")
_NO_ABORT = _refuse("its launch is over", "`canary rollback` takes the candidate out again")

_ROWS: tuple[tuple[InputKind, tuple[tuple[tuple[Phase, ...], _Handler], ...]], ...] = (
    (Tick, ((MOVING, _proceed), ((Phase.PAUSED,), _watch), (OVER, _nothing))),
    (GateAnswered, ((MOVING, _gate), ((Phase.PAUSED, *OVER), _nothing))),
    (ClockJumped, ((UNDER_WAY, _shift), (OVER, _nothing))),
    (Command.PAUSE, ((MOVING, _pause), ((Phase.PAUSED,), _nothing), (OVER, _IS_OVER))),
    (Command.RESUME, ((MOVING, _nothing), ((Phase.PAUSED,), _resume), (OVER, _IS_OVER))),
    (
        Command.PROMOTE,
        (
            (UNDER_WAY, _promote),
            ((Phase.PROMOTED,), _nothing),
            ((Phase.ROLLED_BACK,), _IS_OVER),
        ),
    ),
    (
        Command.ABORT,
        ((UNDER_WAY, _abort), ((Phase.PROMOTED,), _NO_ABORT), ((Phase.ROLLED_BACK,), _nothing)),
    ),
    (
        Command.ROLL_BACK,
        (((*UNDER_WAY, Phase.PROMOTED), _roll_back), ((Phase.ROLLED_BACK,), _nothing)),
    ),
    (Command.APPROVE, ((UNDER_WAY, _approve), (OVER, _IS_OVER))),
    (Command.LAUNCH, ((UNDER_WAY, _RUNS), (OVER, _launch))),
)
TABLE: Mapping[tuple[Phase, InputKind], _Handler] = {
    (phase, kind): handler for kind, row in _ROWS for phases, handler in row for phase in phases
}


def _end(
    case: _Case, kind: Kind, phase: Phase, why: str, judgement: Judgement | None = None
) -> Change:
    promoted = phase is Phase.PROMOTED
    progress = replace(
        case.progress,
        phase=phase,
        since=case.now,
        step=len(case.plan.steps) if promoted else case.progress.step,
        hold_left=NO_TIME,
        gate_said="",
        why=why,
    )
    weights = shares(case.plan, case.state.in_force, _WHOLE if promoted else Decimal(0))
    return _moved(case, kind, progress, why, weights, judgement)


def _asked(case: _Case, kind: Kind, progress: Progress) -> Change:
    why = case.origin.why
    return _moved(case, kind, replace(progress, why=why), why)


def _moved(  # noqa: PLR0913, PLR0917 - a change has its parts
    case: _Case,
    kind: Kind,
    progress: Progress,
    why: str,
    weights: Weights | None = None,
    judgement: Judgement | None = None,
) -> Change:
    origin = replace(case.origin, why=why)
    state = replace(
        case.state,
        progress=progress,
        in_force=case.state.in_force if weights is None else weights,
        revision=case.state.revision + 1,
        changed_at=case.now,
    )
    return moved(kind, case.state, state, origin, judgement.record() if judgement else "")


def _refused(case: _Case, what: str, remedy: str) -> RefusedError:
    return RefusedError(
        f"rollout {case.state.name} is {case.progress.phase}: {what}", remedy=remedy
    )


def _not_launching(state: State) -> CanaryError:
    if state.retired:
        return RetiredError(
            f"rollout {state.name} is retired: its document is gone",
            remedy=f"put its document back (it was in {state.document.file})",
        )
    return RefusedError(
        f"rollout {state.name} has no steps: its weights move by hand",
        remedy="use `canary weights`, or add spec.steps to its document",
    )
