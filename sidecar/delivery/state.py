"""The nouns of delivery: a rollout's state, and the event that brought it there.

Invariant: `in_force` names exactly the document's variants, in their order, and at least one
weight is above zero. `revision` grows by one with every event, so event and revision pair up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

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
    """How a rollout stands. A retired one keeps everything it needs to resume."""

    document: Document
    in_force: Weights
    revision: int
    retired: bool
    changed_at: datetime

    @property
    def name(self) -> str:
        """The rollout's name."""
        return self.document.rollout.name


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail. Before a first declaration and after retirement: no weights."""

    kind: Kind
    rollout: str
    revision: int
    generation: str
    origin: Origin
    before: Weights
    after: Weights


@dataclass(frozen=True, slots=True)
class Change:
    """The next state and the event to record with it: both or neither."""

    state: State
    event: Event
