"""Where the latency bets are placed: learned from the baseline's answers that were judged before.

A plan cuts durations into groups at quantiles of the baseline (moved up by the margin) and says
what each bet expects in each group. Most of the money is on "a part of the answers got slower by a
factor", the rest on "more answers are beyond this quantile". A plan that fits badly wins slowly,
but can never make the test lie: it is fixed before the blocks that it judges are looked at.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis import edges
from sidecar.analysis.durations import LOWER_S
from sidecar.analysis.guardrails import Absolute, Margin
from sidecar.analysis.rates import HARM

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# A block is judged once, this many seconds after it began; what is open then is "slower still".
AGES_S = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_LEVELS = (
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.85,
    0.9,
    0.93,
    0.95,
    0.97,
    0.98,
    0.99,
    0.995,
    0.998,
)
_BEYOND = (1.5, 2.5, 4.0, 8.0)
_PARTS = (0.02, 0.05, 0.12, 0.35, 1.0)
_FACTORS = (1.1, 1.3, 1.7, 2.5, 4.0, 10.0)
_CUTS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.997)
_MORE = (1.5, 3.0, 8.0)
_MONEY_ON_PARTS = 0.6
_LOWEST_RATIO, _HIGHEST_RATIO = 0.02, 300.0


@dataclass(frozen=True)
class Plan:
    """Groups and bets.

    age_s: how old a block must be. cuts_c, cuts_b: the first bucket of each group but the lowest,
    for the candidate and (below the margin) for the baseline; the last group holds also whatever
    is open. log_r: (bets, groups). shares: the part of the money on each bet.
    """

    age_s: int
    cuts_c: tuple[int, ...]
    cuts_b: tuple[int, ...]
    log_r: Floats
    shares: Floats

    def grouped(self, latency: Counts, started: Counts | Floats, *, candidate: bool) -> Floats:
        """Sort one arm's answers, (..., buckets), into (..., groups); open ones are the slowest."""
        cuts = self.cuts_c if candidate else self.cuts_b
        sums = np.zeros((*latency.shape[:-1], latency.shape[-1] + 1), dtype=np.int64)
        np.cumsum(latency, axis=-1, out=sums[..., 1:])
        below = sums[..., list(cuts)]
        groups = np.empty((*below.shape[:-1], len(cuts) + 1))
        groups[..., :-1] = below
        groups[..., -1] = started
        groups[..., 1:] -= below
        return groups


def plan(
    seen: Counts, opened: int, margin: Margin, quantile: float | None, age_s: int = AGES_S[-1]
) -> Plan:
    """Place the bets by the baseline's answers in their buckets, and those open at `age_s`.

    quantile: the one to watch; None for the whole distribution. One that is among the open answers
    is taken to be at twice that age.
    """
    shape = _Shape(seen, opened, margin, 2.0 * age_s)
    levels = _LEVELS if quantile is None else (quantile,)
    ripe_s = _age(shape.at(_settled(quantile)))
    wanted = [shape.at(level) for level in levels]
    if quantile is None:
        wanted += [wanted[-1] * factor for factor in _BEYOND]
    cuts = sorted({min(max(edges.last_from(w), 1), edges.last_from(ripe_s)) for w in wanted})
    lower = [_below_margin(LOWER_S[cut], margin) for cut in cuts]
    cuts_b = tuple(edges.last_from(low) for low in lower)
    mass = np.diff(shape.below(LOWER_S[cuts]), prepend=0.0, append=1.0)
    mass = (mass + 0.5 / (shape.count + 1)) / (1 + 0.5 * len(mass) / (shape.count + 1))
    rows, shares = _bets(shape, cuts, mass, quantile)
    ratios = np.clip(np.maximum.accumulate(rows, axis=1), _LOWEST_RATIO, _HIGHEST_RATIO)
    ratios /= ratios @ mass[:, None]
    return Plan(ripe_s, tuple(cuts), cuts_b, np.log(ratios), shares)


def _bets(
    shape: "_Shape", cuts: list[int], mass: Floats, quantile: float | None
) -> tuple[Floats, Floats]:
    """Return what each bet expects, as ratios (bets, groups), and its share of the money."""
    beyond = np.cumsum(mass[::-1])[::-1]
    if quantile is not None:
        rows = [np.where(np.arange(len(mass)) > 0, tilt, 1.0) for tilt in HARM.tilts]
        return np.array(rows), HARM.shares
    parts = []
    for factor in _FACTORS:
        slower = np.diff(shape.below(LOWER_S[cuts] / factor), prepend=0.0, append=1.0)
        parts += [(1 - part) + part * slower / mass for part in _PARTS]
    more = []
    for level in _CUTS:
        high = beyond <= max(1 - level, beyond[-1]) * 1.001
        more += [np.where(high, tilt, 1.0) for tilt in _MORE]
    shares = [_MONEY_ON_PARTS / len(parts)] * len(parts)
    shares += [(1 - _MONEY_ON_PARTS) / len(more)] * len(more)
    return np.array(parts + more), np.array(shares)


def _below_margin(duration_s: float, margin: Margin) -> float:
    """What the baseline may take for the candidate to be allowed `duration_s`."""
    if isinstance(margin, Absolute):
        return max(duration_s - margin.value, 0.0)
    return duration_s / (1 + margin.value)


def _settled(quantile: float | None) -> float:
    """The part of the answers that must be in when a block is judged."""
    return max(quantile or 0.97, 0.9)


def _age(duration_s: float) -> int:
    return next((age for age in AGES_S if age >= duration_s), AGES_S[-1])


class _Shape:
    """The baseline's distribution, moved up by the margin: interpolated between bucket edges."""

    def __init__(self, seen: Counts, opened: int, margin: Margin, most_s: float) -> None:
        self._most_s = most_s
        self.count = int(seen.sum()) + opened
        self._below = np.concatenate(([0.0], np.cumsum(seen)[:-1])) / max(self.count, 1)
        self._margin = margin

    def below(self, durations_s: Floats) -> Floats:
        """Return the part of the answers below each duration."""
        lowered = np.array([_below_margin(float(x), self._margin) for x in durations_s])
        return np.asarray(np.interp(lowered, LOWER_S, self._below))

    def at(self, level: float) -> float:
        """Return the duration below which a part `level` of the answers is."""
        index = min(int(np.searchsorted(self._below, level)), edges.BUCKETS - 1)
        low = min(float(LOWER_S[index]), self._most_s)
        if isinstance(self._margin, Absolute):
            return low + self._margin.value
        return low * (1 + self._margin.value)


class Learner:
    """Collects the baseline's judged answers and says when there is a better plan.

    Until there is a first one blocks are only learned from; how old they must be doubles while
    more answers are open than the quantile (or 3 % of the distribution) leaves above it.
    """

    _FIRST = 100
    _OLD = 25_600

    def __init__(self, margin: Margin, quantile: float | None) -> None:
        self._margin, self._quantile = margin, quantile
        self.seen = np.zeros(edges.BUCKETS, dtype=np.int64)
        self.opened = 0
        # A quantile needs some answers beyond it.
        self._first = max(self._FIRST, round(2 / (1 - (quantile or 0.5))))
        self.next_at = self._first
        self.age_s = AGES_S[0]
        self.plan: Plan | None = None

    def learn(self, latency: Counts, started: int) -> None:
        """Take what was judged of the baseline at one look."""
        known = np.where(np.arange(edges.BUCKETS) < edges.last_from(self.age_s), latency, 0)
        self.seen += known
        self.opened += started - int(known.sum())
        count = int(self.seen.sum()) + self.opened
        allowed = 1 - _settled(self._quantile)
        if self.opened > max(allowed * count, 3) and self.age_s < AGES_S[-1]:
            self._older()
        elif count >= self.next_at:
            self._place(count)

    def _older(self) -> None:
        """Too much is open to see the shape: look later at the next blocks."""
        self.age_s = AGES_S[AGES_S.index(self.age_s) + 1]
        self.seen[:] = 0
        self.opened = 0
        self.next_at = self._first

    def _place(self, count: int) -> None:
        self.plan = plan(self.seen, self.opened, self._margin, self._quantile, self.age_s)
        self.age_s = max(self.plan.age_s, self.age_s if self.opened else 1)
        if count >= self._OLD:
            self.seen //= 2
            self.opened //= 2
            count //= 2
            self.next_at = self._OLD
        else:
            self.next_at = 4 * count
