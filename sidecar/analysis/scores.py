"""Is a bounded score, such as a quality from 0 to 1, worse than allowed? For metrics to come.

Each answer of the candidate multiplies a bet's money by 1 + l_c (x - m_c), each of the baseline by
1 + l_b (m_b - x), where m_b guesses the baseline's mean before the block is seen, m_c = m_b + d is
the allowed mean, and n_c l_c = n_b l_b. A wrong guess shifts both arms alike, and 1 + y <= e^y
makes the product fair for every true mean: E <= 1 whenever mean_c <= mean_b + d, whatever the
distributions (after Waudby-Smith & Ramdas, JRSS B 86, 2024). Harm is an increase: give 1 - score.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64] | NDArray[np.float64]
# Parts of the largest bet that keeps every factor positive.
STAKES = np.array([0.02, 0.05, 0.12, 0.3, 0.7])
_KEEP = 0.98


def log_factors(
    candidate: Counts, baseline: Counts, values: Floats, guess: float, extra: float
) -> Floats:
    """Return the log of what each bet's money is multiplied by: (..., len(STAKES)).

    candidate, baseline: (..., bins), how many answers had each of `values` (bins, from 0 to 1);
    guess: the baseline's mean as expected before; extra: the allowed increase.
    """
    n_c = candidate.sum(axis=-1, dtype=np.float64)[..., None]
    n_b = baseline.sum(axis=-1, dtype=np.float64)[..., None]
    allowed = min(guess + extra, 1.0)
    most_c = _KEEP / max(allowed, 1e-9)
    most_b = _KEEP / max(1.0 - guess, 1e-9)
    times = np.divide(n_c, n_b, out=np.zeros_like(n_c), where=n_b > 0)
    most = np.minimum(most_c, np.divide(most_b, times, out=np.zeros_like(times), where=times > 0))
    stake_c = STAKES * most
    stake_b = stake_c * times
    won = np.log1p(stake_c[..., None] * (values - allowed)) * candidate[..., None, :]
    lost = np.log1p(stake_b[..., None] * (guess - values)) * baseline[..., None, :]
    return np.asarray((won + lost).sum(axis=-1))
