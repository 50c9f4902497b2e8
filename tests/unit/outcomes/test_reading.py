"""Rows become blocks that the analysis takes."""

from typing import NamedTuple

import pytest

from sidecar.analysis import Stratum, cells, edges
from sidecar.analysis.ledger import Ledger
from sidecar.outcomes.reading import Blocks, totals


class Row(NamedTuple):
    counts: bytes
    number: int = 1
    variant: str = "canary"
    second: int = 1000
    segment: str = "weight"
    version: str = "v1"
    epoch: str = "e1"


BUCKET = edges.bucket(20_000)


def row(number=1, *, started=0, completed=0, errors=0, variant="canary", **fields):
    counts = {
        cells.STARTED: started,
        cells.COMPLETED: completed,
        cells.ERRORS: errors,
        cells.UNITS: completed,
        cells.UNIT_ERRORS: errors,
        cells.DURATION + BUCKET: completed,
        cells.UNIT_DURATION + BUCKET: completed,
    }
    return Row(cells.pack(counts), number, variant, **fields)


def blocks():
    return Blocks("stable", "canary")


def test_both_arms_of_a_second_come_together_however_their_rows_come():
    reader = blocks()
    [first] = reader.take([row(1, started=10, completed=9, errors=1)])
    assert first.candidate.requests.started == 10
    assert first.baseline.requests.started == 0
    [both] = reader.take([row(2, variant="stable", started=90, completed=90)])
    assert (both.candidate.requests.started, both.candidate.requests.errors) == (10, 1)
    assert both.baseline.requests.started == 90
    assert both.candidate.requests.latency[BUCKET] == 9
    assert both.candidate.units.latency.sum() == both.candidate.units.started == 9


def test_a_row_that_rises_replaces_itself_and_parts_of_one_second_add_up():
    reader = blocks()
    reader.take([row(1, started=5, completed=2)])
    reader.take([row(1, started=5, completed=4)])
    [block] = reader.take([row(7, started=0, completed=1)])
    assert block.candidate.requests.started == 5
    assert block.candidate.requests.latency.sum() == 5


def test_answers_are_the_least_that_must_have_started():
    [block] = blocks().take([row(started=1, completed=3)])
    assert block.candidate.requests.started == 3


@pytest.mark.parametrize("segment", ["no_unit", "override", "forced", "killed", "holdout"])
def test_only_what_chance_decided_is_compared(segment):
    assert blocks().take([row(started=1, segment=segment)]) == []
    assert blocks().take([row(started=1, variant="third")]) == []


def test_sidecars_versions_and_segments_are_strata_of_their_own():
    found = blocks().take(
        [
            row(1, started=1),
            row(1, started=1, epoch="e2"),
            row(2, started=1, version="v2"),
            row(3, started=1, segment="segment:eu"),
        ]
    )
    assert [one.stratum for one in found] == [
        Stratum("e1", "v1", "weight"),
        Stratum("e2", "v1", "weight"),
        Stratum("e1", "v2", "weight"),
        Stratum("e1", "v1", "segment:eu"),
    ]


def test_the_designed_share_is_asked_for_by_version_and_segment():
    reader = Blocks("stable", "canary", lambda version, segment: {"v1": 0.05}.get(version))
    assert [one.share for one in reader.take([row(started=1)])] == [0.05]


def test_the_analysis_takes_every_block_and_each_rise_of_it():
    reader, ledger = blocks(), Ledger()
    steps = [(1, 0, 0), (4, 2, 1), (4, 4, 2)]
    for started, completed, errors in steps:
        found = reader.take([row(started=started, completed=completed, errors=errors)])
        updates, refusals = ledger.take(found, now_s=1001)
        assert (len(updates), refusals) == (1, [])


def test_what_is_forgotten_begins_anew():
    reader = blocks()
    reader.take([row(1, started=5)])
    reader.forget(1001)
    [block] = reader.take([row(2, started=1)])
    assert block.candidate.requests.started == 1


def test_totals_are_for_people():
    found = dict(totals([row(1, completed=2), row(2, completed=3), row(3, variant="stable")]))
    assert found["canary"][cells.COMPLETED] == 5
