"""A parsed file: plain values that remember where they stand.

Mappings are dicts and lists are tuples, so that they validate without another copy; numbers are
Decimals made from their very text. YAML and JSON give the same tree. Nothing here knows what a
rollout is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from sidecar.errors import CanaryError

Place = tuple[int, int]  # line and column, both from 1
Loc = tuple[str | int, ...]  # the way from the top of a document: field names and indexes

MAX_DEPTH = 32
MAX_PROBLEMS = 1000  # shown of one file
# Of one file, every alias counted as if it were written out.
MAX_VALUES = 1_000_000

# YAML 1.2 core schema (chapter 10.3.2): `no`, `on` and 1_000 are text.
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_RADIX = re.compile(r"0o[0-7]{1,32}|0x[0-9a-fA-F]{1,32}")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMERIC_STARTS = frozenset("0123456789+-.")


class Fields(dict[str, Any]):
    """A mapping: where it begins, and where each key and each value of it stands."""

    __slots__ = ("at", "keys_at", "values_at")

    def __init__(self, at: Place) -> None:
        super().__init__()
        self.at = at
        self.keys_at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}

    def put(self, key: str, key_at: Place, value: Any, value_at: Place) -> None:
        """Add a field; the later of two equal keys holds."""
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at


class Items(tuple[Any, ...]):  # noqa: SLOT001 - a tuple's subclass cannot have any
    """A list: where each entry stands."""

    values_at: tuple[Place, ...]

    @classmethod
    def of(cls, values: Iterable[Any], places: Iterable[Place]) -> "Items":
        """Keep `values` with their `places`, one for each."""
        items = cls(values)
        items.values_at = tuple(places)
        return items


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place of a file; `loc` is () where no field is to blame."""

    at: Place
    loc: Loc
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document of a file; `spoiled` says that the parser noted something about it."""

    at: Place
    value: Any
    spoiled: bool


class UnreadableError(CanaryError):
    """The file cannot be read beyond this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, remedy=problem.remedy)
        self.problem = problem


def scalar(text: str) -> str | Decimal | bool | None:
    """Give an unquoted YAML text its value by the core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return number(text) if text[0] in _NUMERIC_STARTS else text


def number(text: str) -> str | Decimal:
    """Give the exact Decimal of a numeric text; the text itself where it is none."""
    if _NUMBER.fullmatch(text):
        try:
            return Decimal(text)
        except InvalidOperation:  # an exponent beyond any Decimal
            return Decimal("Infinity")
    if _RADIX.fullmatch(text):
        return Decimal(int(text, 0))
    if _SPECIAL.fullmatch(text):
        return Decimal(text.replace(".", ""))
    return text


def repeated(loc: Loc, key: str, at: Place, first: Place) -> Problem:
    """Say that a mapping has the same key twice."""
    return Problem(
        at, (*loc, key), f"the field stands already in line {first[0]}", "keep one of the two"
    )


def place(document: Parsed, loc: Loc) -> Place:
    """Find where the value at `loc` stands, or the nearest value above it."""
    at, value = document.at, document.value
    for step in loc:
        try:
            at, value = value.values_at[step], value[step]
        except (AttributeError, KeyError, IndexError, TypeError):
            return at
    return at


def key_place(document: Parsed, loc: Loc) -> Place:
    """Find where the key of the field at `loc` stands; of a list's entry, the entry."""
    if not loc:
        return document.at
    parent: Any = document.value
    for step in loc[:-1]:
        parent = parent[step]
    places: Any = parent.keys_at if isinstance(parent, Fields) else parent.values_at
    found: Place = places[loc[-1]]
    return found
