"""The sidecar's own circuit breaker: what breaks it, and what ends a trip."""

from dataclasses import replace

import pytest

from sidecar.delivery import breaker
from sidecar.delivery.breaker import Seen, Trip
from sidecar.routing import HardLimit, Route, UnitSource, Variant, twin
from sidecar.routing.rules import Check, Input, Override, Segment

NOW_S = 10_000.5
ERRORS = HardLimit("error_rate", 0.1, window_s=10, min_count=20)
SLOW = HardLimit("latency", 0.1, window_s=10, min_count=20, slower_than_us=2_000_000)
TRIP = Trip("chat", "canary", 7, "r7", 5.0, "too many errors")
WHEN = (Check(Input("header", ("x-team",)), "exact", (b"core",)),)
ROUTE = Route(
    "chat",
    (UnitSource("header", "x-user-id"),),
    b"s",
    (Variant("stable", 80), Variant("canary", 15), Variant("other", 5)),
)


def seen(second, started, *, errors=0, slow=0, completed=None):
    return Seen(second, started, started if completed is None else completed, errors, slow)


def test_too_many_errors_in_the_window_break_the_limit_and_the_sentence_says_how_many():
    why = breaker.judge(ERRORS, [seen(9_999, 10, errors=2), seen(10_000, 10, errors=1)], NOW_S)
    assert why == ("3 of 20 requests of the last 10 s failed: 15.0%, and the hard limit is 10.0%")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [seen(10_000, 20, errors=2)],
        [seen(10_000, 19, errors=19)],
        [seen(9_000, 1_000, errors=1_000), seen(10_000, 20)],
        [seen(10_001, 20, errors=20)],
    ],
    ids=["nothing", "at the limit", "too few", "long ago", "from the future"],
)
def test_what_does_not_break_it(rows):
    assert breaker.judge(ERRORS, rows, NOW_S) == ""


def test_requests_under_an_earlier_decision_do_not_count():
    rows = [seen(9_998, 20, errors=20), seen(10_000, 20)]
    assert breaker.judge(ERRORS, rows, NOW_S)
    assert breaker.judge(ERRORS, rows, NOW_S, since_s=9_999) == ""


def test_answers_that_came_without_a_start_are_not_more_than_all():
    assert breaker.judge(ERRORS, [seen(10_000, 0, completed=20, errors=1)], NOW_S) == ""


def test_slow_answers_and_those_that_are_still_out_break_a_limit_on_latency():
    assert breaker.judge(SLOW, [seen(10_000, 20, slow=3)], NOW_S)
    assert breaker.judge(SLOW, [seen(9_997, 20, completed=10)], NOW_S)
    assert breaker.judge(SLOW, [seen(9_999, 20, completed=10)], NOW_S) == ""


def test_a_metric_that_is_not_known_breaks_nothing():
    limit = replace(ERRORS, metric="hallucinations")
    assert breaker.judge(limit, [seen(10_000, 20, errors=20)], NOW_S) == ""


@pytest.mark.parametrize(
    ("came", "stands"),
    [
        ({"chat": ("r7", 7)}, True),
        ({"chat": ("r7b", 7)}, True),
        ({"chat": ("r6", 6)}, True),
        ({"chat": ("r8", 8)}, False),
        ({"chat": ("r7", 0)}, True),
        ({"chat": ("r9", 0)}, False),
        ({}, False),
    ],
)
def test_a_trip_stands_until_the_controller_decides_anew(came, stands):
    trips = breaker.tripped(breaker.NOTHING, TRIP)
    assert (breaker.after(trips, came) == trips) is stands
    assert bool(breaker.after(trips, came)) is stands


def test_another_variant_joins_and_the_same_one_does_not():
    first = breaker.tripped(breaker.NOTHING, TRIP)
    assert breaker.tripped(first, replace(TRIP, at_s=9.0)) is first
    both = breaker.tripped(first, replace(TRIP, variant="other"))
    assert [one.variant for one in both["chat"]] == ["canary", "other"]


def test_the_baseline_takes_over_and_everybody_else_stays():
    after = breaker.without(ROUTE, ["canary"])
    assert [v.weight for v in after.variants] == [95, 0, 5]
    for unit in (f"u{number}".encode() for number in range(500)):
        request = twin.Request([(":path", b"/"), ("x-user-id", unit)])
        before, now = (twin.decide_one(one, request) for one in (ROUTE, after))
        expected = "stable" if before.variant == "canary" else before.variant
        assert now.variant == expected


def test_nobody_gets_it_by_a_segment_or_an_override_either():
    route = replace(
        ROUTE,
        segments=(
            Segment("staff", WHEN, variant="canary"),
            Segment("eu", WHEN, weights=(50, 40, 10)),
        ),
        overrides=(Override("canary", (b"u1",)), Override("other", (b"u2",))),
    )
    after = breaker.without(route, ["canary"])
    assert [one.variant for one in after.segments] == ["stable", ""]
    assert after.segments[1].weights == (90, 0, 10)
    assert [one.variant for one in after.overrides] == ["stable", "other"]


def test_the_baseline_is_never_taken_out():
    assert breaker.without(ROUTE, ["stable"]) == ROUTE


def test_a_table_with_trips_has_a_version_of_its_own():
    trips = breaker.tripped(breaker.NOTHING, TRIP)
    assert breaker.version("v1", breaker.NOTHING) == "v1"
    assert breaker.version("v1", trips) not in {"v1", breaker.version("v2", trips)}
