"""The laws of the assignment with segments, layers, holdouts and the kill switch."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.routing import (
    Route,
    RouteError,
    Table,
    UnitSource,
    Variant,
    compile_table,
    hash128,
    twin,
    twin_codec,
)
from sidecar.routing.rules import Check, Holdout, Input, Layer, Override, Prerequisite, Segment

UNIT = (UnitSource("header", "x-user-id"),)
KEYS = 200_000
EVERYBODY = (Check(Input("header", ("x-user-id",)), "present"),)


def route(name: str, weights: Iterable[int], **rules) -> Route:
    variants = tuple(Variant(f"v{slot}", weight) for slot, weight in enumerate(weights))
    return Route(name, UNIT, name.encode(), variants, **rules)


def decided(routes: list[Route], user: int) -> list[tuple[str, str]]:
    found = twin.decide(routes, twin.Request([("x-user-id", b"u%d" % user)]))
    return [(one.variant, one.reason) for one in found]


def segmented(segment_weights, weights=(95, 5), salt=None) -> Route:
    segment = Segment("s", EVERYBODY, weights=tuple(segment_weights), salt=salt)
    return route("r", weights, segments=(segment,))


share = st.integers(0, 100)


@given(share, share, st.integers(0, twin.LINE - 1))
def test_cohorts_of_segment_and_rollout_nest_on_one_line(small, large, position):
    """Who is in by the smaller weights is in by the larger, whichever of both has which."""
    small, large = sorted((small, large))
    one = segmented((100 - small, small), (100 - large, large))
    inner = twin.slot_at(one, position, 0, one.segments[0].thresholds)
    assert inner == 0 or twin.slot_at(one, position, 0) == 1


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any), st.integers(2, 99))
def test_scaling_a_segments_weights_moves_nobody(weights, factor):
    one = segmented(weights, weights)
    other = segmented([weight * factor for weight in weights], weights)
    assert one.segments[0].thresholds == other.segments[0].thresholds


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any), st.integers(0, 2**64 - 1))
def test_one_more_variant_at_weight_zero_moves_nobody_in_a_segment(weights, second):
    one, more = segmented(weights, weights), segmented([*weights, 0], [*weights, 0])
    for position in {t % twin.LINE for share in one.thresholds for t in (share, twin.LINE - share)}:
        slots = [twin.slot_at(r, position, second, r.segments[0].thresholds) for r in (one, more)]
        assert slots[0] == slots[1]


@given(share, share)
def test_a_segment_that_grows_moves_exactly_the_difference_in_one_direction(before, after):
    one, other = segmented((100 - before, before)), segmented((100 - after, after))
    moved = abs(one.segments[0].thresholds[1] - other.segments[0].thresholds[1])
    assert abs(moved - abs(before - after) * twin.LINE // 100) <= 1


def test_a_segment_of_its_own_salt_is_independent_of_the_rollout():
    grid = [0] * 4
    one = segmented((50, 50), (50, 50), salt=b"own")
    for user in range(20_000):
        [(inside, _)] = decided([one], user)
        [(outside, _)] = decided([replace(one, segments=())], user)
        grid[2 * (inside == "v1") + (outside == "v1")] += 1
    assert chi_squared(grid, 5_000) < upper(3)


# ---- layers --------------------------------------------------------------------------------------


def chi_squared(counts: Iterable[int], expected: float) -> float:
    return sum((count - expected) ** 2 / expected for count in counts)


def upper(degrees: int) -> float:
    """Return a bound five standard deviations above the mean of chi-squared."""
    return degrees + 5 * (2 * degrees) ** 0.5


@given(st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True).map(sorted))
def test_slices_of_a_layer_share_no_point_and_leave_none_out(edges):
    cuts = [0, *edges, 100]
    slices = [Layer("l", low, high, 100) for low, high in pairwise(cuts)]
    assert [one.first for one in slices[1:]] == [one.last + 1 for one in slices[:-1]]
    assert (slices[0].first, slices[-1].last) == (0, twin.LINE - 1)


@settings(max_examples=50)
@given(st.integers(1, 99), st.integers(0, 10**9), st.booleans())
def test_rollouts_of_one_layer_never_share_a_unit(cut, user, drawn):
    """Whatever their weights and segments: at most one of them gives anything but its baseline."""
    segments = () if drawn else (Segment("s", EVERYBODY, variant="v1"),)
    one = route("one", (0, 100), layer=Layer("l", 0, cut, 100), segments=segments)
    other = route("other", (0, 100), layer=Layer("l", cut, 100, 100))
    reasons = [reason for _, reason in decided([one, other], user)]
    assert reasons.count("layer") == 1


def test_rollouts_of_different_layers_are_independent():
    grid = [0] * 64
    for user in range(KEYS):
        one, _ = hash128(b"layer:one", b"\0", b"u%d" % user)
        other, _ = hash128(b"layer:other", b"\0", b"u%d" % user)
        grid[(one >> 61) << 3 | other >> 61] += 1
    assert chi_squared(grid, KEYS / 64) < upper(63)


def test_a_layers_slice_is_independent_of_the_draw_within_it():
    sliced = route("r", (50, 50), layer=Layer("l", 0, 25, 100))
    counts = {"v0": 0, "v1": 0}
    for user in range(40_000):
        [(variant, reason)] = decided([sliced], user)
        if reason == "weight":
            counts[variant] += 1
    assert sum(counts.values()) == pytest.approx(10_000, abs=400)
    assert chi_squared(counts.values(), sum(counts.values()) / 2) < upper(1)


def test_slices_that_overlap_and_circles_are_no_table():
    one = route("one", (1, 1), layer=Layer("l", 0, 30, 100))
    with pytest.raises(RouteError, match=r"other.*overlaps that of rollout 'one'"):
        compile_table([one, route("other", (1, 1), layer=Layer("l", 29, 60, 100))], "v")
    compile_table([one, route("other", (1, 1), layer=Layer("l", 30, 60, 100))], "v")
    circle = [
        route(name, (1, 1), requires=(Prerequisite(other, ("v1",)),))
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    with pytest.raises(RouteError, match=r"circle: a requires b requires c requires a"):
        compile_table(circle, "v")


def test_prerequisites_may_stand_sixteen_in_a_row_and_no_more():
    def chain(length: int) -> list[Route]:
        return [
            route(
                f"r{n:02}", (0, 1), requires=(Prerequisite(f"r{n - 1:02}", ("v1",)),) if n else ()
            )
            for n in range(length)
        ]

    message = twin_codec.write(twin.Request([("x-user-id", b"u")]))
    long = Table(compile_table(chain(17), "v")).decide(message)
    assert [one[1:3] for one in long] == [("v1", "weight")] * 17
    with pytest.raises(RouteError, match="more than 16"):
        compile_table(chain(18), "v")


# ---- holdouts, lists, kill -----------------------------------------------------------------------


def test_the_same_holdout_leaves_out_the_same_people_in_every_rollout():
    held = Holdout("global", 10, 100)
    pair = [route(name, (0, 1), holdout=held) for name in ("one", "other")]
    other = route("other", (0, 1), holdout=Holdout("global", 20, 100))
    out = 0
    for user in range(20_000):
        reasons = [reason for _, reason in decided(pair, user)]
        assert reasons[0] == reasons[1]
        if reasons[0] == "holdout":
            out += 1
            assert decided([other], user) == [("v0", "holdout")]
    assert out == pytest.approx(2_000, abs=250)


def test_killed_and_revived_everybody_is_where_they_were():
    one = route("r", (60, 20, 10, 10), segments=segmented((1, 1)).segments[:0])
    killed = Table(compile_table([replace(one, killed=True)], "v"))
    before, after = (Table(compile_table([one], "v")) for _ in range(2))
    random = Random(1)
    for _ in range(2_000):
        user = b"u%d" % random.getrandbits(40)
        message = twin_codec.write(twin.Request([("x-user-id", user)]))
        assert [d[1:3] for d in killed.decide(message)] == [("v0", "killed")]
        assert before.decide(message) == after.decide(message)
        # The pseudonym stays, so what people do while it is killed is still theirs.
        assert killed.decide(message)[0][4] == before.decide(message)[0][4]


def test_a_hundred_thousand_listed_units_are_found_and_nobody_else():
    listed = tuple(b"unit-%d" % number for number in range(100_000))
    one = route("r", (1, 0), overrides=(Override("v1", listed),), excluded=(b"out",))
    table = Table(compile_table([one], "v"))
    asked = {b"unit-0": "override", b"unit-99999": "override", b"out": "excluded",
             b"unit-100000": "weight", b"unit-": "weight", b"nit-0": "weight"}  # fmt: skip
    for unit, reason in asked.items():
        [decision] = table.decide(twin_codec.write(twin.Request([("x-user-id", unit)])))
        assert decision[2] == reason
