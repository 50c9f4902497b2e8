"""Who gets which share now: the state of each rollout, and how it may change.

A document says how a launch starts; this state says how it stands. Pure: a transition takes a
state, what is asked, and by whom and when; it returns the next state with the event to record
beside it, and whoever called keeps both or neither.
"""

from sidecar.delivery.reconciling import Declared, reconcile
from sidecar.delivery.state import (
    Change,
    Document,
    Event,
    Kind,
    Origin,
    State,
    Weights,
)
from sidecar.delivery.transitions import (
    ConflictError,
    RetiredError,
    adopt,
    retire,
    set_weights,
)
from sidecar.delivery.weights import UnknownVariantError, WeightsError, plain, rebalance

__all__ = [
    "Change",
    "ConflictError",
    "Declared",
    "Document",
    "Event",
    "Kind",
    "Origin",
    "RetiredError",
    "State",
    "UnknownVariantError",
    "Weights",
    "WeightsError",
    "adopt",
    "plain",
    "rebalance",
    "reconcile",
    "retire",
    "set_weights",
]
