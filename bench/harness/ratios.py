"""Ratios over interleaved rounds, with the interval and the noise that any claim must exceed.

A round's own ratio cancels what slowed the whole machine down in that round; the median over
rounds is what is reported, and a bootstrap over rounds gives its interval. Pure: the seed is an
argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

LEVEL = 0.90
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with the bounds of its interval at LEVEL."""

    low: float
    middle: float
    high: float

    @property
    def noise(self) -> float:
        """As the ratio of a contender to itself: the factor it may be off by, 1 or more."""
        return max(self.high, 1 / self.low)


def ratio(over: Sequence[float], under: Sequence[float], seed: int) -> Interval | None:
    """Return the median of over/under round by round; None where a round has no ratio.

    Both list the same rounds in the same order.
    """
    pairs = list(zip(over, under, strict=True))
    if not pairs or not all(a > 0 and b > 0 for a, b in pairs):
        return None
    return interval([a / b for a, b in pairs], seed)


def interval(values: Sequence[float], seed: int) -> Interval:
    """Return the median of `values` and its percentile bootstrap interval."""
    random = Random(seed)
    medians = sorted(median(random.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - LEVEL) / 2)
    return Interval(medians[tail], median(values), medians[-1 - tail])


def verdict(found: Interval, noise: float) -> str:
    """Say `more` or `less` only where the whole interval is outside the noise; else `same`."""
    if found.low > noise:
        return "more"
    return "less" if found.high < 1 / noise else "same"
