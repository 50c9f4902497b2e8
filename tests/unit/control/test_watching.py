"""What the guard says of one launch: never well by accident, never harmful by a bad row."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from launch_lab import START, declared
from test_cohorts import row

from sidecar.control.trips import Trip
from sidecar.control.watching import Watch, taken_out
from sidecar.delivery import Unjudged, Verdict

BEGAN_S = START.timestamp()
STEPS = "[{weight: 5}, {weight: 100}]"
TERMS = "guardrails: [{metric: error_rate, maxIncrease: 0.5pp, limit: 50%}]"


def launch(*terms):
    """A launch in its first step."""
    state = declared("chat", STEPS, *(terms or (TERMS,)))
    return replace(state, progress=replace(state.progress, step=1))


def watched(state=None):
    return Watch(state or launch(), 0, BEGAN_S)


def second(number, errors=0, *, answered=True, candidate=20):
    """Both rows of a second after the beginning; people are all strangers."""
    at = int(BEGAN_S) + number

    def one(variant, started, errors):
        counts = {"STARTED": started}
        if answered:
            counts |= {"COMPLETED": started, "UNITS": started, "AT_RISK": started}
            counts |= {"ERRORS": errors, "UNIT_ERRORS": errors}
        key = 2 * number + (variant == "canary")
        return row(second=at, variant=variant, number=key, seen=key, **counts)

    return [one("stable", 380, 0), one("canary", candidate, errors)]


def live(watch, seconds, errors=0, **how):
    """Live through seconds."""
    for number in range(1, seconds + 1):
        watch.take(second(number, errors, **how), {}, BEGAN_S + number + 1)
    return watch.word(BEGAN_S + seconds + 1)


def test_a_candidate_like_the_baseline_is_healthy_with_figures():
    word = live(watched(), 10)
    assert word.verdict is Verdict.HEALTHY
    assert (word.launch, word.step, word.samples) == (1, 1, 200)
    [reading] = word.readings
    assert (reading.metric, reading.margin, reading.limit) == ("error_rate", "0.5pp", "50%")
    assert (reading.unit, reading.estimate) == ("pp", 0.0)
    assert (reading.baseline_count, reading.candidate_count) == (3800, 200)


def test_errors_are_harm_and_the_record_says_why():
    word = live(watched(), 3, errors=4)
    assert word.verdict is Verdict.HARMFUL
    [reading] = word.readings
    assert reading.estimate == pytest.approx(20)
    assert reading.low > 0.5
    assert reading.e_value > 100
    assert word.evidence["culprits"] == ["error_rate"]
    assert "error rate 20 %" in word.sentence


def test_decisions_without_outcomes_are_never_healthy():
    word = live(watched(), 30, answered=False)
    assert word.verdict is Verdict.NOT_MEASURED
    assert word.samples == 0


def test_the_step_before_does_not_make_this_one_healthy():
    state, watch = launch(), watched()
    assert live(watch, 10).verdict is Verdict.HEALTHY
    began = datetime.fromtimestamp(BEGAN_S + 11, UTC)
    watch.begin_step(replace(state, progress=replace(state.progress, step=2, began=began)))
    word = watch.word(BEGAN_S + 11)
    assert (word.verdict, word.step, word.samples) == (Verdict.NOT_MEASURED, 2, 0)
    assert "answered 0 of 50 requests in this step" in word.sentence


def test_answers_that_cease_while_decisions_go_on_are_noticed():
    watch = watched()
    live(watch, 10)
    for number in range(11, 90):
        watch.take(second(number, answered=False), {}, BEGAN_S + number + 1)
    word = watch.word(BEGAN_S + 90)
    assert word.verdict is Verdict.NOT_MEASURED
    assert "no answer of the baseline was heard of" in word.sentence


@pytest.mark.parametrize(
    ("by_s", "says"),
    [(86_400, "future"), (6, "future"), (-1_300, "closed"), (-86_400 * 365, None)],
)
def test_a_clock_that_is_wrong_is_neither_harm_nor_health(by_s, says):
    """A sidecar's clock is off; what it counted is refused, and said to be."""
    watch = Watch(launch(), 0, BEGAN_S - 2_000)
    for number in range(1, 30):
        rows = second(number, errors=20)
        for one in rows:
            one.second += by_s
        watch.take(rows, {}, BEGAN_S + number + 1 - (5 if by_s == 6 else 0))
    word = watch.word(BEGAN_S + 31)
    if by_s == 6:
        # Six seconds ahead: the newest are refused until their time has come.
        return
    assert word.verdict is Verdict.NOT_MEASURED
    if says:
        assert {(one.node, one.why) for one in word.unjudged} == {("n1", says)}


def test_the_controllers_clock_may_jump_and_come_back():
    watch = watched()
    live(watch, 10)
    for jump_s in (86_400, -86_400, 0):
        watch.take([], {}, BEGAN_S + 11 + jump_s)
        assert watch.word(BEGAN_S + 11 + jump_s).verdict is not Verdict.HARMFUL
    assert not watch.harmful


def test_counts_that_cannot_be_change_nothing():
    watch = watched()
    bad = row(second=int(BEGAN_S) + 1, number=7, STARTED=1, ERRORS=5)
    huge = row(second=int(BEGAN_S) + 2, number=8, STARTED=1 << 61, ERRORS=1 << 61)
    watch.take([bad, huge], {}, BEGAN_S + 3)
    assert watch.judge.requests == [0, 0]
    assert watch.unjudged == {("n1", "impossible"): 2}
    assert watch.word(BEGAN_S + 3).verdict is Verdict.NOT_MEASURED


def test_a_memory_goes_on_where_it_was_and_takes_rows_again_without_counting_them():
    watch, state = watched(), launch()
    live(watch, 5)
    text = watch.remember()
    again = Watch.recalled(text, state, BEGAN_S + 7)
    for one in (watch, again):
        # The last rows were told again, as after a crash before the memory was written.
        one.take([*second(4), *second(5), *second(6, errors=1)], {}, BEGAN_S + 7)
    assert again.remember() == watch.remember()
    assert again.answers.counts == [6 * 380, 6 * 20]


def test_what_is_remembered_does_not_grow_with_the_hours():
    watch = watched()
    live(watch, 300)
    early = len(watch.remember())
    for number in range(301, 1_201):
        watch.take(second(number), {}, BEGAN_S + number + 1)
    assert len(watch.remember()) < 1.2 * early
    assert watch.answers.counts == [1_200 * 380, 1_200 * 20]


def test_a_memory_of_another_launch_or_other_terms_is_not_taken():
    text = watched().remember()
    state = launch()
    second_launch = replace(state, progress=replace(state.progress, launch=2))
    stricter = launch("guardrails: [{metric: error_rate, maxIncrease: 0.1pp}]")
    assert Watch.recalled(text, second_launch, BEGAN_S) is None
    assert Watch.recalled(text, stricter, BEGAN_S) is None
    assert Watch.recalled(text, state, BEGAN_S) is not None


def test_a_launch_without_guardrails_still_counts_its_samples():
    state = declared("chat", STEPS)
    watch = watched(replace(state, progress=replace(state.progress, step=1)))
    word = live(watch, 4)
    assert (word.samples, word.readings) == (80, ())
    assert word.verdict is not Verdict.HARMFUL


def test_a_sidecars_own_trip_is_harm_with_its_words():
    trip = Trip("n1", "chat", "canary", 2, 0, "9 of 10 requests failed")
    word = taken_out(live(watched(), 2), trip.node, trip.variant, trip.reason)
    assert word.verdict is Verdict.HARMFUL
    assert "sidecar n1 took canary out by itself: 9 of 10 requests failed" in word.sentence
    assert word.evidence["trip"] == {"node": "n1", "reason": "9 of 10 requests failed"}


def late(number):
    """A second's row of the candidate, risen by a failure after the second had settled."""
    at, key = int(BEGAN_S) + number, 2 * number + 1
    counts = {"COMPLETED": 21, "ERRORS": 1, "UNITS": 21, "UNIT_ERRORS": 1}
    return row(second=at, variant="canary", number=key, seen=9_999, STARTED=20, **counts)


def test_what_comes_after_its_second_has_settled_is_told_by_sidecar_and_survives(caplog):
    watch = watched()
    live(watch, 100)
    assert watch.take([late(2), late(3)], {}, BEGAN_S + 102) == {("n1", "late"): 2}
    again = Watch.recalled(watch.remember(), launch(), BEGAN_S + 103)
    again.take([late(4)], {}, BEGAN_S + 103)
    word = again.word(BEGAN_S + 103)
    assert word.unjudged == (Unjudged("n1", "late", 3),)
    assert word.verdict is Verdict.HEALTHY
    assert json.loads(word.record())["unjudged"] == [{"node": "n1", "why": "late", "count": 3}]
    assert sum("outcomes not judged" in one.message for one in caplog.records) == 1
