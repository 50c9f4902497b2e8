"""The sample-ratio check and the pieces of one budget, against other authors' and slow paths."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from sidecar.analysis import capital, horizon, ratio, scores

POSITIVE = st.floats(1e-6, 1e12)


@given(POSITIVE)
def test_lgamma_is_scipys(x):
    assert ratio.lgamma(np.array(x)) == pytest.approx(special.gammaln(x), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("counts", [(0, 0), (19, 1), (950, 48), (500_000, 26_000)])
def test_the_split_is_judged_as_scipys_dirichlet_multinomial_says(counts):
    shares = np.array([0.95, 0.05])
    n = np.array(counts)
    mixed = stats.dirichlet_multinomial.logpmf(n, ratio.CONCENTRATION * shares, n.sum())
    designed = stats.multinomial.logpmf(n, n.sum(), shares)
    assert ratio.log_evidence(n, shares) == pytest.approx(mixed - designed, abs=1e-6)


def test_the_split_is_judged_as_the_integral_over_all_splits():
    """scipy.integrate.quad over the beta prior: the mixture written out."""
    counts, shares = np.array([180, 20]), np.array([0.95, 0.05])

    def likelihood(p):
        prior = stats.beta.pdf(p, 5, 95)
        return prior * (p / 0.05) ** 20 * ((1 - p) / 0.95) ** 180

    value, _ = integrate.quad(likelihood, 0, 1, points=[0.05, 0.1])
    assert np.exp(ratio.log_evidence(counts, shares)) == pytest.approx(value, rel=1e-6)


def test_strata_share_the_evidence_of_the_split_without_knowing_how_many_come():
    weights = [1 / (i * (i + 1)) for i in range(1, 10_000)]
    assert ratio.pooled(np.zeros(9_999)) == pytest.approx(sum(weights))
    assert sum(weights) < 1


AGES = st.floats(-1e9, 1e12)


@given(AGES, AGES)
def test_the_budget_only_grows_and_never_beyond_one(one, other):
    early, late = sorted((one, other))
    assert capital.AT_START <= capital.endowment(early) <= capital.endowment(late) <= 1


E_VALUES = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.1, 10)), min_size=1, max_size=6)


@given(E_VALUES, st.floats(2, 1_000))
def test_culprits_are_those_that_closed_testing_names(pairs, bar):
    """All subsets, one by one."""
    evidence, weights = (list(column) for column in zip(*pairs, strict=True))
    everybody = range(len(pairs))
    named = [
        one
        for one in everybody
        if all(
            sum(evidence[i] * weights[i] for i in subset)
            >= bar * sum(weights[i] for i in subset) * (1 - 1e-9)
            for size in range(1, len(pairs) + 1)
            for subset in combinations(everybody, size)
            if one in subset
        )
    ]
    found = capital.culprits(evidence, weights, bar)
    assert set(found) <= set(named)
    assert set(capital.culprits(evidence, weights, bar * (1 - 2e-9))) >= set(named)


def test_money_is_capped_and_a_hopeless_bet_is_not_nan():
    money = capital.grow(np.array([1.0, 1.0]), np.zeros(2), np.array([1e9, -1e9]))
    assert np.isfinite(money).all()
    assert money[1] == 0


@pytest.mark.parametrize("score", [-10.0, 0.0, 20.0, 35.0])
def test_the_probability_to_reject_is_a_fair_game(score):
    """scipy.integrate.quad over the next hundred samples gives what is known before them."""
    before = horizon.certainty(np.array(score), np.array(100.0), 500, 0.05)

    def after(step):
        value = horizon.certainty(np.array(score + step), np.array(200.0), 500, 0.05)
        return float(value) * stats.norm.pdf(step, scale=10)

    assert integrate.quad(after, -80, 80)[0] == pytest.approx(float(before), abs=1e-7)


def test_the_game_starts_at_its_level_and_ends_with_a_decision():
    start = horizon.certainty(np.array(0.0), np.array(0.0), 500, 0.05)
    assert start == pytest.approx(0.05)
    z = stats.norm.isf(0.049) * np.sqrt(500)
    ends = horizon.certainty(np.array([z + 1e-6, z - 1e-6]), np.array(500.0), 500, 0.05)
    assert ends[0] >= 1
    assert ends[1] == 0


@pytest.mark.parametrize("guess", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("mean", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("extra", [0.0, 0.1])
def test_scores_are_a_fair_game_however_wrong_the_guess(guess, mean, extra):
    """Two-valued scores summed over scipy.stats.binom: the hardest distributions."""
    values, n_b, n_c = np.array([0.0, 1.0]), 6, 3
    worth = 0.0
    for ones_b in range(n_b + 1):
        for ones_c in range(n_c + 1):
            chance = stats.binom.pmf(ones_b, n_b, mean)
            chance *= stats.binom.pmf(ones_c, n_c, mean + extra)
            b, c = np.array([n_b - ones_b, ones_b]), np.array([n_c - ones_c, ones_c])
            worth += chance * np.exp(scores.log_factors(c, b, values, guess, extra))
    assert (worth <= 1 + 1e-12).all()
