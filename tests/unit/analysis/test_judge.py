"""What the guard of one rollout answers to what it is given."""

import json
import math

import numpy as np
import pytest

from sidecar import analysis
from sidecar.analysis import (
    Absolute,
    Answer,
    Arm,
    Block,
    Counts,
    Guardrail,
    Judge,
    Limit,
    Relative,
    Stratum,
    Why,
    edges,
)

STRATUM = Stratum("sidecar-1", "v1")
ERRORS = Guardrail("error_rate", Absolute(0.005))
TAIL = Guardrail("latency_p99", Relative(0.2))
SHAPE = Guardrail("latency", Relative(0.1))


def histogram(seconds):
    buckets = [edges.bucket(int(s * 1e6)) for s in seconds]
    return np.bincount(buckets, minlength=edges.BUCKETS).astype(np.int64)


def arm(started, errors=0, seconds=None):
    counts = Counts(started, errors, None if seconds is None else histogram(seconds))
    return Arm(counts, counts)


class Traffic:
    """Seeded requests of strangers: a block a second, all answered within it."""

    def __init__(self, seed=1, rate=100, share=0.05):
        self.random = np.random.default_rng(seed)
        self.rate, self.share = rate, share

    def block(self, second, errors=(0.001, 0.001), slower=1.0, tail=0.0, stratum=STRATUM):
        candidate = int(self.random.binomial(self.rate, self.share))
        arms = []
        for n, p, is_candidate in (
            (self.rate - candidate, errors[0], False),
            (candidate, errors[1], True),
        ):
            seconds = self.random.lognormal(-3, 0.5, n)
            if is_candidate:
                seconds *= np.where(self.random.random(n) < tail, 10, slower)
            arms.append(arm(n, int(self.random.binomial(n, p)), seconds))
        return Block(stratum, second, *arms, share=self.share)


def watched(guardrails, seconds, traffic=None, **harm):
    judge = Judge(guardrails, 0.0)
    traffic = traffic or Traffic()
    for second in range(seconds):
        assert not judge.observe([traffic.block(second, **harm)], second + 1.0)
        if judge.harmful:
            break
    return judge, judge.verdict(second + 1.0)


def test_identical_arms_are_healthy():
    _, verdict = watched([ERRORS, TAIL, SHAPE], 300)
    assert verdict.answer is Answer.HEALTHY
    assert verdict.evidence < 1


def test_more_errors_are_harmful_and_named():
    _, verdict = watched([ERRORS, TAIL, SHAPE], 300, errors=(0.001, 0.05))
    assert verdict.answer is Answer.HARMFUL
    assert verdict.culprits == ("error_rate",)
    assert verdict.harmful_since_s < 60
    assert "error rate" in verdict.sentence


def test_a_slow_tail_is_harmful_and_the_errors_are_not_blamed():
    _, verdict = watched([ERRORS, SHAPE], 300, tail=0.05)
    assert verdict.answer is Answer.HARMFUL
    assert verdict.culprits == ("latency",)


def test_a_slower_quantile_is_found():
    _, verdict = watched([TAIL], 600, tail=0.05)
    assert verdict.culprits == ("latency_p99",)


def test_slower_by_less_than_the_margin_is_healthy():
    _, verdict = watched([Guardrail("latency", Relative(0.3))], 600, slower=1.2)
    assert verdict.answer is Answer.HEALTHY


def test_a_restarted_judge_goes_on_to_the_bit():
    guardrails = [ERRORS, TAIL, SHAPE]
    one = Judge(guardrails, 0.0)
    traffic, again = Traffic(), Traffic()
    for second in range(120):
        one.observe([traffic.block(second)], second + 1.0)
    two = Judge(guardrails, 0.0)
    for second in range(120):
        two.observe([again.block(second)], second + 1.0)
        if second % 7 == 0:
            two = analysis.load(analysis.dump(two), guardrails)
    assert analysis.dump(one) == analysis.dump(two)
    assert one.verdict(120.0) == two.verdict(120.0)
    json.loads(analysis.dump(one))


@pytest.mark.parametrize(
    ("judge_s", "blocks", "why"),
    [
        (1.0, [], Why.NO_DATA),
        (1.0, [Block(STRATUM, 0, arm(90))], Why.ONE_ARM),
        (1.0, [Block(STRATUM, 0, arm(90), arm(5))], Why.TOO_FEW),
        (99.0, [Block(STRATUM, 0, arm(90), arm(60))], Why.STALE),
    ],
)
def test_what_could_not_be_measured_says_why(judge_s, blocks, why):
    judge = Judge([ERRORS], 0.0)
    judge.observe(blocks, 1.0)
    verdict = judge.verdict(judge_s)
    assert (verdict.answer, verdict.why) == (Answer.NOT_MEASURED, why)
    assert verdict.sentence.startswith("Not measured: ")


def test_a_broken_limit_needs_no_comparison():
    judge = Judge([Guardrail("error_rate", limit=Limit(0.3))], 0.0)
    judge.observe([Block(STRATUM, 0, arm(1000, 500), arm(20, 10))], 1.0)
    verdict = judge.verdict(1.0)
    assert verdict.answer is Answer.HARMFUL
    assert verdict.culprits == ("error_rate",)
    assert math.isfinite(verdict.evidence)
