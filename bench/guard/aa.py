"""`make bench-guard-aa`: false rollbacks among launches in which nothing is wrong."""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.guard import power
from bench.guard.cells import CELLS, CONTRAST, DAY_S, Cell
from bench.guard.launches import DurationLaunches, ErrorLaunches

ALPHA = 0.01
ALLOWED = 35 / 2_000


def run(cell: Cell, launches: int, seconds: int, seed: int) -> int:
    """Return how many launches were rolled back at any look."""
    alarms = 0
    for number, first in enumerate(range(0, launches, cell.batch)):
        size = min(cell.batch, launches - first)
        random = np.random.default_rng([seed, number])
        judged = ErrorLaunches(size)
        for second, news in enumerate(cell.generate(random, size, seconds)):
            judged.look(second + 1.0, news)
        alarms += int((judged.most >= 1 / ALPHA).sum())
    return alarms


@dataclass(frozen=True)
class Slow:
    """A/A of durations: requests/s, seconds that make a block, whether the shape drifts."""

    name: str
    rate: float
    share: float
    block_s: int
    drifting: bool


SLOW = (
    Slow("durations, 1 request/s, 5/95", 1.0, 0.05, 60, drifting=False),
    Slow("durations, 20 requests/s, 5/95, drifting", 20.0, 0.05, 60, drifting=True),
    Slow("durations, 20 requests/s, 50/50, drifting", 20.0, 0.5, 60, drifting=True),
)


def run_slow(cell: Slow, launches: int, seconds: int, seed: int) -> int:
    """Return how many launches were rolled back for slowness at any look."""
    random = np.random.default_rng([seed, 99])
    plan = power.steered(random)
    judged = DurationLaunches(launches, plan)
    times = power.slowed(random, 100_000, "")
    for second in range(cell.block_s, seconds + 1, cell.block_s):
        factor = 1 + 0.8 * np.sin(2 * np.pi * 2 * second / DAY_S) if cell.drifting else 1.0
        groups = np.searchsorted(plan.cuts_c, power.bucketed(times * factor), side="right")
        mass = np.bincount(groups, minlength=len(plan.cuts_c) + 1) / len(times)
        expected = cell.rate * cell.block_s * mass
        size = (launches, len(mass))
        candidate = random.poisson(cell.share * expected, size)
        baseline = random.poisson((1 - cell.share) * expected, size)
        judged.look(float(second), candidate, baseline)
    return int((judged.most >= 1 / ALPHA).sum())


def main() -> int:
    """Run the cells; 1 if one has too many false rollbacks."""
    parser = argparse.ArgumentParser(prog="make bench-guard-aa", description=__doc__)
    parser.add_argument("--launches", type=int, default=2_000)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("build/bench/guard-aa.json"))
    given = parser.parse_args()
    console = Console()
    seconds = int(given.hours * 3600)
    title = f"false rollbacks of {given.launches} in {given.hours:g} h, seed {given.seed}"
    table = Table("cell", "false rollbacks", "at most", "took", title=title)
    found = {}
    for cell in (*CELLS, CONTRAST, *SLOW):
        if given.only not in cell.name:
            continue
        began = time.monotonic()
        found[cell.name] = alarms = _run(cell, given.launches, seconds, given.seed)
        took = time.monotonic() - began
        print(f"{cell.name}: {alarms}, {took:.0f} s", file=sys.stderr, flush=True)
        allowed = "-" if cell is CONTRAST else f"{ALLOWED * given.launches:.0f}"
        table.add_row(cell.name, str(alarms), allowed, f"{took:.0f} s")
        given.out.parent.mkdir(parents=True, exist_ok=True)
        head = {"launches": given.launches, "hours": given.hours, "seed": given.seed}
        given.out.write_text(json.dumps({**head, "alpha": ALPHA, "false": found}, indent=1) + "\n")
    console.print(table)
    bad = [
        n for n, alarms in found.items() if n != CONTRAST.name and alarms > ALLOWED * given.launches
    ]
    return int(bool(bad) and seconds >= DAY_S)


def _run(cell: Cell | Slow, launches: int, seconds: int, seed: int) -> int:
    if isinstance(cell, Cell):
        return run(cell, launches, seconds, seed)
    return run_slow(cell, launches, seconds, seed)


if __name__ == "__main__":
    sys.exit(main())
