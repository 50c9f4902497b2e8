"""`canary up` and its parts as people run them: start, signals, the folder, the commands."""

import json
import os
import re
import signal
import socket

import grpc
import pytest
from app_lab import House, refused, weights
from control_lab import document, short_dir
from messages import request_headers

from bench.lab.process import wait_until
from sidecar.control import calls

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        made.write()
        yield made


def decided(answers):
    """The answers without the table's version: who gets what does not hang on it."""
    return [re.sub(rb"(version\x12\x0e\x1a\x0c)[0-9a-f]{12}", rb"\1", one) for one in answers]


def test_up_serves_envoy_and_stops_cleanly_at_a_signal(house):
    up = house.up()
    assert all(b"x-canary-chat" in answer for answer in house.answers())
    sockets = sorted(file.name for file in (house.root / "r").iterdir())
    assert sockets == ["control.sock", "ext_proc.sock", "sidecar.sock"]
    assert {file.stat().st_mode & 0o777 for file in (house.root / "r").iterdir()} == {0o600}
    assert up.stop() == 0
    assert list((house.root / "r").iterdir()) == []
    assert "Traceback" not in up.log.read_text()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_answers_what_was_begun_and_a_second_signal_ends_at_once(house, first):
    up = house.up()
    with grpc.insecure_channel(house.settings.listen) as channel:
        begun = channel.stream_stream(PROCESS)(iter_open(house, up, first), timeout=20)
        assert next(begun)
        assert next(begun)
        assert up.exit_status() is None
        up.kill(signal.SIGTERM)
        assert up.wait(5) == 128 + signal.SIGTERM


def iter_open(house, up, number):
    """Messages of one stream that stays open: the second goes while the sidecar drains."""
    message = request_headers([(":path", b"/"), ("x-user-id", b"u")])
    yield message
    up.kill(number)
    wait_until("draining", lambda: f"signal={number.name}" in up.log.read_text())
    yield message
    wait_until("ended", lambda: up.exit_status() is not None)


def test_a_second_up_is_told_that_another_is_serving(house):
    up = house.up()
    status, said = house.run("up", house.folder)
    assert status == 1
    assert "controller.sqlite is locked: another controller" in said
    status, said = house.run("up", house.folder, "--state-dir", house.root / "other")
    assert status == 1
    assert f"{house.root}/r/control.sock: another canary is serving there" in said
    assert "remedy: " in said
    assert "Traceback" not in said
    assert house.answers()
    assert up.exit_status() is None


def test_sockets_of_a_killed_process_do_not_stand_in_the_way(house):
    up = house.up()
    before = house.answers()
    up.kill(signal.SIGKILL)
    up.wait(5)
    assert (house.root / "r" / "control.sock").exists()
    house.up()
    assert house.answers() == before


def test_a_folder_that_is_not_there_is_named(house):
    status, said = house.run("up", house.root / "nowhere")
    assert status == 1
    assert f"{house.root}/nowhere" in said
    assert "remedy" in said


def test_tcp_on_loopback_works_and_a_busy_port_is_named(house):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        for option in ("--control", "--listen"):
            status, said = house.run("up", house.folder, option, taken)
            assert status == 1
            assert taken in said
            assert "remedy" in said
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    up = house.start("up", house.folder, "--control", address)
    house.until_ready(up)
    assert calls.controller_status(address).rollouts[0].name == "chat"


def test_a_broken_file_keeps_the_last_good_and_status_says_what_is_wrong(house):
    up = house.up()
    before = house.answers()
    for broken in (document().replace("canary, weight: 5", "canary, weight: -5"), "", "\xff"):
        house.write(text=broken)
        house.until("the mistake is seen", lambda: house.controller().mistakes, up)
        assert "remedy: " in house.controller().mistakes[0].message
        assert house.answers() == before
        assert not house.rollout().retired
        house.write()
        house.until("it is mended", lambda: not house.controller().mistakes, up)
    assert house.answers() == before
    assert house.rollout().revision == 1


def test_a_vanished_folder_changes_nothing_and_its_return_is_seen(house):
    up = house.up()
    before = house.answers()
    house.folder.rename(house.root / "away")
    house.until("the loss is seen", lambda: house.controller().mistakes, up)
    assert house.answers() == before
    (house.root / "away" / "chat.yaml").write_text(document(stable=90, canary=10))
    (house.root / "away").rename(house.folder)
    house.until("the return is seen", lambda: house.rollout().revision == 2, up)
    assert weights(house.rollout().in_force) == {"stable": "90", "canary": "10"}
    assert not house.controller().mistakes


def test_an_empty_folder_changes_nothing_until_a_file_says_that_it_is_meant(house):
    up = house.up()
    before = house.answers()
    (house.folder / "chat.yaml").unlink()
    house.until("the loss is seen", lambda: house.controller().mistakes, up)
    assert house.answers() == before
    _, said = house.run("status")
    assert "refused" in said
    assert "echo '[]' > none.yaml" in said
    house.write("none.yaml", "[]")
    house.until("retired", lambda: house.rollout().retired, up)
    house.until_agreed(up)
    assert not any(b"x-canary-chat" in answer for answer in house.answers())
    assert not house.controller().mistakes


@pytest.mark.parametrize("fault", ["in one file", "no file"])
def test_a_new_controller_that_saw_only_faults_leaves_the_sidecar_what_it_holds(house, fault):
    house.write("shop.yaml", document("shop"))
    controller, sidecar = house.start("controller", house.folder), house.start("sidecar")
    house.until_agreed(controller, sidecar)
    before, kept = house.answers(), house.settings.resources.read_bytes
    whole = house.until("kept", house.settings.resources.exists) or kept()
    controller.stop()
    house.settings.database.unlink()
    house.write("shop.yaml", document("shop").replace("weight: 5", "weight: lots"))
    if fault == "no file":
        for file in house.folder.iterdir():
            file.unlink()
    again = house.start("controller", house.folder)
    house.until("connected again", lambda: house.controller().sidecars, again)
    house.until_agreed(again, sidecar)
    assert house.answers() == before
    assert kept() == whole
    _, said = house.run("status")
    assert f"(keeps {2 if fault == 'no file' else 1} more)" in said
    assert "nothing is withdrawn" in said
    assert "nothing is withdrawn from sidecars" in again.log.read_text()
    house.write("shop.yaml", "[]")
    house.write()
    house.until_agreed(again, sidecar)
    house.until("one is left", lambda: len(house.sidecar().table.rollouts) == 1, sidecar)
    assert not house.controller().withdraws_nothing


def test_a_deleted_document_retires_its_rollout_and_a_restored_one_resumes(house):
    house.write("shop.yaml", document("shop"))
    up = house.up()
    calls.set_weights(house.settings.control, "chat", {"canary": 50})
    house.until_agreed(up)
    at_half = decided(house.answers())
    (house.folder / "chat.yaml").unlink()
    house.until("retired", lambda: house.rollout().retired, up)
    house.until_agreed(up)
    assert not any(b"x-canary-chat" in answer for answer in house.answers())
    assert house.rollout().last_event.kind == "RolloutRetired"
    text = refused(lambda: calls.set_weights(house.settings.control, "chat", {"canary": 1}))
    assert "is retired" in text
    assert "remedy" in text
    house.write()
    house.until("restored", lambda: not house.rollout().retired, up)
    house.until_agreed(up)
    assert decided(house.answers()) == at_half
    assert house.rollout().last_event.kind == "RolloutRestored"


def test_a_config_map_mount_is_followed_through_its_swap(house):
    def mount(generation, text):
        (house.folder / generation).mkdir()
        (house.folder / generation / "chat.yaml").write_text(text)
        (house.folder / "..tmp").symlink_to(generation)
        (house.folder / "..tmp").rename(house.folder / "..data")

    (house.folder / "chat.yaml").unlink()
    mount("..one", document())
    (house.folder / "chat.yaml").symlink_to("..data/chat.yaml")
    up = house.up()
    mount("..two", document(stable=80, canary=20))
    house.until("the swap is seen", lambda: house.rollout().revision == 2, up)
    assert weights(house.rollout().in_force) == {"stable": "80", "canary": "20"}


def test_weights_says_what_changed_and_refuses_with_a_remedy(house):
    house.up()
    status, said = house.run("weights", "chat", "canary=50", "--reason", "looks good")
    assert status == 0
    assert "chat: stable 95 %, canary 5 %  ->  stable 50 %, canary 50 %  (revision 2)" in said
    assert house.rollout().last_event.why == "looks good"
    assert house.rollout().last_event.who
    for args, what in (
        (["chat", "canary=500"], "nothing is left for stable"),
        (["chat", "canary=1", "--if-revision", "1"], "at revision 2, not 1"),
        (["chat", "canry=1"], "did you mean canary?"),
        (["chot", "canary=1"], "did you mean chat?"),
        (["chat", "canary"], "is not VARIANT=WEIGHT"),
        (["chat", "canary=1", "canary=2"], "named twice"),
        (["chat", "canary=NaN"], "not a number from 0"),
        (["chat", "canary=1e999999999"], "not a number from 0"),
    ):
        status, said = house.run("weights", *args)
        assert (status, what in said, "remedy: " in said) == (1, True, True), said
    assert house.rollout().revision == 2
    status, said = house.run("weights", "chat", "canary=50", "--if-revision", "2")
    assert (status, "unchanged" in said) == (0, True)


def test_simulate_starts_from_the_weights_in_force(house):
    house.write()
    house.up()
    calls.set_weights(house.settings.control, "chat", {"canary": 50})
    people, draft = house.root / "people.csv", house.root / "draft.yaml"
    people.write_text("x-user-id,x-vip\n" + "".join(f"u{n},\n" for n in range(1000)) + "u,1\n")

    def simulated(text):
        draft.write_text(text + "---\n" + document("shop"))
        status, said = house.run("simulate", draft, "--units", people, "--running", "--json")
        assert status == 0, said
        found = json.loads(said[: said.rindex("}") + 1])["rollouts"]
        return {one["rollout"]: one for one in found}

    def to_canary(one):
        return sum(row["units"] for row in one["given"] if row["variant"] == "canary")

    same = simulated(document())["chat"]
    assert 400 < to_canary(same) < 600
    assert (same["moved"], same["because"]) == ([], [])
    vip = "  segments: [{name: vip, when: [{header: x-vip, present: true}], variant: canary}]\n"
    after = simulated(document() + vip)
    assert 400 < to_canary(after["chat"]) < 600
    assert sum(row["units"] for row in after["chat"]["moved"]) <= 1
    assert "segment 'vip' is new" in after["chat"]["because"][0]
    assert after["shop"]["because"] == []
    assert house.run("kill", "chat", "--why", "test")[0] == 0
    assert to_canary(simulated(document())["chat"]) == 0


def test_validate_says_who_would_move_and_moves_nobody(house):
    """A first candidate that is done may not simply go: the second takes its place on the line."""
    variants = (
        "variants: [{name: stable, weight: 80}, {name: done, weight: 0}, {name: b, weight: 20}]"
    )
    text = document().partition("variants:")[0] + variants + "\n"
    house.write(text=text)
    house.up()
    calls.set_weights(house.settings.control, "chat", {"b": 20, "stable": 80, "done": 0})
    before, draft = house.controller().rollouts, house.root / "draft.yaml"
    for edited, expected in (
        (text, None),
        (text.replace("80", "800").replace("20", "200"), "moves 0.0 % of the people"),
        (text.replace("80", "70").replace("20", "30"), "moves 9.8 %"),
        (text.replace("{name: done, weight: 0}, ", ""), "moves 39.3 %"),
        (text.replace("x-user-id", "x-account"), "moves 0.0 % of the people who keep their unit"),
        (text.replace("name: chat", "name: shop"), None),
    ):
        draft.write_text(edited)
        status, said = house.run("validate", draft)
        assert status == 0
        assert "not held against" not in said
        assert (expected in said) if expected else ("moves" not in said)
        assert ("variant 'done' is dropped" in said) == ("done" not in edited)
        assert ("b 20 %  ->  stable 70 %, done 0 %, b 30 %" in said) == ("weight: 30" in edited)
    assert house.controller().rollouts == before


def test_status_shows_both_sides(house):
    up = house.up()
    house.write("broken.yaml", "kind: Nothing")
    house.until("the mistake is seen", lambda: house.controller().mistakes, up)
    house.until_agreed(up)
    version = house.controller().version
    status, said = house.run("status")
    assert status == 0
    assert said.count(version) == 3
    for what in ("chat", "stable 95 %, canary 5 %", "broken.yaml:1:", "remedy", "native", "ready"):
        assert what in said
    status, said = house.run("status", "--json")
    sides = json.loads(said)
    assert sides["controller"]["rollouts"][0]["name"] == "chat"
    assert sides["controller"]["sidecars"][0]["node"] == os.uname().nodename
    assert sides["sidecar"]["table"]["version"] == version
    assert sides["sidecar"]["controlStream"]["connected"] is True


@pytest.mark.parametrize("missing", ["controller", "sidecar"])
def test_status_without_one_side_shows_the_other_and_fails(house, missing):
    if missing == "sidecar":
        child = house.start("controller", house.folder)
        house.until("listening", house.controller, child)
    else:
        child = house.start("sidecar")
        house.until("listening", house.sidecar, child)
    status, said = house.run("status")
    assert status == 1
    assert f"{missing}  unreachable" in said
    assert ("no sidecar connected" in said) == (missing == "sidecar")
    assert ("disconnected" in said) == (missing == "controller")
    status, said = house.run("status", "--json")
    assert status == 1
    assert "unreachable" in json.loads(said)[missing]


@pytest.mark.parametrize("command", ["up", "controller", "sidecar", "weights", "status"])
def test_help_explains_every_option(house, command):
    status, said = house.run(command, "--help")
    assert status == 0
    assert "--run-dir" in said
    assert "CANARY_RUN_DIR" in said
