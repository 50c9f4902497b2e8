"""The rules that are compared, each over many launches: seconds to rollback, or never.

Flagger and Argo as their documents show them, with thresholds set by somebody who knows the healthy
figures: 99 % successes, a p99 of at most 1.2 times the true one. Kayenta as its Mann-Whitney
classifier works (98 % confidence, a tolerance of a quarter of the estimate) on a metric a minute,
asked each minute of the first hour and each ten minutes then. GrowthBook's one-sided sequential
interval as gbstats has it (Waudby-Smith et al., arXiv:2103.06476, tuned to 5,000), at our alpha, on
error rates and mean durations, asked every second.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.guard import power
from bench.guard.launches import DurationLaunches, ErrorLaunches, News
from bench.guard.scenarios import P99_S, Counts, Floats, Scenario
from sidecar.analysis import ratio

ALPHA = 0.01
Random = np.random.Generator
Flags = NDArray[np.bool_]
Rule = Callable[[Scenario, Random, int, int], Floats]
_SUCCESS = 0.99
_P99_S = 1.2 * P99_S
_POOL = 200_000


def flagger(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """Each minute a check on the last one; the fifth failed check rolls back."""
    return _thresholds(scenario, random, launches, seconds, every_s=60, failures=5)


def argo(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """Each five minutes a measurement of the last five; more than three failures roll back."""
    return _thresholds(scenario, random, launches, seconds, every_s=300, failures=4)


def _thresholds(  # noqa: PLR0913
    scenario: Scenario, random: Random, launches: int, seconds: int, *, every_s: int, failures: int
) -> Floats:
    found = np.full(launches, np.inf)
    failed_checks = np.zeros(launches, dtype=np.int64)
    slow = float((power.slowed(random, _POOL, scenario.shape) > _P99_S).mean())
    for end in range(every_s, seconds + 1, every_s):
        started, failed = _window(scenario, random, launches, end, every_s)[2:]
        beyond = random.binomial(started, slow)
        bad = (failed > (1 - _SUCCESS) * started) | (beyond > 0.01 * started)
        failed_checks += bad & (started > 0)
        found = np.where((failed_checks >= failures) & np.isinf(found), end, found)
        if np.isfinite(found).all():
            break
    return found


def _window(
    scenario: Scenario, random: Random, launches: int, end: int, length: int
) -> list[Counts]:
    """Draw some seconds as one: the load within them moves little."""
    sums = [np.zeros(launches, dtype=np.int64) for _ in range(4)]
    step = min(length, 60)
    for second in range(end - length, end, step):
        wide = replace(scenario, rate=scenario.rate * step)
        sums = [a + b for a, b in zip(sums, wide.counts(random, launches, second), strict=True)]
    return sums


def kayenta(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """A Mann-Whitney test on the minutes so far, again and again, of error rate and p99."""
    launches = min(launches, 100)
    found = np.full(launches, np.inf)
    pools = [power.slowed(random, _POOL, shape) for shape in ("", scenario.shape)]
    ordered = [np.sort(pool) for pool in pools]
    rows: list[list[Floats]] = [[], [], [], []]
    for minute in range(1, seconds // 60 + 1):
        drawn = _window(scenario, random, launches, minute * 60, 60)
        for arm in (0, 1):
            started, failed = drawn[2 * arm], drawn[2 * arm + 1]
            rows[arm].append(failed / np.maximum(started, 1))
            rows[2 + arm].append(_p99(random, ordered[arm], started))
        if minute < 5 or (minute > 60 and minute % 10):
            continue
        for index in np.flatnonzero(np.isinf(found)):
            series = [np.array([row[index] for row in rows[kind]]) for kind in range(4)]
            if higher(series[1], series[0]) or higher(series[3], series[2]):
                found[index] = minute * 60
        if np.isfinite(found).mean() > 0.95:
            break
    return found


def _p99(random: Random, ordered: Floats, started: Counts) -> Floats:
    """The p99 of so many durations: an order statistic, drawn by its beta distribution."""
    n = np.maximum(started, 1)
    rank = np.ceil(0.99 * n)
    return ordered[(random.beta(rank, n - rank + 1) * len(ordered)).astype(np.int64)]


def higher(experiment: Floats, control: Floats) -> bool:
    """Whether Kayenta's classifier says High.

    Its confidence interval of the shift lies above a quarter of the Hodges-Lehmann estimate, that
    is: moved down by so much the experiment is still significantly higher.
    """
    if np.array_equal(experiment, control) or not _greater(experiment, control):
        return False
    estimate = float(np.median(experiment[:, None] - control[None, :]))
    return estimate > 0 and _greater(experiment - 0.25 * estimate, control)


def _greater(a: Floats, b: Floats) -> bool:
    if a.min() == a.max() == b.min() == b.max():
        return False
    return bool(stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic").pvalue < 0.01)


def growthbook(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """The one-sided sequential interval of the difference of means, above zero."""
    found = np.full(launches, np.inf)
    shapes = [power.slowed(random, _POOL, shape) for shape in ("", scenario.shape)]
    moments = [(x.mean(), x.std()) for x in shapes]
    n, failed = np.zeros((2, launches)), np.zeros((2, launches))
    total, squares = np.zeros((2, launches)), np.zeros((2, launches))
    for second in range(seconds):
        drawn = scenario.counts(random, launches, second)
        for arm, (mean, deviation) in enumerate(moments):
            started = drawn[2 * arm]
            n[arm] += started
            failed[arm] += drawn[2 * arm + 1]
            total[arm] += started * mean
            total[arm] += np.sqrt(started) * deviation * random.standard_normal(launches)
            squares[arm] += started * (mean**2 + deviation**2)
        rate = failed / np.maximum(n, 1)
        average = total / np.maximum(n, 1)
        spread = np.maximum(squares / np.maximum(n, 1) - average**2, 0)
        above = interval_above(rate, rate * (1 - rate), n) | interval_above(average, spread, n)
        found = np.where(above & np.isinf(found), second + 1, found)
        if np.isfinite(found).mean() > 0.95:
            break
    return found


def interval_above(means: Floats, variances: Floats, n: Floats) -> Flags:
    """Whether the lower bound of candidate minus baseline is above zero: arrays (2, launches).

    Eq. 134 and 161 of arXiv:2103.06476v7.
    """
    rho2 = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / 5_000
    both = n.sum(axis=0)
    variance = (variances / np.maximum(n, 1)).sum(axis=0) * both
    scaled = both * rho2 + 1
    width = np.sqrt(variance) * np.sqrt(
        2 * scaled / (np.maximum(both, 1) ** 2 * rho2) * np.log(1 + np.sqrt(scaled) / (2 * ALPHA))
    )
    return np.asarray((means[1] - means[0] > width) & (n.min(axis=0) > 1) & (variance > 0))


def ours(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """Errors and durations, margins of nothing, one budget over both, unless the split is wrong."""
    plan = power.steered(random)
    errors, slow = ErrorLaunches(launches), DurationLaunches(launches, plan)
    masses = [
        _mass(power.slowed(random, _POOL, shape), plan.cuts_c) for shape in ("", scenario.shape)
    ]
    found = np.full(launches, np.inf)
    held = [np.zeros((launches, len(masses[0])), dtype=np.int64) for _ in (0, 1)]
    # Blocks of one second would take ten times as long for a day.
    units, told = np.zeros((launches, 2), dtype=np.int64), np.zeros(launches, dtype=bool)
    wait_s = max(10 if scenario.healthy else 1, math.ceil(3 / (scenario.rate * scenario.share)))
    for second in range(seconds):
        age = second + 1.0
        b, failed_b, c, failed_c = scenario.counts(random, launches, second)
        units += np.stack([b, c], axis=1)
        told |= _told(units, scenario)
        errors.look(age, [News(failed_b, failed_c, scenario.designed)])
        rate = scenario.rate * scenario.load(second)
        for arm, part in enumerate((1 - scenario.share, scenario.share)):
            held[arm] += random.poisson(rate * part * masses[arm], held[arm].shape)
        if (second + 1) % wait_s == 0:
            slow.look(age, held[1], held[0])
            held = [np.zeros_like(held[0]) for _ in (0, 1)]
        pooled = 0.5 * (errors.money.sum(axis=1) + slow.money.sum(axis=1))
        # Durations are judged when they are in: three seconds later.
        found = np.where((pooled >= 1 / ALPHA) & np.isinf(found) & ~told, age, found)
        if (told | np.isfinite(found)).mean() > 0.95:
            break
    return found + (plan.age_s + 2 if scenario.shape else 0)


def _mass(times: Floats, cuts: tuple[int, ...]) -> Floats:
    groups = np.searchsorted(cuts, power.bucketed(times), side="right")
    return np.bincount(groups, minlength=len(cuts) + 1) / len(times)


def mismatch(scenario: Scenario, random: Random, launches: int, seconds: int) -> Floats:
    """Seconds until the sample-ratio check speaks: no rollback, but no verdict of health either."""
    found = np.full(launches, np.inf)
    counts = np.zeros((launches, 2), dtype=np.int64)
    for second in range(seconds):
        drawn = scenario.counts(random, launches, second)
        counts += np.stack([drawn[0], drawn[2]], axis=1)
        found = np.where(_told(counts, scenario) & np.isinf(found), second + 1, found)
        if np.isfinite(found).mean() > 0.95:
            break
    return found


def _told(counts: Counts, scenario: Scenario) -> Flags:
    """Whether the split is known to be wrong (`ratio.pooled` takes half of one stratum's)."""
    shares = np.array([1 - scenario.designed, scenario.designed])
    strong = ratio.log_evidence(counts, shares) + math.log(0.5) >= math.log(1 / ALPHA)
    return np.asarray(strong)


RULES: dict[str, Rule] = {
    "Flagger": flagger,
    "Argo": argo,
    "Kayenta": kayenta,
    "GrowthBook": growthbook,
    "ours": ours,
}
