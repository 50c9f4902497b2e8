"""The nouns of delivery: a rollout's state, and the event that brought it there.

Invariant: `in_force` names exactly the document's variants, in their order, and at least one
weight is above zero. `revision` grows by one with every event, so event and revision pair up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sidecar.delivery.progress import Phase, Progress
from sidecar.rollout import Rollout

Weights = Mapping[str, Decimal]


class Kind(StrEnum):
    """What happened to a rollout."""

    DECLARED = "RolloutDeclared"
    DOCUMENT_CHANGED = "DocumentChanged"
    WEIGHTS_DECLARED = "WeightsDeclared"
    WEIGHTS_SET = "WeightsSet"
    RETIRED = "RolloutRetired"
    RESTORED = "RolloutRestored"
    LAUNCHED = "RolloutLaunched"
    STEP_BEGUN = "StepBegun"
    APPROVED = "StepApproved"
    GATE_REFUSED = "GateRefused"
    PAUSED = "RolloutPaused"
    RESUMED = "RolloutResumed"
    PROMOTED = "RolloutPromoted"
    ABORTED = "RolloutAborted"
    ROLLED_BACK = "RolloutRolledBack"
    PHASE_CHANGED = "PhaseChanged"
    CLOCK_JUMPED = "ClockJumped"
    KILLED = "RolloutKilled"
    REVIVED = "RolloutRevived"


@dataclass(frozen=True, slots=True)
class Origin:
    """When (UTC), by whom and why a change was asked."""

    at: datetime
    who: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A valid rollout as its file declares it."""

    rollout: Rollout
    generation: str
    file: str

    @property
    def weights(self) -> Weights:
        """The declared weights, the baseline first."""
        return {variant.name: variant.weight for variant in self.rollout.variants}


@dataclass(frozen=True, slots=True)
class State:
    """How a rollout stands. A retired one keeps everything it needs to resume.

    `progress` is None where the document has no steps: weights move by hand. While it is `killed`
    everybody gets the baseline, and all else stays as it was.
    """

    document: Document
    in_force: Weights
    revision: int
    retired: bool
    changed_at: datetime
    progress: Progress | None = None
    killed: bool = False

    @property
    def baseline_for_all(self) -> bool:
        """Whether no rule of the document may give anybody another variant.

        So it is while it is killed, and after a rollback: a segment or an override would else go on
        giving people the candidate that was just taken out.
        """
        spec = self.document.rollout.spec
        rolled_back = self.progress is not None and self.progress.phase is Phase.ROLLED_BACK
        return self.killed or (rolled_back and bool(spec.segments or spec.overrides))

    @property
    def salt(self) -> str:
        """What makes the cohort of this launch: the document's salt, anew per launch if it says so.

        Sidecars get it in the resource, so they all agree (docs/delivery.md, "The next launch").
        """
        rollout, progress = self.document.rollout, self.progress
        refreshed = rollout.plan is not None and rollout.plan.relaunch == "refresh"
        if not refreshed or progress is None or progress.launch == 1:
            return rollout.salt
        return f"{rollout.salt}#{progress.launch}"

    @property
    def name(self) -> str:
        """The rollout's name."""
        return self.document.rollout.name


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail. Before a first declaration and after retirement: no weights.

    `phase`, `launch` and `step` are how the launch stands after it, None and 0 without steps;
    `evidence` is the guard's record as JSON, "" where it had no part in it.
    """

    kind: Kind
    rollout: str
    revision: int
    generation: str
    origin: Origin
    before: Weights
    after: Weights
    phase: Phase | None = None
    launch: int = 0
    step: int = 0
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The next state and the event to record with it: both or neither."""

    state: State
    event: Event


def moved(kind: Kind, before: State | None, state: State, origin: Origin, evidence: str) -> Change:
    """Pair a state with the event that leads to it from `before`, None being nothing at all."""
    progress = state.progress
    event = Event(
        kind,
        state.name,
        state.revision,
        state.document.generation,
        origin,
        {} if before is None or before.retired else before.in_force,
        {} if state.retired else state.in_force,
        progress.phase if progress else None,
        progress.launch if progress else 0,
        progress.step if progress else 0,
        evidence,
    )
    return Change(state, event)
