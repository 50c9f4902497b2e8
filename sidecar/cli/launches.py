"""How a launch looks on a terminal: where it stands, what it waits for, what the guard measures."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches

import click
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sidecar.cli import report
from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

_COLOURS = {
    "Promoted": "green",
    "Running": "cyan",
    "RolledBack": "red",
    "Error": "yellow",
    "Inconclusive": "yellow",
    "Paused": "yellow",
}
# How a unit of the guard is shown: the factor, its name, decimals.
_UNITS = {"pp": (1.0, " pp", 3), "%": (1.0, " %", 2), "s": (1000.0, " ms", 1)}


def named(status: pb.ControllerStatus, name: str) -> pb.RolloutStatus:
    """Find a rollout. Raises CanaryError if there is none, or if it has no launch to speak of."""
    known = {one.name: one for one in status.rollouts}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise CanaryError(
            f"there is no rollout {name!r}", remedy=f"{hint}`canary status` lists them"
        )
    found = known[name]
    if not found.HasField("progress"):
        raise CanaryError(
            f"rollout {name} has no steps: its weights move by hand",
            remedy="add spec.steps to its document",
        )
    return found


def acted(reply: pb.ActResponse) -> str:
    """Say what a command did."""
    text = standing(reply.rollout)
    return text if reply.changed else f"{text}, as before"


def standing(status: pb.RolloutStatus) -> str:
    """Say in one line how a launch stands."""
    progress = status.progress
    if status.killed and not status.retired:
        stands = report.shares(status.in_force)
        return f"{status.name}: killed, baseline for all (it stands at {stands})"
    if not status.HasField("progress"):
        return f"{status.name}: {report.shares(status.in_force)}"
    phase = "retired" if status.retired else progress.phase
    where = f"step {progress.step} of {progress.steps}"
    return f"{status.name}: {phase}, {where}, {report.shares(status.in_force)}"


def show(status: pb.RolloutStatus, console: Console | None = None) -> None:
    """Print one launch: weights, step, time left, what it waits for, each guardrail."""
    console = console or Console(highlight=False)
    progress = status.progress
    colour = _COLOURS.get(progress.phase, "bold")
    console.print(
        f"[bold]{status.name}[/]  [{colour}]{progress.phase}[/] since"
        f" {report.ago(progress.since)}, launch {progress.launch} ({progress.strategy}),"
        f" revision {status.revision}"
    )
    if status.retired:
        console.print("[red]retired: baseline for all[/]")
    elif status.killed:
        console.print("[red]killed: baseline for all[/] (`canary revive` brings it back)")
    if progress.why:
        console.print(f"why       {escape(progress.why)}", soft_wrap=True)
    for held in status.held_out:
        what = f"sidecar {held.node} holds {held.variant} out since {report.ago(held.at)}"
        console.print(f"[red]held out[/]  {escape(f'{what}: {held.reason}')}", soft_wrap=True)
    console.print(f"weights   {report.shares(status.in_force)}")
    console.print(f"step      {progress.step} of {progress.steps}{_time_left(progress)}")
    for number, sentence in enumerate(progress.waits_for):
        console.print(f"{'waits for ' if not number else ' ' * 10}{escape(sentence)}")
    _guardrails(console, progress)


def watch(ask: Callable[[], pb.RolloutStatus], interval_s: float, *, as_json: bool) -> None:
    """Show it every `interval_s` seconds until Ctrl-C: live on a terminal, else line by line."""
    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        if console.is_terminal and not as_json:
            _live(console, ask, interval_s)
        else:
            _lines(ask, interval_s, as_json=as_json)


def _lines(ask: Callable[[], pb.RolloutStatus], interval_s: float, *, as_json: bool) -> None:
    """Write a line when the launch moves, and when the guard says something else."""
    before = ""
    while True:
        status = ask()
        text = standing(status) + _word(status)
        if text != before:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"at": now, **report.as_json(status)}) if as_json else f"{now} {text}"
            click.echo(line)
        before = text
        time.sleep(interval_s)


def _word(status: pb.RolloutStatus) -> str:
    progress = status.progress
    verdict = progress.judgement.verdict if progress.HasField("judgement") else ""
    return f", {verdict}" if verdict else ""


def _live(console: Console, ask: Callable[[], pb.RolloutStatus], interval_s: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            paper = Console(highlight=False, width=console.width, force_terminal=True)
            with paper.capture() as captured:
                show(ask(), console=paper)
            now = datetime.now().astimezone().strftime("%H:%M:%S")
            footer = Text(f"\n{now}, every {interval_s:g} s; Ctrl-C ends", "dim")
            live.update(Text.from_ansi(captured.get()).append(footer), refresh=True)
            time.sleep(interval_s)


def _time_left(progress: pb.Progress) -> str:
    if progress.phase == "Paused":
        return f", {_span(progress.hold_left.ToTimedelta().total_seconds())} of its hold left"
    if progress.phase not in {"Running", "Error", "Inconclusive"}:
        return ""
    left_s = (progress.held_until.ToDatetime(UTC) - datetime.now(UTC)).total_seconds()
    return f", {_span(left_s)} of its hold left" if left_s > 0 else ", its hold is over"


def _span(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        " ".join(
            f"{count} {unit}"
            for count, unit in ((hours, "h"), (minutes, "min"), (left, "s"))
            if count
        )
        or "0 s"
    )


def _guardrails(console: Console, progress: pb.Progress) -> None:
    if not progress.HasField("judgement"):
        return
    word = progress.judgement
    said = f": {escape(word.sentence)}" if word.sentence else ""
    console.print(
        f"guard     {word.verdict} {report.ago(word.at)}, {word.samples} samples{said}",
        soft_wrap=True,
    )
    for lost in word.unjudged:
        what = f"{lost.count} seconds of sidecar {lost.node} ({lost.why}: docs/guard.md)"
        console.print(f"[yellow]unjudged[/]  {escape(what)}", soft_wrap=True)
    if not word.readings:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("guardrail", "difference", "interval", "margin", "limit", "verdict", "counted"):
        table.add_column(column, overflow="fold")
    for one in word.readings:
        table.add_row(*_cells(one))
    console.print(table)


def _cells(one: pb.GuardrailReading) -> Iterator[str]:
    yield one.metric
    yield _figure(one.estimate, one.unit) if one.HasField("estimate") else "-"
    if one.HasField("low") or one.HasField("high"):
        low = _figure(one.low, one.unit) if one.HasField("low") else "…"
        high = _figure(one.high, one.unit) if one.HasField("high") else "…"
        yield f"{low} to {high}"
    else:
        yield "-"
    yield one.margin or "-"
    yield one.limit or "-"
    yield one.verdict
    yield f"{one.baseline_count} / {one.candidate_count}"


def _figure(value: float, unit: str) -> str:
    factor, name, decimals = _UNITS.get(unit, (1.0, f" {unit}" if unit else "", 4))
    return f"{value * factor:+.{decimals}f}{name}"


def show_history(history: pb.History, *, as_json: bool) -> None:
    """Print what happened, oldest first."""
    if as_json:
        click.echo(json.dumps([_event(one) for one in history.events], indent=2))
        return
    for one in history.events:
        at = one.at.ToDatetime(UTC).isoformat(timespec="milliseconds")
        stands = f", {one.phase} step {one.step}" if one.phase else ""
        shares = f", {report.shares(one.after)}" if one.after else ""
        why = f": {' '.join(one.why.split())}" if one.why else ""
        click.echo(f"{at} {one.revision} {one.kind} by {one.who}{stands}{shares}{why}")


def _event(one: pb.Event) -> dict[str, object]:
    said = MessageToDict(one, always_print_fields_with_no_presence=True)
    said["evidence"] = json.loads(one.evidence) if one.evidence else None
    return said
