"""SIGKILL around every commit, every emitted weight and every acknowledgement, in turn.

Nothing is skipped, nothing comes twice, and no outcome is lost or doubled. Here with a point in
five of those with a guard and of a sidecar's; `make crashes` tries every one of them.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EVERY = int(os.environ.get("CANARY_CRASH_EVERY", "5"))
STEPS = {
    "well": ([0, 1, 5, 25, 100], ["StepBegun"] * 3 + ["RolloutPromoted"]),
    "harm": ([0, 1, 5, 0], ["StepBegun"] * 2 + ["RolloutRolledBack"]),
}
GUARDED = {
    "well": [([0, 5, 50, 100], ["StepBegun"] * 2 + ["RolloutPromoted"])],
    # Rows come while nobody is there: harm may be known a step earlier.
    "harm": [
        ([0, 5, 50, 0], ["StepBegun"] * 2 + ["RolloutRolledBack"]),
        ([0, 5, 0], ["StepBegun", "RolloutRolledBack"]),
    ],
}


def died(program, *argv):
    """What came of dying at each point, and last of not dying at all."""
    run = subprocess.run(
        [sys.executable, str(HERE / program), *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE.parents[1]}"},
    )
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    assert [one["killed"] for one in made] == [True] * (len(made) - 1) + [False]
    return made


def way(one):
    """The weights in the order they were said (saying one again is no step), and what happened."""
    said = [weight for weight, _ in itertools.groupby(one["emitted"])]
    happened = [kind for kind, _, _ in one["events"]]
    assert happened[0] == "RolloutDeclared"
    assert [revision for _, _, revision in one["events"]] == list(range(1, len(happened) + 1))
    assert one["in_force"] == said[-1]
    return said, happened[1:]


@pytest.mark.parametrize("end", STEPS)
def test_a_killed_controller_neither_skips_nor_repeats_a_step_nor_loses_a_weight(tmp_path, end):
    made = died("crashing.py", tmp_path, end)
    # Two points per commit and two per emission, and two commits that open the file.
    assert len(made) == 4 * (len(STEPS[end][1]) + 1) + 4 + 1
    for number, one in enumerate(made, 1):
        assert way(one) == STEPS[end], number


@pytest.mark.timeout(420)
@pytest.mark.parametrize(("end", "first"), [("well", 1), ("harm", 2)])
def test_a_guard_that_is_killed_goes_the_same_way_and_counts_every_outcome_once(
    tmp_path, end, first
):
    made = died("crashing_guard.py", tmp_path, end, min(first, EVERY), EVERY)
    assert len(made) > 40 / EVERY
    for number, one in enumerate(made):
        assert way(one) in GUARDED[end], number
        assert one["rows_are_the_sidecars"], number
        assert one["judged"] == one["started"], number
        assert all(a <= s for a, s in zip(one["answered"], one["started"], strict=True)), number


@pytest.mark.timeout(420)
def test_a_killed_sidecar_loses_no_outcome_and_doubles_none(tmp_path):
    made = died("crashing_sidecar.py", tmp_path, 1, EVERY)
    assert len(made) > 60 / EVERY
    for number, one in enumerate(made):
        counts = (one["COMPLETED"], one["UNITS"], one["ERRORS"], one["UNIT_ERRORS"])
        assert counts == (24, 24, 8, 8), number
        assert one["journals"] == 0
        # Decisions are counted by the engine, in memory: those since the last tick go with it.
        assert one["STARTED"] in {24, 21}
