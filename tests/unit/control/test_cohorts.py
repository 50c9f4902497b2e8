"""Rows become blocks: whole, both arms of one moment, and only what chance decided."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from launch_lab import declared

from sidecar.analysis import Stratum, cells, edges
from sidecar.control import cohorts
from sidecar.control.watching import Watch

NOW = 1_000_000.5
TERMS = (
    "guardrails: [{metric: error_rate, maxIncrease: 0.5pp},"
    " {metric: latency_p99, maxIncrease: 20%}]"
)
FAST, FIRST = (first + edges.bucket(10_000) for first in (cells.DURATION, cells.UNIT_DURATION))


def row(second=1_000_001, variant="canary", segment="weight", number=1, seen=1, **counts):
    """A row with counts by the names of `cells`."""
    named = {getattr(cells, name): count for name, count in counts.items()}
    named |= {FAST: counts["COMPLETED"]} if counts.get("COMPLETED") else {}
    named |= {FIRST: counts["UNITS"]} if counts.get("UNITS") else {}
    return SimpleNamespace(
        node="n1",
        epoch="e1",
        number=number,
        second=second,
        variant=variant,
        version="v1",
        segment=segment,
        counts=cells.pack(named),
        seen=seen,
    )


STEPS = "[{weight: 5}, {weight: 100}]"


@pytest.fixture
def watch():
    state = declared("chat", STEPS, TERMS)
    began = datetime.fromtimestamp(NOW, UTC)
    return Watch(replace(state, progress=replace(state.progress, began=began)), 0, NOW)


def test_both_arms_of_a_second_are_one_block_though_they_come_apart(watch):
    watch.take([row(variant="stable", STARTED=90, COMPLETED=90, UNITS=80)], {}, NOW + 1)
    watch.take([row(STARTED=10, COMPLETED=9, ERRORS=2, UNITS=8, UNIT_ERRORS=1)], {}, NOW + 1)
    block = watch.judge.ledger.get(Stratum("e1", "v1", "weight"), 1_000_001)
    assert (block.baseline.requests.started, block.baseline.units.started) == (90, 80)
    candidate = block.candidate
    assert (candidate.requests.started, candidate.requests.errors) == (10, 2)
    assert (candidate.units.started, candidate.units.errors) == (8, 1)
    assert candidate.units.latency[edges.bucket(10_000)] == 8


def test_a_row_that_rises_replaces_itself_and_one_that_comes_twice_changes_nothing(watch):
    first = row(STARTED=4, COMPLETED=1, UNITS=1)
    risen = row(seen=2, STARTED=4, COMPLETED=4, UNITS=4)
    for one in (first, risen, risen):
        watch.take([one], {}, NOW + 1)
    assert watch.judge.requests == [0, 4]
    assert watch.answers.counts == [0, 4]
    assert not watch.unjudged


def test_an_answer_at_the_edge_of_a_second_was_started(watch):
    watch.take([row(STARTED=3, COMPLETED=4, ERRORS=4)], {}, NOW + 1)
    assert watch.judge.requests == [0, 4]
    assert not watch.unjudged


@pytest.mark.parametrize(
    "other",
    [
        {"segment": "forced"},
        {"segment": "override"},
        {"segment": "holdout"},
        {"segment": "no_unit"},
        {"segment": "prerequisite"},
        {"variant": "third"},
        {"second": 1_000_000},  # of which a part was before the launch
    ],
)
def test_what_has_no_part_in_the_comparison_is_passed_over(watch, other):
    watch.take([row(STARTED=10, COMPLETED=10, ERRORS=10, **other)], {}, NOW + 1)
    assert watch.judge.requests == [0, 0]
    assert watch.answers.counts == [0, 0]


def test_segments_and_lives_and_tables_are_strata_of_their_own(watch):
    rows = [row(STARTED=1, number=n, segment=s) for n, s in enumerate(("weight", "segment:eu"), 1)]
    later = row(STARTED=1, number=3)
    later.version = "v2"
    watch.take([*rows, later], {}, NOW + 1)
    assert len(watch.judge.ledger.open[1_000_001]) == 3


@pytest.mark.parametrize(
    ("guardrail", "of_requests", "of_units"),
    [
        ("{metric: error_rate, maxIncrease: 0.5pp}", False, False),
        ("{metric: latency_p99, maxIncrease: 20%}", False, True),
        ("{metric: latency_p99, maxIncrease: 20%, limit: 2s}", True, True),
    ],
)
def test_durations_are_left_out_where_nobody_asks_for_them(guardrail, of_requests, of_units):
    watch = Watch(declared("chat", STEPS, f"guardrails: [{guardrail}]"), 0, NOW)
    one = row(STARTED=3, COMPLETED=3, UNITS=2)
    pairs = [(one, cells.unpack(one.counts))]
    [block] = cohorts.blocks(pairs, watch.judge, watch.arms, {})
    counted = block.candidate.requests, block.candidate.units
    assert [one.latency is not None for one in counted] == [of_requests, of_units]
    assert (counted[0].open, counted[1].started) == (0, 2)
