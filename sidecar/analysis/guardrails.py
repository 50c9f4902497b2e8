"""What people declare about harm: a metric, how much worse it may be, and where it must never go.

A margin is always an allowance, never a demand: a candidate that is worse by no more than it is
healthy. `Relative(0.2)` allows a fifth more than the baseline has at the same moment,
`Absolute(0.005)` half a percentage point of the requests (`Absolute(0.05)`: 50 ms, for latency).
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from sidecar.errors import CanaryError

ERROR_RATE = "error_rate"
LATENCY = "latency"
_QUANTILE = re.compile(r"latency_p(\d{1,9})")
# Of a guardrail on the whole distribution: what is shown of it, and what its limit is about.
_SHOWN = 0.95


class GuardrailError(CanaryError):
    """A guardrail that cannot be judged."""


class Per(StrEnum):
    """What counts as one: every request, or every unit once (its first error, first answer).

    People are assigned, not requests: one user's retries are one piece of evidence. So UNIT is
    right wherever units come back; REQUEST is for traffic without them.
    """

    UNIT = "unit"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Absolute:
    """So much more than the baseline: a fraction of the requests, or seconds."""

    value: float


@dataclass(frozen=True, slots=True)
class Relative:
    """So much more than the baseline, as a fraction of what the baseline has."""

    value: float


Margin = Absolute | Relative


@dataclass(frozen=True, slots=True)
class Limit:
    """A value of the candidate's own that is too much, whatever the baseline does.

    Judged over the requests started in the last `window_s` seconds, once there are `minimum`.
    """

    value: float
    window_s: int = 10
    minimum: int = 20


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One metric and its bounds.

    metric: `error_rate`, `latency` (the whole distribution) or `latency_pNN` (one quantile: p99,
    p999). margin: None compares nothing, then only the limit counts. weight: its share of the error
    budget among the others; at 0 it is shown and can break its limit, but shares no budget.
    minimum: requests or units of each arm below which it is not measured, if above the policy's.
    Raises GuardrailError on what cannot be meant.
    """

    metric: str
    margin: Margin | None = Relative(0.0)
    limit: Limit | None = None
    weight: float = 1.0
    per: Per = Per.UNIT
    minimum: int = 0

    def __post_init__(self) -> None:
        if self.metric not in {ERROR_RATE, LATENCY} and self.quantile is None:
            self._refuse(
                "is no metric that can be judged",
                "use error_rate, latency or latency_pNN, such as latency_p99",
            )
        if self.margin is not None:
            self._check("margin", self.margin.value, zero=True)
        self._check("weight", self.weight, zero=True)
        if self.minimum < 0:
            self._refuse(f"has a minimum of {self.minimum}", "give 0 or more")
        if self.on_errors and isinstance(self.margin, Absolute) and self.margin.value > 1:
            self._refuse("has a margin above 100 % of the requests", "0.005 is 0.5pp")
        if self.limit is not None:
            self._check_limit(self.limit)

    @property
    def on_errors(self) -> bool:
        """Whether errors are counted, not durations."""
        return self.metric == ERROR_RATE

    @property
    def quantile(self) -> float | None:
        """The quantile that is looked at, between 0 and 1; None for the whole distribution."""
        found = _QUANTILE.fullmatch(self.metric)
        return float(f"0.{found[1]}") or None if found else None

    @property
    def level(self) -> float:
        """The quantile that is shown, and that its limit is about."""
        return self.quantile or _SHOWN

    @property
    def compares(self) -> bool:
        """Whether it has a part of the error budget."""
        return self.margin is not None and self.weight > 0

    @property
    def allowed(self) -> Margin:
        """The margin, where something is shown without one."""
        return self.margin or Relative(0.0)

    def _check_limit(self, limit: Limit) -> None:
        self._check("limit", limit.value, zero=False)
        if self.on_errors and limit.value > 1:
            self._refuse("has a limit above 100 % of the requests", "0.05 is 5 %")
        if limit.window_s < 1 or limit.minimum < 1:
            self._refuse("has an empty window for its limit", "give at least 1 second, 1 request")

    def _check(self, what: str, value: float, *, zero: bool) -> None:
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            bound = "from zero up" if zero else "above zero"
            self._refuse(f"has a {what} of {value}", f"give a finite number {bound}")

    def _refuse(self, what: str, remedy: str) -> None:
        raise GuardrailError(f"guardrail {self.metric} {what}", remedy=remedy)
