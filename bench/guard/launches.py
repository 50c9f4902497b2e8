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

    units_*: first seen. errors_*: first failed. exposed: the candidate's started requests, if
    anything but its units.
    """

    units_b: Counts
    units_c: Counts
    errors_b: Counts
    errors_c: Counts
    exposed: Counts | None = None


class ErrorLaunches:
    """The error guardrail of many launches that look at the same seconds."""

    def __init__(self, launches: int, margin: Margin = SAME, strata: int = 1) -> None:
        self.ratio, self.extra = rates.allowance(margin)
        self.money = np.zeros((launches, len(rates.HARM.tilts)))
        self.given = 0.0
        # known[stratum] = started and failed so far: baseline, candidate, baseline, candidate
        self.known = np.zeros((strata, 4, launches), dtype=np.int64)
        self.most = np.zeros(launches)

    def look(self, age_s: float, news: list[tuple[int, News]]) -> None:
        """Settle one second: the news of each stratum that had any."""
        given = capital.endowment(age_s)
        fresh = rates.HARM.shares * (given - self.given)
        self.given = given
        factors = np.zeros_like(self.money)
        for stratum, new in news:
            self._settle(self.known[stratum], new, factors)
        self.money = capital.grow(self.money, fresh, factors)
        np.maximum(self.most, self.money.sum(axis=1), out=self.most)

    def _settle(self, known: Counts, new: News, factors: Floats) -> None:
        known[0] += new.units_b
        known[1] += new.units_c
        # Without errors, and without an absolute margin, a second is worth exactly nothing.
        busy = np.flatnonzero(new.errors_b + new.errors_c) if not self.extra else slice(None)
        exposed = new.units_c if new.exposed is None else new.exposed
        draws = rates.Draws(
            errors_b=new.errors_b[busy],
            errors_c=new.errors_c[busy],
            at_risk_b=np.maximum(known[0] - known[2], new.errors_b)[busy],
            at_risk_c=np.maximum(known[1] - known[3], new.errors_c)[busy],
            exposed=exposed[busy],
        )
        factors[busy] += rates.log_factors(draws, rates.HARM.tilts, self.ratio, self.extra)
        known[2] += new.errors_b
        known[3] += new.errors_c


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
