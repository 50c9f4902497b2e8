"""A run for people (tables on the terminal) and for machines (JSON under build/bench/)."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import ratios
from bench.harness.claims import Verdict
from bench.harness.figures import BY_KEY, METRICS, Figures, Metric
from bench.harness.rounds import AGAIN, Row, Run


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was before."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else "unknown",
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def show(run: Run, figures: Figures, verdicts: list[Verdict], console: Console) -> None:
    """Print the tables: noise first, then figures, ratios, claims."""
    rounds = max((len(row.cells) for row in run.rows), default=0)
    if run.plan.counts:
        console.print("[yellow]quick: that everything works, not what it costs[/]")
    console.print(
        f"{rounds} rounds, seed {run.plan.seed}, half load = {run.rate:g} requests/s for everybody;"
        f" something else kept {run.others:.2f} of {os.cpu_count()} cores busy"
    )
    console.print(_ratios(run, figures))
    console.print(_figures(run, figures))
    for row in run.rows:
        if reason := _why_not(row):
            console.print(f"[red]{row.name} does not count:[/] {reason}", highlight=False)
        elif row.missing:
            console.print(f"[yellow]{row.name} is left out:[/] {row.missing}", highlight=False)
        for failed in row.again:
            console.print(f"[yellow]{row.name} took a turn again:[/] {failed}", highlight=False)
    if verdicts:
        console.print(claims_table(verdicts))


def claims_table(verdicts: list[Verdict]) -> Table:
    """One line a claim; the ratio is what is claimed about, A/A the noise it must exceed."""
    table = Table(title="claims", title_justify="left")
    for name in ("figure", "claim", "measured ratio", "A/A", "verdict"):
        table.add_column(name)
    colours = {"holds": "green", "refuted": "red", "undecided": "yellow"}
    for verdict in verdicts:
        claim = verdict.claim
        said = f"{claim.over} ≤ {claim.at_most:.3g}x {verdict.against}"
        if verdict.without:
            said += f" (without {', '.join(verdict.without)})"
        word = f"[{colours[verdict.word]}]{verdict.word}[/]"
        title = BY_KEY[claim.metric].title
        table.add_row(title, said, _bounds(verdict.ratio, 3), _bounds(verdict.noise), word)
    return table


def _why_not(row: Row) -> str:
    if row.out:
        return row.out
    return ", ".join(f"{name}: {count}" for name, count in row.failed.items())


def _figures(run: Run, figures: Figures) -> Table:
    table = Table(title="medians over rounds", title_justify="left", caption_justify="left")
    table.add_column("figure")
    for row in run.rows:
        table.add_column(row.name, justify="right")
    for metric in METRICS:
        values = [_number(figures.median(row, metric), metric) for row in run.rows]
        table.add_row(metric.title, *values)
    table.caption = "“added”: above Envoy alone, whose own column is absolute"
    return table


def _ratios(run: Run, figures: Figures) -> Table:
    """A/A first; a ratio outside its noise is bold."""
    title = f"ratio to {run.reference}, with its 90 % interval (bold: outside the noise)"
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    again = run.reference + AGAIN
    names = [row.name for row in run.rows if row.contender.decides and row.name != run.reference]
    names.sort(key=lambda name: name != again)
    for name in names:
        table.add_column("A/A: the noise" if name == again else name, justify="right")
    for metric in METRICS:
        ratios_ = [_ratio(figures, metric, name, run.reference) for name in names]
        table.add_row(metric.title, *ratios_)
    return table


def _ratio(figures: Figures, metric: Metric, over: str, under: str) -> str:
    found, noise = figures.ratio(metric, over, under), figures.noise(metric)
    if found is None:
        return "-"
    text = _bounds(found)
    outside = noise and over != under + AGAIN and ratios.verdict(found, noise.noise) != "same"
    return f"[bold]{text}[/]" if outside else text


def _bounds(found: ratios.Interval | None, digits: int = 2) -> str:
    if found is None:
        return "-"
    low, middle, high = (f"{one:.{digits}f}" for one in (found.low, found.middle, found.high))
    return f"{middle} ({low} to {high})"


def _number(value: float | None, metric: Metric) -> str:
    return "-" if value is None else f"{value:,.{metric.digits}f}"


def as_json(run: Run, figures: Figures, verdicts: list[Verdict], on: dict[str, Any]) -> str:
    """Everything measured, every ratio, every verdict."""
    rows = {
        row.name: {
            "counts": row.counting,
            "why_not": row.missing or _why_not(row),
            "requests": asdict(row.counts) if row.counts else None,
            "medians": {metric.key: figures.median(row, metric) for metric in METRICS},
            "ratios": {
                metric.key: asdict(found)
                for metric in METRICS
                if (found := figures.ratio(metric, row.name, run.reference))
            },
            "taken_again": row.again,
            "cells": [asdict(cell) for cell in row.cells],
        }
        for row in run.rows
    }
    claims = [asdict(verdict) | {"verdict": verdict.word} for verdict in verdicts]
    head = {"machine": on, "plan": asdict(run.plan), "reference": run.reference}
    rest = {
        "rate": run.rate,
        "cut_short": run.cut_short,
        "others": run.others,
        "orders": run.orders,
    }
    return json.dumps({**head, **rest, "claims": claims, "rows": rows}, indent=1) + "\n"
