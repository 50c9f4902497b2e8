"""What the guard of one rollout answers to what it is given."""

import dataclasses
import json
import math

import numpy as np
import pytest
from blocks_lab import ERRORS, SHAPE, STRATUM, TAIL, Traffic, arm, histogram

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
    Policy,
    Relative,
    Why,
)


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


def test_promotion_is_proven_by_its_horizon_and_not_without_it():
    healthy, traffic = Judge([ERRORS], 0.0, Policy(horizon=2_000)), Traffic()
    plain = Judge([ERRORS], 0.0)
    for second in range(500):
        block = traffic.block(second)
        healthy.observe([block], second + 1.0)
        plain.observe([block], second + 1.0)
    assert healthy.verdict(500.0).answer is Answer.PASSED
    assert plain.verdict(500.0).answer is Answer.HEALTHY


def test_a_candidate_at_the_edge_of_its_margin_seldom_passes():
    passed = 0
    for seed in range(40):
        judge = Judge([ERRORS], 0.0, Policy(alpha=0.05, horizon=1_000))
        traffic = Traffic(seed, rate=2_000)
        for second in range(15):
            judge.observe([errors_only(traffic, second, (0.01, 0.015))], second + 1.0)
        passed += judge.passed
    assert passed <= 6


def errors_only(traffic, second, errors):
    candidate = int(traffic.random.binomial(traffic.rate, traffic.share))
    sizes = traffic.rate - candidate, candidate
    arms = [arm(n, int(traffic.random.binomial(n, p))) for n, p in zip(sizes, errors, strict=True)]
    return Block(STRATUM, second, *arms, share=traffic.share)


def test_a_slow_error_counts_for_the_second_it_started_in():
    judge = Judge([ERRORS], 0.0)
    judge.observe([Block(STRATUM, 0, arm(950), arm(50))], 1.0)
    for late in range(1, 9):
        judge.observe([Block(STRATUM, 0, arm(950), arm(50, late))], 1.0 + late)
    verdict = judge.verdict(10.0)
    assert verdict.findings[0].candidate == pytest.approx(8 / 50)
    assert verdict.answer is Answer.HARMFUL


def test_the_same_block_twice_changes_nothing():
    once, twice = Judge([ERRORS, SHAPE], 0.0), Judge([ERRORS, SHAPE], 0.0)
    traffic = Traffic()
    for second in range(60):
        block = traffic.block(second, errors=(0.05, 0.05))
        once.observe([block], second + 1.0)
        twice.observe([block, block], second + 1.0)
        twice.observe([block], second + 1.0)
    assert once.verdict(60.0).evidence == pytest.approx(twice.verdict(60.0).evidence, rel=1e-12)
    assert once.requests == twice.requests


def test_looking_more_often_does_not_change_the_counts():
    seldom, often = Judge([ERRORS], 0.0), Judge([ERRORS], 0.0)
    traffic, blocks = Traffic(), []
    for second in range(60):
        blocks.append(traffic.block(second))
        often.observe(blocks, second + 1.0)
        often.verdict(second + 1.5)
    seldom.observe(blocks, 60.0)
    assert often.verdict(60.0).findings[0].candidate == seldom.verdict(60.0).findings[0].candidate


def test_harm_stays_found_when_the_candidate_calms_down():
    judge, _ = watched([ERRORS], 300, errors=(0.001, 0.2))
    traffic = Traffic(9)
    for second in range(300, 900):
        judge.observe([traffic.block(second)], second + 1.0)
    assert judge.verdict(900.0).answer is Answer.HARMFUL


def test_arms_that_did_not_get_their_shares_cannot_be_compared():
    judge, traffic = Judge([ERRORS], 0.0), Traffic(share=0.5)
    for second in range(300):
        block = traffic.block(second)
        judge.observe([dataclasses.replace(block, share=0.45)], second + 1.0)
    verdict = judge.verdict(300.0)
    assert (verdict.answer, verdict.why) == (Answer.NOT_MEASURED, Why.MISMATCH)


def test_a_slow_limit_waits_until_slower_answers_could_be_in():
    limited = Guardrail("latency_p99", limit=Limit(3.0, window_s=10, minimum=20))
    for slow_s, answer in ((0.1, False), (5.0, True)):
        judge = Judge([limited], 0.0)
        for second in range(20):
            block = Block(STRATUM, second, arm(50, 0, [0.1] * 50), arm(50, 0, [slow_s] * 50))
            judge.observe([block], second + 1.0)
        assert (judge.harmful is not None) == answer


def test_an_answer_that_never_comes_is_a_slow_one():
    judge, traffic = Judge([SHAPE], 0.0), Traffic()
    for second in range(120):
        block = traffic.block(second)
        candidate = arm(block.candidate.requests.started, 0, [])
        judge.observe([dataclasses.replace(block, candidate=candidate)], second + 1.0)
        if judge.harmful:
            break
    assert judge.verdict(second + 1.0).culprits == ("latency",)


def test_little_traffic_is_gathered_until_it_says_something():
    judge, random = Judge([SHAPE], 0.0), np.random.default_rng(5)
    for second in range(3_000):
        is_candidate = random.random() < 0.1
        seconds = [float(random.lognormal(-3, 0.5)) * (4 if is_candidate else 1)]
        arms = (arm(0, 0, []), arm(1, 0, seconds))
        block = Block(STRATUM, second, *(arms if is_candidate else arms[::-1]))
        judge.observe([block], second + 1.0)
    assert judge.harmful is not None


def test_one_failing_user_is_one_piece_of_evidence():
    judge = Judge([ERRORS], 0.0)
    crowd = Counts(950), Counts(950)
    judge.observe([Block(STRATUM, 0, Arm(*crowd), Arm(Counts(50), Counts(50)))], 1.0)
    for second in range(1, 60):
        failing = Arm(Counts(20, 20), Counts(0, int(second == 1)))
        block = Block(STRATUM, second, Arm(Counts(380), Counts(0)), failing)
        judge.observe([block], second + 1.0)
    assert judge.harmful is None


def test_a_relative_margin_says_its_ratio_and_an_absolute_one_its_difference():
    for margin, relative in ((Relative(0.5), True), (Absolute(0.005), False)):
        judge = Judge([Guardrail("error_rate", margin)], 0.0)
        judge.observe([Block(STRATUM, 0, arm(90_000, 900), arm(10_000, 130))], 1.0)
        finding = judge.verdict(1.0).findings[0]
        assert finding.relative == relative
        assert finding.estimate == pytest.approx(0.3 if relative else 0.003, rel=0.05)
        assert finding.interval.low < finding.estimate < finding.interval.high


def test_evidence_about_other_guardrails_is_refused():
    text = analysis.dump(Judge([ERRORS], 0.0))
    with pytest.raises(analysis.StateError, match="other guardrails"):
        analysis.load(text, [Guardrail("error_rate", Relative(0.005))])


def test_two_guardrails_share_one_budget():
    judge, _ = watched([ERRORS, SHAPE], 200, errors=(0.001, 0.05))
    alone = Judge([ERRORS], 0.0)
    money = [float(e.money.sum()) for e in judge.evidences]
    assert judge.harmful[2] == pytest.approx(sum(money) / 2)
    assert alone.verdict(1.0).bar == 100


def test_a_guardrail_without_a_margin_has_only_its_limit():
    judge = Judge([Guardrail("error_rate", None, Limit(0.5))], 0.0)
    judge.observe([Block(STRATUM, 0, arm(950), arm(50, 20))], 1.0)
    verdict = judge.verdict(1.0)
    assert (verdict.answer, verdict.evidence) == (Answer.HEALTHY, 0)
    judge.observe([Block(STRATUM, 1, arm(950), arm(50, 40))], 2.0)
    verdict = judge.verdict(2.0)
    assert verdict.answer is Answer.HARMFUL
    assert verdict.findings[0].answer is Answer.HARMFUL
    assert verdict.findings[0].sentence == "error rate broke its hard limit"


def test_a_guardrail_below_its_own_minimum_is_not_measured():
    judge = Judge([ERRORS, Guardrail("latency", minimum=10_000)], 0.0)
    traffic = Traffic()
    for second in range(60):
        judge.observe([traffic.block(second)], second + 1.0)
    verdict = judge.verdict(60.0)
    answers = [finding.answer for finding in verdict.findings]
    assert answers == [Answer.HEALTHY, Answer.NOT_MEASURED]
    assert (verdict.answer, verdict.why) == (Answer.NOT_MEASURED, Why.TOO_FEW)


def test_the_quantile_of_p999_is_one_in_a_thousand():
    assert Guardrail("latency_p999").quantile == 0.999
    assert Guardrail("latency_p50").quantile == 0.5


def test_an_arm_that_is_seldom_asked_is_not_stale_at_once():
    judge = Judge([ERRORS], 0.0, Policy(minimum=5))
    for second in range(0, 1_000, 100):
        judge.observe([Block(STRATUM, second, arm(1), arm(1))], second + 1.0)
    assert judge.verdict(1_100.0).why is None
    assert judge.verdict(5_000.0).why is Why.STALE


def slow_service(judge, seconds, candidate_s, errors=0.05, seed=3):
    """Failures at once, successes after 10 s or `candidate_s`; a block comes whenever it rose."""
    random = np.random.default_rng(seed)
    drawn = [(random.binomial(20, 0.2), random) for _ in range(seconds)]
    sizes = [(20 - int(n), int(n)) for n, _ in drawn]
    failed = [tuple(int(random.binomial(n, errors)) for n in size) for size in sizes]
    for now in range(1, seconds):
        blocks = []
        for second in range(max(0, now - 45), now):
            arms = []
            for n, bad, answer_s in zip(
                sizes[second], failed[second], (10.0, candidate_s), strict=True
            ):
                done = n - bad if now - second > answer_s else 0
                latency = [0.05] * bad + [answer_s] * done
                answered = Counts(bad + done, bad, histogram(latency))
                arms.append(Arm(Counts(n, bad, histogram(latency)), answered))
            blocks.append(Block(STRATUM, second, *arms, share=0.2))
        assert not judge.observe(blocks, float(now))
    return judge


def test_slower_successes_do_not_look_like_errors_or_a_wrong_split():
    judge = slow_service(Judge([Guardrail("error_rate")], 0.0), 200, candidate_s=30.0)
    assert judge.harmful is None
    assert not judge.mismatched


def test_open_answers_are_slow_ones_even_if_units_are_counted_by_their_answers():
    judge = slow_service(Judge([Guardrail("latency")], 0.0), 200, candidate_s=39.0, errors=0.0)
    assert judge.harmful is not None


def test_arms_that_cannot_be_compared_are_not_rolled_back():
    judge, traffic = Judge([ERRORS], 0.0), Traffic(share=0.5)
    for second in range(300):
        block = dataclasses.replace(traffic.block(second, errors=(0.02, 0.02)), share=0.05)
        judge.observe([block], second + 1.0)
    assert judge.harmful is None
    assert judge.verdict(300.0).why is Why.MISMATCH
