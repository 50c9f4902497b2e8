"""The arithmetic of `canary weights`."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar import delivery
from sidecar.delivery import UnknownVariantError, WeightsError, plain
from sidecar.rollout.names import MAX_WEIGHT

NAMES = ("stable", "canary", "b", "c")
WEIGHT = st.decimals(0, 10**6, places=9)


def weights(**values):
    return {name: Decimal(str(value)) for name, value in values.items()}


def rebalance(in_force, changes, total=100):
    return delivery.rebalance(in_force, changes, Decimal(total))


def test_an_unnamed_baseline_takes_the_rest():
    after = rebalance(weights(stable=95, canary=5), weights(canary=50))
    assert after == weights(stable=50, canary=50)


def test_unnamed_candidates_keep_theirs():
    after = rebalance(weights(stable=90, canary=5, b=5), weights(canary="12.5"))
    assert after == weights(stable="82.5", canary="12.5", b=5)


@pytest.mark.parametrize(
    ("said", "after"),
    [
        (weights(stable=1, canary=1), weights(stable=50, canary=50)),
        (weights(stable=950, canary=50), weights(stable=95, canary=5)),
        (weights(stable=2, canary=1), weights(stable=2, canary=1)),
        (weights(stable=0, canary=7), weights(stable=0, canary=100)),
    ],
)
def test_where_all_are_named_only_the_ratios_count_on_the_documents_scale_if_they_fit(said, after):
    assert rebalance(weights(stable=95, canary=5), said) == after


@pytest.mark.parametrize("before", [{"stable": 95}, {"stable": 1, "canary": 1}, {"stable": 2}])
def test_a_number_means_the_same_whatever_was_said_before(before):
    in_force = rebalance(weights(stable=95, canary=5), weights(canary=1) | weights(**before))
    assert rebalance(in_force, weights(canary=2)) == weights(stable=98, canary=2)


def test_of_two_the_candidate_takes_the_rest_of_a_named_baseline():
    assert rebalance(weights(stable=95, canary=5), weights(stable=60)) == weights(
        stable=60, canary=40
    )


def test_of_three_it_must_be_said_who_takes_the_rest_of_a_named_baseline():
    with pytest.raises(WeightsError, match="who gets the rest") as refused:
        rebalance(weights(stable=90, canary=5, b=5), weights(stable=50, canary=45))
    assert "stable=N canary=N b=N" in refused.value.remedy


def test_a_share_that_is_no_exact_number_of_the_total_is_not_rounded():
    thirds = rebalance(weights(stable=90, canary=5, b=5), weights(stable=1, canary=1, b=1))
    with pytest.raises(WeightsError, match="b cannot keep its share") as refused:
        rebalance(thirds, weights(canary=10))
    assert "stable=N canary=N b=N" in refused.value.remedy


@pytest.mark.parametrize("zero", ["-0", "-0.00", "0E+999999999"])
def test_zero_is_kept_as_zero(zero):
    after = rebalance(weights(stable=95, canary=5), {"canary": Decimal(zero)})
    assert [str(weight) for weight in after.values()] == ["100", "0"]


def test_the_candidates_may_take_everything_but_no_more():
    before = weights(stable=95, canary=5)
    assert rebalance(before, weights(canary=100)) == weights(stable=0, canary=100)
    with pytest.raises(WeightsError, match="nothing is left for stable") as refused:
        rebalance(before, weights(canary="100.000000001"))
    assert "name every variant" in refused.value.remedy


def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(UnknownVariantError, match="canry") as refused:
        rebalance(weights(stable=95, canary=5), weights(canry=50))
    assert "did you mean canary?" in refused.value.remedy


def test_all_zero_is_refused():
    with pytest.raises(WeightsError, match="every weight would be zero"):
        rebalance(weights(stable=95, canary=5), weights(stable=0, canary=0))


@pytest.mark.parametrize(
    "weight", ["NaN", "sNaN", "Infinity", "-1", "-0.1", str(MAX_WEIGHT + 1), "1E-10", "1E+99999999"]
)
def test_a_weight_that_cannot_be_is_refused_with_a_remedy(weight):
    with pytest.raises(WeightsError) as refused:
        rebalance(weights(stable=95, canary=5), {"canary": Decimal(weight)})
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ("50.000", "50"),
        ("12.50", "12.5"),
        ("100", "100"),
        ("0", "0"),
        ("1E+3", "1000"),
        ("0.0", "0"),
    ],
)
def test_a_weight_is_shown_as_people_write_it(weight, text):
    assert plain(Decimal(weight)) == text


@given(
    st.lists(WEIGHT, min_size=2, max_size=4), st.dictionaries(st.sampled_from(NAMES[1:]), WEIGHT)
)
def test_without_the_baseline_the_total_stays_exactly_the_same(values, changes):
    before = dict(zip(NAMES, values, strict=False))
    changes = {name: weight for name, weight in changes.items() if name in before}
    assume(any(values))
    try:
        after = rebalance(before, changes, sum(values))
    except WeightsError:
        wanted = {**before, **changes}
        assert sum(list(wanted.values())[1:]) > sum(values)
        return
    assert sum(after.values()) == sum(values)
    assert list(after) == list(before)
    assert all(weight >= 0 for weight in after.values())
    assert {name: after[name] for name in changes} == changes
    untouched = set(before) - set(changes) - {"stable"}
    assert all(after[name] == before[name] for name in untouched)
