"""Which blocks are known, and what each update adds to what was known before.

Blocks are cumulative and come again, late, twice, or after a restart. The ledger keeps the last
state of each block that may still rise, so that everything is taken exactly once; what cannot be
taken, or comes too late for a bet, is refused with its reason and changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
# What a refused block is, in one word.
IMPOSSIBLE, FUTURE, CLOSED, FELL, LATE = "impossible", "future", "closed", "fell", "late"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A block that was not taken, and why: in one word (one of those above), and in a sentence."""

    block: Block
    kind: str
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

    def take(self, blocks: Iterable[Block], now_s: float) -> tuple[list[Update], list[Refusal]]:
        """Sort blocks into updates and refusals; one that says nothing new is neither.

        A block may come with updates of those that follow it: whatever it shows to be its own is
        not theirs.
        """
        updates, refusals = [], []
        for block in blocks:
            known = self.get(block.stratum, block.second) if type(block.second) is int else None
            before = known or Block(block.stratum, block.second)
            refused = _refused(block, before, now_s) or self._over(block)
            if refused:
                refusals.append(Refusal(block, *refused))
            elif known is None or not _same(block, known):
                updates += self._put(block, known)
        return updates, refusals

    def _over(self, block: Block) -> tuple[str, str] | None:
        """Say why nothing can come of a block any more; None if it can."""
        if self._settled(block.stratum, block.second):
            return LATE, f"its second {block.second} had settled: too late for a bet"
        if block.second < self.closed_before:
            return CLOSED, f"its second {block.second} is closed already"
        return None

    def _put(self, block: Block, known: Block | None) -> list[Update]:
        """Keep a block, and count anew those that follow it, for as far as it makes a change."""
        last, updates = self.get(block.stratum, block.second - 1), []
        carried = _early(last) if last else _carried(known or block)
        while True:
            now = _once(block, carried)
            self.open.setdefault(now.second, {})[now.stratum] = now
            before = known or Block(now.stratum, now.second)
            updates.append(Update(now, before, known is None))
            carried, known = _early(now), self.get(now.stratum, now.second + 1)
            if known is None or carried == _carried(known):
                return updates
            block = known

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

    def _settled(self, stratum: Stratum, second: int) -> bool:
        """Whether all of a block was known."""
        first, seconds = self.settled.get(stratum, (0, 0))
        return second >= first and bool(seconds >> (second - first) & 1)

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
                if not any(block.opened) and (self._both_came(block) or second < now_s - _ONE_ARM_S)
            ]
            for stratum in settled:
                del row[stratum]
                self._settle(stratum, second, now_s)
            if not row:
                del self.open[second]
        self.swept_s = now_s
        for stratum in [s for s, at in self.settled.items() if _over(at, now_s)]:
            del self.settled[stratum]

    def _both_came(self, block: Block) -> bool:
        """Whether both arms are known, and the second after it where that is of account."""
        both = block.baseline.requests.started and block.candidate.requests.started
        after = block.stratum, block.second + 1
        lends_nothing = not any(_early(block)) or self.get(*after) or self._settled(*after)
        return bool(both and lends_nothing)

    def _settle(self, stratum: Stratum, second: int, now_s: float) -> None:
        first, seconds = self.settled.get(stratum, (second, 0))
        # Seconds that are refused as too old anyway need no bit.
        start = max(min(first, second), int(now_s) - OPEN_S - _SWEEP_S)
        seconds = seconds >> (start - first) if start >= first else seconds << (first - start)
        if second >= start:
            seconds |= 1 << (second - start)
        self.settled[stratum] = start, seconds


def _over(settled: tuple[int, int], now_s: float) -> bool:
    first, seconds = settled
    return first + seconds.bit_length() < now_s - OPEN_S


def _refused(block: Block, before: Block, now_s: float) -> tuple[str, str] | None:
    second = block.second
    if reason := mistake(block):
        return IMPOSSIBLE, reason
    if second > now_s + AHEAD_S:
        return FUTURE, f"its second {second} is in the future of {now_s:.0f}: a clock jumped"
    if second < now_s - OPEN_S:
        return CLOSED, f"its second {second} is closed: more than {OPEN_S} s before {now_s:.0f}"
    for new, old in zip(_each(block), _each(before), strict=True):
        if new.decided < old.decided or new.errors < old.errors or _fell(new, old):
            return FELL, "its counts fell: a block only rises"
    return None


def _each(block: Block) -> tuple[Counts, Counts, Counts, Counts]:
    b, c = block.baseline, block.candidate
    return b.requests, b.units, c.requests, c.units


def _counted(counts: Counts) -> tuple[int, int, int]:
    """Return what is known of a second alone, whatever comes of those around it."""
    return counts.decided, counts.errors, counts.answers


def _early(block: Block) -> tuple[int, int]:
    return block.baseline.requests.early, block.candidate.requests.early


def _carried(block: Block) -> tuple[int, int]:
    return block.baseline.requests.carried, block.candidate.requests.carried


def _once(block: Block, carried: tuple[int, int]) -> Block:
    """Return the block without those of its requests that are started in seconds before."""
    b, c = block.baseline, block.candidate
    if not any(carried) and carried == _carried(block):
        return block
    b = replace(b, requests=_without(b.requests, carried[0]))
    c = replace(c, requests=_without(c.requests, carried[1]))
    return replace(block, baseline=b, candidate=c)


def _without(counts: Counts, carried: int) -> Counts:
    own = counts.decided - carried
    started = max(counts.answers, own)
    return replace(
        counts, started=started, answered=counts.answers, early=started - own, carried=carried
    )


def _fell(new: Counts, old: Counts) -> bool:
    if new.answered is not None and old.answered is not None and new.answered < old.answered:
        return True
    if old.latency is None:
        return False
    return new.latency is None or bool((new.latency < old.latency).any())


def _same(new: Block, old: Block) -> bool:
    return all(
        _counted(a) == _counted(b) and _same_latency(a, b)
        for a, b in zip(_each(new), _each(old), strict=True)
    )


def _same_latency(new: Counts, old: Counts) -> bool:
    """What was counted without durations, or whose durations were judged, has no news of them."""
    if old.latency is None:
        return True
    return new.latency is not None and np.array_equal(new.latency, old.latency)


def _without_durations(block: Block) -> Block:
    b, c = (
        Arm(arm.requests.untimed(), arm.units.untimed())
        for arm in (block.baseline, block.candidate)
    )
    return Block(block.stratum, block.second, b, c, block.share)
