"""Error counts: a fair game by every path, against exact sums over scipy's distributions."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats

from sidecar.analysis import rates
from sidecar.analysis.guardrails import Absolute, Relative
from sidecar.analysis.intervals import Difference, Ratio
from sidecar.analysis.rates import Draws

SAME = Relative(0.0)


def draws(errors_b, errors_c, at_risk_b, at_risk_c, exposed=0):
    columns = (errors_b, errors_c, at_risk_b, at_risk_c, exposed)
    return Draws(*(np.array([value]) for value in columns))


def factors(*counts, margin=SAME):
    return np.exp(rates.log_factors(draws(*counts), rates.HARM.tilts, *rates.allowance(margin))[0])


def test_the_money_is_shared_out_whole():
    for bets in (rates.HARM, rates.UPWARD, rates.DOWNWARD):
        assert bets.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(("units_b", "units_c"), [(3, 2), (6, 1), (2, 4), (7, 3)])
def test_no_way_of_stopping_beats_the_game_error_by_error(units_b, units_c):
    """Every path of errors, enumerated; the best stopping rule by backward induction."""

    @cache
    def best(failed_b, failed_c, money):
        now = float(np.dot(rates.HARM.shares, money))
        left_b, left_c = units_b - failed_b, units_c - failed_c
        if not left_b + left_c:
            return now
        after = 0.0
        for e_b, e_c, left in ((1, 0, left_b), (0, 1, left_c)):
            if left:
                grown = np.array(money) * factors(e_b, e_c, left_b, left_c)
                chance = left / (left_b + left_c)
                after += chance * best(failed_b + e_b, failed_c + e_c, tuple(grown))
        return max(now, after)

    assert best(0, 0, (1.0,) * len(rates.HARM.tilts)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("units_b", "units_c", "failed"), [(19, 1, 3), (30, 10, 25), (5, 5, 10)])
def test_many_errors_at_one_look_are_worth_no_more_than_fair(units_b, units_c, failed):
    """scipy.stats.hypergeom: which of the failed units are the candidate's."""
    worth = 0.0
    for e_c in range(max(0, failed - units_b), min(units_c, failed) + 1):
        chance = stats.hypergeom.pmf(e_c, units_b + units_c, units_c, failed)
        worth += chance * factors(failed - e_c, e_c, units_b, units_c)
    assert (worth <= 1 + 1e-12).all()


@pytest.mark.parametrize("margin", [Relative(0.0), Relative(0.5), Absolute(0.05), Absolute(0.3)])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.6])
@pytest.mark.parametrize(("n_b", "n_c"), [(19, 1), (10, 10), (4, 12)])
def test_the_worst_allowed_rate_is_worth_no_more_than_fair(margin, rate, n_b, n_c):
    """Summed over scipy.stats.binom of both arms, at the very edge of the margin."""
    ratio, extra = rates.allowance(margin)
    allowed = min(ratio * rate + extra, 1.0)
    worth = 0.0
    for e_b, e_c in product(range(n_b + 1), range(n_c + 1)):
        chance = stats.binom.pmf(e_b, n_b, rate) * stats.binom.pmf(e_c, n_c, allowed)
        worth += chance * factors(e_b, e_c, n_b, n_c, n_c, margin=margin)
    assert (worth <= 1 + 1e-12).all()


def test_harm_beyond_the_margin_is_worth_more_than_fair():
    worth = sum(
        stats.binom.pmf(e_b, 19, 0.1) * stats.binom.pmf(e_c, 10, 0.8) * factors(e_b, e_c, 19, 10)
        for e_b, e_c in product(range(20), range(11))
    )
    assert worth.max() > 2


def test_one_arm_alone_says_nothing():
    assert factors(0, 7, 0, 50) == pytest.approx(1)
    assert factors(7, 0, 50, 0) == pytest.approx(1)
    assert factors(0, 0, 0, 0) == pytest.approx(1)


def test_the_interval_ends_where_the_bet_against_it_has_won():
    """Each bound against scipy.optimize.brentq on the e-value written out."""
    interval, alpha = Difference(), 0.05
    sample = draws(12, 9, 950, 60, 60)
    interval.add(sample)
    found = interval.bounds(alpha)

    def excess(difference, bets):
        won, price = rates.terms(sample, bets.tilts, 1.0)
        money = bets.shares @ np.exp(won - difference * price)[0]
        return np.log(money) - np.log(2 / alpha)

    assert found.low == pytest.approx(
        optimize.brentq(excess, -0.9, 0.13, args=(rates.UPWARD,)), abs=1e-4
    )
    assert found.high == pytest.approx(
        optimize.brentq(excess, 0.2, 0.99, args=(rates.DOWNWARD,)), abs=1e-4
    )
    assert found.low < 9 / 60 - 12 / 950 < found.high


@pytest.mark.parametrize("kind", [Difference, Ratio])
def test_the_interval_covers_the_truth_at_every_look(kind):
    """200 seeded launches of 12 looks each, all looks at once: at most 5 % may miss."""
    random, missed = np.random.default_rng(11), 0
    truth = 0.08 - 0.04 if kind is Difference else 0.08 / 0.04 - 1
    for _ in range(200):
        interval, out = kind(), False
        for _ in range(12):
            n_b, n_c = 450, 50
            e_b, e_c = random.binomial(n_b, 0.04), random.binomial(n_c, 0.08)
            interval.add(draws(e_b, e_c, n_b, n_c, n_c))
            found = interval.bounds(0.05)
            out |= found.low is not None and found.low > truth
            out |= found.high is not None and found.high < truth
        missed += out
    assert missed <= 16


def test_the_interval_narrows_around_the_truth():
    interval = Difference()
    interval.add(draws(400, 800, 40_000, 40_000, 40_000))
    found = interval.bounds(0.01)
    assert 0.005 < found.low < 0.01 < found.high < 0.015
