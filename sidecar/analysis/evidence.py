"""What one guardrail has seen: its bets' money, its sums for estimate and interval, its limit."""

from collections.abc import Sequence

import numpy as np

from sidecar.analysis import capital, durations, edges, rates
from sidecar.analysis.blocks import Arm, Block, Counts
from sidecar.analysis.guardrails import Guardrail, Per, Relative
from sidecar.analysis.intervals import Difference, Quantiles, Ratio
from sidecar.analysis.ledger import Key, Update
from sidecar.analysis.limits import Window, broken
from sidecar.analysis.steering import Learner
from sidecar.analysis.verdict import Finding, Interval

# How long after the end of its second, and after the age it is judged at, a block may still be on
# its way: Envoy's and the sidecar's flush.
LAG_S = 1
# Requests that are not followed to a unit are pooled by the minute.
_POOL_S = 60
_FORGET_S = 7_200


class Evidence:
    """What both kinds of guardrail have in common."""

    def __init__(self, guardrail: Guardrail) -> None:
        self.guardrail = guardrail
        self.given = 0.0
        self.looks = 0
        self.totals = [0, 0]
        self.window = Window()
        self.tripped = False

    def counts(self, arm: Arm) -> Counts:
        """What of an arm this guardrail counts."""
        return arm.units if self.guardrail.per is Per.UNIT else arm.requests

    def fresh(self, shares: capital.Floats, given: float) -> capital.Floats:
        """Return the money that was given out since the last look, spread over the bets."""
        more = max(given - self.given, 0.0)
        self.given += more
        return shares * more


class ErrorEvidence(Evidence):
    """Errors: each update is a draw from those at risk in its pool."""

    def __init__(self, guardrail: Guardrail) -> None:
        super().__init__(guardrail)
        self.bets = rates.HARM
        self.money = np.zeros(len(self.bets.tilts))
        self.ratio, self.extra = rates.allowance(guardrail.margin)
        # started and failed so far, baseline then candidate, and the last second with news
        self.pools: dict[Key, list[int]] = {}
        relative = isinstance(guardrail.margin, Relative)
        self.interval: Ratio | Difference = Ratio() if relative else Difference()
        self.sums = [0.0, 0.0, 0.0]  # candidate's errors, what the baseline would have had, exposed

    def observe(self, updates: Sequence[Update], now_s: float, given: float) -> None:
        """Take the news of one look."""
        draws = self._draws(updates)
        factors = rates.log_factors(draws, self.bets.tilts, self.ratio, self.extra).sum(axis=0)
        self.money = capital.grow(self.money, self.fresh(self.bets.shares, given), factors)
        self.interval.add(draws)
        self._sum(draws)
        self._limit(updates, now_s)
        self.looks += 1

    def _draws(self, updates: Sequence[Update]) -> rates.Draws:
        news: dict[Key, list[int]] = {}
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

    def _settle(self, news: dict[Key, list[int]]) -> rates.Draws:
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
        self.sums[2] += float(draws.exposed.sum())

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

    def tick(self, now_s: float) -> None:
        """Forget pools that nobody has been in for long."""
        old = [pool for pool, counts in self.pools.items() if counts[4] < now_s - _FORGET_S]
        for pool in old:
            del self.pools[pool]

    def finding(self, alpha: float) -> Finding:
        """Say what is known now."""
        errors, alike, exposed = self.sums
        candidate = errors / exposed if exposed else None
        baseline = alike / exposed if exposed else None
        relative = isinstance(self.guardrail.margin, Relative)
        estimate = None
        if candidate is not None and baseline is not None:
            estimate = candidate - baseline
            if relative:
                estimate = candidate / baseline - 1 if baseline else None
        interval = self.interval.bounds(alpha)
        return _finding(self, baseline, candidate, estimate, interval)


class DurationEvidence(Evidence):
    """Durations: each block is one bet, once it is old enough."""

    def __init__(self, guardrail: Guardrail) -> None:
        super().__init__(guardrail)
        self.learner = Learner(guardrail.margin, guardrail.quantile)
        self.money = np.zeros(0)
        self.waiting: dict[Key, None] = {}
        self.interval = Quantiles()

    @property
    def level(self) -> float:
        """The quantile that is reported."""
        return self.guardrail.quantile or 0.95

    def observe(
        self, updates: Sequence[Update], blocks: dict[Key, Block], now_s: float, given: float
    ) -> None:
        """Take the news of one look, and judge the blocks whose time has come."""
        for update in updates:
            self.waiting.setdefault(update.key)
        ripe = now_s - 1 - LAG_S
        due = [key for key in self.waiting if key[1] <= ripe - self.learner.age_s]
        known = [(key, blocks[key]) for key in due if key in blocks]
        for key in due:
            del self.waiting[key]
        self._bet([block for _, block in known], given)
        for _, block in known:
            self._learn(block, now_s)
        self.looks += 1

    def _bet(self, blocks: Sequence[Block], given: float) -> None:
        plan = self.learner.plan
        if plan is None:
            return
        if not len(self.money):
            self.money = np.zeros(len(plan.shares))
        baseline, candidate = [], []
        for block in blocks:
            b, c = self.counts(block.baseline), self.counts(block.candidate)
            if b.latency is None or c.latency is None:
                continue
            baseline.append(plan.grouped(b.latency, b.started, candidate=False))
            candidate.append(plan.grouped(c.latency, c.started, candidate=True))
        factors = np.zeros(len(plan.shares))
        if baseline:
            arms = np.array(candidate), np.array(baseline)
            factors = durations.log_factors(*arms, plan.log_r).sum(axis=0)
        self.money = capital.grow(self.money, self.fresh(plan.shares, given), factors)

    def _learn(self, block: Block, now_s: float) -> None:
        b, c = self.counts(block.baseline), self.counts(block.candidate)
        if b.latency is None or c.latency is None:
            return
        self.totals[0] += b.started
        self.totals[1] += c.started
        self.interval.add(b.latency, b.started, c.latency, c.started)
        self._limit(block, now_s)
        self.learner.learn(b.latency, b.started)

    def _limit(self, block: Block, now_s: float) -> None:
        limit, requests = self.guardrail.limit, block.candidate.requests
        if limit is None or requests.latency is None:
            return
        fast = int(requests.latency[: edges.first_from(limit.value)].sum())
        self.window.add(block.second, requests.started, requests.started - fast)
        until = int(now_s) - LAG_S - self.learner.age_s
        started, slow = self.window.sums(until + 1, limit.window_s)
        self.tripped = self.tripped or broken(started, slow, limit, 1 - self.level)

    def tick(self, now_s: float) -> None:
        """Nothing grows old here by itself."""

    def finding(self, alpha: float) -> Finding:
        """Say what is known now."""
        relative = isinstance(self.guardrail.margin, Relative)
        at = self.interval.at(self.level, alpha, relative=relative)
        return _finding(self, *at)


def _both(block: Block, before: Block) -> tuple[tuple[Arm, Arm], tuple[Arm, Arm]]:
    return (block.baseline, before.baseline), (block.candidate, before.candidate)


def _finding(
    evidence: Evidence,
    baseline: float | None,
    candidate: float | None,
    estimate: float | None,
    interval: Interval,
) -> Finding:
    guardrail = evidence.guardrail
    return Finding(
        metric=guardrail.metric,
        baseline=baseline,
        candidate=candidate,
        estimate=estimate,
        interval=interval,
        relative=isinstance(guardrail.margin, Relative),
        margin=guardrail.margin.value,
        evidence=float(evidence.money.sum()),
        weight=guardrail.weight,
        baseline_count=evidence.totals[0],
        candidate_count=evidence.totals[1],
        looks=evidence.looks,
        limit_broken=evidence.tripped,
    )
