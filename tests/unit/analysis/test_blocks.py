"""Rows of the outcomes as the judge's blocks."""

import pytest
from blocks_lab import ERRORS, STRATUM, arm

from sidecar import analysis
from sidecar.analysis import Arm, Block, Counts, Guardrail, Judge, Per, cells, edges
from sidecar.analysis.ledger import LATE, Ledger

ON_REQUESTS = Guardrail("error_rate", per=Per.REQUEST)

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


def taken(ledger, *rows):
    """Take the rows of seconds from 0 on, the same for both arms."""
    arms = [analysis.arm({cells.STARTED: d, cells.COMPLETED: a}) for d, a in rows]
    blocks = [Block(STRATUM, second, one, one) for second, one in enumerate(arms)]
    _, refusals = ledger.take(blocks, len(rows) + 1.0)
    assert not refusals
    return [ledger.get(STRATUM, second) for second in range(len(rows))]


def test_a_request_decided_just_after_its_second_is_not_open_for_ever():
    """Envoy began ten in second 0; the router decided one of them in second 1."""
    blocks = taken(Ledger(), (9, 10), (11, 10))
    assert blocks[1].opened == (0, 0)


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
    assert {one.kind for one in judge.observe(blocks[:100], 201.0)} == {LATE}
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


# Decided and answered in each second, in the order in which it became known; what was begun.
EDGES = {
    "the router decides it in the next second": ([[(0, 1), (1, 0)]], [1, 0]),
    "its answer comes a second after the decision": ([[(0, 0), (1, 0)], [(0, 1), (1, 0)]], [1, 0]),
    "the answer is known first": ([[(0, 1)], [(0, 1), (1, 0)]], [1, 0]),
    "one at each edge": ([[(5, 2), (5, 2), (5, 2)], [(5, 8), (5, 4), (5, 3)]], [8, 4, 3]),
    "one is decided two seconds later": ([[(0, 1), (2, 2), (3, 2)]], [1, 2, 2]),
    "one has no answer yet": ([[(0, 1), (3, 1)]], [1, 2]),
}


@pytest.mark.parametrize(("known", "begun"), EDGES.values(), ids=EDGES)
def test_a_request_at_the_edge_of_a_second_is_started_once(known, begun):
    judge = Judge([ON_REQUESTS], 0.0)
    for rows in known:
        arms = [analysis.arm({cells.STARTED: d, cells.COMPLETED: a}) for d, a in rows]
        blocks = [Block(STRATUM, second, one, one) for second, one in enumerate(arms)]
        assert judge.observe(blocks, len(rows) + 1.0) == []
    assert judge.requests == [sum(begun), sum(begun)]
    blocks = [judge.ledger.get(STRATUM, second) for second in range(len(begun))]
    assert [block.candidate.requests.started for block in blocks] == begun
    again = analysis.load(analysis.dump(judge), judge.guardrails)
    assert analysis.dump(again) == analysis.dump(judge)
    assert sum(map(sum, (pool[:2] for pool in judge.errors[0].pools.values()))) == 2 * sum(begun)


def test_what_comes_of_a_settled_second_is_refused_and_never_silent():
    judge = Judge([ERRORS], 0.0)
    for second in range(1, 100):
        judge.observe([Block(STRATUM, second, arm(20), arm(2))], second + 1.0)
    [refusal] = judge.observe([Block(STRATUM, 2, arm(21, 1), arm(2))], 101.0)
    assert (refusal.kind, refusal.reason) == (
        LATE,
        "its second 2 had settled: too late for a bet",
    )
    assert judge.requests == [20 * 99, 2 * 99]
