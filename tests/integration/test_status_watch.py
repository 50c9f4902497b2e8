"""`canary status --watch` on running processes: what it says when, and how it ends."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from app_lab import CANARY, House
from control_lab import short_dir

WATCH = ["status", "--watch", "--interval", "0.1"]


@pytest.fixture
def house():
    with short_dir() as root, House(root) as house:
        house.write()
        yield house


def until_said(house, child, pattern):
    house.until(f"{pattern!r} said", lambda: re.search(pattern, child.log.read_text()), child)
    return child.log.read_text()


def test_a_line_per_change_and_nothing_when_nothing_changes(house):
    up = house.up()
    house.until_agreed(up)
    watch = house.start(*WATCH)
    until_said(house, watch, r"controller, rollout chat: stable 95 %, canary 5 % \(revision 1\)")
    first = until_said(house, watch, r"sidecar, control stream: connected")
    assert house.run("weights", "chat", "canary=50")[0] == 0
    said = until_said(house, watch, r"sidecar, table: (\S+) from control stream  ->  ")
    [line] = [one for one in said.removeprefix(first).splitlines() if "rollout chat" in one]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 controller, rollout chat: "
        r"stable 95 %, canary 5 % \(revision 1\)  ->  stable 50 %, canary 50 % \(revision 2\)",
        line,
    )
    house.write("broken.yaml", "apiVersion: canary.dev/v1\nkind: Rollout\n")
    until_said(house, watch, r"controller, refused \S*broken.yaml: .*remedy")
    (house.folder / "broken.yaml").unlink()
    until_said(house, watch, r"controller, refused \S*broken.yaml: gone")
    up.kill(signal.SIGKILL)
    said = until_said(house, watch, r" sidecar: \S+ ready  ->  unreachable")
    assert "rollout chat: gone" not in said
    watch.kill(signal.SIGINT)
    assert watch.wait(10) == 0
    assert "Traceback" not in watch.log.read_text()


def test_whoever_comes_later_is_seen(house):
    watch = house.start(*WATCH)
    until_said(house, watch, "controller: unreachable")
    until_said(house, watch, "sidecar: unreachable")
    house.up()
    # Between listening and having a table there may be a look, or not.
    until_said(house, watch, r"controller: .*  ->  table")
    until_said(house, watch, r" sidecar: .*  ->  \S+ ready")


def test_for_programs_each_change_is_one_json_document(house):
    up = house.up()
    house.until_agreed(up)
    watch = house.start(*WATCH, "--json")
    until_said(house, watch, "\n")
    assert house.run("weights", "chat", "canary=50")[0] == 0
    until_said(house, watch, r'"revision": "2"')
    watch.kill(signal.SIGINT)
    assert watch.wait(10) == 0
    seen = [json.loads(line) for line in watch.log.read_text().splitlines()]
    revisions = [one["controller"]["rollouts"][0]["revision"] for one in seen]
    assert revisions == sorted(revisions)
    assert {"at", "controller", "sidecar"} == set(seen[0])


def test_on_a_terminal_it_is_a_live_view_that_leaves_the_terminal_as_it_was(house):
    house.until_agreed(house.up())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    env = {**os.environ, **house.env, "TERM": "xterm-256color"}
    # The size is the terminal's, not what the tests' own runner was told.
    env = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [*CANARY, *WATCH], stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as watch:
        os.close(theirs)
        try:
            screen = read_until(ours, b"revision", b"stable 95 %, canary 5 %", b"Ctrl-C ends")
            assert b"\x1b[?25l" in screen
            assert house.run("weights", "chat", "canary=50")[0] == 0
            read_until(ours, b"stable 50 %, canary 50 %")
            watch.send_signal(signal.SIGINT)
            read_until(ours, b"\x1b[?25h")
            assert watch.wait(10) == 0
        finally:
            watch.kill()
            os.close(ours)


def read_until(terminal, *wanted):
    seen, end = b"", time.monotonic() + 60
    while not all(text in seen for text in wanted):
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 1 << 16)
    return seen
