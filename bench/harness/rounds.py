"""The run: calibration, then rounds in which everybody has one turn, in an order drawn anew.

The line-up ends with the reference once more under another name: against itself it gives the
noise. Who cannot be built here is left out; who answers wrongly or cannot start is out for good,
with the reason; a failure counted by Envoy or the load generator leaves the row standing but it
does not count. On a machine that others stall, some turns may be allowed a second try; what failed
in the first is kept and told.

A turn is a cell in fresh processes; or, `together`, everybody stays up and a turn is only its
loads, so that what is compared is seconds apart instead of half a minute.
"""

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median

from bench.contenders import Contender, Missing
from bench.harness import cell
from bench.harness.cell import Bench, Cell, Counts
from bench.lab.process import LabError

AGAIN = " (again)"
# Of the slowest contender's saturation: what is called half load.
SHARE_OF_SLOWEST = 0.5
PROBE = Counts(one=200, paced=0, full=1500, rate=0.0, idle_s=0.0)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure. `counts` given: no calibration, the same counts for everybody.

    `retries` is how many failed turns each row may take again. `together` keeps everybody up.
    Many short rounds: the interval of a median of five reaches from the least to the greatest.
    """

    rounds: int = 11
    seed: int = 1
    seconds: float = 1.2
    limit_s: float = 900.0
    counts: Counts | None = None
    retries: int = 0
    together: bool = False


@dataclass
class Row:
    """One contender over all rounds.

    `missing` says what this machine lacks for it; `out` says what it did wrong; `again` holds the
    failures of turns that were taken again.
    """

    name: str
    contender: Contender
    cells: list[Cell] = field(default_factory=list)
    counts: Counts | None = None
    missing: str = ""
    out: str = ""
    again: list[dict[str, int]] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, int]:
        """Failures by name, over all cells."""
        total: dict[str, int] = {}
        for one in self.cells:
            for name, count in one.failed.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def counting(self) -> bool:
        """Whether its numbers may be compared."""
        return not (self.missing or self.out or self.failed) and bool(self.cells)


@dataclass
class Run:
    """Everything that was measured. Rows that were never out have one cell a round."""

    plan: Plan
    reference: str
    rows: list[Row]
    orders: list[list[str]] = field(default_factory=list)
    rate: float = 0.0
    cut_short: bool = False

    @property
    def others(self) -> float:
        """How many cores were busy with something else, in the median load."""
        phases = [p for row in self.rows for one in row.cells for p in one.phases.values()]
        return median(phase.others for phase in phases) if phases else 0.0

    def row(self, name: str) -> Row:
        """Return a row by its name. Raises KeyError."""
        return {row.name: row for row in self.rows}[name]


Measure = Callable[[Row, Counts], Cell]


def run(contenders: Sequence[Contender], reference: str, plan: Plan, say: Say = print) -> Run:
    """Measure everybody. `reference` is the name of the one that has the second turn."""
    rows = [Row(one.name, one) for one in contenders]
    made = Run(plan, reference, rows)
    for row in rows:
        _prepare(row, plan, say)
    _pace(made)
    # From here on: what a first build takes is not the rounds' to pay.
    deadline = time.monotonic() + plan.limit_s
    rows += [
        replace(row, name=row.name + AGAIN, cells=[], again=[])
        for row in rows
        if row.name == reference
    ]
    with ExitStack() as ending:
        measure = _Standing(ending) if plan.together else _fresh
        _rounds(made, deadline, measure, say)
    return made


def _fresh(row: Row, counts: Counts) -> Cell:
    return cell.measure(row.contender, counts)


class _Standing:
    """Everybody has one set of processes, from the first turn until `ending` ends them."""

    def __init__(self, ending: ExitStack) -> None:
        self._ending = ending
        self._benches: dict[str, Bench] = {}

    def __call__(self, row: Row, counts: Counts) -> Cell:
        if row.name not in self._benches:
            # The reference is up twice, and a contender can hold one set of processes.
            opened = cell.opened(copy.copy(row.contender))
            self._benches[row.name] = self._ending.enter_context(opened)
        return self._benches[row.name].run(counts)


def _rounds(made: Run, deadline: float, measure: Measure, say: Say) -> None:
    plan, random = made.plan, Random(made.plan.seed)
    for number in range(plan.rounds):
        began = time.monotonic()
        order = random.sample(made.rows, len(made.rows))
        made.orders.append([row.name for row in order])
        say(f"round {number + 1} of {plan.rounds}: {', '.join(made.orders[-1])}")
        for row in order:
            _turn(row, measure, plan.retries, say)
        took = time.monotonic() - began
        if number + 1 < plan.rounds and time.monotonic() + took > deadline:
            made.cut_short = True
            say(f"the time allowed ({plan.limit_s:g} s) is up after {number + 1} rounds")
            break


def _prepare(row: Row, plan: Plan, say: Say) -> None:
    """Build it and find out how fast it is; in a calibration nothing is kept but the counts."""
    try:
        row.contender.prepare()
        if plan.counts:
            row.counts = plan.counts
            return
        say(f"calibrating {row.name}")
        probe = cell.measure(row.contender, PROBE)
    except Missing as missing:
        row.missing = str(missing)
        say(f"{row.name} is left out: {missing}")
        return
    except (LabError, OSError) as error:
        row.out = str(error)
        say(f"{row.name} is out: {error}")
        return
    one, full = probe.phases["one"].rps, probe.phases["full"].rps
    row.counts = Counts(
        one=max(100, int(one * plan.seconds)), paced=0, full=int(full * plan.seconds), rate=full
    )


def _pace(made: Run) -> None:
    """Give everybody the rate that is half of what the slowest can do."""
    there = [row for row in made.rows if row.counts]
    if made.plan.counts:
        made.rate = made.plan.counts.rate
        return
    slowest = min((row.counts.rate for row in there if row.counts), default=0.0)
    made.rate = max(10.0, slowest * SHARE_OF_SLOWEST // 10 * 10)
    for row in there:
        assert row.counts
        paced = int(made.rate * made.plan.seconds)
        row.counts = replace(row.counts, rate=made.rate, paced=paced)


def _turn(row: Row, measure: Measure, retries: int, say: Say) -> None:
    if row.out or not row.counts:
        return
    try:
        measured = measure(row, row.counts)
    except (LabError, OSError) as error:
        row.out = str(error)
        say(f"{row.name} is out: {error}")
        return
    if measured.failed:
        say(f"{row.name} failed: {measured.failed}")
    if measured.failed and len(row.again) < retries:
        row.again.append(measured.failed)
        _turn(row, measure, retries, say)
    else:
        row.cells.append(measured)
