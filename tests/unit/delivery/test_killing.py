"""The kill switch: what changes, what stays, and what is recorded."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from sidecar import delivery, rollout
from sidecar.delivery import (
    Command,
    Document,
    Kind,
    Origin,
    Phase,
    RefusedError,
    RetiredError,
    Switch,
)
from sidecar.store import rows

AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
ANN = Origin(AT, "ann", "it burns")
TEXT = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]
"""
STEPS = TEXT.replace("weight: 95", "weight: 100").replace("weight: 5}", "weight: 0}") + (
    "  steps: [{weight: 5, hold: 10m}, {weight: 100}]\n"
)


def state(text: str = TEXT) -> delivery.State:
    one = rollout.read([rollout.Source("chat.yaml", text.encode())]).declared[0].rollout
    return delivery.adopt(None, Document(one, rollout.generation(one), "chat.yaml"), ANN).state


def test_kill_and_revive_leave_everything_else_as_it_was():
    before = state()
    killed = delivery.act(before, Switch.KILL, ANN)
    revived = delivery.act(killed.state, Switch.REVIVE, ANN)
    assert (killed.state.killed, killed.event.kind) == (True, Kind.KILLED)
    assert (revived.state.killed, revived.event.kind) == (False, Kind.REVIVED)
    assert revived.state.in_force == killed.state.in_force == before.in_force
    assert [killed.event.revision, revived.event.revision] == [2, 3]
    assert killed.event.origin == ANN


@pytest.mark.parametrize("way", Switch)
def test_what_is_so_already_changes_nothing(way):
    one = state() if way is Switch.REVIVE else delivery.act(state(), Switch.KILL, ANN).state
    assert delivery.act(one, way, ANN) is None


def test_a_retired_rollout_is_neither_killed_nor_revived():
    with pytest.raises(RetiredError, match="baseline already"):
        delivery.act(delivery.retire(state(), ANN).state, Switch.KILL, ANN)


def test_an_edited_document_does_not_revive():
    killed = delivery.act(state(), Switch.KILL, ANN).state
    edited = state(TEXT.replace("weight: 5}", "weight: 7}")).document
    assert delivery.adopt(killed, edited, ANN).state.killed


def test_weights_may_be_moved_while_it_is_killed_and_count_once_it_is_revived():
    killed = delivery.act(state(), Switch.KILL, ANN).state
    moved = delivery.set_weights(killed, {"canary": Decimal(1)}, ANN).state
    assert moved.killed
    assert delivery.act(moved, Switch.REVIVE, ANN).state.in_force["canary"] == 1


def test_a_launch_under_way_is_paused_and_stays_paused_until_somebody_resumes_it():
    running = state(STEPS)
    running = delivery.handle(running, delivery.Tick(None), ANN).state
    assert running.progress.phase is Phase.RUNNING
    killed = delivery.act(running, Switch.KILL, ANN).state
    revived = delivery.act(killed, Switch.REVIVE, ANN).state
    later = Origin(AT + timedelta(days=1), "clock")
    for one in (killed, revived):
        assert one.progress.phase is Phase.PAUSED
        assert delivery.handle(one, delivery.Tick(None), later) is None
    assert revived.in_force == running.in_force
    for command in (Command.RESUME, Command.LAUNCH):
        with pytest.raises(RefusedError, match="killed"):
            delivery.act(killed, command, later)
    resumed = delivery.act(revived, Command.RESUME, later).state
    assert resumed.progress.phase is Phase.RUNNING


def test_a_kill_survives_the_store():
    killed = delivery.act(state(), Switch.KILL, ANN).state
    assert rows.state(rows.of_state(killed)) == killed
