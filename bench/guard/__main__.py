"""`make bench-guard`: what the guard promises, and what others' rules do with the same traffic."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.guard import plot, power
from bench.guard.contenders import RULES, mismatch
from bench.guard.scenarios import SCENARIOS, Scenario

HARM_S = 4 * 3600


def main() -> int:
    """Run everything; 1 if one of our own figures is worse than it must be."""
    parser = argparse.ArgumentParser(prog="make bench-guard", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="that it works, no figures")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    console = Console(width=150)
    random = np.random.default_rng(given.seed)
    console.print(f"seed {given.seed}, alpha 1 %{', quick: no figures' if given.quick else ''}")
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"seed": given.seed, "quick": given.quick}
    for name, part in PARTS.items():
        found[name] = part(random, console, quick=given.quick)
        (given.out / "guard.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "guard.svg").write_text(plot.draw(found["rules"]))
    console.print(f"kept: {given.out}/guard.json, {given.out}/guard.svg", highlight=False)
    worse = [
        row["case"]
        for rows in found.values()
        if isinstance(rows, list)
        for row in rows
        if row.get("worse")
    ]
    for case in worse:
        console.print(f"[red]worse than it must be: {case}[/]")
    return int(bool(worse) and not given.quick)


def errors(random: power.Random, console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Candidate requests until error harm is shown, against both bounds."""
    table = Table("errors", "median requests", "x Wald (p90)", "must", "x two-sample", "must")
    rows = []
    for case in power.ERRORS:
        needed = power.requests_to_rollback(case, random, 200 if quick else 4_000)
        median, p90 = (float(np.quantile(needed, q)) for q in (0.5, 0.9))
        wald, bound = power.wald(case), power.two_sample(case)
        must = {0.05: 2.0, 0.01: 1.6, 0.02: 1.6}[case.after] if _counted(case) else None
        worse = median > 1.5 * bound or (must and (median > must * wald or p90 > 4 * wald))
        rows.append(
            {
                "case": case.name,
                "median": median,
                "wald": median / wald,
                "p90": p90 / wald,
                "two_sample": median / bound,
                "worse": bool(worse),
            }
        )
        table.add_row(
            case.name,
            f"{median:,.0f}",
            f"{median / wald:.2f} ({p90 / wald:.1f})",
            f"{must or '-'}",
            f"{median / bound:.2f}",
            "1.5",
        )
    console.print(table)
    return rows


def _counted(case: power.Case) -> bool:
    return case.share < 0.5 and not case.margin.value


def late(random: power.Random, console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Harm that begins after four healthy hours."""
    seconds = power.late_harm(random, 100 if quick else 1_000, 600 if quick else 4 * 3600)
    median, p90 = (float(np.quantile(seconds, q)) for q in (0.5, 0.9))
    console.print(
        f"0.1 -> 5 % after 4 healthy hours at 1,000 requests/s, 5/95:"
        f" {median:.0f} s (p90 {p90:.0f} s); must 6 s"
    )
    return [{"case": "late harm", "median_s": median, "p90_s": p90, "worse": median > 6}]


def durations(random: power.Random, console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Candidate answers until slowness is shown, against the time-uniform DKW band."""
    table = Table("durations", "ours (p90)", "DKW band", "fewer", "must")
    rows = []
    for share in (0.05,) if quick else (0.05, 0.5):
        for harm in power.SLOWER:
            mine = power.samples_to_slow(random, 50 if quick else 400, harm, share)
            band = power.samples_by_band(random, 2 if quick else 15, harm, share)
            median, p90 = (float(np.quantile(mine, q)) for q in (0.5, 0.9))
            times = float(np.median(band)) / median
            must = {power.SLOWER[0]: 20, power.SLOWER[1]: 25}.get(harm)
            name = f"{harm} at {100 * (1 - share):g}/{100 * share:g}"
            rows.append(
                {
                    "case": name,
                    "median": median,
                    "p90": p90,
                    "fewer": times,
                    "worse": bool(must and times < must),
                }
            )
            table.add_row(
                name,
                f"{median:,.0f} ({p90:,.0f})",
                f"{np.median(band):,.0f}",
                f"{times:.1f} x",
                f"{must or '-'}",
            )
    console.print(table)
    return rows


def promotion(random: power.Random, console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """A known horizon of 500 per arm."""
    table = Table("N = 500 per arm, one-sided 0.05", "ours", "YEAST", "must")
    rows = []
    for effect, must in ((0.0, None), (0.1, 0.443), (0.2, 0.916), (0.3, None)):
        mine, yeast = power.known_horizon(random, 500 if quick else 20_000, effect)
        worse = mine > 0.05 + 0.005 if not effect else bool(must and mine < must)
        rows.append({"case": f"effect {effect}", "ours": mine, "yeast": yeast, "worse": worse})
        table.add_row(f"effect {effect}", f"{mine:.3f}", f"{yeast:.3f}", f"{must or '-'}")
    console.print(table)
    return rows


def rules(random: power.Random, console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """All rules on all scenarios."""
    table = Table(
        "scenario",
        *RULES,
        caption="healthy: false rollbacks in 24 h; harmful: seconds"
        " / canary requests (= users exposed) to rollback, medians; -: most never",
    )
    rows = []
    for scenario in SCENARIOS:
        cells = []
        for name, rule in RULES.items():
            seconds = _length(scenario, quick=quick)
            taken = rule(scenario, random, 20 if quick else 200, seconds)
            share = float(np.isfinite(taken).mean())
            median = float(np.median(taken))
            requests = median * scenario.rate * scenario.share
            rows.append(
                {
                    "case": f"{scenario.name}: {name}",
                    "scenario": scenario.name,
                    "rule": name,
                    "healthy": scenario.healthy,
                    "rolled_back": share,
                    "seconds": median if np.isfinite(median) else None,
                    "requests": requests if np.isfinite(requests) else None,
                }
            )
            cells.append(_cell(scenario, share, median, requests))
        table.add_row(scenario.name, *cells)
        if scenario.share != scenario.designed:
            told = float(np.median(mismatch(scenario, random, 50, 3600)))
            console.print(f"{scenario.name}: ours says “not comparable” after {told:,.0f} s")
    console.print(table)
    return rows


def _length(scenario: Scenario, *, quick: bool) -> int:
    if quick:
        return 900
    return 86_400 if scenario.healthy else HARM_S


def _cell(scenario: Scenario, share: float, median: float, requests: float) -> str:
    if scenario.healthy:
        return f"{100 * share:.1f} %"
    return (
        f"{median:,.0f} s / {requests:,.0f}" if np.isfinite(median) else f"- ({100 * share:.0f} %)"
    )


PARTS = {
    "errors": errors,
    "late": late,
    "durations": durations,
    "promotion": promotion,
    "rules": rules,
}

if __name__ == "__main__":
    sys.exit(main())
