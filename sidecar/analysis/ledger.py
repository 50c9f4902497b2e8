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

Key = tuple[Stratum, int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A block that was not taken, and why."""

    block: Block
    reason: str


@dataclass(frozen=True, slots=True)
class Update:
    """A block as it is now, and as it was when it came last."""

    block: Block
    before: Block

    @property
    def key(self) -> Key:
        """What identifies the block."""
        return self.block.stratum, self.block.second


class Ledger:
    """The open blocks by key."""

    def __init__(self) -> None:
        self.open: dict[Key, Block] = {}

    def take(self, blocks: Iterable[Block], now_s: float) -> tuple[list[Update], list[Refusal]]:
        """Sort blocks into updates and refusals; one that says nothing new is neither."""
        updates, refusals = [], []
        for block in blocks:
            key = (block.stratum, block.second)
            known = self.open.get(key)
            before = known or Block(block.stratum, block.second)
            if reason := _refused(block, before, now_s):
                refusals.append(Refusal(block, reason))
                continue
            if known is None or not _same(block, known):
                self.open[key] = block
                updates.append(Update(block, before))
        return updates, refusals

    def close(self, now_s: float) -> None:
        """Forget the blocks that are too old to rise."""
        for key in [key for key in self.open if key[1] < now_s - OPEN_S]:
            del self.open[key]


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
        a.started == b.started and a.errors == b.errors and _same_latency(a, b)
        for a, b in zip(_each(new), _each(old), strict=True)
    )


def _same_latency(new: Counts, old: Counts) -> bool:
    if new.latency is None or old.latency is None:
        return new.latency is old.latency
    return np.array_equal(new.latency, old.latency)


def arms(block: Block) -> tuple[Arm, Arm]:
    """Return (baseline, candidate)."""
    return block.baseline, block.candidate
