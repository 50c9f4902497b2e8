"""What a real collector and a scraper learn of launches."""

from datetime import UTC, datetime

from launch_lab import GUARDED, Launch
from telemetry_lab import collector, free_port, scrape

from sidecar import telemetry
from sidecar.control.noting import Notes
from sidecar.delivery import Judgement, Tick, Verdict


def judgement(verdict, step=1):
    return Judgement(Verdict(verdict), 1, step, datetime.now(UTC), 500, "so it is")


def test_every_change_and_every_new_verdict_is_an_event_at_the_collector(monkeypatch):
    launch = Launch(*GUARDED)
    with collector() as received:
        for name, value in received.env.items():
            monkeypatch.setenv(name, value)
        onlooker = telemetry.start("canary-controller", "here")
        notes = Notes(onlooker.event)
        before = launch.state
        notes.changed(before, launch.give(Tick(), 0, "controller"))
        for verdict in ("healthy", "healthy", "harmful"):
            notes.judged({"chat": judgement(verdict)})
        onlooker.stop()
    changed, *judged = received.events
    assert changed == (
        "canary.rollout.changed",
        {
            "canary.rollout": "chat",
            "canary.change": "StepBegun",
            "canary.revision": 2,
            "canary.who": "controller",
            "canary.why": "step 1 of 3 begins: 5 %",
            "canary.phase": "Running",
            "canary.phase.before": "Pending",
            "canary.step": 1,
        },
    )
    assert [(name, one["canary.verdict"], one["canary.samples"]) for name, one in judged] == [
        ("canary.guard.judged", "healthy", 500),
        ("canary.guard.judged", "harmful", 500),
    ]
    assert notes.verdicts == {("chat", "healthy"): 2, ("chat", "harmful"): 1}


def test_a_scraper_sees_phase_share_changes_and_verdicts():
    sources = telemetry.ControllerSources(
        lambda: (0, 0),
        lambda: {("chat", "StepBegun"): 3},
        lambda: {("chat", "healthy"): 7},
        lambda: {"chat": ("Running", 0.25)},
        lambda: {("chat", "n1", "late"): 4},
    )
    port = free_port()
    onlooker = telemetry.start("canary-controller", "here", ("127.0.0.1", port), env={})
    try:
        onlooker.measure_controller(sources)
        seen = scrape(port)
    finally:
        onlooker.stop()
    rollout = 'canary_rollout="chat"'
    assert seen[f'canary_rollout_changes_total{{canary_change="StepBegun",{rollout}}}'] == 3
    assert seen[f'canary_guard_verdicts_total{{{rollout},canary_verdict="healthy"}}'] == 7
    late = f'canary_node="n1",{rollout},canary_why="late"'
    assert seen[f"canary_guard_unjudged_total{{{late}}}"] == 4
    assert seen[f'canary_rollout_phase{{canary_phase="Running",{rollout}}}'] == 1
    assert seen[f"canary_rollout_candidate_share{{{rollout}}}"] == 0.25
