"""What thousands of rollouts cost beside one: CPU per request, and memory that stays.

    python -m bench.scale [--engine native] [--rollouts 10000] [--requests 1000000 | --quick]

Three sidecars, each with its own controller and its own real Envoy: many rollouts, one, and one
again (A/A: the noise). They are loaded in turns, in orders drawn from the seed, so that whatever
slows the machine down for a while slows all of them; the CPU ratio is the median over rounds with
its 90 % interval. Memory is what is resident at the end, after all requests.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from random import Random
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.contenders.canary import Canary
from bench.harness import cell, h2load, meter, ratios, report
from bench.harness.cell import WARM_UP, Bench, Phase
from bench.harness.claims import Claim, Verdict
from bench.harness.ratios import Interval
from bench.lab.process import LabError, as_command
from bench.lab.stack import ROOT
from sidecar import extproc

MOST_CPU = 1.3
MOST_MB = 16.0
ROUNDS = 10
SEED = 1


@dataclass(frozen=True)
class Scaled:
    """What a run showed. Lists hold many, one, one again, in this order; CPU in µs a request."""

    engine: str
    rollouts: int
    requests: int
    handler_us: list[float]
    cpu_ratio: Interval
    noise: Interval
    rss_mb: list[float]
    peak_rss_mb: list[float]
    failures: list[dict[str, int]]

    @property
    def cpu(self) -> Verdict:
        """The verdict on MOST_CPU."""
        claim = Claim("full_handler_us", f"{self.rollouts:,} rollouts", ("one",), MOST_CPU)
        return Verdict(claim, "one", self.cpu_ratio, self.noise)

    @property
    def more_mb(self) -> float:
        """How much more is resident with many."""
        return self.rss_mb[0] - self.rss_mb[1]

    @property
    def failed(self) -> dict[str, int]:
        """Failure counters that are not zero, over all three."""
        names = {name for one in self.failures for name in one}
        totals = {name: sum(one.get(name, 0) for one in self.failures) for name in sorted(names)}
        return {name: total for name, total in totals.items() if total}

    @property
    def well(self) -> bool:
        """Whether nothing failed and neither bound was shown to be broken."""
        return not self.failed and self.cpu.word != "refuted" and self.more_mb <= MOST_MB


def scale(engine: str, rollouts: int, requests: int, say: Console, rounds: int = ROUNDS) -> Scaled:
    """Run it all; `requests` for each, over the rounds. Raises LabError."""
    counts = (rollouts, 1, 1)
    with ExitStack() as ending:
        benches = []
        for number in counts:
            say.print(f"starting with {number:,} rollouts", style="dim")
            benches.append(ending.enter_context(cell.opened(Canary(engine, rollouts=number))))
        phases = in_turns(benches, requests, rounds, say)
        return Scaled(
            engine=engine,
            rollouts=rollouts,
            requests=requests,
            handler_us=[median(one.handler_us for one in phases[i]) for i in range(len(counts))],
            cpu_ratio=over(phases[0], phases[1]),
            noise=over(phases[2], phases[1]),
            rss_mb=[meter.rss_bytes(bench.pids) / 1e6 for bench in benches],
            peak_rss_mb=[meter.peak_rss_bytes(bench.pids) / 1e6 for bench in benches],
            failures=[bench.failures() for bench in benches],
        )


def in_turns(
    benches: Sequence[Bench], requests: int, rounds: int, say: Console
) -> Mapping[int, list[Phase]]:
    """Load each once a round; return every bench's phases by its number."""
    for bench in benches:
        bench.closed(WARM_UP)
        bench.rest(0.5)
    phases: dict[int, list[Phase]] = {i: [] for i in range(len(benches))}
    random = Random(SEED)
    for number in range(rounds):
        for i in random.sample(range(len(benches)), len(benches)):
            phases[i].append(benches[i].closed(max(1, requests // rounds)))
        say.print(f"round {number + 1} of {rounds}", style="dim")
    return phases


def over(above: Sequence[Phase], below: Sequence[Phase]) -> Interval:
    """Return the CPU ratio. Raises LabError if a load was too short to have any."""
    many, few = ([phase.handler_us for phase in side] for side in (above, below))
    found = ratios.ratio(many, few, SEED)
    if found is None:
        raise LabError("a load was too short to measure its CPU: ask for more requests")
    return found


def show(scaled: Scaled, console: Console) -> None:
    """Print it."""
    title = f"engine {scaled.engine}, {scaled.requests:,} requests each"
    table = Table("figure", f"{scaled.rollouts:,} rollouts", "one", "one again", title=title)
    for name, values in (
        ("handler CPU µs/req, saturated", scaled.handler_us),
        ("resident MB at the end", scaled.rss_mb),
        ("peak resident MB", scaled.peak_rss_mb),
    ):
        table.add_row(name, *(f"{value:.1f}" for value in values))
    console.print(table)
    console.print(report.claims_table([scaled.cpu]))
    word = "holds" if scaled.more_mb <= MOST_MB else "refuted"
    console.print(f"resident: {scaled.more_mb:+.1f} MB, at most {MOST_MB:+g} MB: {word}")
    console.print(f"failures of any kind: {scaled.failed or 0}", highlight=False)


def main() -> int:
    """Run, print, keep under build/bench/; 1 if a bound is broken or anything failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--engine", choices=extproc.ENGINES, default=extproc.DEFAULT_ENGINE)
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1_000_000, help="for each of the three")
    parser.add_argument("--quick", action="store_true", help="100 rollouts, 5,000 requests")
    given = parser.parse_args()
    console = Console()
    h2load.check_installed()
    rollouts, requests = (100, 5_000) if given.quick else (given.rollouts, given.requests)
    scaled = scale(given.engine, rollouts, requests, console)
    show(scaled, console)
    target = ROOT / "build" / "bench" / f"scale-{given.engine}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(asdict(scaled), indent=1) + "\n")
    return int(bool(scaled.failed) or not (scaled.well or given.quick))


if __name__ == "__main__":
    with as_command():
        sys.exit(main())
