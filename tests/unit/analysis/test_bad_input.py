"""What cannot be is refused with its reason, and never rolls back or promotes."""

import math
import re

import numpy as np
import pytest
from blocks_lab import ERRORS, SHAPE, STRATUM, Traffic, arm
from hypothesis import given
from hypothesis import strategies as st

from sidecar import analysis
from sidecar.analysis import (
    Absolute,
    Answer,
    Arm,
    Block,
    Counts,
    Guardrail,
    GuardrailError,
    Judge,
    Limit,
    Policy,
    Relative,
    Why,
)

HUGE = 10**308
BAD = [
    (Block(STRATUM, 0, arm(math.nan), arm(5)), "count nan"),
    (Block(STRATUM, 0, arm(1e308), arm(5)), "count 1e"),
    (Block(STRATUM, 0, arm(HUGE), arm(5)), "count 1"),
    (Block(STRATUM, 0, arm(-1), arm(5)), "count -1"),
    (Block(STRATUM, 0, arm(5, 6), arm(5)), "more failed requests than started"),
    (Block(STRATUM, 10_000, arm(5), arm(5)), "a clock jumped"),
    (Block(STRATUM, -90_000, arm(5), arm(5)), "closed"),
    (Block(STRATUM, math.nan, arm(5), arm(5)), "no whole number|not a whole number"),
    (Block(STRATUM, 0, arm(5), arm(5), share=math.nan), "share of nan"),
    (Block(STRATUM, 0, arm(1, 0, [1, 1]), arm(5)), "durations are more"),
    (Block(STRATUM, 0, Arm(Counts(5), Counts(6)), arm(5)), "more units than requests"),
    (
        Block(STRATUM, 0, Arm(Counts(5, 0, np.zeros(3, dtype=np.int64))), arm(5)),
        "durations are not",
    ),
]


@pytest.mark.parametrize(("block", "reason"), BAD)
def test_an_impossible_block_is_refused_with_its_reason_and_changes_nothing(block, reason):
    judge = Judge([ERRORS, SHAPE], 0.0)
    judge.observe([Traffic().block(0)], 1.0)
    before = analysis.dump(judge)
    refusals = judge.observe([block], 1.0)
    assert len(refusals) == 1
    assert re.search(reason, refusals[0].reason)
    looks = r'"looks":\d+'
    assert re.sub(looks, "", analysis.dump(judge)) == re.sub(looks, "", before)


def test_a_block_that_falls_is_refused():
    judge = Judge([ERRORS], 0.0)
    judge.observe([Block(STRATUM, 0, arm(50, 5), arm(5))], 1.0)
    refusals = judge.observe([Block(STRATUM, 0, arm(50, 4), arm(5))], 1.0)
    assert refusals[0].reason == "its counts fell: a block only rises"


@pytest.mark.parametrize("now_s", [math.nan, math.inf])
def test_a_time_that_is_none_is_an_error(now_s):
    with pytest.raises(ValueError, match="now_s"):
        Judge([ERRORS], 0.0).observe([], now_s)


def test_a_clock_that_jumps_neither_harms_nor_promotes():
    judge, traffic = Judge([ERRORS, SHAPE], 0.0, Policy(horizon=100_000)), Traffic()
    for second in range(100):
        jumps = {50: 1e9, 51: -1e9}
        judge.observe([traffic.block(second)], jumps.get(second, second + 1.0))
    assert judge.verdict(100.0).answer in {Answer.HEALTHY, Answer.NOT_MEASURED}
    assert judge.verdict(1e12).why is Why.STALE
    assert judge.verdict(-1e12).why is Why.STALE


COUNTS = st.integers(0, 10**9)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), max_size=5))
def test_whatever_is_counted_the_evidence_is_a_number(rows):
    judge = Judge([ERRORS, Guardrail("latency")], 0.0)
    for second, (n_b, e_b, n_c, e_c) in enumerate(rows):
        block = Block(STRATUM, second, arm(n_b, min(e_b, n_b)), arm(n_c, min(e_c, n_c)))
        judge.observe([block], second + 1.0)
    verdict = judge.verdict(len(rows) + 1.0)
    assert math.isfinite(verdict.evidence)
    analysis.dump(judge)


def test_a_block_that_was_forgotten_by_a_jump_does_not_count_twice():
    judge = Judge([ERRORS], 0.0)
    block = Block(STRATUM, 0, arm(950, 5), arm(50, 5))
    judge.observe([block], 1.0)
    judge.observe([], 1e9)
    assert judge.observe([block], 2.0)[0].reason == "its second 0 is closed already"
    assert judge.requests == [950, 50]
    assert not judge.observe([Block(STRATUM, 1, arm(95), arm(5))], 2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "eror_rate"},
        {"metric": "latency_p0"},
        {"metric": "latency_p9.9"},
        {"metric": "error_rate", "margin": Absolute(-0.1)},
        {"metric": "error_rate", "margin": Relative(math.nan)},
        {"metric": "error_rate", "margin": Absolute(5)},
        {"metric": "error_rate", "weight": -1},
        {"metric": "error_rate", "minimum": -1},
        {"metric": "error_rate", "limit": Limit(1.5)},
        {"metric": "error_rate", "limit": Limit(0.1, minimum=0)},
        {"metric": "latency", "limit": Limit(0)},
    ],
)
def test_a_guardrail_that_cannot_be_meant_is_refused_with_a_remedy(wrong):
    with pytest.raises(GuardrailError) as refused:
        Guardrail(**wrong)
    assert refused.value.remedy
