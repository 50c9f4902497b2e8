"""Processes that are killed and started again: nobody's variant changes."""

import signal

import pytest
from app_lab import House, weights
from control_lab import document, short_dir

from sidecar.control import calls

HALF = {"stable": "50", "canary": "50"}


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        made.write()
        yield made


@pytest.fixture
def apart(house):
    """Controller and sidecar as processes of their own, at weights that no document declares."""
    controller = house.start("controller", house.folder)
    sidecar = house.start("sidecar", "--node", "edge")
    house.until_ready(controller, sidecar)
    calls.set_weights(house.settings.control, "chat", {"canary": 50}, reason="half")
    house.until_agreed(controller, sidecar)
    return controller, sidecar


def test_a_killed_controller_comes_back_with_the_same_answers(house, apart):
    controller, sidecar = apart
    before, table = house.answers(), house.sidecar().table
    controller.kill(signal.SIGKILL)
    house.until("the loss is seen", lambda: not house.sidecar().control_stream.connected, sidecar)
    assert house.answers() == before
    assert house.sidecar().ready
    again = house.start("controller", house.folder)
    house.until_agreed(again, sidecar)
    assert house.answers() == before
    assert house.sidecar().table.since == table.since
    rollout = house.rollout()
    assert (weights(rollout.in_force), rollout.revision) == (HALF, 2)
    assert rollout.last_event.why == "half"
    # Reconnected by itself, and nothing was sent that was there already.
    assert "resumes=1" in again.log.read_text()
    assert sidecar.log.read_text().count("table in force") == 2


def test_a_killed_sidecar_starts_from_disk_without_a_controller(house, apart):
    controller, sidecar = apart
    before, version = house.answers(), house.sidecar().table.version
    sidecar.stop()
    controller.kill(signal.SIGKILL)
    alone = house.start("sidecar")
    house.until_ready(alone)
    status = house.sidecar()
    assert (status.table.source, status.table.version) == ("disk", version)
    assert house.answers() == before
    house.until("retries", lambda: house.sidecar().control_stream.retries > 1, alone)
    assert "UNAVAILABLE" in house.sidecar().control_stream.last_error


@pytest.mark.parametrize("damage", [b"", b"garbage", b"half"])
def test_a_damaged_disk_file_is_reported_and_ignored(house, apart, damage):
    controller, sidecar = apart
    before = house.answers()
    sidecar.stop()
    controller.stop()
    kept = house.settings.resources
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage == b"half" else damage)
    alone = house.start("sidecar")
    house.until("listening", house.sidecar, alone)
    # It listens before it reads its disk.
    house.until("told", lambda: "is damaged and ignored" in alone.log.read_text(), alone)
    assert not house.sidecar().ready
    house.start("controller", house.folder)
    house.until_ready(alone)
    assert house.answers() == before
    house.until("the file is whole again", lambda: kept.read_bytes() == whole, alone)


def test_whatever_was_accepted_survives_a_kill_at_any_moment(house, apart):
    controller, sidecar = apart
    for canary in range(20):
        reply = calls.set_weights(house.settings.control, "chat", {"canary": canary})
    controller.kill(signal.SIGKILL)
    again = house.start("controller", house.folder)
    house.until_agreed(again, sidecar)
    assert house.rollout().revision == reply.rollout.revision == 22
    assert weights(house.rollout().in_force) == {"stable": "81", "canary": "19"}
    shares = weights(house.sidecar().table.rollouts[0].weights)
    assert shares == {"stable": "81", "canary": "19"}


def test_a_restart_onto_a_broken_file_keeps_the_last_good_document(house, apart):
    controller, sidecar = apart
    before = house.answers()
    controller.stop()
    house.write(text=document().replace("weight: 5", "weight: lots"))
    again = house.start("controller", house.folder)
    house.until_agreed(again, sidecar)
    assert house.answers() == before
    assert "chat.yaml:" in house.controller().mistakes[0].message
    assert weights(house.rollout().in_force) == HALF


def test_a_document_changed_while_the_controller_was_down_takes_effect(house, apart):
    controller, sidecar = apart
    controller.stop()
    house.write(text=document(canary=25, stable=75))
    again = house.start("controller", house.folder)
    house.until_agreed(again, sidecar)
    assert weights(house.rollout().in_force) == {"stable": "75", "canary": "25"}
    assert house.rollout().last_event.kind == "WeightsDeclared"
