"""Shown to be no worse, by a known number of samples: the test for promotion.

Who knows at which number N he will decide can do nearly as well as a single look at N, and still
stop early: a test that will reject at N has, at every n before, a probability of doing so given the
data so far. That probability is a fair game under the null hypothesis and starts at the test's
level; so is the sum over several tests, and reaching 1 happens with at most the sum of the levels.
(The same idea with one bound for all n is YEAST: Kurennoy et al., NeurIPS 2025, arXiv:2406.16523.)
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Nearly all of the level for the decision at N; the rest lets a certain one come before.
_PARTS = (0.98, 0.02)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def certainty(scores: Floats, samples: Floats, horizon: float, level: float) -> Floats:
    """Return the sum of the tests' probabilities to reject: at 1 it is shown.

    scores: the sum so far, over the standard deviation of one sample (so its variance is
    `samples`), growing if the hypothesis is wrong. samples: how many so far, up to `horizon`.
    """
    left = np.sqrt(np.maximum(horizon - samples, 0.0))
    total = np.zeros(np.broadcast(scores, samples).shape)
    for part in _PARTS:
        lead = scores - NormalDist().inv_cdf(1 - part * level) * math.sqrt(horizon)
        with np.errstate(divide="ignore", invalid="ignore"):
            open_still = 0.5 * np.asarray(_erfc(-lead / left / math.sqrt(2)), dtype=np.float64)
        total += np.where(left > 0, open_still, lead >= 0)
    return total
