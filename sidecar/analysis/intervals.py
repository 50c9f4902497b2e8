"""Intervals that hold at every look at once: what the same bets cannot rule out.

A value of the difference (or ratio) is ruled out while a bet against it has made 1/alpha of its
money; what is not ruled out is the interval (Waudby-Smith & Ramdas, JRSS B 86, 2024). For errors
this is exact and needs a few sums, since the bets' logarithms are linear in the difference. For
quantiles it is the time-uniform band around a distribution (Howard & Ramdas, Bernoulli 28, 2022).
"""

import math

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis import edges, rates
from sidecar.analysis.durations import LOWER_S
from sidecar.analysis.verdict import Interval

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_SIDES = (rates.UPWARD, rates.DOWNWARD)
_STEPS = 64


class Difference:
    """Candidate minus baseline rate."""

    def __init__(self) -> None:
        self.sums = np.zeros((2, 2, len(rates.UPWARD.tilts)))

    def add(self, draws: rates.Draws) -> None:
        """Take the draws of one look (any number of pools, first axis)."""
        for side, bets in enumerate(_SIDES):
            won, price = rates.terms(draws, bets.tilts, 1.0)
            self.sums[side, 0] += won.sum(axis=0)
            self.sums[side, 1] += price.sum(axis=0)

    def bounds(self, alpha: float) -> Interval:
        """Return the bounds at confidence 1 - alpha; None for a bound that is not below 100 %."""
        bar = math.log(2 / alpha)
        low = self._edge(0, bar, -1.0, 1.0)
        high = self._edge(1, bar, 1.0, -1.0)
        return Interval(None if low <= -1.0 else low, None if high >= 1.0 else high)

    def _edge(self, side: int, bar: float, out: float, far: float) -> float:
        """Walk from `out` towards `far` as long as the difference is ruled out, finer each time."""
        for _ in range(4):
            steps = np.linspace(out, far, _STEPS)
            ruled_out = self._log_evidence(side, steps) >= bar
            last = int(np.argmin(ruled_out)) if not ruled_out.all() else _STEPS - 1
            out, far = float(steps[max(last - 1, 0)]), float(steps[last])
        return out

    def _log_evidence(self, side: int, differences: Floats) -> Floats:
        won, price = self.sums[side]
        logs = won - differences[:, None] * price + np.log(_SIDES[side].shares)
        most = logs.max(axis=1)
        return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)))


class Ratio:
    """Candidate rate over baseline rate, less 1; on a grid, rounded outwards."""

    GRID = 2.0 ** (np.arange(-24, 33) / 4)

    def __init__(self) -> None:
        self.sums = np.zeros((2, len(self.GRID), len(rates.UPWARD.tilts)))

    def add(self, draws: rates.Draws) -> None:
        """Take the draws of one look (any number of pools, first axis)."""
        k = np.asarray(draws.errors_b + draws.errors_c)
        if not k.any():
            return
        candidate = self.GRID * np.asarray(draws.at_risk_c)[:, None]
        share = candidate / np.maximum(candidate + np.asarray(draws.at_risk_b)[:, None], 1e-300)
        for side, bets in enumerate(_SIDES):
            scale = np.log(1 - share[..., None] + share[..., None] * bets.tilts)
            won = np.asarray(draws.errors_c).sum() * np.log(bets.tilts)
            self.sums[side] += won - np.tensordot(k, scale, axes=(0, 0))

    def bounds(self, alpha: float) -> Interval:
        """Return the bounds at confidence 1 - alpha; None where even the grid's end is possible."""
        bar = math.log(2 / alpha)
        logs = [
            np.logaddexp.reduce(s + np.log(b.shares), axis=1)
            for s, b in zip(self.sums, _SIDES, strict=True)
        ]
        below, above = logs[0] >= bar, logs[1] >= bar
        # The highest ratio that is too low, the lowest that is too high.
        low = float(self.GRID[np.flatnonzero(below)[-1]]) - 1 if below.any() else None
        high = float(self.GRID[np.flatnonzero(above)[0]]) - 1 if above.any() else None
        return Interval(low, high)


class Quantiles:
    """Both distributions, the baseline's weighted as the candidate's traffic was."""

    def __init__(self) -> None:
        self.candidate = np.zeros(edges.BUCKETS)
        self.baseline = np.zeros(edges.BUCKETS)
        self.sums = [0.0, 0.0, 0.0]  # candidate's count, baseline's weights and their squares

    def add(self, baseline: Counts, candidate: Counts, started: Floats) -> None:
        """Take judged blocks: (blocks, buckets) twice, and (blocks, 2) of baseline and candidate.

        Both arms have some in every block. Open answers count as slower than all.
        """
        weights = started[:, 1] / started[:, 0]
        self.candidate += candidate.sum(axis=0)
        self.baseline += weights @ baseline
        self.sums[0] += float(started[:, 1].sum())
        self.sums[1] += float(started[:, 1].sum())
        self.sums[2] += float((started[:, 1] * weights).sum())

    def at(
        self, level: float, alpha: float, *, relative: bool
    ) -> tuple[float | None, float | None, float | None, Interval]:
        """Return (baseline, candidate, estimate, interval) of the quantile, in seconds."""
        count, weights, squares = self.sums
        if not count:
            return None, None, None, Interval(None, None)
        wide_c = _band(count, alpha / 2)
        wide_b = _band(weights**2 / squares, alpha / 2)
        b = [_quantile(self.baseline, weights, level + d) for d in (-wide_b, 0.0, wide_b)]
        c = [_quantile(self.candidate, count, level + d) for d in (-wide_c, 0.0, wide_c)]

        def compared(candidate: float | None, baseline: float | None) -> float | None:
            if candidate is None or baseline is None:
                return None
            if relative:
                return candidate / baseline - 1 if baseline else None
            return candidate - baseline

        return (
            b[1],
            c[1],
            compared(c[1], b[1]),
            Interval(compared(c[0], b[2]), compared(c[2], b[0])),
        )


def _band(count: float, alpha: float) -> float:
    """Half the width of the band that holds the distribution at all times (for count >= 1)."""
    log_log = math.log(math.log(math.e * max(count, 1.0)))
    return 0.85 * math.sqrt((log_log + 0.8 * math.log(1612 / alpha)) / max(count, 1.0))


def _quantile(counts: Floats, total: float, level: float) -> float | None:
    """Return where the quantile's bucket begins; None if it is not inside what was seen."""
    if not 0 < level < 1:
        return None
    index = int(np.searchsorted(np.cumsum(counts), level * total))
    return float(LOWER_S[index]) if index < edges.BUCKETS else None
