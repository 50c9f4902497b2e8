"""Rows of the outcomes as the judge's blocks."""

from blocks_lab import STRATUM

from sidecar import analysis
from sidecar.analysis import Arm, Block, Counts, cells, edges
from sidecar.analysis.ledger import Ledger

ROW = {
    cells.STARTED: 10,
    cells.COMPLETED: 8,
    cells.ERRORS: 2,
    cells.UNITS: 5,
    cells.UNIT_ERRORS: 1,
    cells.DURATION + 7: 8,
    cells.UNIT_DURATION + 7: 5,
    cells.HTTP_CLASS + 2: 6,
}


def test_a_row_becomes_an_arm():
    arm = analysis.arm(ROW)
    assert (arm.requests.started, arm.requests.errors, arm.requests.open) == (10, 2, 2)
    assert (arm.units.started, arm.units.errors) == (5, 1)
    assert arm.requests.latency[7] == 8
    assert arm.units.latency[7] == 5
    assert arm.requests.latency.sum() == 8


def test_an_empty_row_is_an_arm_of_nothing():
    arm = analysis.arm({})
    assert (arm.requests.started, arm.units.started, arm.requests.open) == (0, 0, 0)
    assert len(arm.requests.latency) == edges.BUCKETS


def test_a_request_decided_just_after_its_second_is_not_open_for_ever():
    """Envoy began ten in second 0; the router decided one of them in second 1."""
    ledger = Ledger()
    early = analysis.arm({cells.STARTED: 9, cells.COMPLETED: 10})
    late = analysis.arm({cells.STARTED: 11, cells.COMPLETED: 10})
    blocks = [Block(STRATUM, 0, early, early), Block(STRATUM, 1, late, late)]
    _, refusals = ledger.take(blocks, 2.0)
    assert not refusals
    assert late.requests.open == 1
    assert ledger.opened(blocks[1]) == (0, 0)


def test_what_nobody_counts_the_answers_of_is_not_open():
    assert Arm(Counts(5)).requests.open == 0
