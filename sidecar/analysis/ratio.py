"""Did chance hand out people as designed? Counts of units against designed shares, at any time.

The sequential multinomial test of Lindon & Malek (NeurIPS 2022): the likelihood of the counts under
a Dirichlet mixture around the design, over that under the design. Each stratum has its own test;
people meet several sidecars and several table versions, so the tests depend on each other, and only
a mean of them is valid.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CONCENTRATION = 100.0
# Stirling's series (Abramowitz & Stegun 6.1.41) for lgamma(x + 10), and back by its recurrence.
_SHIFT = 10
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_evidence(counts: NDArray[np.int64], shares: Floats) -> Floats:
    """Return the log e-value: counts and designed shares (..., arms), shares above zero."""
    prior = CONCENTRATION * shares
    total = counts.sum(axis=-1)
    mixed = lgamma(prior + counts) - lgamma(prior) - counts * np.log(shares)
    whole = lgamma(np.asarray(CONCENTRATION + total)) - lgamma(np.asarray(CONCENTRATION))
    return np.asarray(mixed.sum(axis=-1) - whole)


def pooled(log_evidences: Floats) -> float:
    """Return the mean of the strata's e-values, in the order in which they appeared.

    The first has half of the weight, the second a sixth, then a twelfth ...: 1/(i(i+1)), which
    sums to 1 without knowing how many there will be.
    """
    order = np.arange(1, log_evidences.shape[-1] + 1)
    return float((np.exp(np.minimum(log_evidences, 200.0)) / (order * (order + 1))).sum())


def lgamma(x: Floats) -> Floats:
    """Return the logarithm of the gamma function for x > 0, to about 1e-13."""
    x = np.asarray(x, dtype=np.float64)
    below = np.ones_like(x)
    for step in range(_SHIFT):
        below *= x + step
    up = x + _SHIFT
    inverse = 1.0 / up
    series = np.zeros_like(x)
    for coefficient in reversed(_SERIES):
        series = series * inverse**2 + coefficient
    stirling = (up - 0.5) * np.log(up) - up + 0.5 * np.log(2 * np.pi) + series * inverse
    return np.asarray(stirling - np.log(below))
