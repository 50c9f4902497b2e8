"""Is the candidate's error rate higher than allowed? Counts alone, at any time.

Within a pool in which chance alone put people into one arm or the other, an error that meets both
arms alike falls on the candidate with probability w, its share of those at risk, no matter how
many errors there are, when they come, or why. Each bet psi says "psi times as often", and an error
multiplies its money by psi / (1 - w + w psi) if it was the candidate's, by 1 / (1 - w + w psi) if
not. An allowance enters exactly: a relative one moves w, an absolute one takes off what the bet
would win from the allowed errors. In Poisson terms, with l = (1 - w)(psi - 1) / (1 - w + w psi):
E[(1 + l)^c] (1 - l w/(1-w))^b] e^(-l n d) <= 1 whenever rate_c <= r rate_b + d, for any rate_b.
(For a few errors among many this is the sequential binomial test; Lindon & Malek, NeurIPS 2022,
mix over psi with a Dirichlet prior instead and need 4 to 20 times the requests.)

Where each unit counts once, w is the designed share: the arms of the units that fail are coins
thrown independently of when and why they fail, however unequal the units. Without it, and for
requests, w is the share of those at risk in the pool, that have not failed yet; then each new error
is a fair draw given all before (the partial likelihood of Cox, 1972), and what counts is who
started, not who was answered. All functions work over arrays of any leading shape, bets last.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis.guardrails import Absolute, Margin, Relative

Floats = NDArray[np.float64]
Counts = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bets:
    """How much more often (`tilts`), and the part of the money on each (`shares`, summing to 1)."""

    tilts: Floats
    shares: Floats


# Without much on large tilts two errors of the candidate alone could never be enough. Chosen by
# `bench.guard`: the requests needed at 5/95 for 0.1 -> 5 %, 0.1 -> 1 % and 1 -> 2 %.
HARM = Bets(
    np.array([1.3, 2.2, 5.0, 14.0, 200.0]),
    np.array([0.11, 0.2, 0.08, 0.18, 0.43]),
)
# For the interval: both directions, and finer, since narrow intervals need small bets.
UPWARD = Bets(
    np.array([1.02, 1.06, 1.2, 1.6, 3.0, 10.0, 60.0]),
    np.array([0.15, 0.15, 0.15, 0.15, 0.15, 0.1, 0.15]),
)
DOWNWARD = Bets(1 / UPWARD.tilts, UPWARD.shares)


@dataclass(frozen=True, slots=True)
class Draws:
    """New errors of each arm, and how likely each arm was to have them.

    at_risk_*: who was at risk of them, the new errors included, or the arms' designed shares: only
    their ratio matters. exposed: the candidate's newly started requests, to which an absolute
    margin applies. All of one shape.
    """

    errors_b: Counts
    errors_c: Counts
    at_risk_b: Counts | Floats
    at_risk_c: Counts | Floats
    exposed: Counts


def allowance(margin: Margin) -> tuple[float, float]:
    """Return (r, d): healthy is a rate of at most r times the baseline's, plus d."""
    if isinstance(margin, Relative):
        return 1.0 + margin.value, 0.0
    if isinstance(margin, Absolute):
        return 1.0, margin.value
    raise TypeError(margin)


def log_factors(draws: Draws, tilts: Floats, ratio: float, extra: float) -> Floats:
    """Return the log of what each bet's money is multiplied by: shape (..., bets)."""
    won, price = terms(draws, tilts, ratio)
    return won - extra * price if extra else won


def terms(draws: Draws, tilts: Floats, ratio: float) -> tuple[Floats, Floats]:
    """Return (S, T): under an absolute margin d the log factor is S - d T, whatever d is."""
    share = _share(draws, ratio)[..., None]
    scale = 1.0 - share + share * tilts
    both = np.asarray(draws.errors_b + draws.errors_c)[..., None]
    won = np.asarray(draws.errors_c)[..., None] * np.log(tilts) - both * np.log(scale)
    price = np.asarray(draws.exposed)[..., None] * ((1.0 - share) * (tilts - 1.0) / scale)
    return np.asarray(won), np.asarray(price)


def _share(draws: Draws, ratio: float) -> Floats:
    """The candidate's share of the errors that the margin allows; 0 where nobody is at risk."""
    candidate = ratio * np.asarray(draws.at_risk_c, dtype=np.float64)
    everybody = candidate + draws.at_risk_b
    return np.divide(candidate, everybody, out=np.zeros_like(candidate), where=everybody > 0)
