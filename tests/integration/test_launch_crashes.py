"""SIGKILL around every commit and every emitted weight: nothing skipped, nothing twice."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CRASHING = Path(__file__).parent / "crashing.py"
STEPS = {
    "well": ([0, 1, 5, 25, 100], ["StepBegun"] * 3 + ["RolloutPromoted"]),
    "harm": ([0, 1, 5, 0], ["StepBegun"] * 2 + ["RolloutRolledBack"]),
}


@pytest.mark.parametrize("way", STEPS)
def test_a_killed_controller_neither_skips_nor_repeats_a_step_nor_loses_a_weight(tmp_path, way):
    run = subprocess.run(
        [sys.executable, str(CRASHING), str(tmp_path), way],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{CRASHING.parents[1]}:{CRASHING.parents[2]}"},
    )
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    weights, kinds = STEPS[way]
    # Two points per commit and two per emission; the last process came through unharmed.
    assert [one["killed"] for one in made] == [True] * (len(made) - 1) + [False]
    assert len(made) == 4 * (len(kinds) + 1) + 1
    for number, one in enumerate(made, 1):
        # A successor says again what is in force; that is no step.
        said = [weight for weight, _ in itertools.groupby(one["emitted"])]
        assert said == weights, (number, one)
        assert one["in_force"] == weights[-1]
        happened = [kind for kind, _, _ in one["events"]]
        assert happened == ["RolloutDeclared", *kinds], (number, one)
        assert [revision for _, _, revision in one["events"]] == list(range(1, len(happened) + 1))
