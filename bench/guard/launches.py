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
    """The error guardrail of many launches that look at the same seconds.

    A second without errors (and without an absolute margin) is worth exactly nothing: only what
    was given out is added, and that is added when the next error comes.
    """

    def __init__(self, launches: int, margin: Margin = SAME) -> None:
        self.ratio, self.extra = rates.allowance(margin)
        self._money = np.zeros((launches, len(rates.HARM.tilts)))
        self._given = np.zeros(launches)
        self._now = 0.0
        self._most = np.zeros(launches)
        self._all = np.arange(launches)

    def look(self, age_s: float, news: list[News]) -> None:
        """Settle one second: the news of each stratum that had any."""
        self._now = capital.endowment(age_s)
        busy = self._all
        if not self.extra:
            busy = np.flatnonzero(sum((new.errors_b + new.errors_c for new in news), 0 * busy))
        if not len(busy):
            return
        factors = np.zeros((len(busy), self._money.shape[1]))
        for new in news:
            factors += self._factors(new, busy)
        fresh = self._fresh(busy)
        before = (self._money[busy] + fresh).sum(axis=1)
        after = capital.grow(self._money[busy], fresh, factors)
        self._money[busy] = after
        self._given[busy] = self._now
        self._most[busy] = np.maximum(self._most[busy], np.maximum(before, after.sum(axis=1)))

    @property
    def money(self) -> Floats:
        """What each launch has on each bet now: (launches, bets)."""
        return np.asarray(self._money + self._fresh(self._all))

    @property
    def most(self) -> Floats:
        """The most that each launch ever had."""
        return np.asarray(np.maximum(self._most, self.money.sum(axis=1)))

    def _fresh(self, which: Counts) -> Floats:
        return np.asarray(rates.HARM.shares * (self._now - self._given[which])[:, None])

    def _factors(self, new: News, busy: Counts) -> Floats:
        exposed = np.zeros_like(new.errors_c) if new.exposed is None else new.exposed
        draws = rates.Draws(
            errors_b=new.errors_b[busy],
            errors_c=new.errors_c[busy],
            at_risk_b=np.full(len(busy), 1 - new.share),
            at_risk_c=np.full(len(busy), new.share),
            exposed=exposed[busy],
        )
        return rates.log_factors(draws, rates.HARM.tilts, self.ratio, self.extra)


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
