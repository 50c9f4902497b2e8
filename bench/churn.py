"""Does a weight change ever cost a request? Millions of them, the weights moved all the while.

    python -m bench.churn [--engine native] [--requests 5000000 | --quick]

A real controller, a sidecar with one of its engines, a real Envoy, and closed-loop load that never
pauses for longer than a batch takes to begin. Whatever Envoy or the load generator counts against a
request is printed, and one is enough to fail. Before and after, the dialogue: the answers follow
the weights, and the last change is in force.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import count, cycle
from typing import Self

from rich.console import Console
from rich.table import Table

from bench.contenders.base import TASK
from bench.contenders.canary import Canary
from bench.harness import cell, dialogue, h2load, meter
from bench.harness.cell import CONNECTIONS, Bench
from bench.harness.dialogue import WrongAnswerError
from bench.lab.process import LabError, as_command, wait_until
from bench.lab.stack import ROOT
from sidecar import extproc
from sidecar.control import calls
from sidecar.errors import CanaryError

# Law 2's whole range: nobody, few, many, everybody.
PERCENTS = (5, 50, 95, 0, 100)
BATCH = 50_000
# Of the changes that were due; fewer, and the run says less than it claims.
CHANGES_KEPT = 0.9


@dataclass(frozen=True)
class Churned:
    """What a run showed. Memory is the sidecar's, after the first batch and after the last."""

    engine: str
    requests: int
    seconds: float
    changes: int
    changes_due: int
    failures: dict[str, int]
    first_rss_mb: float
    last_rss_mb: float

    @property
    def well(self) -> bool:
        """Whether nothing failed, and the weights really moved as often as they should."""
        return not any(self.failures.values()) and self.changes >= CHANGES_KEPT * self.changes_due


class Changer(threading.Thread):
    """Moves the weights every `period_s` until `stop`; `error` says why it ended early."""

    def __init__(self, address: str, period_s: float) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._period_s = period_s
        self._stopped = threading.Event()
        self.changes = 0
        self.error: CanaryError | None = None

    def run(self) -> None:
        """Change, on a schedule that a slow change does not shift."""
        begun = time.monotonic()
        for number, percent in zip(count(1), cycle(PERCENTS), strict=False):
            try:
                set_percent(self._address, percent)
            except CanaryError as error:
                self.error = error
                return
            self.changes = number
            due = begun + number * self._period_s
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()


def set_percent(address: str, percent: int) -> None:
    """Set the candidate's share. Raises CanaryError."""
    calls.set_weights(address, TASK.rollout, {TASK.candidate: Decimal(percent)})


def churn(
    engine: str,
    requests: int,
    period_s: float,
    say: Console,
    connections: int = CONNECTIONS,
) -> Churned:
    """Run it all. Raises LabError, WrongAnswerError among them."""
    with cell.opened(Canary(engine)) as bench:
        address = f"unix://{bench.work}/control.sock"
        rss, begun = [], time.monotonic()
        with Changer(address, period_s) as changer:
            for done in batches(bench, requests, connections):
                rss.append(meter.rss_bytes(bench.pids) / 1e6)
                failed = sum(bench.failures().values())
                told = f"{done:,} requests, {changer.changes} changes, {failed} failures"
                say.print(told, style="dim")
            seconds = time.monotonic() - begun
        if changer.error:
            raise LabError(f"a change was refused: {changer.error}")
        failures = bench.failures()
        set_percent(address, TASK.percent)
        wait_until("the last change is in force", lambda: rightly(bench))
        due = int(seconds / period_s)
        return Churned(engine, requests, seconds, changer.changes, due, failures, rss[0], rss[-1])


def batches(bench: Bench, requests: int, connections: int) -> Iterator[int]:
    """Drive the load; yield how many requests were made so far."""
    for done in range(0, requests, BATCH):
        size = min(BATCH, requests - done)
        bench.closed(size, connections=connections)
        yield done + size


def rightly(bench: Bench) -> bool:
    """Whether everybody is answered by the weights of the task."""
    try:
        return dialogue.hold(bench.envoy.address) > 0
    except WrongAnswerError:
        return False


def show(churned: Churned, console: Console) -> None:
    """Print it."""
    table = Table("figure", "value", title="weights moved under load", title_justify="left")
    failed = {name: number for name, number in churned.failures.items() if number}
    rows = {
        "engine": churned.engine,
        "requests": f"{churned.requests:,}",
        "requests/s": f"{churned.requests / churned.seconds:,.0f}",
        "changes (due)": f"{churned.changes} ({churned.changes_due})",
        "failures of any kind": str(failed or 0),
        "resident MB after the first batch": f"{churned.first_rss_mb:.1f}",
        "resident MB after the last": f"{churned.last_rss_mb:.1f}",
    }
    for row in rows.items():
        table.add_row(*row)
    console.print(table)


def main() -> int:
    """Run, print, keep under build/bench/; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description=__doc__)
    parser.add_argument("--engine", choices=extproc.ENGINES, default=extproc.DEFAULT_ENGINE)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--period-ms", type=float, default=100.0, help="between two changes")
    parser.add_argument("--quick", action="store_true", help="20,000 requests, for a look")
    given = parser.parse_args()
    console = Console()
    h2load.check_installed()
    requests = 20_000 if given.quick else given.requests
    churned = churn(given.engine, requests, given.period_ms / 1000, console)
    show(churned, console)
    target = ROOT / "build" / "bench" / f"churn-{given.engine}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(asdict(churned), indent=1) + "\n")
    return int(not churned.well)


if __name__ == "__main__":
    with as_command():
        sys.exit(main())
