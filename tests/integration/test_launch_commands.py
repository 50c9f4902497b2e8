"""Launches as people drive them: real processes, every command, the exit codes pipelines read."""

import json
import urllib.request

import pytest
from app_lab import House
from click.testing import CliRunner
from control_lab import document, short_dir
from launch_lab import text

from bench.lab.process import wait_until
from sidecar.cli import canary
from sidecar.errors import CanaryError

STEPS = "[{weight: 5}, {weight: 25, approval: true}, {weight: 100}]"


class Town(House):
    """Short commands run in this process: they would only load the same modules again."""

    def run(self, *args):
        done = CliRunner().invoke(canary, [str(arg) for arg in args], env=self.env)
        if isinstance(done.exception, CanaryError):
            return 1, str(done.exception)
        return done.exit_code, done.output


@pytest.fixture
def house():
    with short_dir() as root, Town(root) as made:
        made.write("chat.yaml", text("chat", STEPS))
        made.write("plain.yaml", document("plain"))
        yield made


def test_a_launch_ramps_by_itself_and_waits_for_people_where_it_should(house):
    up = house.start("up", house.folder, "--http", "0")
    house.until_ready(up)
    house.until("the first step", lambda: house.rollout().progress.step == 1, up)
    waiting = house.start("wait", "chat", "--timeout", "60s")
    wait_until("it says where it stands", lambda: "step 1 of 3" in waiting.log.read_text())
    status, said = house.run("status", "chat")
    assert status == 0
    assert "approval of step 2 (`canary approve`)" in said
    status, said = house.run("approve", "chat", "--why", "looks fine", "--if-revision", 2)
    assert (status, said.split(",")[0]) == (0, "chat: Running")
    assert waiting.wait(30) == 0
    assert "Promoted, step 3 of 3, stable 0 %, canary 100 %" in waiting.log.read_text()
    house.until_agreed(up)
    assert all(b"canary" in answer for answer in house.answers())
    status, said = house.run("history", "chat", "--json")
    events = json.loads(said)
    assert [one["kind"] for one in events] == [
        "RolloutDeclared",
        "StepBegun",
        "StepApproved",
        "StepBegun",
        "RolloutPromoted",
    ]
    assert events[2]["why"] == "looks fine"
    assert served(up) == {"status": "ok"}


def served(up):
    [line] = [one for one in up.log.read_text().splitlines() if "HTTP API serving" in one]
    address = line.split("address=")[1].split()[0]
    with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
        return json.load(answer)


def test_wait_ends_with_a_status_that_a_pipeline_can_read(house):
    up = house.up()
    house.until("the first step", lambda: house.rollout().progress.step == 1, up)
    cases = [
        (("chat", "--for", "running"), 0, "chat: Running, step 1 of 3"),
        (("chat", "--timeout", "0s"), 4, "the time is over"),
        (("chat", "--timeout", "soon"), 1, "--timeout 'soon' is not a duration"),
        (("chat", "--for", "finished"), 2, "'finished' is not one of"),
        (("plain",), 1, "rollout plain has no steps"),
        (("caht",), 1, "did you mean chat?"),
    ]
    for args, expected, words in cases:
        status, said = house.run("wait", *args)
        assert (status, words in said) == (expected, True), said
    assert house.run("abort", "chat", "--why", "no")[0] == 0
    assert house.run("wait", "chat")[0] == 3
    assert house.run("wait", "chat", "--for", "rolledback", "--for", "promoted")[0] == 0
    status, said = house.run("pause", "chat")
    assert (status, "its launch is over" in said, "canary launch" in said) == (1, True, True)


def test_status_of_one_launch_can_be_watched_line_by_line(house):
    up = house.up()
    house.until("the first step", lambda: house.rollout().progress.step == 1, up)
    watching = house.start("status", "chat", "--watch", "--interval", "0.1")
    wait_until("the first line", lambda: "step 1 of 3" in watching.log.read_text())
    house.run("pause", "chat")
    wait_until("the change", lambda: "Paused" in watching.log.read_text(), alive=[watching])
    assert len(watching.log.read_text().splitlines()) == 2


def test_a_killed_controller_goes_on_where_it_stood(house):
    up = house.up()
    house.until("the first step", lambda: house.rollout().progress.step == 1, up)
    house.run("approve", "chat")
    house.until("promoted", lambda: house.rollout().progress.phase == "Promoted", up)
    before = house.rollout().revision
    up.kill(9)
    up.wait(5)
    again = house.up()
    house.until_agreed(again)
    assert (house.rollout().revision, house.rollout().progress.phase) == (before, "Promoted")
