"""JSON into the same trees as YAML, with a place for every value.

YAML almost holds JSON, but not tabs between tokens, surrogate pairs in escapes or a ':' on the
next line; so JSON is read as JSON. A file may hold several values one after the other.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from sidecar.rollout.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    Fields,
    Items,
    Loc,
    Parsed,
    Place,
    Problem,
    UnreadableError,
    number,
    repeated,
)

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
# Not JSON, but many writers emit them; the field they stand in refuses them with its name.
_WORD = re.compile(r"true|false|null|NaN|-?Infinity")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING = json.JSONDecoder()


def documents(text: str, notes: list[Problem]) -> Iterator[Parsed]:
    """Parse a file's values in turn, adding to `notes` what is wrong but can be read past.

    Raises UnreadableError where reading ends early.
    """
    reader = _Reader(text, notes)
    index = reader.space(0)
    while index < len(text):
        at, noted = reader.place(index), len(notes)
        value, index = reader.value(index, ())
        yield Parsed(at, value, len(notes) > noted)
        index = reader.space(index)


class _Reader:
    """Recursive descent; each method takes an index and returns its value and the next index."""

    def __init__(self, text: str, notes: list[Problem]) -> None:
        self.text = text
        self.notes = notes
        self.count = 0
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, index: int) -> Place:
        line = bisect_right(self.lines, index)
        return line, index - self.lines[line - 1] + 1

    def space(self, index: int) -> int:
        found = _SPACE.match(self.text, index)
        return found.end() if found else index

    def value(self, index: int, loc: Loc) -> tuple[Any, int]:
        self.count += 1
        if self.count > MAX_VALUES:
            self._give_up(index, f"the file holds more than {MAX_VALUES:,} values", "split it")
        if len(loc) >= MAX_DEPTH:
            self._give_up(
                index, f"nested more than {MAX_DEPTH} deep", "a rollout needs no such depth"
            )
        first = self.text[index : index + 1]
        if first == "{":
            return self._object(index, loc)
        if first == "[":
            return self._array(index, loc)
        if first == '"':
            return self._string(index)
        return self._plain(index)

    def _object(self, index: int, loc: Loc) -> tuple[Fields, int]:
        fields = Fields(self.place(index))
        index = self.space(index + 1)
        while self.text[index : index + 1] != "}":
            if fields:
                index = self._token(index, ",", "}")
            key_at = self.place(index)
            if self.text[index : index + 1] != '"':
                self._expected(index, "a field's name in double quotes")
            key, index = self._string(index)
            if key in fields:
                self.notes.append(repeated(loc, key, key_at, fields.keys_at[key]))
            index = self._token(self.space(index), ":")
            value_at = self.place(index)
            value, index = self.value(index, (*loc, key))
            fields.put(key, key_at, value, value_at)
            index = self.space(index)
        return fields, index + 1

    def _array(self, index: int, loc: Loc) -> tuple[Items, int]:
        values: list[Any] = []
        places: list[Place] = []
        index = self.space(index + 1)
        while self.text[index : index + 1] != "]":
            if values:
                index = self._token(index, ",", "]")
            places.append(self.place(index))
            value, index = self.value(index, (*loc, len(values)))
            values.append(value)
            index = self.space(index)
        return Items.of(values, places), index + 1

    def _string(self, index: int) -> tuple[str, int]:
        try:
            value, end = _STRING.raw_decode(self.text, index)
        except json.JSONDecodeError as error:
            self._give_up(
                error.pos, f"the string is not JSON: {error.msg.lower()}", "close and escape it"
            )
        if not value.isascii() and _SURROGATE.search(value):
            self._give_up(
                index, "the string holds half of a surrogate pair", "write both halves or neither"
            )
        return value, end

    def _plain(self, index: int) -> tuple[Any, int]:
        if word := _WORD.match(self.text, index):
            text = word.group()
            return (_WORDS[text] if text in _WORDS else Decimal(text)), word.end()
        digits = _NUMBER.match(self.text, index)
        if not digits:
            self._expected(index, "a value")
        return number(digits.group()), digits.end()

    def _token(self, index: int, wanted: str, closing: str = "") -> int:
        if self.text[index : index + 1] != wanted:
            self._expected(index, f"'{wanted}'" + (f" or '{closing}'" if closing else ""))
        return self.space(index + 1)

    def _expected(self, index: int, what: str) -> NoReturn:
        rest = self.text[index : index + 1]
        found = f"{rest!r} stands here" if rest else "the file ends here"
        self._give_up(
            index,
            f"{found}, where JSON wants {what}",
            "mend it, or name the file .yaml if it is YAML",
        )

    def _give_up(self, index: int, message: str, remedy: str) -> NoReturn:
        raise UnreadableError(Problem(self.place(index), (), message, remedy))
