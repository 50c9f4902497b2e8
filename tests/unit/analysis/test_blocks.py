"""Rows of the outcomes as the judge's blocks."""

from blocks_lab import ERRORS, STRATUM, arm

from sidecar import analysis
from sidecar.analysis import Arm, Block, Counts, Judge, cells, edges
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


def test_settled_blocks_are_kept_as_a_bit_and_never_counted_again():
    """A thousand sidecars start a thousand blocks a second: most of them settle at once."""
    judge = Judge([ERRORS], 0.0)
    blocks = [Block(STRATUM, second, arm(20), arm(2)) for second in range(1, 200)]
    for block in blocks:
        judge.observe([block], block.second + 1.0)
    kept = sum(map(len, judge.ledger.open.values()))
    assert kept < 90
    requests = list(judge.requests)
    assert judge.observe(blocks, 201.0) == []
    assert judge.requests == requests


def test_a_block_with_an_open_answer_stays_until_it_is_too_old():
    judge = Judge([ERRORS], 0.0)
    waiting = Arm(Counts(20, 0, answered=19), Counts(19))
    judge.observe([Block(STRATUM, 1, waiting, arm(2))], 2.0)
    for now in range(3, 400):
        judge.observe([], float(now))
    assert judge.verdict(400.0).findings[0].baseline_count == 19
    assert judge.observe([Block(STRATUM, 1, arm(20, 1), arm(2))], 400.0) == []
    assert judge.verdict(400.0).findings[0].baseline_count == 20
