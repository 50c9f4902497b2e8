"""Durations: a fair game for any shape, and margins that are never tighter than they say."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sidecar.analysis import durations, edges, steering
from sidecar.analysis.durations import LOWER_S
from sidecar.analysis.guardrails import Absolute, Relative

RATIOS = np.log(np.array([[0.7, 1.0, 4.0], [0.98, 1.0, 30.0], [0.2, 1.2, 1.9]]))


def expected(baseline, candidate, n_b, n_c, log_r=RATIOS):
    """What a block is worth on average: summed over scipy.stats.multinomial of both arms."""
    worth = np.zeros(len(log_r))
    for b in product(range(n_b + 1), repeat=3):
        for c in product(range(n_c + 1), repeat=3):
            if sum(b) == n_b and sum(c) == n_c:
                chance = stats.multinomial.pmf(b, n_b, baseline)
                chance *= stats.multinomial.pmf(c, n_c, candidate)
                worth += chance * np.exp(durations.log_factors(np.array(c), np.array(b), log_r))
    return worth


@pytest.mark.parametrize("shape", [(0.5, 0.3, 0.2), (0.9, 0.09, 0.01), (0.0, 0.5, 0.5), (1, 0, 0)])
@pytest.mark.parametrize(("n_b", "n_c"), [(4, 1), (2, 2), (1, 4), (3, 0)])
def test_the_same_shape_in_both_arms_is_worth_no_more_than_fair(shape, n_b, n_c):
    assert (expected(shape, shape, n_b, n_c) <= 1 + 1e-12).all()


@pytest.mark.parametrize("faster", [(0.6, 0.3, 0.1), (0.5, 0.4, 0.1), (0.7, 0.1, 0.2)])
def test_a_faster_candidate_is_worth_less_than_fair(faster):
    assert (expected((0.5, 0.3, 0.2), faster, 4, 2) < 1).all()


def test_a_slower_candidate_is_worth_more_than_fair():
    assert expected((0.9, 0.09, 0.01), (0.4, 0.2, 0.4), 4, 2).max() > 2


def test_a_block_of_one_arm_says_nothing():
    nothing = np.zeros(3, dtype=np.int64)
    seen = np.array([5, 3, 2])
    assert durations.log_factors(seen, nothing, RATIOS) == pytest.approx(0)
    assert durations.log_factors(nothing, seen, RATIOS) == pytest.approx(0)


@given(st.integers(0, 2**40))
def test_every_duration_is_in_the_bucket_whose_edges_enclose_it(duration_us):
    bucket = edges.bucket(duration_us)
    assert edges.LOWER_US[bucket] <= duration_us
    assert bucket == edges.BUCKETS - 1 or duration_us < edges.LOWER_US[bucket + 1]


def test_a_bucket_is_at_most_a_sixteenth_wide():
    widths = np.diff(edges.LOWER_US)[1:] / np.array(edges.LOWER_US)[1:-1]
    assert widths.max() <= 1 / 16


def test_a_negative_duration_is_the_shortest():
    assert edges.bucket(-5) == 0


def baseline(count=4_000, scale=0.05, seed=3):
    times = np.random.default_rng(seed).lognormal(np.log(scale), 1, count)
    buckets = [edges.bucket(int(t * 1e6)) for t in times]
    return np.bincount(buckets, minlength=edges.BUCKETS).astype(np.int64)


MARGINS = st.one_of(st.floats(0, 3).map(Relative), st.floats(0, 2).map(Absolute))


@given(MARGINS, st.sampled_from([None, 0.5, 0.9, 0.99]), st.sampled_from([0.005, 0.05, 2.0]))
def test_a_plan_is_fair_before_it_is_clever(margin, quantile, scale):
    """Never falling from fast to slow, money shared out whole, groups in order, finite."""
    plan = steering.plan(baseline(scale=scale), 0, margin, quantile)
    assert (np.diff(plan.log_r, axis=1) >= 0).all()
    assert np.isfinite(plan.log_r).all()
    assert plan.shares.sum() == pytest.approx(1)
    assert list(plan.cuts_c) == sorted(set(plan.cuts_c))
    assert list(plan.cuts_b) == sorted(plan.cuts_b)
    assert plan.age_s in steering.AGES_S
    # Nothing that must be told apart may still be open when the block is judged.
    assert LOWER_S[plan.cuts_c[-1]] <= plan.age_s


@given(MARGINS, st.integers(64, 10**7))
def test_what_the_margin_allows_is_never_in_a_slower_group_than_the_baseline(margin, duration_us):
    plan = steering.plan(baseline(), 0, margin, None)
    allowed = duration_us / 1e6 + margin.value
    if isinstance(margin, Relative):
        allowed = duration_us / 1e6 * (1 + margin.value)
    group_b = np.searchsorted(plan.cuts_b, edges.bucket(duration_us), side="right")
    group_c = np.searchsorted(plan.cuts_c, edges.bucket(int(allowed * 1e6)), side="right")
    assert group_c <= group_b


def test_a_plan_sorts_open_answers_with_the_slowest():
    plan = steering.plan(baseline(), 0, Relative(0.0), None)
    latency = baseline(count=50)
    groups = plan.grouped(latency, np.array(60), candidate=True)
    assert groups.sum() == 60
    assert groups[-1] >= 10


def test_the_learner_waits_longer_while_answers_are_open():
    learner = steering.Learner(Relative(0.0), None)
    slow = np.zeros(edges.BUCKETS, dtype=np.int64)
    slow[edges.bucket(20_000_000)] = 20
    for _ in range(40):
        learner.learn(slow, 20)
    assert learner.plan is not None
    assert learner.age_s >= 20


def test_a_quantile_among_the_open_answers_is_waited_for_twice_as_long():
    learner = steering.Learner(Relative(0.0), 0.99)
    fast = np.zeros(edges.BUCKETS, dtype=np.int64)
    fast[edges.bucket(50_000)] = 197
    learner.learn(fast, 200)
    assert learner.plan is not None
    assert learner.age_s == 2
