"""The simulations of `bench/guard` are the product: the same money, launch by launch."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.guard import contenders, launches, power
from sidecar.analysis import (
    Absolute,
    Arm,
    Block,
    Counts,
    Guardrail,
    Judge,
    Relative,
    Stratum,
    edges,
)


@pytest.mark.parametrize("margin", [Relative(0.0), Relative(0.5), Absolute(0.01)])
def test_a_simulated_launch_has_the_money_of_a_judge(margin):
    random, seconds, many = np.random.default_rng(4), 200, 3
    simulated = launches.ErrorLaunches(many, margin)
    judges = [Judge([Guardrail("error_rate", margin)], 0.0) for _ in range(many)]
    for second in range(seconds):
        n = random.poisson([[95], [5]], (2, many))
        e = random.binomial(n, 0.03)
        simulated.look(second + 1.0, [launches.News(e[0], e[1], 0.05, n[1])])
        for index, judge in enumerate(judges):
            counts = [Counts(int(n[arm][index]), int(e[arm][index])) for arm in (0, 1)]
            arms = [Arm(one, one) for one in counts]
            judge.observe([Block(Stratum("s", "v"), second, *arms, share=0.05)], second + 1.0)
    for index, judge in enumerate(judges):
        assert judge.errors[0].money == pytest.approx(simulated.money[index], rel=1e-12)


def test_a_simulated_launch_has_the_durations_money_of_a_judge():
    random = np.random.default_rng(4)
    judge = Judge([Guardrail("latency")], 0.0)
    evidence = judge.durations[0]
    plan = power.steered(random, 2_000)
    evidence.learner.plan, evidence.learner.next_at = plan, 10**9
    evidence.learner.age_s = plan.age_s
    simulated = launches.DurationLaunches(1, plan)
    held = []
    for second in range(100):
        groups, arms = [], []
        for size in (95, 5):
            buckets = power.bucketed(np.minimum(power.slowed(random, size, ""), 0.9))
            latency = np.bincount(buckets, minlength=edges.BUCKETS).astype(np.int64)
            counts = Counts(size, 0, latency)
            arms.append(Arm(counts, counts))
            groups.append(plan.grouped(latency, np.array(size), candidate=size == 5))
        held.append(groups)
        judge.observe([Block(Stratum("s", "v"), second, *arms)], second + 1.0)
        ripe = second - plan.age_s - 1
        if ripe >= 0:
            simulated.look(second + 1.0, held[ripe][1][None], held[ripe][0][None])
        else:
            simulated.look(second + 1.0, *(np.zeros((2, 1, len(plan.cuts_c) + 1), dtype=int)))
    assert evidence.money == pytest.approx(simulated.money[0], rel=1e-12)


def test_growthbooks_interval_lies_where_its_mixture_has_won():
    """The half-normal mixture that eq. 134 bounds, written out with scipy.stats.norm."""
    alpha, n = 0.01, 20_000.0
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / 5_000
    scaled = n * rho2 + 1
    width = math.sqrt(2 * scaled / (n**2 * rho2) * math.log(1 + math.sqrt(scaled) / (2 * alpha)))

    def mixture(mean):
        total = mean * n
        lead = total * math.sqrt(rho2 / scaled)
        return 2 / math.sqrt(scaled) * math.exp(lead**2 / 2) * stats.norm.cdf(lead)

    assert 1 / alpha < mixture(width) < 1.5 / alpha
    counts = np.full((2, 1), n / 2)
    variance = np.full((2, 1), 0.25)
    for factor, above in ((1.001, True), (0.999, False)):
        means = np.array([[0.0], [factor * width]])
        assert contenders.interval_above(means, variance, counts)[0] == above


def test_kayentas_classifier_has_its_tolerance():
    """Significant but within a quarter of the estimate is no `High`; twice as much is."""
    random = np.random.default_rng(2)
    control = random.normal(1.0, 0.1, 60)
    assert contenders.higher(control + random.normal(1.0, 0.1, 60), control)
    assert not contenders.higher(random.normal(1.0, 0.1, 60), control)
    assert not contenders.higher(control, control)


def test_the_two_sample_bound_is_above_walds_and_near_it_for_a_small_canary():
    for case in power.ERRORS:
        assert power.two_sample(case) >= power.wald(case) * 0.999
    small, even = power.ERRORS[0], power.ERRORS[3]
    assert power.two_sample(even) / power.wald(even) == pytest.approx(4.8, abs=0.1)
    assert power.two_sample(small) / power.wald(small) == pytest.approx(1.3, abs=0.05)
