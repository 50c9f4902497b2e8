"""Which blocks are known, and what each update adds to what was known before.

Blocks are cumulative and come again, late, twice, or after a restart. The ledger keeps the last
state of each block that may still rise, so that everything is taken exactly once; what cannot be
taken is refused with its reason and changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sidecar.analysis.blocks import Arm, Block, Counts, Stratum, mistake

# The slowest answer that the buckets tell apart takes 18 minutes; after that a block is closed.
OPEN_S = 1_200
# Sidecars' clocks differ a little; more than this is a clock that jumped.
AHEAD_S = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """A block that was not taken, and why."""

    block: Block
    reason: str


@dataclass(frozen=True, slots=True)
class Update:
    """A block as it is now, and as it was when it came last (empty if it is new)."""

    block: Block
    before: Block
    new: bool


class Ledger:
    """The open blocks, by second and stratum."""

    def __init__(self) -> None:
        self.open: dict[int, dict[Stratum, Block]] = {}
        self.judged_before = 0
        # What was known of blocks before is forgotten: they must not come as new ones.
        self.closed_before = -(10**18)

    def get(self, stratum: Stratum, second: int) -> Block | None:
        """Return an open block as it is known."""
        return self.open.get(second, {}).get(stratum)

    def opened(self, block: Block) -> tuple[int, int]:
        """Return how many requests are without an answer, of the baseline and of the candidate.

        Without those that Envoy began, and answered, in the second before.
        """
        last = self.get(block.stratum, block.second - 1)
        b, c = block.baseline.requests.open, block.candidate.requests.open
        if last is None:
            return b, c
        early_b, early_c = last.baseline.requests.early, last.candidate.requests.early
        return max(0, b - early_b), max(0, c - early_c)

    def take(self, blocks: Iterable[Block], now_s: float) -> tuple[list[Update], list[Refusal]]:
        """Sort blocks into updates and refusals; one that says nothing new is neither."""
        updates, refusals = [], []
        for block in blocks:
            known = self.get(block.stratum, block.second) if type(block.second) is int else None
            before = known or Block(block.stratum, block.second)
            reason = _refused(block, before, now_s)
            if not reason and block.second < self.closed_before:
                reason = f"its second {block.second} is closed already"
            if reason:
                refusals.append(Refusal(block, reason))
            elif known is None or not _same(block, known):
                self.open.setdefault(block.second, {})[block.stratum] = block
                updates.append(Update(block, before, known is None))
        return updates, refusals

    def close(self, now_s: float, judged_before: int) -> None:
        """Forget the blocks too old to rise, and the durations of those before `judged_before`."""
        for second in [second for second in self.open if second < now_s - OPEN_S]:
            del self.open[second]
            self.closed_before = max(self.closed_before, second + 1)
        for second, row in self.open.items():
            if self.judged_before <= second < judged_before:
                for stratum, block in row.items():
                    row[stratum] = _without_durations(block)
        self.judged_before = max(self.judged_before, judged_before)


def _refused(block: Block, before: Block, now_s: float) -> str:
    if reason := mistake(block):
        return reason
    if block.second > now_s + AHEAD_S:
        return f"its second {block.second} is in the future of {now_s:.0f}: a clock jumped"
    if block.second < now_s - OPEN_S:
        return f"its second {block.second} is closed: more than {OPEN_S} s before {now_s:.0f}"
    for new, old in zip(_each(block), _each(before), strict=True):
        if new.started < old.started or new.errors < old.errors or _fell(new, old):
            return "its counts fell: a block only rises"
    return ""


def _each(block: Block) -> tuple[Counts, Counts, Counts, Counts]:
    b, c = block.baseline, block.candidate
    return b.requests, b.units, c.requests, c.units


def _fell(new: Counts, old: Counts) -> bool:
    if old.latency is None:
        return False
    return new.latency is None or bool((new.latency < old.latency).any())


def _same(new: Block, old: Block) -> bool:
    return all(
        (a.started, a.errors, a.open) == (b.started, b.errors, b.open) and _same_latency(a, b)
        for a, b in zip(_each(new), _each(old), strict=True)
    )


def _same_latency(new: Counts, old: Counts) -> bool:
    """What was counted without durations, or whose durations were judged, has no news of them."""
    if old.latency is None:
        return True
    return new.latency is not None and np.array_equal(new.latency, old.latency)


def _without_durations(block: Block) -> Block:
    b, c = (
        Arm(*(_counts_alone(counts) for counts in (arm.requests, arm.units)))
        for arm in (block.baseline, block.candidate)
    )
    return Block(block.stratum, block.second, b, c, block.share)


def _counts_alone(counts: Counts) -> Counts:
    return Counts(
        counts.started, counts.errors, answered=counts.started - counts.open, early=counts.early
    )
