"""The demo as people run it, and on builds that are broken on purpose."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.lab.process import Child, wait_until

FAULTS = Path(__file__).with_name("faults.py")
SHORT = ["--users", "200", "--rate", "150", "--seconds-per-phase", "2.5", "--part", "weights"]
LAUNCHES = ["--part", "launches"]


def run(fault, folders, *words):
    return subprocess.run(
        [sys.executable, str(FAULTS), fault, folders.plan, *SHORT, *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture
def demo(work_folders, tmp_path):
    """Start the demo; the caller may end it at any moment. Ends it, and forgets its folder."""
    running = []

    def start(*words):
        argv = [sys.executable, str(FAULTS), "none", work_folders.plan, *SHORT, *words]
        running.append(Child("demo", argv, tmp_path))
        return running[0]

    yield start
    for child in running:
        child.stop()
    for path in work_folders.paths():
        shutil.rmtree(path, ignore_errors=True)


def test_the_demo_succeeds_and_shows_every_figure(work_folders):
    done = run("none", work_folders)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        r"   2 s   asked  5 %   observed  [\d.]+% \[[\d.]+%, [\d.]+%\] of 200 users .* failures 0",
        r"\$ canary weights chat-model canary=50",
        r"5 % -> 50 %: the last request on the old weights came \d+ ms (before|after) the",
        r"50 % -> 0 %: .*; (\d+) users had to move, \1 moved",
        r"last request on the old weights +\d+ ms +\d+ ms",
        r"[\d,]+ requests, each decided once; Envoy's failures: 0; no process restarted \(",
    ):
        assert re.search(line, done.stdout), line
    assert (work_folders.processes(), work_folders.paths()) == ([], [])


def test_the_demo_of_launches_succeeds_and_shows_every_figure(work_folders):
    done = run("none", work_folders, *LAUNCHES)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        r"RolloutPromoted: every step is done",
        r"RolloutRolledBack: Harmful: error rate .* against the baseline's",
        r"RolloutRolledBack: Harmful: latency p99 .* against the baseline's",
        r"from the first bad answer +error_rate +latency_p99",
        r"to the decision +[\d.]+ s +[\d.]+ s",
        r"to the last request on the candidate +[\d.]+ s +[\d.]+ s",
        r"users who met the candidate +[\d,]+ of 3,000 +[\d,]+ of 3,000",
    ):
        assert re.search(line, done.stdout), line
    assert (work_folders.processes(), work_folders.paths()) == ([], [])


def test_a_blind_guard_fails_the_demo(work_folders):
    done = run("blind_guard", work_folders, *LAUNCHES)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(
        r"demo: a version that fails 10 % of its answers answered \d+ of \d+ requests badly, "
        r"and was Promoted: the guard is blind",
        done.stdout,
    ), done.stdout
    assert work_folders.processes() == []
    [kept_for_its_logs] = work_folders.paths()
    shutil.rmtree(kept_for_its_logs)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("wrong_hash", r"demo: at 5 %: user-\d+ was answered by \w+, must be \w+"),
        (
            "route_cache_not_cleared",
            r"demo: at 5 %: user-\d+ was answered by stable, must be canary",
        ),
        ("update_ignored", r"demo: 5 % -> 50 %: the old weights still answered \d+ ms after"),
    ],
)
def test_a_broken_build_fails_with_one_sentence(fault, sentence, work_folders):
    done = run(fault, work_folders)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(sentence, done.stdout), done.stdout
    assert work_folders.processes() == []
    [kept_for_its_logs] = work_folders.paths()
    shutil.rmtree(kept_for_its_logs)


def output_has(text):
    return lambda child, _folders: text in child.log.read_text()


def a_folder_is_there(_child, folders):
    return folders.paths()


def an_upstream_is_up(_child, folders):
    return [port for path in folders.paths() for port in path.glob("*.port")]


MOMENTS = {
    "first folder": a_folder_is_there,
    "first upstream": an_upstream_is_up,
    "envoy up": output_has("Envoy listens on"),
    "traffic": output_has("asked  5 %"),
    "command": output_has("$ canary weights"),
    "at 50 %": output_has("asked 50 %"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_moment_leaves_no_process_and_no_file(moment, demo, work_folders):
    child = demo()
    wait_until(moment, lambda: MOMENTS[moment](child, work_folders), 30, alive=[child])
    child.kill(signal.SIGINT)
    assert child.wait(20) == 128 + signal.SIGINT
    assert (work_folders.processes(), work_folders.paths()) == ([], [])


def test_a_second_interrupt_does_not_cut_the_cleaning_short(demo, work_folders):
    child = demo()
    wait_until("traffic", lambda: MOMENTS["traffic"](child, work_folders), 30, alive=[child])
    for _ in range(3):
        child.kill(signal.SIGINT)
    assert child.wait(20) == 128 + signal.SIGINT
    assert (work_folders.processes(), work_folders.paths()) == ([], [])


def test_a_killed_demo_takes_its_processes_along(demo, work_folders):
    child = demo()
    wait_until("traffic", lambda: MOMENTS["traffic"](child, work_folders), 30, alive=[child])
    assert work_folders.processes()
    child.kill(signal.SIGKILL)
    wait_until("nobody left", lambda: not work_folders.processes())


def test_keep_says_what_to_try_and_what_it_says_works(demo, work_folders):
    child = demo("--keep")
    wait_until("kept", lambda: "Ctrl-C ends it." in child.log.read_text(), 60, alive=[child])
    text = child.log.read_text().rpartition("in another terminal:")[2]
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    script = "set -e\n" + "\n".join(commands)
    tried = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert tried.returncode == 0, tried.stderr
    assert re.search(r"x-answered-by: (stable|canary)", tried.stdout)
    assert "stable 75" in tried.stdout
    child.kill(signal.SIGINT)
    assert child.wait(20) == 128 + signal.SIGINT
    assert (work_folders.processes(), work_folders.paths()) == ([], [])


def test_phases_too_short_to_see_everybody_are_refused(work_folders):
    done = run("none", work_folders, "--seconds-per-phase", "2")
    assert done.returncode == 2
    assert "at least 2.3" in done.stderr
