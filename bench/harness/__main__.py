"""`python -m bench.harness`: measure everybody, print it, keep it under build/bench/."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.contenders import Contender, by_name, line_up
from bench.harness import claims, h2load, plot, report, rounds
from bench.harness.cell import Counts
from bench.harness.figures import Figures
from bench.harness.rounds import Plan
from bench.lab.process import LabError, as_command
from bench.lab.stack import ROOT

DEFAULT = Plan()
# Enough to see that everything works, far too little to say anything.
QUICK = Counts(one=60, paced=40, full=200, rate=200.0, idle_s=0.05)


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.harness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, for a look: no claim")
    parser.add_argument("--rounds", type=int, help=f"[default: {DEFAULT.rounds}; 1 if quick]")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT.seed, help="of the orders and intervals"
    )
    parser.add_argument(
        "--retries", type=int, default=0, help="failed turns each may take again  [default: 0]"
    )
    parser.add_argument(
        "--together", action="store_true", help="everybody stays up; turns are seconds apart"
    )
    parser.add_argument("--seconds", type=float, default=DEFAULT.seconds, help="of each load")
    parser.add_argument(
        "--contender",
        action="append",
        choices=sorted(by_name()),
        help="again for each; Envoy alone is always there  [default: the line-up]",
    )
    parser.add_argument("--reference", help="what ratios are to  [default: the first contender]")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    return parser.parse_args(argv)


def chosen(names: list[str] | None) -> list[Contender]:
    """Envoy alone, and who was asked for."""
    if not names:
        return line_up()
    everybody = by_name()
    alone = line_up()[0]
    return [alone, *(everybody[name] for name in names if name != alone.name)]


def terminal() -> Console:
    """Return where to print; wide enough for the tables when it is a file."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def main() -> int:
    """Run it. 1 if somebody does not count or a claim is refuted."""
    given, console = options(), terminal()
    rounds_ = given.rounds or (1 if given.quick else DEFAULT.rounds)
    counts = QUICK if given.quick else None
    plan = Plan(
        rounds_,
        given.seed,
        given.seconds,
        counts=counts,
        retries=given.retries,
        together=given.together,
    )
    contenders = chosen(given.contender)
    deciding = [one.name for one in contenders if one.decides]
    reference = given.reference or (deciding or [""])[0]
    if reference not in deciding:
        raise LabError(f"the reference must be one of the contenders: {', '.join(deciding)}")
    h2load.check_installed()
    on = report.machine()
    run = rounds.run(contenders, reference, plan, lambda text: console.print(text, style="dim"))
    figures = Figures(run)
    verdicts = [] if given.quick else claims.judge(figures)
    report.show(run, figures, verdicts, console)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "harness.json").write_text(report.as_json(run, figures, verdicts, on))
    (given.out / "harness.svg").write_text(plot.draw(run, figures))
    console.print(f"kept: {given.out}/harness.json, {given.out}/harness.svg", highlight=False)
    counting = all(row.counting or row.missing for row in run.rows)
    return int(not counting or any(verdict.word == "refuted" for verdict in verdicts))


if __name__ == "__main__":
    with as_command():
        sys.exit(main())
