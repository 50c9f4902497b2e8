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
# What has settled is closed before that. Both arms of an old block may come one after the other,
# from a sidecar that was cut off: one that has only one of them waits longer.
_SETTLED_S, _ONE_ARM_S = 60, 600
_SWEEP_S = 20


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
        # The same of single blocks: by stratum, the seconds as bits above a first one.
        self.settled: dict[Stratum, tuple[int, int]] = {}
        self.swept_s = 0.0

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
            if not reason and self._settled(block):
                continue
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
        if abs(now_s - self.swept_s) >= _SWEEP_S:
            self._sweep(now_s)

    def _settled(self, block: Block) -> bool:
        """Whether all of a block is known: if it comes again, it says nothing new."""
        first, seconds = self.settled.get(block.stratum, (0, 0))
        return block.second >= first and bool(seconds >> (block.second - first) & 1)

    def _sweep(self, now_s: float) -> None:
        """Keep of the settled blocks only that they are settled.

        A thousand sidecars start a thousand blocks a second, and nearly all settle at once.
        """
        before = min(self.judged_before, int(now_s) - _SETTLED_S)
        for second in [second for second in self.open if second < before]:
            row = self.open[second]
            settled = [
                stratum
                for stratum, block in row.items()
                if not any(self.opened(block))
                and (_both_came(block) or second < now_s - _ONE_ARM_S)
            ]
            for stratum in settled:
                del row[stratum]
                self._settle(stratum, second, now_s)
            if not row:
                del self.open[second]
        self.swept_s = now_s
        for stratum in [s for s, at in self.settled.items() if _over(at, now_s)]:
            del self.settled[stratum]

    def _settle(self, stratum: Stratum, second: int, now_s: float) -> None:
        first, seconds = self.settled.get(stratum, (second, 0))
        # Seconds that are refused as too old anyway need no bit.
        start = max(min(first, second), int(now_s) - OPEN_S - _SWEEP_S)
        seconds = seconds >> (start - first) if start >= first else seconds << (first - start)
        if second >= start:
            seconds |= 1 << (second - start)
        self.settled[stratum] = start, seconds


def _both_came(block: Block) -> bool:
    return bool(block.baseline.requests.started and block.candidate.requests.started)


def _over(settled: tuple[int, int], now_s: float) -> bool:
    first, seconds = settled
    return first + seconds.bit_length() < now_s - OPEN_S


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
