"""A guardrail on durations: each block is one bet, once it is old enough and holds both arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.analysis import capital, durations, edges
from sidecar.analysis.blocks import Block, Counts, Histogram, Stratum
from sidecar.analysis.evidence import Evidence, finding
from sidecar.analysis.guardrails import Guardrail, Relative
from sidecar.analysis.intervals import Quantiles
from sidecar.analysis.ledger import Ledger, Update
from sidecar.analysis.limits import broken
from sidecar.analysis.steering import Learner
from sidecar.analysis.verdict import Finding

# How long after the end of its second, and after the age it is judged at, a block may still be on
# its way: Envoy's and the sidecar's flush.
LAG_S = 1
# With fewer answers of an arm a block says next to nothing: it waits for the next seconds' answers.
ENOUGH = 3


def _empty() -> Histogram:
    return np.zeros(edges.BUCKETS, dtype=np.int64)


@dataclass(slots=True)
class Held:
    """Ripe answers of one stratum that make one bet together."""

    baseline: Histogram = field(default_factory=_empty)
    candidate: Histogram = field(default_factory=_empty)
    started: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, baseline: Counts, candidate: Counts) -> bool:
        """Take a block; true once both arms have enough. Durations must be counted in both."""
        if baseline.latency is not None and candidate.latency is not None:
            self.baseline += baseline.latency
            self.candidate += candidate.latency
            self.started[0] += baseline.started
            self.started[1] += candidate.started
        return min(self.started) >= ENOUGH


class Waiting:
    """Blocks by second until every answer within some age must be known."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[Stratum]] = {}

    def add(self, updates: Sequence[Update]) -> None:
        """Queue the blocks that are new."""
        for update in updates:
            if update.new:
                self.seconds.setdefault(update.block.second, []).append(update.block.stratum)

    def ripe(self, ledger: Ledger, now_s: float, age_s: int) -> list[Block]:
        """Take out the blocks that are old enough, as they are known now."""
        due = [second for second in self.seconds if second <= now_s - 1 - LAG_S - age_s]
        keys = [(stratum, second) for second in due for stratum in self.seconds.pop(second)]
        blocks = (ledger.get(*key) for key in keys)
        return [block for block in blocks if block is not None]


class DurationEvidence(Evidence):
    """Durations. What was held back is judged with the plan of the moment it is judged."""

    def __init__(self, guardrail: Guardrail) -> None:
        super().__init__(guardrail)
        self.learner = Learner(guardrail.allowed, guardrail.quantile)
        self.waiting, self.limited = Waiting(), Waiting()
        self.held: dict[Stratum, Held] = {}
        self.interval = Quantiles()

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
        enough = [self.held.pop(block.stratum) for block in ripe if self._hold(block)]
        if self.learner.plan is not None:
            fresh = self.fresh(self.learner.plan.shares, given)
            self.money = fresh + (self.money if len(self.money) else 0.0)
        if enough:
            baseline = np.array([held.baseline for held in enough])
            candidate = np.array([held.candidate for held in enough])
            started = np.array([held.started for held in enough])
            self._bet(baseline, candidate, started)
            self._learn(baseline, candidate, started)
        self.looks += 1

    def _hold(self, block: Block) -> bool:
        held = self.held.setdefault(block.stratum, Held())
        return held.add(self.counts(block.baseline), self.counts(block.candidate))

    def _bet(self, baseline: Histogram, candidate: Histogram, started: Histogram) -> None:
        plan = self.learner.plan
        if plan is None:
            return
        b = plan.grouped(baseline, started[:, 0], candidate=False)
        c = plan.grouped(candidate, started[:, 1], candidate=True)
        factors = durations.log_factors(c, b, plan.log_r).sum(axis=0)
        self.money = capital.grow(self.money, np.zeros_like(self.money), factors)

    def _learn(self, baseline: Histogram, candidate: Histogram, started: Histogram) -> None:
        started_b, started_c = started.sum(axis=0).tolist()
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
