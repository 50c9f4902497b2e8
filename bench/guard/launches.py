"""Many launches at once: the judge's own kernels with one more axis in front.

Nothing of the tests is written again here: `rates.log_factors`, `durations.log_factors` and
`capital.grow` work over arrays of any leading shape, and `tests/unit/bench/test_guard_launches.py`
shows that a launch of these has the same money as a `Judge`, to the last digits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis import capital, durations, rates, steering
from sidecar.analysis.guardrails import Margin, Relative

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
SAME = Relative(0.0)


@dataclass(frozen=True)
class News:
    """What one stratum adds in one second, an entry for each launch.

    errors_*: units that failed for the first time. share: the candidate's designed one. exposed:
    the candidate's started requests, which an absolute margin is about.
    """

    errors_b: Counts
    errors_c: Counts
    share: float
    exposed: Counts | None = None


class ErrorLaunches:
    """The error guardrail of many launches that look at the same seconds."""

    def __init__(self, launches: int, margin: Margin = SAME) -> None:
        self.ratio, self.extra = rates.allowance(margin)
        self.money = np.zeros((launches, len(rates.HARM.tilts)))
        self.given = 0.0
        self.most = np.zeros(launches)

    def look(self, age_s: float, news: list[News]) -> None:
        """Settle one second: the news of each stratum that had any."""
        given = capital.endowment(age_s)
        fresh = rates.HARM.shares * (given - self.given)
        self.given = given
        factors = np.zeros_like(self.money)
        for new in news:
            self._settle(new, factors)
        self.money = capital.grow(self.money, fresh, factors)
        np.maximum(self.most, self.money.sum(axis=1), out=self.most)

    def _settle(self, new: News, factors: Floats) -> None:
        busy = np.arange(len(factors))
        if not self.extra:  # a second without errors is worth exactly nothing
            busy = np.flatnonzero(new.errors_b + new.errors_c)
        exposed = np.zeros_like(new.errors_c) if new.exposed is None else new.exposed
        draws = rates.Draws(
            errors_b=new.errors_b[busy],
            errors_c=new.errors_c[busy],
            at_risk_b=np.full(len(busy), 1 - new.share),
            at_risk_c=np.full(len(busy), new.share),
            exposed=exposed[busy],
        )
        factors[busy] += rates.log_factors(draws, rates.HARM.tilts, self.ratio, self.extra)


class DurationLaunches:
    """The latency guardrail of many launches with one plan: groups are given, not buckets."""

    def __init__(self, launches: int, plan: steering.Plan) -> None:
        self.plan = plan
        self.money = np.zeros((launches, len(plan.shares)))
        self.given = 0.0
        self.most = np.zeros(launches)

    def look(self, age_s: float, candidate: Counts, baseline: Counts) -> None:
        """Settle one block of each launch: (launches, groups)."""
        given = capital.endowment(age_s)
        fresh = self.plan.shares * (given - self.given)
        self.given = given
        factors = durations.log_factors(candidate, baseline, self.plan.log_r)
        self.money = capital.grow(self.money, fresh, factors)
        np.maximum(self.most, self.money.sum(axis=1), out=self.most)
