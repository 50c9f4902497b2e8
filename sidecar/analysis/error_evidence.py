"""A guardrail on errors: each look is a draw in each pool where the odds are the same."""

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
        self.shares: dict[Stratum, float] = {}
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
            if block.share is not None:
                self.shares[block.stratum] = block.share
            for arm, (now, old) in enumerate(_both(block, before)):
                counts, known = self.counts(now), self.counts(old)
                row[arm] += counts.started - known.started
                row[2 + arm] += counts.errors - known.errors
                self.totals[arm] += counts.started - known.started
            row[4] += block.candidate.requests.started - before.candidate.requests.started
            row[5] = max(row[5], block.second)
        return self._settle(news)

    def _settle(self, news: dict[Pool, list[int]]) -> rates.Draws:
        rows = np.zeros((len(news), 5))
        for index, (pool, new) in enumerate(news.items()):
            known = self.pools.setdefault(pool, [0, 0, 0, 0, 0])
            share = self.shares.get(pool[0]) if self.guardrail.per is Per.UNIT else None
            rows[index] = new[2], new[3], *_at_risk(known, new, share), new[4]
            for number in range(4):
                known[number] += new[number]
            known[4] = max(known[4], new[5])
        return rates.Draws(*rows.T)

    def _sum(self, draws: rates.Draws) -> None:
        zeros = np.zeros(len(draws.errors_c))
        self.sums[0] += float(draws.errors_c.sum())
        times = np.divide(draws.at_risk_c, draws.at_risk_b, where=draws.at_risk_b > 0, out=zeros)
        self.sums[1] += float((draws.errors_b * times).sum())
        self.sums[2] += float((draws.errors_b * times**2).sum())
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
            self.shares.pop(pool[0], None)

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


def _at_risk(known: list[int], new: list[int], share: float | None) -> tuple[float, float]:
    """Return how likely each arm was to have the new errors, the baseline first."""
    if share is not None:
        return 1 - share, share
    # Never more errors than people: a unit whose first request was refused as too old.
    b, c = (max(known[arm] + new[arm] - known[2 + arm], new[2 + arm]) for arm in (0, 1))
    return float(b), float(c)


def _both(block: Block, before: Block) -> tuple[tuple[Arm, Arm], tuple[Arm, Arm]]:
    return (block.baseline, before.baseline), (block.candidate, before.candidate)
