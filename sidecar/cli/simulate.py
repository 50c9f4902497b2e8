"""`canary simulate`: the split of a list of people by segment, before anything is deployed."""

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from sidecar import config, rollout
from sidecar.cli import rollouts as named
from sidecar.cli.options import address_options, dialling_options, run_dir_option
from sidecar.errors import CanaryError
from sidecar.rollout.names import FORCE_HEADER
from sidecar.routing import Route, columns, route_of
from sidecar.routing.encoding import encoder
from sidecar.routing.rules import Input
from sidecar.routing.simulating import Given, Outcome, Sides, Simulation, missing, speaking

_BATCH = 8192
_FEW = 20
_WIDTH = 132


class UnitsError(CanaryError):
    """A list of people that cannot be read."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="ROLLOUTS...")
@click.option(
    "--units",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="CSV",
    help="The people, one a row, with a head that names the columns; '-' is stdin.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="ROLLOUTS",
    help="Rollouts as they are now: say who would move, and why. Repeat for more.",
)
@click.option(
    "--running",
    is_flag=True,
    help="Against what runs, with the weights in force: asks the controller.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@address_options
@run_dir_option
@dialling_options
def simulate(
    paths: tuple[str, ...],
    units: str,
    against: tuple[str, ...],
    *,
    running: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show who would get what, by segment, for a list of people. Nothing is deployed or asked.

    The head of the CSV says what each column is in a request:

    \b
    x-user-id, header:x-user-id     a header
    cookie:NAME, query:NAME         a cookie, a query parameter
    path, host, method, clientAddress
    claim:payload.email             a claim: the name in payload_in_metadata, then the claim's keys
    metadata:FILTER:KEY.KEY         dynamic metadata of another filter
    attribute:NAME                  an attribute of Envoy's
    #anything                       a column that is left out

    An empty cell is not there; a cell in [] of metadata is a JSON list. Weights are those declared,
    with --running those that would be in force. No force token holds. Without a column for path
    (or host), rollouts speak whatever path (or host) they match.

    \b
    canary simulate rollouts/ --units users.csv
    canary simulate new.yaml --units users.csv --against old.yaml
    canary simulate rollouts/ --units users.csv --running
    """  # noqa: D301 - click takes the real backspace
    if running and against:
        raise CanaryError("--running and --against are two pasts", remedy="give one of them")
    sides = _running(paths, given) if running else _read(paths, against)
    compared = running or bool(against)
    started_s = time.monotonic()
    with _opened(units) as file:
        rows = csv.reader(file, strict=True)
        inputs = _head(units, rows)
        after, before = (speaking(side, inputs) for side in (sides.after, sides.before))
        _warn(after, inputs)
        simulation = Simulation(after, before if compared else None)
        count = _take(units, rows, inputs, simulation, _Progress(units, file))
    took_s = time.monotonic() - started_s
    if as_json:
        click.echo(json.dumps(_as_json(count, simulation.outcomes(), sides.because), indent=2))
    else:
        for outcome in simulation.outcomes():
            _show(outcome, count, sides.because.get(outcome.rollout, ()), against=compared)
    rate = count / took_s if took_s else 0
    click.echo(f"{count:,} units in {took_s:.1f} s ({rate:,.0f} a second)", err=True)


def _routes(rollouts: Iterable[rollout.Rollout]) -> list[Route]:
    return [route_of(one, {v.name: v.weight for v in one.variants}) for one in rollouts]


def _read(paths: Sequence[str], against: Sequence[str]) -> Sides:
    new = named.read(paths)
    old = {one.name: one for one in named.read(against)} if against else {}
    because = {one.name: rollout.moves(old[one.name], one) for one in new if one.name in old}
    return Sides(_routes(new), _routes(old.values()), because)


def _running(paths: Sequence[str], given: dict[str, Any]) -> Sides:
    from sidecar.cli import comparing  # noqa: PLC0415 - without a controller, no gRPC to load

    return comparing.sides(named.read(paths), config.settings(**given))


# --- reading the people -------------------------------------------------------------------------


@contextmanager
def _opened(units: str) -> Iterator[TextIO]:
    if units == "-":
        # Units are bytes, whatever the locale.
        bytes_ = sys.stdin.buffer
        text = TextIOWrapper(bytes_, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            yield text
        finally:
            text.detach()
        return
    with Path(units).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield file


def _head(units: str, rows: Iterator[list[str]]) -> tuple[Input | None, ...]:
    try:
        head = next(rows, [])
        found = tuple(None if name.startswith("#") else columns.read(name.strip()) for name in head)
    except CanaryError as error:
        raise UnitsError(f"{units}:1: {error.args[0]}", remedy=error.remedy) from error
    except csv.Error as error:
        raise UnitsError(f"{units}:1: {error}", remedy="write CSV as RFC 4180 has it") from error
    said = [one for one in found if one]
    if not said or len(set(said)) < len(said):
        what = "the head names one input twice" if said else "there is no head"
        raise UnitsError(f"{units}:1: {what}", remedy=columns.CONVENTION)
    return found


def _take(
    units: str,
    rows: Any,
    inputs: Sequence[Input | None],
    simulation: Simulation,
    progress: "_Progress",
) -> int:
    encode, width = encoder(inputs), len(inputs)
    count, batch = 0, list[bytes]()
    try:
        for row in rows:
            if len(row) != width:
                if not row:
                    continue
                raise UnitsError(
                    f"{units}:{rows.line_num}: {len(row)} cells, the head has {width}",
                    remedy="give every row as many, empty ones for what is not there",
                )
            batch.append(encode(row))
            if len(batch) == _BATCH:
                simulation.take(batch)
                count += len(batch)
                batch = []
                progress.show(count)
    except columns.ColumnError as error:
        place = f"{units}:{rows.line_num}"
        raise UnitsError(f"{place}: {error.args[0]}", remedy=error.remedy) from error
    except csv.Error as error:
        place = f"{units}:{rows.line_num}"
        raise UnitsError(f"{place}: {error}", remedy="write CSV as RFC 4180 has it") from error
    simulation.take(batch)
    progress.end()
    return count + len(batch)


class _Progress:
    """How far a file was read, on a terminal."""

    def __init__(self, units: str, file: TextIO) -> None:
        self._file = file
        self._shown = sys.stderr.isatty()
        self._size = 0 if units == "-" else Path(units).stat().st_size

    def show(self, count: int) -> None:
        if self._shown:
            far = f", {100 * self._file.buffer.tell() / self._size:.0f} %" if self._size else ""
            click.echo(f"\r{count:,} units{far}", err=True, nl=False)

    def end(self) -> None:
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)


def _warn(routes: Sequence[Route], inputs: Sequence[Input | None]) -> None:
    """Say what no column gives, or what a column gives in vain."""
    if Input("header", (FORCE_HEADER,)) in inputs:
        click.echo(f"warning: no force token holds here: {FORCE_HEADER} is not looked at", err=True)
    for asked, who in missing(routes, inputs).items():
        what = " ".join([asked.kind, ".".join(asked.name)]).rstrip().replace("_", " ")
        more = f" and {len(who) - 1} more" if len(who) > 1 else ""
        click.echo(
            f"warning: no column gives {what}, and rollout {who[0]!r}{more} looks there", err=True
        )


# --- what comes out -----------------------------------------------------------------------------


def _show(outcome: Outcome, count: int, because: Sequence[str], *, against: bool) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    variants = sorted({variant for variant, _ in outcome.given if variant})
    spoken = sum(number for (variant, _), number in outcome.given.items() if variant)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "units", "share", *variants):
        table.add_column(name, justify="right" if name else "left")
    for reason, by_variant in _by_reason(outcome).items():
        _add(table, reason, by_variant, variants, count)
    totals = {v: sum(n for (one, _), n in outcome.given.items() if one == v) for v in variants}
    _add(table, "all", totals, variants, count)
    console.print(f"[bold]{outcome.rollout}[/]: {spoken:,} of {count:,} units", table, sep="\n")
    if against:
        _show_moves(console, outcome, count, because)
    console.print()


def _add(
    table: Table, reason: str, by_variant: dict[str, int], variants: list[str], count: int
) -> None:
    number = sum(by_variant.values())
    cells = [f"{by_variant.get(one, 0):,}" for one in variants]
    table.add_row(f"  {reason}", f"{number:,}", _percent(number, count), *cells)


def _by_reason(outcome: Outcome) -> dict[str, dict[str, int]]:
    """Sort by reason, the largest first; those for whom it does not speak are not there."""
    found: dict[str, dict[str, int]] = {}
    for (variant, reason), number in outcome.given.items():
        if variant:
            found.setdefault(reason, {})[variant] = number
    return dict(sorted(found.items(), key=lambda one: (-sum(one[1].values()), one[0])))


def _show_moves(console: Console, outcome: Outcome, count: int, because: Sequence[str]) -> None:
    number = sum(outcome.moved.values())
    console.print(f"  moves {number:,} units ({_percent(number, count)})")
    for one in because:
        console.print(f"    {one}", markup=False)
    moves = sorted(outcome.moved.items(), key=lambda one: -one[1])
    for (before, now), moved in moves[:_FEW]:
        console.print(f"    {moved:>12,}  {_said(before)}  ->  {_said(now)}", markup=False)
    if len(moves) > _FEW:
        console.print(f"    and {len(moves) - _FEW} more ways (--json has all)")


def _said(given: Given) -> str:
    variant, reason = given
    return f"{variant} ({reason})" if variant else "not spoken for"


def _percent(number: int, count: int) -> str:
    return f"{100 * number / count:.3f} %" if count else "-"


def _as_json(
    count: int, outcomes: Iterable[Outcome], because: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    def plain(given: Given) -> dict[str, str | None]:
        return {"variant": given[0] or None, "reason": given[1] or None}

    return {
        "units": count,
        "rollouts": [
            {
                "rollout": one.rollout,
                "given": [{**plain(given), "units": n} for given, n in sorted(one.given.items())],
                "moved": [
                    {"from": plain(before), "to": plain(now), "units": n}
                    for (before, now), n in sorted(one.moved.items())
                ],
                "because": list(because.get(one.rollout, ())),
            }
            for one in outcomes
        ],
    }
