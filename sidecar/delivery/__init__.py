"""Who gets which share now: the state of each rollout, and how it may change.

A document says how a launch starts; this state says how it stands. Pure: a transition takes a
state, what is asked, and by whom and when; it returns the next state with the event to record
beside it, and whoever called keeps both or neither.
"""

from sidecar.delivery.conditions import Wait, waits
from sidecar.delivery.killing import Switch, act
from sidecar.delivery.machine import RefusedError, gate_wanted, handle
from sidecar.delivery.progress import (
    MOVING,
    OVER,
    UNDER_WAY,
    ClockJumped,
    Command,
    GateAnswered,
    Input,
    Judgement,
    Phase,
    Progress,
    Reading,
    Tick,
    Unjudged,
    Verdict,
)
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
    check_revision,
    retire,
    set_weights,
)
from sidecar.delivery.weights import UnknownVariantError, WeightsError, plain, rebalance

__all__ = [
    "MOVING",
    "OVER",
    "UNDER_WAY",
    "Change",
    "ClockJumped",
    "Command",
    "ConflictError",
    "Declared",
    "Document",
    "Event",
    "GateAnswered",
    "Input",
    "Judgement",
    "Kind",
    "Origin",
    "Phase",
    "Progress",
    "Reading",
    "RefusedError",
    "RetiredError",
    "State",
    "Switch",
    "Tick",
    "Unjudged",
    "UnknownVariantError",
    "Verdict",
    "Wait",
    "Weights",
    "WeightsError",
    "act",
    "adopt",
    "check_revision",
    "gate_wanted",
    "handle",
    "plain",
    "rebalance",
    "reconcile",
    "retire",
    "set_weights",
    "waits",
]
