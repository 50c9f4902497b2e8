"""The transitions of a rollout's state: adopt a document, set weights, retire.

The document owns how a launch starts; the state owns the weights in force. So a new generation
whose declared weights are unchanged keeps the running weights, and changed ones take effect. A
document that comes back as it was resumes where it stood; one that comes back changed is another
launch and starts as declared. Nothing changes without an event.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from sidecar.delivery.state import Change, Document, Event, Kind, Origin, State, Weights
from sidecar.delivery.weights import rebalance, scaled
from sidecar.errors import CanaryError


class ConflictError(CanaryError):
    """Somebody else changed the rollout first."""


class RetiredError(CanaryError):
    """The rollout's document is gone."""


def adopt(state: State | None, document: Document, origin: Origin) -> Change | None:
    """Take a document as it stands in its file; None if that changes nothing."""
    if state is None:
        first = State(document, document.weights, 1, retired=False, changed_at=origin.at)
        return _change(Kind.DECLARED, {}, first, origin)
    known = state.document
    same = (known.generation, known.file) == (document.generation, document.file)
    if same and not state.retired:
        return None
    another_launch = state.retired and known.generation != document.generation
    running = None if another_launch else _running(state, document)
    after = document.weights if running is None else running
    if state.retired:
        kind = Kind.RESTORED
    else:
        kind = Kind.WEIGHTS_DECLARED if running is None else Kind.DOCUMENT_CHANGED
    before = {} if state.retired else state.in_force
    fresh = replace(_next(state, origin), document=document, in_force=after, retired=False)
    return _change(kind, before, fresh, origin)


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
    if expected_revision is not None and expected_revision != state.revision:
        raise ConflictError(
            f"rollout {state.name} is at revision {state.revision}, not {expected_revision}",
            remedy="look at `canary status`, decide again, and give that revision",
        )
    if state.retired:
        raise RetiredError(
            f"rollout {state.name} is retired: its document is gone",
            remedy=f"put its document back (it was in {state.document.file})",
        )
    after = rebalance(state.in_force, changes, sum(state.document.weights.values(), Decimal(0)))
    if after == state.in_force:
        return None
    fresh = replace(_next(state, origin), in_force=after)
    return _change(Kind.WEIGHTS_SET, state.in_force, fresh, origin)


def retire(state: State, origin: Origin) -> Change | None:
    """Withdraw a rollout whose document is gone: everybody gets the baseline. None if it was."""
    if state.retired:
        return None
    fresh = replace(_next(state, origin), retired=True)
    return _change(Kind.RETIRED, state.in_force, fresh, origin)


def _next(state: State, origin: Origin) -> State:
    return replace(state, revision=state.revision + 1, changed_at=origin.at)


def _change(kind: Kind, before: Weights, state: State, origin: Origin) -> Change:
    after = {} if state.retired else state.in_force
    generation = state.document.generation
    event = Event(kind, state.name, state.revision, generation, origin, before, after)
    return Change(state, event)


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
