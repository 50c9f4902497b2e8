"""What a document means for the launch: where it begins, and what an edited document does to it.

A launch begins with nobody on the candidate, whatever weight it is declared with. An edited
document keeps a launch where it stands: who has the candidate keeps it, and the step is the last
one that their share amounts to. Another launch begins only if what is launched is another (its
variants or their clusters), or, after a rollback, if anything about the way there is another.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sidecar.delivery.progress import NO_TIME, UNDER_WAY, Phase, Progress
from sidecar.delivery.state import Document, Kind, Origin, State, Weights
from sidecar.rollout import Plan

_WHOLE = Decimal(100)
_Standing = tuple[Weights, Progress | None]


def shares(plan: Plan, names: Weights, percent: Decimal) -> Weights:
    """Return weights that give the candidate `percent`, the baseline the rest, others nothing."""
    given = {plan.candidate: percent, plan.baseline: _WHOLE - percent}
    return {name: given.get(name, Decimal(0)) for name in names}


def share_of(plan: Plan, in_force: Weights) -> Decimal:
    """Return the candidate's share of the traffic, in per cent."""
    return in_force[plan.candidate] * _WHOLE / sum(in_force.values(), Decimal(0))


def reached(plan: Plan, in_force: Weights) -> int:
    """Return how many steps the weights in force amount to: going on never takes anybody back."""
    share = share_of(plan, in_force)
    return sum(step.weight <= share for step in plan.steps)


def total_of(document: Document) -> Decimal:
    """Return what weights given by hand are parts of: of 100 where steps are in per cent."""
    return _WHOLE if document.rollout.plan else sum(document.weights.values(), Decimal(0))


def hold_of(plan: Plan, step: int) -> timedelta:
    """Return how long a step lasts at least; nothing for the time before the first."""
    return plan.steps[step - 1].hold_time if step else NO_TIME


def first(document: Document, now: datetime) -> _Standing:
    """Begin as a new document says: with its steps ahead, or at once with its weights."""
    plan = document.rollout.plan
    if plan is None:
        return document.weights, None
    return begun(plan, document.weights, now, launch=1)


def begun(plan: Plan, names: Weights, now: datetime, *, launch: int) -> tuple[Weights, Progress]:
    """Begin a launch: nobody has the candidate yet."""
    progress = Progress(Phase.PENDING, now, now, now, launch=launch)
    return shares(plan, names, Decimal(0)), progress


def adopted(
    state: State, document: Document, now: datetime, *, anew: bool
) -> tuple[Kind, Weights, Progress | None]:
    """Take a document with steps over a state; `anew`: it came back as another one."""
    plan, known = document.rollout.plan, state.progress
    assert plan is not None
    carried = _carried(state, document)
    if anew or carried is None or (known and _another(state, document)):
        number = known.launch + 1 if known else 1
        return Kind.LAUNCHED, *begun(plan, document.weights, now, launch=number)
    if known is None:
        # Weights were moved by hand so far: the launch takes over where they stand.
        return Kind.LAUNCHED, carried, _placed(plan, carried, Phase.PENDING, now)
    before = state.document.rollout.plan
    if known.phase in UNDER_WAY and before and _weights(before) != _weights(plan):
        placed = _placed(plan, carried, known.phase, now)
        return Kind.DOCUMENT_CHANGED, carried, replace(placed, launch=known.launch)
    return Kind.DOCUMENT_CHANGED, carried, _same_way(plan, known)


def taken_over(state: State, origin: Origin) -> Progress | None:
    """Pause a launch whose weights somebody moves by hand; None where there is no launch."""
    plan = state.document.rollout.plan
    if state.progress is None or plan is None:
        return None
    return replace(
        state.progress,
        phase=Phase.PAUSED,
        since=origin.at,
        hold_left=hold_of(plan, state.progress.step),
        why=origin.why or f"weights set by {origin.who}",
    )


def _same_way(plan: Plan, known: Progress) -> Progress:
    """Keep the step, with the hold it has now."""
    step = min(known.step, len(plan.steps))
    return replace(known, step=step, held_until=known.began + hold_of(plan, step))


def _placed(plan: Plan, in_force: Weights, phase: Phase, now: datetime) -> Progress:
    step = reached(plan, in_force)
    hold = hold_of(plan, step)
    if phase is not Phase.PAUSED:
        phase = Phase.RUNNING if step else Phase.PENDING
    return Progress(phase, now, now, now + hold, step=step, hold_left=hold)


def _carried(state: State, document: Document) -> Weights | None:
    """Carry the weights in force over; None if somebody who has traffic is gone."""
    gone = state.in_force.keys() - document.weights.keys()
    if any(state.in_force[name] for name in gone):
        return None
    carried = {name: state.in_force.get(name, Decimal(0)) for name in document.weights}
    return carried if any(carried.values()) else None


def _another(state: State, document: Document) -> bool:
    """Whether it is another launch and not the same one, edited."""
    old, new = state.document.rollout, document.rollout
    before, after = old.plan, new.plan
    assert after is not None
    if before is None or _launched(state.document) != _launched(document):
        return True
    rolled_back = state.progress is not None and state.progress.phase is Phase.ROLLED_BACK
    return rolled_back and (
        (before, old.spec.guardrails) != (after, new.spec.guardrails) or old.salt != new.salt
    )


def _launched(document: Document) -> list[tuple[str, str]]:
    plan = document.rollout.plan
    assert plan is not None
    clusters = {variant.name: variant.cluster for variant in document.rollout.variants}
    return [(name, clusters[name]) for name in (plan.baseline, plan.candidate)]


def _weights(plan: Plan) -> list[Decimal]:
    return [step.weight for step in plan.steps]
