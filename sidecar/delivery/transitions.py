"""The transitions of a rollout's state: adopt a document, set weights, retire.

The document owns how a launch starts; the state owns the weights in force. So a new generation
whose declared weights are unchanged keeps the running weights, and changed ones take effect. A
document that comes back as it was resumes where it stood; one that comes back changed is another
launch and starts as declared. What that means where there are steps: `launching`. Nothing changes
without an event.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from sidecar.delivery import launching
from sidecar.delivery.progress import Progress
from sidecar.delivery.state import Change, Document, Kind, Origin, State, Weights, moved
from sidecar.delivery.weights import rebalance, scaled
from sidecar.errors import CanaryError


class ConflictError(CanaryError):
    """Somebody else changed the rollout first."""


class RetiredError(CanaryError):
    """The rollout's document is gone."""


def adopt(state: State | None, document: Document, origin: Origin) -> Change | None:
    """Take a document as it stands in its file; None if that changes nothing."""
    if state is None:
        in_force, progress = launching.first(document, origin.at)
        first = State(document, in_force, 1, False, origin.at, progress)
        return moved(Kind.DECLARED, None, first, origin, "")
    known = state.document
    same = (known.generation, known.file) == (document.generation, document.file)
    if same and not state.retired:
        return None
    kind, in_force, progress = _adopted(state, document, origin)
    if state.retired:
        kind = Kind.RESTORED
    fresh = replace(
        _next(state, origin),
        document=document,
        in_force=in_force,
        progress=progress,
        retired=False,
    )
    return moved(kind, state, fresh, origin, "")


def _adopted(
    state: State, document: Document, origin: Origin
) -> tuple[Kind, Weights, Progress | None]:
    another_launch = state.retired and state.document.generation != document.generation
    if document.rollout.plan:
        return launching.adopted(state, document, origin.at, anew=another_launch)
    running = None if another_launch else _running(state, document)
    if running is None:
        return Kind.WEIGHTS_DECLARED, document.weights, None
    return Kind.DOCUMENT_CHANGED, running, None


def set_weights(
    state: State,
    changes: Mapping[str, Decimal],
    origin: Origin,
    *,
    expected_revision: int | None = None,
) -> Change | None:
    """Change the weights in force as `rebalance` does; None if they are in force already.

    Raises ConflictError if `expected_revision` is given and stale, RetiredError if the document
    is gone, and what `rebalance` raises.
    """
    check_revision(state, expected_revision)
    if state.retired:
        raise RetiredError(
            f"rollout {state.name} is retired: its document is gone",
            remedy=f"put its document back (it was in {state.document.file})",
        )
    after = rebalance(state.in_force, changes, launching.total_of(state.document))
    if after == state.in_force:
        return None
    progress = launching.taken_over(state, origin)
    fresh = replace(_next(state, origin), in_force=after, progress=progress)
    return moved(Kind.WEIGHTS_SET, state, fresh, origin, "")


def check_revision(state: State, expected: int | None) -> None:
    """Raise ConflictError if `expected` is given and the rollout is no longer there."""
    if expected is not None and expected != state.revision:
        raise ConflictError(
            f"rollout {state.name} is at revision {state.revision}, not {expected}",
            remedy="look at `canary status`, decide again, and give that revision",
        )


def retire(state: State, origin: Origin) -> Change | None:
    """Withdraw a rollout whose document is gone: everybody gets the baseline. None if it was."""
    if state.retired:
        return None
    fresh = replace(_next(state, origin), retired=True)
    return moved(Kind.RETIRED, state, fresh, origin, "")


def _next(state: State, origin: Origin) -> State:
    return replace(state, revision=state.revision + 1, changed_at=origin.at)


def _running(state: State, document: Document) -> Weights | None:
    """Carry the weights in force over to the document; None if its declared weights changed.

    Only their ratios count: the same ratios on another scale are unchanged, and the running weights
    go over to that scale. A variant declared at weight 0 may join, and one that has no weight in
    force may leave, both at no weight: that alone is no change of weights. (It may still move
    people, where a later variant changes its slot; `rollout.moves` says so.)
    """
    old, new = state.document.weights, document.weights
    both = [name for name in new if name in old]
    scale, other = (sum(Fraction(side[name]) for name in both) for side in (old, new))
    same = all(Fraction(old[name]) * other == Fraction(new[name]) * scale for name in both)
    same = same and bool(scale) == bool(other)
    joined = any(new[name] for name in new.keys() - old.keys())
    left = any(state.in_force[name] for name in old.keys() - new.keys())
    if not same or joined or left:
        return None
    running = {name: state.in_force.get(name, Decimal(0)) for name in new}
    return running if scale == other else scaled(running, sum(new.values(), Decimal(0)))
