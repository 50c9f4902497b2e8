"""A guardrail on durations: each block is one bet, once it is old enough and holds both arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.analysis import capital, durations, edges
from sidecar.analysis.blocks import Block, Histogram, Stratum
from sidecar.analysis.evidence import Evidence, finding
from sidecar.analysis.guardrails import Guardrail, Per, Relative
from sidecar.analysis.intervals import Quantiles
from sidecar.analysis.ledger import Ledger, Update
from sidecar.analysis.limits import broken
from sidecar.analysis.steering import Learner
from sidecar.analysis.verdict import Finding
from sidecar.analysis.waiting import LAG_S, Waiting

# With fewer answers of an arm a block says next to nothing: it waits for the next seconds' answers.
ENOUGH = 3


def _empty() -> Histogram:
    return np.zeros(edges.BUCKETS, dtype=np.int64)


@dataclass(slots=True)
class Held:
    """Ripe answers of one stratum that make one bet together."""

    baseline: Histogram = field(default_factory=_empty)
    candidate: Histogram = field(default_factory=_empty)
    started: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, baseline: Histogram, candidate: Histogram, opened: tuple[float, float]) -> bool:
        """Take a block's answers, and how many are open; true once both arms have enough."""
        self.baseline += baseline
        self.candidate += candidate
        self.started[0] += int(baseline.sum()) + opened[0]
        self.started[1] += int(candidate.sum()) + opened[1]
        return min(self.started) >= ENOUGH


class DurationEvidence(Evidence):
    """Durations. What was held back is judged with the plan of the moment it is judged."""

    def __init__(self, guardrail: Guardrail) -> None:
        super().__init__(guardrail)
        self.learner = Learner(guardrail.allowed, guardrail.quantile)
        self.waiting, self.limited = Waiting(), Waiting()
        self.held: dict[Stratum, Held] = {}
        self.interval = Quantiles()
        self.firsts = [0, 0]

    @property
    def judged_before(self) -> int:
        """How many seconds ago every block has been judged: its durations are of no more use."""
        limit = self.guardrail.limit
        age_s = max(self.learner.age_s, math.ceil(limit.value) if limit else 0)
        return 2 + LAG_S + age_s

    def observe(
        self, updates: Sequence[Update], ledger: Ledger, now_s: float, given: float
    ) -> None:
        """Take the news of one look, and judge the blocks whose time has come."""
        self._limit(updates, ledger, now_s)
        self.waiting.add(updates)
        ripe = self.waiting.ripe(ledger, now_s, self.learner.age_s)
        enough = [self.held.pop(b.stratum) for b in ripe if self._hold(b, b.opened)]
        if self.learner.plan is not None:
            fresh = self.fresh(self.learner.plan.shares, given)
            self.money = fresh + (self.money if len(self.money) else 0.0)
        if enough:
            baseline = np.array([held.baseline for held in enough])
            candidate = np.array([held.candidate for held in enough])
            started = np.array([held.started for held in enough])
            self._bet(baseline, candidate, started)
            self._learn(baseline, candidate, started)
        for block in ripe:
            self._first(block)
        self.looks += 1

    def _first(self, block: Block) -> None:
        """Learn how many of the answers are a unit's first one, for the blocks to come."""
        for arm in (block.baseline, block.candidate):
            self.firsts[0] += arm.units.started
            self.firsts[1] += arm.requests.started - arm.requests.open

    def _hold(self, block: Block, opened: tuple[int, int]) -> bool:
        """Put a ripe block to what is held; true if that is enough.

        Which open requests are a unit's first one nobody can say: as large a part as it was among
        the answers so far.
        """
        b, c = self.counts(block.baseline), self.counts(block.candidate)
        if b.latency is None or c.latency is None:
            return False
        first, answered = self.firsts
        part = first / answered if answered and self.guardrail.per is Per.UNIT else 1.0
        held = self.held.setdefault(block.stratum, Held())
        return held.add(b.latency, c.latency, (part * opened[0], part * opened[1]))

    def _bet(self, baseline: Histogram, candidate: Histogram, started: capital.Floats) -> None:
        plan = self.learner.plan
        if plan is None:
            return
        b = plan.grouped(baseline, started[:, 0], candidate=False)
        c = plan.grouped(candidate, started[:, 1], candidate=True)
        factors = durations.log_factors(c, b, plan.log_r).sum(axis=0)
        self.money = capital.grow(self.money, np.zeros_like(self.money), factors)

    def _learn(self, baseline: Histogram, candidate: Histogram, started: capital.Floats) -> None:
        started_b, started_c = (round(value) for value in started.sum(axis=0).tolist())
        self.totals[0] += started_b
        self.totals[1] += started_c
        self.interval.add(baseline, candidate, started)
        self.learner.learn(baseline.sum(axis=0), started_b)

    def _limit(self, updates: Sequence[Update], ledger: Ledger, now_s: float) -> None:
        """Count each block once, when whatever is still open has broken the limit."""
        limit = self.guardrail.limit
        if limit is None:
            return
        age_s = math.ceil(limit.value)
        self.limited.add(updates)
        for block in self.limited.ripe(ledger, now_s, age_s):
            arm = block.candidate
            counts = arm.requests if arm.requests.latency is not None else arm.units
            if counts.latency is not None:
                fast = int(counts.latency[: edges.first_from(limit.value)].sum())
                self.window.add(block.second, counts.started, counts.started - fast)
        until = int(now_s) - LAG_S - age_s
        started, slow = self.window.sums(until, limit.window_s)
        self.tripped = self.tripped or broken(started, slow, limit, 1 - self.guardrail.level)

    def finding(self, alpha: float) -> Finding:
        """Say what is known now."""
        relative = isinstance(self.guardrail.allowed, Relative)
        return finding(self, *self.interval.at(self.guardrail.level, alpha, relative=relative))
