"""The program by which native/people.pyx writes rows: what encoding.py does, from back to front.

A step is an operation with two numbers. What is opened is closed as a sub-message with the tag of
its field; `DROP` leaves out what turned out to hold nothing.
"""

from collections.abc import Sequence
from typing import Any

CELL, CONST, OPEN, CLOSE, UNLESS, DROP, PLAIN, DEFAULT = range(8)

Step = tuple[int, int, int]


class Program:
    """Steps and the texts they name."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    def const(self, text: bytes) -> list[Step]:
        """Write a text, if there is any."""
        return [(CONST, self._number(text), 0)] if text else []

    def field(self, number: int, inside: Sequence[Step]) -> list[Step]:
        """Write a sub-message around steps."""
        return [(OPEN, 0, 0), *inside, (CLOSE, number << 3 | 2, 0)]

    def header(self, at: int, name: bytes, before: bytes = b"", default: bytes = b"") -> list[Step]:
        """Write a header whose value is a cell behind a text; an empty one is left out."""
        written: list[Step] = [(CELL, at, 0), *self.const(before)]
        if default:
            written = [(CELL, at, 0), (DEFAULT, at, self._number(default))]
        value = self.field(3, written)
        whole = self.field(1, [*value, *self.const(_named(name))])
        return whole if default else [(UNLESS, at, len(whole)), *whole]

    def metadata(self, tree: dict[str, Any]) -> list[Step]:
        """Write dynamic metadata: 8: Metadata {1: a map of Structs}."""
        structs = [
            step
            for key, fields in reversed(tree.items())
            for step in self._dropping(self.entries(fields), [2, 1], key)
        ]
        return self._dropping(structs, [8])

    def attributes(self, name: str, fields: dict[str, Any]) -> list[Step]:
        """Write attributes: 9: an entry of a map of Structs."""
        return self._dropping(self.entries(fields), [2, 9], name)

    def entries(self, tree: dict[str, Any]) -> list[Step]:
        """Write a Struct's fields: those that are cells stand first, so they are written last."""
        steps: list[Step] = []
        for key, one in reversed(tree.items()):
            if isinstance(one, dict):
                steps += self._dropping(self.entries(one), [5, 2, 1], key)
        for key, at in reversed(tree.items()):
            if isinstance(at, int):
                steps += self._leaf(key, at)
        return steps

    def _leaf(self, key: str, at: int) -> list[Step]:
        value = self.field(2, self.field(3, [(CELL, at, 0)]))
        whole = self.field(1, [*value, *self.const(_named(key.encode()))])
        plain: list[Step] = [] if key == "source.address" else [(PLAIN, at, 0)]
        return [*plain, (UNLESS, at, len(whole)), *whole]

    def _dropping(self, inside: list[Step], numbers: list[int], key: str = "") -> list[Step]:
        """Write fields in fields around steps, the key in the outermost; nothing around nothing."""
        *inner, outer = [(CLOSE, number << 3 | 2, 0) for number in numbers]
        closing = [*inner, *(self.const(_named(key.encode())) if key else []), outer]
        opening = [(OPEN, 0, 0)] * len(numbers)
        return [*opening, *inside, (DROP, len(numbers), len(closing)), *closing]

    def _number(self, text: bytes) -> int:
        self.texts.append(text)
        return len(self.texts) - 1


def _named(key: bytes) -> bytes:
    """Write a key: field 1, which is shorter than any name may be."""
    length = len(key)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return b"\x0a" + size + key
