"""How a launch goes from step to step, and what every input does in every phase."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from launch_lab import GUARDED, START, STEPS, Launch, declared, document, origin

from sidecar import delivery
from sidecar.delivery import (
    ClockJumped,
    Command,
    GateAnswered,
    Judgement,
    Kind,
    Phase,
    RefusedError,
    Switch,
    Tick,
    Verdict,
)
from sidecar.delivery.machine import TABLE

GATED = "[{weight: 5}, {weight: 100, gate: {url: 'http://gate/x'}}]"
HOURS = timedelta(hours=5)


def test_a_launch_begins_with_nobody_whatever_its_declared_weight():
    assert Launch(candidate=50).stands == ("Pending", 0, 0)


def test_without_guardrails_holds_and_samples_lead_to_everybody():
    launch = Launch()
    launch.tick(0)
    assert launch.stands == ("Running", 1, 5)
    assert launch.tick(9.9, "healthy", 500) is None
    launch.tick(10, "healthy", 99)
    assert launch.stands == ("Running", 1, 5)
    launch.tick(10, "healthy", 100)
    assert launch.stands == ("Running", 2, 25)
    launch.tick(20)
    assert launch.stands == ("Promoted", 3, 100)
    assert [e.kind for e in launch.trail] == [Kind.STEP_BEGUN, Kind.STEP_BEGUN, Kind.PROMOTED]


def test_guardrails_must_have_been_measured_in_the_very_step():
    launch = Launch(*GUARDED)
    launch.tick(0)
    for wrong in (
        {},
        {"at": START - timedelta(seconds=1)},
        {"at": START + timedelta(minutes=9)},
        {"at": START + timedelta(minutes=11)},
        {"step": 0},
        {"launch": 2},
    ):
        verdict = "healthy" if wrong else "not_measured"
        assert launch.tick(10, verdict, 500, **wrong) is None
        assert launch.stands == ("Running", 1, 5)
    launch.tick(10, "healthy", 500)
    assert launch.stands == ("Running", 2, 25)


def test_harm_takes_the_candidate_out_at_once_and_the_evidence_stays():
    launch = Launch(*GUARDED)
    launch.tick(0)
    change = launch.tick(1, "harmful", 30, sentence="errors +4 pp", evidence={"e": float("nan")})
    assert launch.stands == ("RolledBack", 1, 0)
    assert launch.state.in_force == {"stable": 100, "canary": 0}
    assert (change.event.kind, change.event.origin.why) == (Kind.ROLLED_BACK, "errors +4 pp")
    assert '"e": null' in change.event.evidence
    assert launch.tick(30, "healthy", 500) is None


def test_a_paused_launch_goes_nowhere_except_out():
    launch = Launch(*GUARDED)
    launch.tick(0)
    launch.give(Command.PAUSE, 4)
    assert launch.tick(60, "healthy", 500) is None
    launch.give(Command.RESUME, 60)
    assert launch.state.progress.held_until == START + timedelta(minutes=66)
    launch.give(Command.PAUSE, 61)
    launch.tick(62, "harmful")
    assert launch.stands == ("RolledBack", 1, 0)


@pytest.mark.parametrize(
    ("policy", "stands"),
    [
        ("hold", ("Error", 1, 5)),
        ("proceed", ("Running", 2, 25)),
        ("rollback", ("RolledBack", 1, 0)),
    ],
)
def test_what_could_not_be_measured_when_the_hold_is_over(policy, stands):
    steps = STEPS.replace(", minSamples: 100", "")
    launch = Launch(GUARDED[0], steps, GUARDED[2], f"onNotMeasured: {policy}")
    launch.tick(0)
    assert launch.tick(9) is None
    launch.tick(11)
    assert launch.stands == stands


def test_error_and_inconclusive_end_by_themselves_when_the_numbers_come():
    launch = Launch(*GUARDED)
    launch.tick(0)
    launch.tick(11)
    assert launch.stands == ("Error", 1, 5)
    assert launch.tick(11.5, "healthy", 3) is None
    launch.tick(12.5, "healthy", 3)
    assert launch.stands == ("Inconclusive", 1, 5)
    launch.tick(12.6, "healthy", 100)
    assert launch.stands == ("Running", 2, 25)


def test_a_step_waits_for_approval_and_window_and_is_begun_once():
    steps = (
        "[{weight: 5}, {weight: 25, approval: true, window: {from: '09:00', to: '10:00'}},"
        " {weight: 100, hold: 1m}]"
    )
    launch = Launch("chat", steps)
    launch.tick(0)
    assert launch.tick(61) is None
    launch.give(Command.APPROVE, 62, why="looks fine")
    assert launch.give(Command.APPROVE, 62) is None
    assert launch.tick(121) is None
    launch.tick(24 * 60 + 60)
    assert launch.stands == ("Running", 2, 25)
    with pytest.raises(RefusedError, match="needs no approval"):
        launch.give(Command.APPROVE, 24 * 60 + 61)


def test_a_gate_is_asked_when_nothing_else_is_missing_and_its_no_is_told_once():
    launch = Launch("chat", GATED)
    assert not delivery.gate_wanted(launch.state, None, START)
    launch.tick(0)
    assert delivery.gate_wanted(launch.state, None, START)
    assert launch.tick(60) is None
    no = GateAnswered(1, 2, passed=False, said="tests are red")
    assert launch.give(no, 60).event.kind is Kind.GATE_REFUSED
    assert launch.give(no, 61) is None
    assert launch.stands == ("Running", 1, 5)
    for stale in (GateAnswered(1, 1, True, "ok"), GateAnswered(2, 2, True, "ok")):
        assert launch.give(stale, 62) is None
    launch.give(GateAnswered(1, 2, passed=True, said="ok"), 62)
    assert launch.stands == ("Promoted", 2, 100)


def test_a_gates_yes_does_not_count_while_something_else_is_missing():
    launch = Launch("chat", GATED.replace("weight: 5", "weight: 5, hold: 1h"))
    launch.tick(0)
    assert launch.give(GateAnswered(1, 2, passed=True, said="ok"), 59) is None


def test_blue_green_is_one_switch_with_the_way_back_open():
    launch = Launch("chat", "", "strategy: blueGreen")
    launch.tick(0)
    assert launch.stands == ("Promoted", 1, 100)
    launch.give(Command.ROLL_BACK, 600)
    assert launch.stands == ("RolledBack", 1, 0)


def test_at_everybody_there_is_nothing_to_compare_but_a_broken_limit_still_counts():
    launch = Launch("chat", "[{weight: 100, hold: 10m}]", GUARDED[2])
    launch.tick(0)
    assert launch.stands == ("Running", 1, 100)
    other = Launch("chat", "[{weight: 100, hold: 10m}]", GUARDED[2])
    other.tick(0)
    launch.tick(10)
    assert launch.stands == ("Promoted", 1, 100)
    other.tick(10, "harmful")
    assert other.stands == ("RolledBack", 1, 0)


def test_weights_moved_by_hand_pause_the_launch_and_resuming_takes_nobody_back():
    launch = Launch()
    launch.tick(0)
    launch.take(delivery.set_weights(launch.state, {"canary": Decimal(30)}, origin(1)))
    assert launch.stands == ("Paused", 1, 30)
    assert launch.tick(50) is None
    launch.give(Command.RESUME, 60)
    assert launch.stands == ("Running", 2, 30)
    assert launch.tick(69) is None
    launch.tick(70)
    assert launch.stands == ("Promoted", 3, 100)


def test_commands_that_cannot_be_are_refused_with_what_can():
    launch = Launch()
    with pytest.raises(RefusedError, match="under way") as refused:
        launch.give(Command.LAUNCH, 0)
    assert "canary abort" in refused.value.remedy
    launch.give(Command.PROMOTE, 1)
    assert launch.stands == ("Promoted", 3, 100)
    with pytest.raises(RefusedError, match="over"):
        launch.give(Command.ABORT, 2)
    launch.give(Command.ROLL_BACK, 2)
    with pytest.raises(RefusedError, match="over"):
        launch.give(Command.PROMOTE, 3)
    by_hand = declared("chat", "")
    with pytest.raises(RefusedError, match="no steps"):
        delivery.handle(by_hand, Command.PAUSE, origin())


def test_a_killed_launch_goes_nowhere_until_it_is_revived():
    launch = Launch()
    launch.tick(0)
    launch.take(delivery.act(launch.state, Switch.KILL, origin(1)))
    assert launch.state.progress.phase is Phase.PAUSED
    for command in (Command.RESUME, Command.PROMOTE):
        with pytest.raises(RefusedError, match="is killed"):
            launch.give(command, 2)
    launch.take(delivery.adopt(launch.state, document(cluster="v3"), origin(3)))
    assert launch.stands == ("Pending", 0, 0)
    assert launch.tick(4) is None
    launch.take(delivery.act(launch.state, Switch.REVIVE, origin(5)))
    launch.tick(6)
    assert launch.stands == ("Running", 1, 5)


@pytest.mark.parametrize("relaunch", ["reuse", "refresh"])
def test_the_next_launch_meets_the_same_people_or_others_and_never_both(relaunch):
    launch = Launch("chat", STEPS, f"relaunch: {relaunch}")
    launch.give(Command.ABORT, 0)
    first = launch.state.salt
    launch.give(Command.LAUNCH, 1)
    assert launch.stands == ("Pending", 0, 0)
    assert launch.state.progress.launch == 2
    assert (launch.state.salt == first == "chat") is (relaunch == "reuse")


def test_a_clock_that_jumps_takes_the_deadlines_along():
    for by in (HOURS, -HOURS):
        launch = Launch()
        launch.tick(0)
        shift = by.total_seconds() / 60
        launch.give(ClockJumped(by), 5 + shift)
        assert launch.tick(9 + shift, "healthy", 500) is None
        launch.tick(10 + shift, "healthy", 500)
        assert launch.stands == ("Running", 2, 25)


def test_hours_that_passed_unwatched_lead_one_step_on_and_not_without_samples():
    launch = Launch()
    launch.tick(0)
    launch.tick(600)
    assert launch.stands == ("Inconclusive", 1, 5)
    launch.tick(600, "healthy", 500)
    assert launch.stands == ("Running", 2, 25)
    assert launch.tick(600.1, "healthy", 500) is None


def test_a_clock_set_back_unwatched_begins_the_hold_anew_and_repeats_no_step():
    launch = Launch()
    launch.tick(0)
    change = launch.tick(-300, "healthy", 500)
    assert change.event.kind is Kind.CLOCK_JUMPED
    assert launch.tick(-291, "healthy", 500) is None
    launch.tick(-290, "healthy", 500)
    assert launch.stands == ("Running", 2, 25)


# Whatever happens in whatever order: the laws that no input may break.

MINUTES = st.floats(-10_000, 10_000, allow_nan=False)
WORDS = st.builds(
    Judgement,
    verdict=st.sampled_from(Verdict),
    launch=st.integers(1, 3),
    step=st.integers(0, 3),
    at=MINUTES.map(lambda m: START + timedelta(minutes=m)),
    samples=st.sampled_from([0, 99, 100, 10**9]),
)
INPUTS = st.one_of(
    st.builds(Tick, st.none() | WORDS),
    st.builds(
        GateAnswered,
        launch=st.integers(1, 3),
        step=st.integers(1, 4),
        passed=st.booleans(),
        said=st.sampled_from(["ok", "no"]),
    ),
    st.builds(ClockJumped, st.timedeltas(-timedelta(days=400), timedelta(days=400))),
    st.sampled_from(Command),
)
DOCUMENTS = st.sampled_from(
    [
        ("chat", STEPS),
        GUARDED,
        (*GUARDED, "onNotMeasured: rollback"),
        ("chat", GATED),
        ("chat", "", "strategy: blueGreen"),
        ("chat", "[{weight: 5, approval: true}, {weight: 50, hold: 1h}]", "relaunch: refresh"),
    ]
)


def test_the_table_has_a_cell_for_every_phase_and_input():
    kinds = {Tick, GateAnswered, ClockJumped, *Command}
    assert set(TABLE) == {(phase, kind) for phase in Phase for kind in kinds}


@given(DOCUMENTS, st.lists(st.tuples(INPUTS, MINUTES, st.booleans()), max_size=30))
def test_no_input_in_any_phase_breaks_the_laws(declared_as, inputs):
    launch = Launch(*declared_as)
    for chosen, minutes, fresh in inputs:
        before = launch.state
        heard = about_now(chosen, before.progress, minutes) if fresh else chosen
        try:
            change = launch.give(heard, minutes)
        except RefusedError:
            assert isinstance(heard, Command)
            continue
        if change:
            assert change.state.revision == before.revision + 1
            assert sum(change.state.in_force.values()) == 100
            check_way(before, change, heard)
            check_weights(change)
        if fresh and is_harm(heard) and before.progress.step:
            assert launch.state.progress.phase in delivery.OVER


def about_now(chosen, progress, minutes):
    if not isinstance(chosen, Tick) or chosen.judgement is None:
        return chosen
    at = START + timedelta(minutes=minutes)
    return Tick(replace(chosen.judgement, launch=progress.launch, step=progress.step, at=at))


def is_harm(heard):
    word = heard.judgement if isinstance(heard, Tick) else None
    return word is not None and word.verdict is Verdict.HARMFUL


def check_way(before, change, heard):
    """By itself a launch goes one step on, or ends; only people begin another."""
    was, now = before.progress, change.state.progress
    steps = len(before.document.rollout.plan.steps)
    assert (change.event.phase, change.event.step) == (now.phase, now.step)
    if isinstance(heard, Command):
        return
    assert now.launch == was.launch
    if now.phase is Phase.PROMOTED:
        assert was.step >= steps - 1
    else:
        assert now.step in (was.step, was.step + 1)


def check_weights(change):
    """Weights and phase never contradict each other."""
    progress, plan = change.state.progress, change.state.document.rollout.plan
    candidate = change.state.in_force["canary"]
    if progress.phase is Phase.PROMOTED:
        assert candidate == 100
    elif progress.phase is Phase.ROLLED_BACK or not progress.step:
        assert candidate == 0
    else:
        assert candidate == plan.steps[progress.step - 1].weight
