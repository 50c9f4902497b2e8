"""The laws of movement, in every combination of layer, holdout, lists and segments.

Whatever else a rollout says, a change of weights moves whom it moves without: shown by the native
core on the same people, and by the twin on some of them.
"""

from dataclasses import replace
from itertools import pairwise, product

import pytest

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, twin, twin_codec
from sidecar.routing.rules import Check, Holdout, Input, Layer, Override, Segment

PEOPLE = [
    twin.Request([("x-user-id", b"u%d" % n), *([("x-seg", b"1")] if n % 2 else [])])
    for n in range(4_000)
]
MESSAGES = [twin_codec.write(one) for one in PEOPLE]
IN_SEGMENT = (Check(Input("header", ("x-seg",)), "present"),)
LAYERS = {"": {}, "layer": {"layer": Layer("l", 0, 60, 100)}}
HOLDOUTS = {"": {}, "holdout": {"holdout": Holdout("h", 10, 100)}}
LISTS = {
    "": {},
    "lists": {
        "excluded": tuple(b"u%d" % n for n in range(100)),
        "overrides": (Override("v1", tuple(b"u%d" % n for n in range(100, 200))),),
    },
}
# How the weights of the segment and of the rollout hang together; None: no segment.
SEGMENTS = {
    "": None,
    "segment": Segment("s", IN_SEGMENT, weights=(1,)),
    "salted segment": Segment("s", IN_SEGMENT, weights=(1,), salt=b"own"),
    "outright": Segment("s", IN_SEGMENT, variant="v1"),
}
COMBINATIONS = {
    " + ".join(filter(None, names)) or "nothing": (
        LAYERS[names[0]] | HOLDOUTS[names[1]] | LISTS[names[2]],
        SEGMENTS[names[3]],
    )
    for names in product(LAYERS, HOLDOUTS, LISTS, SEGMENTS)
}
combined = pytest.mark.parametrize(("rules", "segment"), COMBINATIONS.values(), ids=COMBINATIONS)


def route(rules, segment, weights) -> Route:
    """The same weights for the rollout and for its segment, if that draws."""
    variants = tuple(Variant(f"v{slot}", weight) for slot, weight in enumerate(weights))
    segments = ()
    if segment:
        segments = (segment if segment.variant else replace(segment, weights=tuple(weights)),)
    return Route(
        "r", (UnitSource("header", "x-user-id"),), b"s", variants, segments=segments, **rules
    )


def slots(rules, segment, *weights) -> list[int]:
    codes = Table(compile_table([route(rules, segment, weights)], "v")).decide_many(MESSAGES)
    return [code & 0xFF for code in codes]


def drawn(rules, segment, weights) -> int:
    """How many are given their variant by weights at all."""
    routed = route(rules, segment, weights)
    reasons = {"weight"} if segment and segment.variant else {"weight", "segment:s"}
    table = Table(compile_table([routed], "v"))
    return sum(table.decide(message)[0][2] in reasons for message in MESSAGES)


@combined
def test_the_core_and_the_twin_agree_on_everybody(rules, segment):
    """Law 1."""
    routed = route(rules, segment, (40, 30, 20, 10))
    table = Table(compile_table([routed], "v"))
    for request, message in list(zip(PEOPLE, MESSAGES, strict=True))[:300]:
        [plain] = twin.decide([routed], request)
        assert table.decide(message)[0][1:3] == (plain.variant, plain.reason)


@combined
def test_one_candidate_grows_in_one_direction(rules, segment):
    """Law 2 (a): who is in stays in, and about the share that grows comes in."""
    cohorts = [slots(rules, segment, 100 - percent, percent) for percent in (0, 5, 20, 60, 100)]
    for smaller, larger in pairwise(cohorts):
        assert all(one <= other for one, other in zip(smaller, larger, strict=True))
    came = sum(one != other for one, other in zip(cohorts[1], cohorts[2], strict=True))
    asked = drawn(rules, segment, (95, 5))
    assert came == pytest.approx(0.15 * asked, abs=5 * (asked * 0.15 * 0.85) ** 0.5)


@combined
def test_ramping_one_of_two_candidates_never_touches_the_other(rules, segment):
    """Law 2 (b)."""
    for before, after in (((80, 10, 10), (50, 40, 10)), ((80, 10, 10), (50, 10, 40))):
        still = 2 if before[2] == after[2] else 1
        pairs = zip(slots(rules, segment, *before), slots(rules, segment, *after), strict=True)
        assert all((one == still) == (other == still) for one, other in pairs)


@combined
def test_any_change_among_many_moves_at_most_twice_the_distance(rules, segment):
    """Law 2 (c), but for the sampling of these people."""
    before, after = (40, 20, 15, 15, 10), (25, 20, 30, 5, 20)
    distance = sum(abs(one - other) for one, other in zip(before, after, strict=True)) / 200
    asked = drawn(rules, segment, before)
    pairs = zip(slots(rules, segment, *before), slots(rules, segment, *after), strict=True)
    moved = sum(one != other for one, other in pairs)
    assert 0 < moved <= 2 * distance * asked + 3 * asked**0.5


@combined
def test_a_common_factor_and_one_more_variant_at_nothing_move_nobody(rules, segment):
    """Law 2 (d)."""
    weights = (40, 20, 15, 25)
    expected = slots(rules, segment, *weights)
    assert slots(rules, segment, *(7 * weight for weight in weights)) == expected
    assert slots(rules, segment, *weights, 0) == expected


@combined
def test_a_thousandth_of_a_percent_is_told_apart(rules, segment):
    """Law 4: the finest weight is a share of its own, also within a segment."""
    for one, other in ((49_999, 50_001), (99_999, 1)):
        routed = route(rules, segment, (one, other))
        lines = [routed.thresholds, *(s.thresholds for s in routed.segments if not s.variant)]
        assert {line[1] for line in lines} == {other * twin.LINE // 100_000}


@combined
def test_no_reserved_header_changes_any_answer(rules, segment):
    """Law 6."""
    table = Table(compile_table([route(rules, segment, (50, 50))], "v"))
    for request, message in list(zip(PEOPLE, MESSAGES, strict=True))[:300]:
        said = [("x-canary-r", b"v1"), ("x-canary-segment", b"s"), *request.headers]
        spoofed = twin_codec.write(twin.Request(said))
        assert table.decide(spoofed) == table.decide(message)
