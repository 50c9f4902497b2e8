"""What is counted: one block per stratum and second in which the requests started.

A block is cumulative in itself: it comes again whenever a slow answer raised it, whole, both arms
as of the same moment. Only decisions that chance made may be in it (reason `weight` or `segment`):
who was forced, overridden or without a unit would be compared with people unlike them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis import cells, edges

Histogram = NDArray[np.int64]
# Far above a second of any sidecar, far below where sums of counts lose exactness.
MOST = 10**9


class Stratum(NamedTuple):
    """Where everybody met the same odds: one life of a sidecar, one segment, one table version.

    The version is that of the table since which the rollout has had its odds.
    """

    sidecar: str
    version: str
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """So many; of those so far: errors, and answers by bucket of `edges` (None: not counted).

    Requests are started at the decision, not at the answer: where errors are fast and successes
    slow, answers so far are mostly errors. answered: by default those with a duration.

    A request that Envoy began at the end of a second may be decided in the next one: it is started
    where Envoy began it, and there alone. early: how many of these the router decided later.
    carried: how many that it decided in this second are started in one before; the `Ledger` knows.
    """

    started: int = 0
    errors: int = 0
    latency: Histogram | None = None
    answered: int | None = None
    early: int = 0
    carried: int = 0

    @property
    def answers(self) -> int:
        """How many are answered; if nobody counts the answers, all."""
        if self.answered is not None:
            return self.answered
        return self.started if self.latency is None else int(self.latency.sum())

    @property
    def open(self) -> int:
        """How many are without an answer."""
        return max(0, self.started - self.answers)

    @property
    def decided(self) -> int:
        """How many the router decided in this second."""
        return self.started - self.early + self.carried

    def untimed(self) -> "Counts":
        """Return the same without durations."""
        return replace(self, latency=None, answered=self.answers)


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class Arm:
    """Every request, and the same with each unit once.

    units: `started` counts units answered for the first time in this stratum, `latency` how long
    that took, both in the block in which that first request started; `errors` counts units that
    failed for the first time, in the block in which the failed request started.
    """

    requests: Counts = NOTHING
    units: Counts = NOTHING


@dataclass(frozen=True, slots=True)
class Block:
    """What is known so far of the requests that one stratum started in one second (Unix time).

    share: the candidate's designed share of the randomised units of these two arms: with it an
    error needs nobody else's count, and the split can be checked. One stratum has one.
    """

    stratum: Stratum
    second: int
    baseline: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    share: float | None = None

    @property
    def answers(self) -> tuple[int, int]:
        """How many requests are answered, of the baseline and of the candidate."""
        return self.baseline.requests.answers, self.candidate.requests.answers

    @property
    def opened(self) -> tuple[int, int]:
        """How many requests are without an answer, of the baseline and of the candidate."""
        return self.baseline.requests.open, self.candidate.requests.open


def arm(counts: Mapping[int, int]) -> Arm:
    """Return one arm of a block by what its row counts (`cells`)."""
    started, answered = counts.get(cells.STARTED, 0), counts.get(cells.COMPLETED, 0)
    requests = Counts(
        started=max(started, answered),
        errors=counts.get(cells.ERRORS, 0),
        latency=_buckets(counts, cells.DURATION),
        answered=answered,
        early=max(0, answered - started),
    )
    units = Counts(
        started=counts.get(cells.UNITS, 0),
        errors=counts.get(cells.UNIT_ERRORS, 0),
        latency=_buckets(counts, cells.UNIT_DURATION),
    )
    return Arm(requests, units)


def _buckets(counts: Mapping[int, int], first: int) -> Histogram:
    latency = np.zeros(edges.BUCKETS, dtype=np.int64)
    for cell, count in counts.items():
        if first <= cell < first + edges.BUCKETS:
            latency[cell - first] = count
    return latency


def mistake(block: Block) -> str:
    """Say what is impossible about a block by itself; empty if nothing is."""
    if type(block.second) is not int:
        return "its second is not a whole number"
    if block.share is not None and not 0 <= block.share <= 1:
        return f"its designed share of {block.share} is not between 0 and 1"
    for name, arm in (("baseline", block.baseline), ("candidate", block.candidate)):
        for what, counts in (("requests", arm.requests), ("units", arm.units)):
            if found := _wrong(counts):
                return f"its {name} {what} {found}"
        if arm.requests.errors > arm.requests.started:
            return f"its {name} has more failed requests than started ones"
        if arm.units.started > arm.requests.started:
            return f"its {name} has more units than requests"
    return ""


def _wrong(counts: Counts) -> str:
    numbers = (counts.started, counts.errors, counts.answered or 0, counts.early, counts.carried)
    for number in numbers:
        if type(number) is not int or not 0 <= number <= MOST:
            return f"count {number!r}, which no second can hold"
    latency = counts.latency
    if latency is None:
        return ""
    if latency.dtype != np.int64 or latency.shape != (edges.BUCKETS,):
        return f"durations are not {edges.BUCKETS} counts (int64), the buckets of `edges`"
    if latency.min() < 0 or latency.max() > MOST or int(latency.sum()) > counts.started:
        return "durations are more than were started, or fewer than none"
    return ""
