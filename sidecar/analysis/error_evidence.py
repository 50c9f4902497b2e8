"""A guardrail on errors: each look is a draw from those at risk in each pool."""

import math
from collections.abc import Sequence

import numpy as np

from sidecar.analysis import capital, rates
from sidecar.analysis.blocks import Arm, Block, Stratum
from sidecar.analysis.evidence import Evidence, finding
from sidecar.analysis.guardrails import Guardrail, Per, Relative
from sidecar.analysis.horizon import certainty
from sidecar.analysis.intervals import Difference, Ratio
from sidecar.analysis.ledger import Update
from sidecar.analysis.limits import broken
from sidecar.analysis.verdict import Finding

# Requests that are not followed to a unit are pooled by the minute.
_POOL_S = 60
_FORGET_S = 7_200

Pool = tuple[Stratum, int]


class ErrorEvidence(Evidence):
    """Errors: each update is a draw from those at risk in its pool."""

    def __init__(self, guardrail: Guardrail) -> None:
        super().__init__(guardrail)
        self.bets = rates.HARM
        self.money = np.zeros(len(self.bets.tilts))
        self.ratio, self.extra = rates.allowance(guardrail.allowed)
        # started and failed so far, baseline then candidate, and the last second with news
        self.pools: dict[Pool, list[int]] = {}
        relative = isinstance(guardrail.allowed, Relative)
        self.interval: Ratio | Difference = Ratio() if relative else Difference()
        # The candidate's errors, the baseline's scaled to it and their variance, exposed requests.
        self.sums = [0.0, 0.0, 0.0, 0.0]
        self.proven, self.decided = False, False

    def observe(self, updates: Sequence[Update], now_s: float, given: float) -> None:
        """Take the news of one look."""
        draws = self._draws(updates)
        factors = rates.log_factors(draws, self.bets.tilts, self.ratio, self.extra).sum(axis=0)
        self.money = capital.grow(self.money, self.fresh(self.bets.shares, given), factors)
        self.interval.add(draws)
        self._sum(draws)
        self._limit(updates, now_s)
        self._forget(now_s)
        self.looks += 1

    def prove(self, samples: int, alpha: float) -> None:
        """Decide by `samples` of the candidate's requests whether it is within the margin.

        The score is how many errors fewer than allowed it has, over their standard deviation where
        exactly the margin holds; so no error at all proves nothing without an absolute margin.
        """
        errors, alike, squares, exposed = self.sums
        allowed = self.ratio * alike + self.extra * exposed
        spread = allowed + self.ratio**2 * squares
        if self.decided or not exposed or not spread:
            return
        score = np.array((allowed - errors) / math.sqrt(spread / exposed))
        # Beyond the horizon there is one look more, with all that came by then.
        horizon = max(float(samples), exposed)
        self.proven = bool(certainty(score, np.array(exposed), horizon, alpha) >= 1)
        self.decided = self.proven or exposed >= samples

    def _draws(self, updates: Sequence[Update]) -> rates.Draws:
        news: dict[Pool, list[int]] = {}
        for update in updates:
            block, before = update.block, update.before
            unit = self.guardrail.per is Per.UNIT
            pool = (block.stratum, 0 if unit else block.second // _POOL_S * _POOL_S)
            row = news.setdefault(pool, [0, 0, 0, 0, 0, 0])
            for arm, (now, old) in enumerate(_both(block, before)):
                counts, known = self.counts(now), self.counts(old)
                row[arm] += counts.started - known.started
                row[2 + arm] += counts.errors - known.errors
                self.totals[arm] += counts.started - known.started
            row[4] += block.candidate.requests.started - before.candidate.requests.started
            row[5] = max(row[5], block.second)
        return self._settle(news)

    def _settle(self, news: dict[Pool, list[int]]) -> rates.Draws:
        rows = np.zeros((len(news), 5), dtype=np.int64)
        for index, (pool, new) in enumerate(news.items()):
            known = self.pools.setdefault(pool, [0, 0, 0, 0, 0])
            for arm in (0, 1):
                known[arm] += new[arm]
                # Never more errors than people: a unit whose first request was refused as too old.
                rows[index, 2 + arm] = max(known[arm] - known[2 + arm], new[2 + arm])
                known[2 + arm] += new[2 + arm]
            known[4] = max(known[4], new[5])
            rows[index, :2] = new[2], new[3]
            rows[index, 4] = new[4]
        return rates.Draws(*rows.T)

    def _sum(self, draws: rates.Draws) -> None:
        self.sums[0] += float(draws.errors_c.sum())
        alike = draws.errors_b * (draws.at_risk_c / np.maximum(draws.at_risk_b, 1))
        self.sums[1] += float(alike.sum())
        self.sums[2] += float((alike * (draws.at_risk_c / np.maximum(draws.at_risk_b, 1))).sum())
        self.sums[3] += float(draws.exposed.sum())

    def _limit(self, updates: Sequence[Update], now_s: float) -> None:
        limit = self.guardrail.limit
        if limit is None:
            return
        for update in updates:
            new, old = update.block.candidate.requests, update.before.candidate.requests
            started, errors = new.started - old.started, new.errors - old.errors
            self.window.add(update.block.second, started, errors)
        started, bad = self.window.sums(int(now_s) + 1, limit.window_s + 1)
        self.tripped = self.tripped or broken(started, bad, limit, limit.value)

    def _forget(self, now_s: float) -> None:
        """Forget pools that nobody has been in for long."""
        old = [pool for pool, counts in self.pools.items() if counts[4] < now_s - _FORGET_S]
        for pool in old:
            del self.pools[pool]

    def finding(self, alpha: float) -> Finding:
        """Say what is known now."""
        errors, alike, _, exposed = self.sums
        candidate = errors / exposed if exposed else None
        baseline = alike / exposed if exposed else None
        relative = isinstance(self.guardrail.allowed, Relative)
        estimate = None
        if candidate is not None and baseline is not None:
            estimate = candidate - baseline
            if relative:
                estimate = candidate / baseline - 1 if baseline else None
        interval = self.interval.bounds(alpha)
        return finding(self, baseline, candidate, estimate, interval)


def _both(block: Block, before: Block) -> tuple[tuple[Arm, Arm], tuple[Arm, Arm]]:
    return (block.baseline, before.baseline), (block.candidate, before.candidate)
