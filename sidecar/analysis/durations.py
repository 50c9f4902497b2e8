"""Is the candidate slower than allowed? Any shape of harm, at any time, by asking which arm it was.

Answers are sorted into groups by duration. If both arms are alike within a block, an answer of any
group is the candidate's with probability w, its share of the block; so a bet that says "r_g times
as likely in group g" is multiplied by r_g / (1 - w + w r_g) for each answer of the candidate and by
1 / (1 - w + w r_g) for each of the baseline. With w the block's own share the expected factor is
at most 1 for any common distribution (weighted means: arithmetic above geometric), and also for
any faster candidate as long as r never falls from one group to a slower one. A margin moves the
baseline's answers up before they are sorted. Which groups and which r: `steering`.
"""

import numpy as np
from numpy.typing import NDArray

from sidecar.analysis import edges

Floats = NDArray[np.float64]
Counts = NDArray[np.int64] | NDArray[np.float64]

# The least duration of each bucket, in seconds.
LOWER_S: Floats = np.array(edges.LOWER_US) / 1e6


def log_factors(candidate: Counts, baseline: Counts, log_r: Floats) -> Floats:
    """Return the log of what each bet's money is multiplied by.

    candidate, baseline: (..., groups), one block each; log_r: (bets, groups), each row
    non-decreasing. Returns (..., bets). A block with one arm only is worth exactly 0.
    """
    mine = candidate.sum(axis=-1, dtype=np.float64)
    everybody = mine + baseline.sum(axis=-1)
    share = np.divide(mine, everybody, out=np.zeros_like(mine), where=everybody > 0)
    share = share[..., None, None]
    scale = np.log(1.0 - share + share * np.exp(log_r))
    both = (candidate + baseline)[..., None, :]
    return np.asarray((candidate[..., None, :] * log_r - both * scale).sum(axis=-1))
