"""How the rules that were looked at read: one line each, and below a segment its conditions."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.text import Text

from sidecar.routing import twin
from sidecar.routing.explaining_rules import Rule, Tested
from sidecar.routing.rules import AllOf, AnyOf, Check, Input, Not

_FEW = 4
_LONGEST = 60


def rows(rules: tuple[Rule, ...]) -> Iterator[tuple[str, Text]]:
    """Write each rule: its row, whether it applies and why; those below the deciding one dim."""
    decided = False
    for rule in rules:
        verdict = ("decides", "bold green") if rule.applies and not decided else ("no", "dim")
        if decided:
            verdict = ("not reached", "dim")
        yield _title(rule), Text.assemble(verdict, "  ", (_why(rule), "dim" if decided else ""))
        if not decided:
            for depth, one in _flat(rule.tested, 0):
                mark = ("holds   ", "green") if one.holds else ("does not", "red")
                yield "", Text.assemble("  " * (depth + 1), mark, "  ", _condition(one))
        decided = decided or rule.applies


def as_json(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """Return the rules as JSON values; the first that applies decides."""
    return [
        {
            "rule": rule.row,
            "name": rule.name,
            "applies": rule.applies,
            "why": _why(rule),
            "conditions": list(map(_tested_json, rule.tested)),
        }
        for rule in rules
    ]


def _tested_json(one: Tested) -> dict[str, Any]:
    return {
        "condition": _condition(one, found=False),
        "holds": one.holds,
        "found": [value.decode("utf-8", "backslashreplace") for value in one.values],
        "conditions": list(map(_tested_json, one.inner)),
    }


def _title(rule: Rule) -> str:
    return f"segment {rule.name}" if rule.row == "segment" else rule.row


def _why(rule: Rule) -> str:
    return _WHY[rule.row](rule)


def _required(rule: Rule) -> str:
    gives = f"gives {rule.found!r}" if rule.found else "does not speak"
    return f"{rule.name} {gives}" + (", not what is required" if rule.applies else "")


def _on_line(rule: Rule) -> str:
    if not rule.position:
        return f"{rule.name}: without a unit nobody is on its line"
    low, high, at = (100 * one / twin.LINE for one in (rule.low, rule.high + 1, rule.position))
    inside = "in" if rule.low <= rule.position <= rule.high else "outside"
    return f"{rule.name}: at {at:.6g} % of its line, {inside} {low:g} % to {high:g} %"


def _listed(variant: str) -> str:
    return f"listed for {variant}" if variant else "not listed"


def _force(rule: Rule) -> str:
    if rule.found:
        return f"the force token is ignored: {rule.found}"
    if rule.name:
        return f"the force token names {rule.name}" + ("" if rule.applies else ", not a variant")
    return "the force token names other rollouts"


_WHY: dict[str, Callable[[Rule], str]] = {
    "killed": lambda rule: f"the kill switch is {'on' if rule.applies else 'off'}",
    "holdout": _on_line,
    "excluded": lambda rule: f"the unit is {'' if rule.applies else 'not '}in exclude",
    "prerequisite": _required,
    "forced": _force,
    "override": lambda rule: f"the unit is {_listed(rule.name)}",
    "layer": _on_line,
    "segment": lambda rule: f"{'all' if rule.applies else 'not all'} of its conditions hold",
    "weight": lambda _rule: "the weights in force",
}


def _flat(tested: tuple[Tested, ...], depth: int) -> Iterator[tuple[int, Tested]]:
    for one in tested:
        yield depth, one
        yield from _flat(one.inner, depth + 1)


def _condition(one: Tested, *, found: bool = True) -> str:
    match one.condition:
        case Not():
            return "not"
        case AllOf():
            return "all of"
        case AnyOf():
            return "any of"
        case Check() as check:
            said = f"{_input(check.input)} {check.operator} {_operand(check)}".rstrip()
            return f"{said}; found {_found(one.values)}" if found else said


def _input(asked: Input) -> str:
    return " ".join([asked.kind.replace("_", " "), ".".join(asked.name)]).rstrip()


def _operand(check: Check) -> str:
    ends = ((check.low, ">", ">="), (check.high, "<", "<="))
    bounds = [
        f"{wide if end.inclusive else strict} {end.text}" for end, strict, wide in ends if end
    ]
    more = f" and {len(check.texts) - _FEW} more" if len(check.texts) > _FEW else ""
    return ", ".join([*map(_text, check.texts[:_FEW]), *bounds]) + more


def _found(values: tuple[bytes, ...]) -> str:
    return ", ".join(map(_text, values)) or "nothing"


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f'"{shown[:_LONGEST]}{"..." if len(shown) > _LONGEST else ""}"'
