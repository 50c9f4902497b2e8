"""Laws 1-4 of the assignment, measured on the hash line itself; only the hash is sampled."""

import operator
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.routing import (
    Route,
    Table,
    UnitSource,
    Variant,
    compile_table,
    hash128,
    twin,
)

LINE = 1 << 64
KEYS = 1_000_000
UNIT = (UnitSource("header", "x-user-id"),)
# On a million keys: 0.1 % of them.
TOLERANCE = 0.001


def route(weights: Sequence[int], salt: bytes = b"s") -> Route:
    variants = tuple(Variant(f"v{slot}", weight) for slot, weight in enumerate(weights))
    return Route("r", UNIT, salt, variants)


def table(weights: Sequence[int]) -> Table:
    return Table(compile_table([route(weights)], "v"))


def breakpoints(*weightings: Sequence[int]) -> list[int]:
    edges = {0, LINE}
    for weights in weightings:
        shares = route(weights).thresholds
        edges |= {shares[1], *(LINE - s for s in shares[2:3])}
    return sorted(edges)


def measure(before: Sequence[int], after: Sequence[int], differ: Callable[[int, int], bool]) -> int:
    """Return how many points of the line have slots that differ; for up to two candidates."""
    one, other = route(before), route(after)
    edges = breakpoints(before, after)
    return sum(
        end - start
        for start, end in pairwise(edges)
        if differ(twin.slot_at(one, start, 0), twin.slot_at(other, start, 0))
    )


def moved_share(before: Sequence[int], after: Sequence[int]) -> Fraction:
    return Fraction(measure(before, after, operator.ne), LINE)


def shares(weights: Sequence[int]) -> list[Fraction]:
    return [Fraction(w, sum(weights)) for w in weights]


def total_variation(before: Sequence[int], after: Sequence[int]) -> Fraction:
    pairs = zip(shares(before), shares(after), strict=True)
    return sum((abs(a - b) for a, b in pairs), Fraction(0)) / 2


def close(measured: Fraction, expected: Fraction) -> bool:
    """Within the flooring of a few points of the line."""
    return abs(measured - expected) <= Fraction(8, LINE)


weight = st.integers(0, 10**6)
two = st.tuples(weight, weight).filter(any)
three = st.tuples(weight, weight, weight).filter(any)


@given(two, two)
def test_one_candidate_moves_exactly_the_difference(before, after):
    difference = abs(shares(before)[1] - shares(after)[1])
    assert close(moved_share(before, after), difference)


@given(two, two)
def test_one_candidate_is_nested(before, after):
    smaller, larger = sorted([before, after], key=lambda w: shares(w)[1])
    for edge in breakpoints(before, after)[:-1]:
        if twin.slot_at(route(smaller), edge, 0) == 1:
            assert twin.slot_at(route(larger), edge, 0) == 1


@given(three, st.integers(0, 10**6))
def test_ramping_one_of_two_candidates_moves_nobody_in_or_out_of_the_other(weights, new):
    total = sum(weights)
    ramped = min(new, total - weights[2])
    after = (total - weights[2] - ramped, ramped, weights[2])
    # One point of 2^64 may be left between candidates that have everything (docs/assignment.md).
    assert measure(weights, after, lambda one, other: (one == 2) != (other == 2)) <= 1


@given(three, three)
def test_two_candidates_move_at_most_twice_the_total_variation(before, after):
    assert moved_share(before, after) <= 2 * total_variation(before, after) + Fraction(8, LINE)


@given(st.lists(weight, min_size=2, max_size=8).filter(any), st.integers(2, 1000))
def test_scaling_all_weights_changes_no_threshold(weights, factor):
    assert route(weights).thresholds == route([w * factor for w in weights]).thresholds


@settings(max_examples=50)
@given(st.lists(weight, min_size=2, max_size=7).filter(any), st.randoms(use_true_random=False))
def test_one_more_variant_at_weight_zero_moves_nobody(weights, random):
    with_one_more = route([*weights, 0])
    points = [(random.getrandbits(64), random.getrandbits(64)) for _ in range(50)]
    points += [(edge % LINE, 7) for edge in breakpoints(weights)]
    for position, second in points:
        expected = twin.slot_at(route(weights), position, second)
        assert twin.slot_at(with_one_more, position, second) == expected


def points(seed: int, count: int = KEYS) -> Iterable[tuple[int, int]]:
    random = Random(seed)
    return ((random.getrandbits(64), random.getrandbits(64)) for _ in range(count))


MANY = [
    ([40, 10, 10, 20, 20], [30, 10, 10, 30, 20]),
    ([40, 10, 10, 20, 20], [50, 0, 30, 0, 20]),
    ([10, 10, 10, 10, 10, 10, 10, 30], [30, 10, 5, 15, 20, 0, 10, 10]),
    ([99_999, 0, 0, 1], [99_990, 0, 0, 10]),
    ([0, 0, 0, 60, 40], [0, 0, 0, 40, 60]),
]


@pytest.mark.parametrize(("before", "after"), MANY)
def test_many_candidates_get_their_share_and_move_at_most_twice_the_total_variation(before, after):
    one, other = table(before), table(after)
    counts = [0] * len(before)
    moved = 0
    for position, second in points(seed=1):
        slot = one.slot_at(0, position, second)
        counts[slot] += 1
        moved += slot != other.slot_at(0, position, second)
    for count, share in zip(counts, shares(before), strict=True):
        assert count / KEYS == pytest.approx(float(share), abs=TOLERANCE)
    assert moved / KEYS <= 2 * total_variation(before, after) + TOLERANCE


def test_a_late_candidate_that_grows_takes_people_in_and_sends_nobody_away():
    one, other = table([70, 10, 10, 10]), table([60, 10, 10, 20])
    for position, second in points(seed=2, count=200_000):
        if one.slot_at(0, position, second) == 3:
            assert other.slot_at(0, position, second) == 3


def test_weights_resolve_to_a_thousandth_of_a_percent():
    assert moved_share([100_000, 0], [99_999, 1]) == Fraction((1 << 64) // 100_000, LINE)


# ---- the hash, sampled with fixed keys -----------------------------------------------------------


def chi_squared(counts: Iterable[int], expected: float) -> float:
    return sum((count - expected) ** 2 / expected for count in counts)


def upper(degrees: int) -> float:
    """Return a bound five standard deviations above the mean of chi-squared."""
    return degrees + 5 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("salt", [b"chat-model", b"", b"x" * 100])
def test_positions_and_pseudonyms_are_uniform_and_independent(salt):
    grid = [0] * 1024
    for key in range(KEYS):
        position, second = hash128(salt, b"\0", b"user-%d" % key)
        grid[(position >> 59) << 5 | second >> 59] += 1
    assert chi_squared(grid, KEYS / 1024) < upper(1023)


@pytest.mark.parametrize("weights", [[95, 5], [50, 30, 20], [99_999, 1]])
def test_real_keys_get_the_asked_split(weights):
    native = table(weights)
    counts = [0] * len(weights)
    for key in range(KEYS):
        counts[native.slot_at(0, *hash128(b"s", b"\0", b"%d" % key))] += 1
    for count, share in zip(counts, shares(weights), strict=True):
        assert count / KEYS == pytest.approx(float(share), abs=TOLERANCE)


def test_different_salts_make_independent_cohorts():
    grid = [0] * 256
    for key in range(KEYS):
        one, _ = hash128(b"salt-1", b"\0", b"user-%d" % key)
        other, _ = hash128(b"salt-2", b"\0", b"user-%d" % key)
        grid[(one >> 60) << 4 | other >> 60] += 1
    assert chi_squared(grid, KEYS / 256) < upper(255)


def test_the_same_salt_makes_the_same_cohort():
    first, second = route([95, 5]), Route("other", UNIT, b"s", route([95, 5]).variants)
    for key in range(1000):
        request = twin.Request([("x-user-id", b"%d" % key)])
        one, other = twin.decide_one(first, request), twin.decide_one(second, request)
        assert (one.variant, one.second) == (other.variant, other.second)
