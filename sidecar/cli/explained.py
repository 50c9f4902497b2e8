"""How an explanation looks on a terminal, or to a program (JSON)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli import explained_rules
from sidecar.routing import UnitSource, twin
from sidecar.routing.explaining import Explanation, Stretch
from sidecar.routing.explaining_rules import Rule

_FEW = 5
_LINE_CELLS = 60
# Columns where nobody has a terminal: a pipe, a log.
_WIDTH = 132
_GLYPHS = "░█▓▒◆●"
_LONGEST_BYTES = 32
_COLOURS = ("green", "yellow", "cyan", "magenta", "blue", "red")


@dataclass(frozen=True, slots=True)
class Carried:
    """What the request takes along from the sidecar's answer."""

    headers: dict[str, str]
    metadata: dict[str, Any]


def carried(answer: bytes) -> Carried:
    """Read a serialised ProcessingResponse to request headers."""
    response = ext_proc.ProcessingResponse.parse(answer)
    common = response.request_headers.response if response.request_headers else None
    mutation = common.header_mutation if common else None
    options = mutation.set_headers if mutation else []
    metadata = response.dynamic_metadata
    return Carried(
        headers={o.header.key: o.header.raw_value.decode() for o in options if o.header},
        metadata=metadata.to_dict() if metadata else {},
    )


def as_json(explanation: Explanation, carried: Carried, source: str) -> dict[str, Any]:
    """Return everything as JSON values; points of the line as 16 hex digits."""
    decision = explanation.decision
    drawn = explanation.drawn
    return {
        "rollout": explanation.route.name,
        "speaks": decision is not None,
        "silence": list(explanation.silence),
        "variant": decision.variant if decision else None,
        "reason": decision.reason if decision else None,
        "looked": [
            {"source": _named(one.source), "hex": one.value.hex()} for one in explanation.looked
        ],
        "unit": {"text": _text(explanation.unit), "hex": explanation.unit.hex()},
        "rules": explained_rules.as_json(explanation.rules),
        "position": _hex(drawn[0]) if drawn else None,
        "position_percent": _percent_of_line(drawn[0]) if drawn else None,
        "second": _hex(decision.second) if decision and decision.has_unit else None,
        "variants": [_stretch_json(one) for one in explanation.stretches],
        "clocks": [
            {"variant": one.variant, "rings_at": one.rings_at} for one in explanation.clocks
        ],
        "headers": carried.headers,
        "metadata": carried.metadata,
        "weights": source,
    }


def _stretch_json(one: Stretch) -> dict[str, Any]:
    return {
        "name": one.variant,
        "weight": one.weight,
        "percent": _percent_of_line(one.threshold),
        # The last point of the line is 2^64 - 1: `to` is one beyond the stretch.
        "from": f"{one.low:#x}",
        "to": f"{one.high:#x}",
    }


def show(explanation: Explanation, request: twin.Request, carried: Carried, source: str) -> None:
    """Print it for people."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(_headline(explanation), "", sep="\n")
    facts = _grid()
    for label, text in _facts(explanation, request):
        facts.add_row(label, text)
    console.print(facts)
    if explanation.decision:
        console.print("", *_line(explanation), "", _variants(explanation), sep="\n")
        rest = _grid()
        for label, text in _carries(explanation.route.name, carried):
            rest.add_row(label, text)
        rest.add_row("weights", Text(source))
        console.print("", rest, sep="\n")


def _headline(explanation: Explanation) -> Text:
    decision, name = explanation.decision, explanation.route.name
    if decision is None:
        why = " and ".join(explanation.silence)
        verb = "does" if len(explanation.silence) == 1 else "do"
        return Text.assemble(
            (name, "bold"),
            " does not speak for this request: its ",
            (why, "red"),
            f" {verb} not fit",
        )
    said = {"weight": "by weight", "no_unit": "no unit: the baseline, never a draw"}
    why = said.get(decision.reason, decision.reason)
    return Text.assemble((name, "bold"), ": ", (decision.variant, "bold green"), f"  ({why})")


def _facts(explanation: Explanation, request: twin.Request) -> Iterator[tuple[str, Text]]:
    route, silence = explanation.route, explanation.silence
    hosts = " or ".join(route.hosts[:_FEW]) + (" or ..." if len(route.hosts) > _FEW else "")
    paths = f"{route.path_prefix}, whole segments" if route.path_prefix else ""
    for label, value, wanted in (("host", ":authority", hosts), ("path", ":path", paths)):
        fit = ("does not fit", "red") if label in silence else ("fits", "green")
        given = _text(request.first(value)) or "not given"
        yield label, Text.assemble(f"{given}  ", fit, f" {wanted or f'any {label}'}")
    for number, looked in enumerate(explanation.looked):
        found = (f'"{_text(looked.value)}"', "bold") if looked.value else ("absent or empty", "dim")
        text = Text.assemble(f"{_named(looked.source)}  ", found, (_bytes(looked.value), "dim"))
        yield "" if number else "unit", text
    if any(rule.row != "weight" and _is_news(rule) for rule in explanation.rules):
        yield from explained_rules.rows(explanation.rules)
    decision = explanation.decision
    if explanation.drawn:
        position, _ = explanation.drawn
        percent = _percent_of_line(position)
        yield "position", Text(f"{_hex(position)}  {percent:.6g} % of the line")
    if decision and decision.has_unit:
        yield "second", Text.assemble(_hex(decision.second), ("  the unit's pseudonym", "dim"))


def _is_news(rule: Rule) -> bool:
    """Whether a rule says more than that there is none: every rollout has a kill switch."""
    return rule.row != "killed" or rule.applies


def _line(explanation: Explanation) -> Iterator[Text]:
    """Draw the hash line, and where the unit stands on it."""
    line, decision = Text("  "), explanation.decision
    names = [one.variant for one in explanation.stretches]
    drawn = explanation.drawn
    mark = drawn[0] * _LINE_CELLS // twin.LINE if drawn else -1
    for cell in range(_LINE_CELLS):
        middle = (2 * cell + 1) * twin.LINE // (2 * _LINE_CELLS)
        here = [one.variant for one in explanation.stretches if one.low <= middle < one.high]
        chosen = decision.variant if decision and cell == mark else here[0]
        line.append(*_glyph(names.index(chosen)))
    yield line
    if drawn:
        yield Text(" " * (mark + 2)).append("^", "bold")


def _variants(explanation: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    clocks = {clock.variant: clock for clock in explanation.clocks}
    columns = [
        "",
        "variant",
        "ratio",
        "share",
        "on the line",
        "",
        *(["rings at"] if clocks else []),
    ]
    for column in columns:
        table.add_column(column, justify="right" if column in {"ratio", "share"} else "left")
    for slot, one in enumerate(explanation.stretches):
        chosen = explanation.decision and explanation.decision.variant == one.variant
        clock = clocks.get(one.variant)
        table.add_row(
            Text.assemble((">" if chosen else " ", "bold"), _glyph(slot)),
            Text(one.variant, "bold green" if chosen else ""),
            str(one.weight),
            f"{_percent_of_line(one.threshold):.6g} %",
            *_stretch(one),
            *([f"{clock.rings_at:.6g}" if clock else ""] if clocks else []),
        )
    if clocks:
        table.caption = "those on the same stretch race: the first to ring wins"
        table.caption_justify = "left"
    return table


def _stretch(one: Stretch) -> tuple[str, str]:
    if not one.threshold:
        return "nobody", ""
    percents = f"{_percent_of_line(one.low):.6g} % to {_percent_of_line(one.high):.6g} %"
    if one.low == 0:
        return percents, "everybody" if one.high == twin.LINE else f"below {_hex(one.high)}"
    return percents, f"from {_hex(one.low)}" if one.high == twin.LINE else "between"


def _carries(name: str, carried: Carried) -> Iterator[tuple[str, Text]]:
    for number, (key, value) in enumerate(carried.headers.items()):
        yield "" if number else "headers", Text(f"{key}: {value}")
    said = carried.metadata.get("canary", {}).get(name, {})
    yield "metadata", Text.assemble(("canary ", "dim"), json.dumps({name: said}))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=9)
    grid.add_column(overflow="fold")
    return grid


def _glyph(slot: int) -> tuple[str, str]:
    return _GLYPHS[slot % len(_GLYPHS)], _COLOURS[slot % len(_COLOURS)]


def _named(source: UnitSource) -> str:
    return "client address" if source.kind == "client_address" else f"{source.kind} {source.name}"


def _text(value: bytes) -> str:
    """Show bytes as text, with escapes where they are none."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _bytes(value: bytes) -> str:
    if not value:
        return ""
    more = f" ... {len(value)} bytes" if len(value) > _LONGEST_BYTES else ""
    return f"  {value[:_LONGEST_BYTES].hex(' ')}{more}"


def _hex(point: int) -> str:
    return f"0x{point:016x}"


def _percent_of_line(points: int) -> float:
    return float(Fraction(100 * points, twin.LINE))
