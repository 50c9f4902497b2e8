"""The error budget as a bettor's money: what the tests start with, and how it is spent.

Every test bets against "the candidate is no worse". If that is true its money cannot be expected
to grow, whenever one looks and however one decides when to stop (Ville 1939); so money that grew
by 1/alpha is a false alarm in at most alpha of all launches. Two things make such a test useful:

- Money that lies in hopeless bets for four healthy hours is gone. So only part of it is there at
  the start, and the rest comes day by day (`endowment`): harm that begins late meets fresh money.
- Several guardrails share one budget by the weighted mean of their money, which is valid however
  they depend on each other. (Their product is not: 64 % false alarms in correlated guardrails.)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_S = 86_400.0
AT_START = 0.9
_FIRST_DAY = 0.08
# Money beyond this proves nothing more; the cap keeps every product finite.
_MOST = 1e100
_MOST_LOG_FACTOR = 200.0


def endowment(age_s: float) -> float:
    """Return the money given out up to an age of the launch: never above 1, however old it gets.

    AT_START at once, most of the rest evenly over the first day, the last with the falling
    frequency at which longer launches happen. It depends on the clock alone, so no data can lead
    it; a clock that jumps can only give it out early.
    """
    age = max(age_s, 0.0) / DAY_S
    later = 1.0 - AT_START - _FIRST_DAY
    return AT_START + _FIRST_DAY * min(age, 1.0) + later * (1.0 - 1.0 / max(age, 1.0))


def grow(money: Floats, fresh: Floats, log_factors: Floats) -> Floats:
    """Put fresh money to each bet, then settle: shapes (..., bets)."""
    factors = np.exp(np.minimum(log_factors, _MOST_LOG_FACTOR))
    return np.minimum((money + fresh) * factors, _MOST)


def pooled(evidence: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted mean of e-values (Vovk & Wang, Ann. Statist. 49, 2021)."""
    return float(np.dot(evidence, weights) / np.sum(weights))


def culprits(evidence: Sequence[float], weights: Sequence[float], bar: float) -> list[int]:
    """Return which hypotheses closed testing rejects at once with the pooled one, strongest first.

    A guardrail is named if every set of guardrails that contains it is rejected by its weighted
    mean; the hardest such set adds the weakest others for as long as they lower the mean.
    """
    order = sorted(range(len(evidence)), key=lambda i: evidence[i])
    return [i for i in reversed(order) if _hardest(i, order, evidence, weights) >= bar]


def _hardest(
    one: int, order: Sequence[int], evidence: Sequence[float], weights: Sequence[float]
) -> float:
    total, weight = evidence[one] * weights[one], weights[one]
    for other in order:
        if other == one:
            continue
        if evidence[other] * weight >= total:
            break
        total += evidence[other] * weights[other]
        weight += weights[other]
    return total / weight
