"""What swapping a large table does to the requests under way.

    python -m bench.swap [--rollouts 10000] [--rate 1000] [--rounds 15 | --quick]

A process with the native engine holds a table of many rollouts, five segments each, and is asked at
a fixed rate over its Unix socket. Some rounds nothing changes; in others one weight changes every
quarter of a second, the way the control stream does it: the next edition is made in a thread,
swapped in, and the one before given up. Two rows tell what that is not: `none again` is `none` by
another name (the machine's noise), and `as busy` has a thread that computes as often and as long as
a swap takes, and swaps nothing: where no core is free, that alone holds requests up. Rounds are
interleaved; figures are medians over them.
"""

import argparse
import asyncio
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.harness import h2load
from bench.harness.h2load import Answers
from bench.lab.process import Child, LabError, as_command, wait_until
from bench.lab.stack import ROOT
from bench.test_core import many_ruled, message
from sidecar.control import codec, edition, following
from sidecar.extproc import SERVICE
from sidecar.extproc.native_engine import NativeEngine
from sidecar.routing import Variant

MOST_MS = 1.0
EVERY_S = 0.25
ROUND_S = 5.0
CLIENTS = 4
SEED = 1
NONE, AGAIN, BUSY, SWAPS = "none", "none again", "as busy", "swaps"
TOLD = {BUSY: signal.SIGHUP, SWAPS: signal.SIGUSR1}
SERVES = "serves"


@dataclass
class Row:
    """One way to go on, round by round."""

    name: str
    answers: list[Answers] = field(default_factory=list)

    def ms(self, point: float) -> list[float]:
        """The latency at a percentile of each round; 100 is the slowest request."""
        return [one.percentile_us(point) / 1e3 for one in self.answers]


# ---- the process that is asked ------------------------------------------------------------------


class Swapper:
    """Serves, and swaps (from SIGUSR1 to SIGUSR2) or is as busy (from SIGHUP on)."""

    def __init__(self, socket: str, rollouts: int) -> None:
        self._engine = NativeEngine(f"unix://{socket}")
        self._routes = many_ruled(rollouts)
        self._working = asyncio.Event()
        self._swapping = False
        self._swaps = 0
        self._took_s = 0.0

    async def run(self) -> None:
        """Until the process is ended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._begin, True)
        loop.add_signal_handler(signal.SIGHUP, self._begin, False)
        loop.add_signal_handler(signal.SIGUSR2, self._stop)
        holdings = following.restore(
            (one.name, codec.version_of_bytes(data := codec.encode(one)), data)
            for one in self._routes
        )
        made = edition.after(None, holdings, {}, ())
        await self._engine.start()
        self._engine.swap(made.table)
        print(SERVES, flush=True)
        while True:
            await self._working.wait()
            if not self._swapping:
                await asyncio.to_thread(_spin, self._took_s / max(self._swaps, 1))
                await asyncio.sleep(EVERY_S)
                continue
            begun = time.perf_counter()
            made = await asyncio.to_thread(edition.after, made, self._changed(made), {}, ())
            self._engine.swap(made.table)
            self._swaps += 1
            self._took_s += time.perf_counter() - begun
            await asyncio.sleep(EVERY_S)

    def _changed(self, made: edition.Edition) -> following.Holdings:
        route = self._routes[self._swaps % len(self._routes)]
        weights = (Variant("stable", 95), Variant("canary", 5 + self._swaps % 90))
        data = codec.encode(replace(route, variants=weights))
        held = following.Held(f"v{self._swaps}", data)
        return following.Holdings({**made.holdings.resources, route.name: held}, f"t{self._swaps}")

    def _begin(self, swapping: bool) -> None:  # noqa: FBT001 - asyncio passes no keywords
        self._swapping = swapping
        self._working.set()

    def _stop(self) -> None:
        self._working.clear()
        print(json.dumps([self._swaps, self._took_s]), flush=True)


def _spin(seconds: float) -> None:
    """Compute without the interpreter's lock, as loading a table does."""
    until, block = time.perf_counter() + seconds, bytes(1 << 16)
    while time.perf_counter() < until:
        hashlib.sha256(block).digest()


# ---- the load -----------------------------------------------------------------------------------


def ask(socket: Path, rate: int, seconds: float) -> Answers:
    """Ask at that rate. Raises LabError unless every request is answered."""
    body, log = socket.with_name("message"), socket.with_name("h2load.tsv")
    said = message(20)
    body.write_bytes(b"\0" + len(said).to_bytes(4) + said)
    log.unlink(missing_ok=True)
    requests = int(rate * seconds)
    argv = [h2load.TOOL, "--base-uri", f"unix:{socket}", "--data", str(body)]
    argv += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    argv += ["--clients", str(CLIENTS), "--requests", str(requests)]
    argv += ["--rps", f"{rate / CLIENTS}", "--log-file", str(log)]
    argv += [f"http://localhost/{SERVICE}/Process"]
    subprocess.run(argv, check=True, capture_output=True, timeout=seconds * 10 + 60)
    answers = h2load.read(log.read_text(), requests)
    if answers.failed:
        raise LabError(f"{answers.failed} of {requests} requests had no answer")
    return answers


def measure(rollouts: int, rate: int, rounds: int, seconds: float, say: Console) -> list[Row]:
    """Run it all. Raises LabError."""
    rows = [Row(name) for name in (NONE, AGAIN, BUSY, SWAPS)]
    drawn = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="cn") as folder:
        socket = Path(folder) / "s.sock"
        argv = [sys.executable, "-m", "bench.swap", "--serve", str(socket)]
        argv += ["--rollouts", str(rollouts)]
        env = {"PYTHONPATH": str(ROOT)}
        with Child("swapper", argv, Path(folder), env=env) as child:
            wait_until("a table", lambda: SERVES in child.log.read_text(), 120, alive=[child])
            child.kill(signal.SIGUSR1)
            ask(socket, rate, seconds)
            for number in range(rounds):
                for row in drawn.sample(rows, len(rows)):
                    child.kill(TOLD.get(row.name, signal.SIGUSR2))
                    row.answers.append(ask(socket, rate, seconds))
                say.print(f"round {number + 1} of {rounds}", style="dim")
            child.kill(signal.SIGUSR2)
            stops = 2 * rounds + 1
            swaps, took_s = wait_until("its count", lambda: _said(child.log, stops), alive=[child])
    say.print(f"{swaps} swaps, {took_s / max(swaps, 1) * 1e3:.1f} ms each to make and swap in")
    return rows


def _said(log: Path, stops: int) -> list[float] | None:
    """Return what it said when it was told to stop for the last of so many times."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("[")]
    found: list[float] | None = json.loads(lines[-1]) if len(lines) >= stops else None
    return found


def added_ms(row: Row, below: Row, point: float) -> float:
    """How much later, round by round: what slowed a whole round down cancels."""
    return median(a - b for a, b in zip(row.ms(point), below.ms(point), strict=True))


def show(rows: list[Row], console: Console) -> dict[str, dict[str, float]]:
    """Print it; return the figures."""
    none, again, busy, swaps = rows
    figures: dict[str, dict[str, float]] = {}
    table = Table("latency, ms", *(row.name for row in rows), "noise", "busy adds", "swaps add")
    for name, point in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("slowest", 100.0)):
        found = {row.name: median(row.ms(point)) for row in rows}
        found["noise"] = added_ms(again, none, point)
        found["busy adds"] = added_ms(busy, none, point)
        found["swaps add"] = added_ms(swaps, none, point)
        figures[name] = found | {"swaps over busy": added_ms(swaps, busy, point)}
        table.add_row(name, *(f"{value:.3f}" for value in found.values()))
    console.print(table)
    return figures


def verdict(slowest: dict[str, float], key: str, than: str, console: Console) -> str:
    """Say whether the slowest request is at most MOST_MS slower, beyond the noise."""
    beyond_ms = slowest[key] - abs(slowest["noise"])
    word = "holds" if beyond_ms <= MOST_MS else "refuted"
    said = f"slowest request, beyond noise, than {than}: {beyond_ms:+.2f} ms (at most {MOST_MS})"
    console.print(f"{said}: {word}", highlight=False)
    return word


def main() -> int:
    """Measure, print, keep under build/bench/; 1 if a request was held up for too long."""
    parser = argparse.ArgumentParser(prog="python -m bench.swap", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000, help="requests a second")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="100 rollouts, two short rounds")
    parser.add_argument("--serve", metavar="SOCKET", help="be the process that is asked")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(Swapper(given.serve, given.rollouts).run())
    console = Console()
    h2load.check_installed()
    rollouts, rounds, seconds = given.rollouts, given.rounds, ROUND_S
    if given.quick:
        rollouts, rounds, seconds = 100, 2, 1.0
    figures = show(measure(rollouts, given.rate, rounds, seconds, console), console)
    words = [
        verdict(figures["slowest"], key, than, console)
        for key, than in (("swaps add", "with nothing"), ("swaps over busy", "as busy"))
    ]
    target = ROOT / "build" / "bench" / "swap.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1) + "\n")
    # What any other work does too is not the swap's doing.
    return int(words[1] == "refuted" and not given.quick)


if __name__ == "__main__":
    with as_command():
        sys.exit(main())
