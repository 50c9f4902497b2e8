"""Rows of a table of people become the messages with which Envoy would ask: fast, for millions.

twin_codec writes the same messages with the official classes, a hundred times as slowly; the test
compares both. Most columns are a piece of the message by themselves; the query, dynamic metadata
and attributes are put together from theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.routing import columns, twin_inputs
from sidecar.routing._people import Writer
from sidecar.routing.encoding_program import Program
from sidecar.routing.rules import Input

Encode = Callable[[Sequence[str]], bytes]

_FILTER = "envoy.filters.http.ext_proc"
_ADDRESS = "source.address"
_SHORT = [bytes([length]) for length in range(128)]
# Cells that come again and again, as countries do, are encoded once: so many a column.
_REMEMBERED = 4096


def encoder(inputs: Sequence[Input | None]) -> Encode:
    """Return what turns a row into a ProcessingRequest; None is a column that says nothing.

    Cells are UTF-8 (with surrogateescape any bytes); an empty one is not there. Raises ColumnError
    on columns that cannot stand side by side; so does what is returned, on a list that is none.
    """
    parts = _parts(inputs)
    return _specified(parts) if parts.query else _natively(_program(parts), _specified(parts))


def specified(inputs: Sequence[Input | None]) -> Encode:
    """Return the same, all in Python: what native/people.pyx is held against."""
    return _specified(_parts(inputs))


@dataclass(slots=True)
class _Parts:
    """What columns are, each by its number."""

    pieces: list[tuple[int, Input]] = field(default_factory=list)
    query: list[tuple[int, str]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    path: int | None = None


def _parts(inputs: Sequence[Input | None]) -> _Parts:
    parts = _Parts()
    for at, one in enumerate(inputs):
        if one is None:
            continue
        if one.kind == "query":
            parts.query.append((at, one.name[0]))
        elif one == Input("header", (":path",)):
            parts.path = at
        elif one.kind == "metadata":
            columns.place(parts.metadata, one.name, at)
        elif one.kind in {"attribute", "client_address"}:
            name = one.name[0] if one.name else _ADDRESS
            columns.place(parts.attributes, (_FILTER, name), at)
        else:
            parts.pieces.append((at, one))
    return parts


def _specified(parts: _Parts) -> Encode:
    asked = [_path(parts.path, parts.query)] if parts.query or parts.path is not None else []
    headers = _joined([(at, _remembering(_piece(one))) for at, one in parts.pieces], asked)
    more = _shared(parts.metadata, parts.attributes)

    def encode(row: Sequence[str]) -> bytes:
        # request_headers {headers {headers {key, raw_value} ...}}
        message = _field(2, _field(1, headers(row)))
        return message + b"".join([one(row) for one in more]) if more else message

    return encode


def _program(parts: _Parts) -> Writer:
    made = Program()
    steps = made.attributes(_FILTER, parts.attributes[_FILTER]) if parts.attributes else []
    steps += made.metadata(parts.metadata) if parts.metadata else []
    headers = [] if parts.path is None else made.header(parts.path, b":path", default=b"/")
    for at, one in reversed(parts.pieces):
        cookie = one.kind == "cookie"
        name = one.name[0].encode()
        headers += made.header(at, b"cookie", name + b"=") if cookie else made.header(at, name)
    steps += made.field(2, made.field(1, headers))
    return Writer(steps, made.texts)


def _natively(writer: Writer, spare: Encode) -> Encode:
    """Let the writer write; what it leaves (lists, bytes that are no UTF-8) is Python's."""
    write = writer.write

    def encode(row: Sequence[str]) -> bytes:
        try:
            return write(list(row)) or spare(row)
        except UnicodeEncodeError:
            return spare(row)

    return encode


def _joined(pieces: Sequence[tuple[int, Callable[[str], bytes]]], rest: list[Encode]) -> Encode:
    def encode(row: Sequence[str]) -> bytes:
        found = [piece(row[at]) for at, piece in pieces]
        if rest:
            found += [one(row) for one in rest]
        return b"".join(found)

    return encode


def _remembering(piece: Callable[[str], bytes]) -> Callable[[str], bytes]:
    known: dict[str, bytes] = {"": b""}

    def remember(cell: str) -> bytes:
        found = known.get(cell)
        if found is None:
            found = piece(cell)
            if len(known) < _REMEMBERED:
                known[cell] = found
        return found

    return remember


def _piece(one: Input) -> Callable[[str], bytes]:
    """Return what writes a header: headers {key, raw_value}."""
    if one.kind == "cookie":
        key, before = _field(1, b"cookie"), one.name[0].encode() + b"="
    else:
        key, before = _field(1, one.name[0].encode()), b""

    room = 127 - len(key) - 2

    def piece(cell: str) -> bytes:
        value = before + cell.encode("utf-8", "surrogateescape")
        length = len(value)
        if length <= room:  # as below, the lengths being single bytes
            return b"\x0a" + _SHORT[127 - room + length] + key + b"\x1a" + _SHORT[length] + value
        return _field(1, key + _field(3, value))

    return piece


def _path(path: int | None, query: list[tuple[int, str]]) -> Encode:
    write = _piece(Input("header", (":path",)))

    def encode(row: Sequence[str]) -> bytes:
        asked = "&".join(f"{name}={row[at]}" for at, name in query if row[at])
        base = (row[path] if path is not None else "") or "/"
        return write(base + ("&" if "?" in base else "?") + asked if asked else base)

    return encode


def _shared(metadata: dict[str, Any], attributes: dict[str, Any]) -> list[Encode]:
    """Return what writes metadata (8: Metadata) and attributes (9: an entry of a map)."""
    found: list[Encode] = []
    if metadata:
        # A map of Structs, a Struct being a map of Values: neither Struct is wrapped in a Value.
        structs = [(key, _entries(fields)) for key, fields in metadata.items()]
        found.append(
            lambda row: _some(8, b"".join(_entry(key, fields(row)) for key, fields in structs))
        )
    if attributes:
        inside = _entries(attributes[_FILTER])
        key = _field(1, _FILTER.encode())

        def written(row: Sequence[str]) -> bytes:
            made = inside(row)
            return _field(9, key + _field(2, made)) if made else b""

        found.append(written)
    return found


def _entries(tree: dict[str, Any]) -> Encode:
    """Return what writes a Struct's fields, those left out in which nothing is."""
    return _joined(
        [(at, _remembering(_leaf(key))) for key, at in tree.items() if isinstance(at, int)],
        [_within(key, _entries(one)) for key, one in tree.items() if isinstance(one, dict)],
    )


def _within(key: str, fields: Encode) -> Encode:
    """Return what writes a Value that is a Struct (5)."""
    return lambda row: _entry(key, _some(5, fields(row)))


def _leaf(key: str) -> Callable[[str], bytes]:
    """Return what writes a Value that is a string (3), or a ListValue (6) of strings."""
    named = _field(1, key.encode())
    room = 127 - len(named) - 4

    def leaf(cell: str) -> bytes:
        if cell.startswith("[") and key != _ADDRESS:
            texts = twin_inputs.texts(columns.plain(cell))
            return _entry(key, _field(6, b"".join(_field(1, _field(3, one)) for one in texts)))
        value = cell.encode("utf-8", "surrogateescape")
        length = len(value)
        if length <= room:  # as below, the lengths being single bytes
            head = b"\x0a" + _SHORT[127 - room + length] + named
            return head + b"\x12" + _SHORT[length + 2] + b"\x1a" + _SHORT[length] + value
        return _entry(key, _field(3, value))

    return leaf


def _entry(key: str, value: bytes) -> bytes:
    return _field(1, _field(1, key.encode()) + _field(2, value)) if value else b""


def _some(number: int, body: bytes) -> bytes:
    return _field(number, body) if body else b""


def _field(number: int, body: bytes) -> bytes:
    length = len(body)
    return _SHORT[number << 3 | 2] + (_SHORT[length] if length < 128 else _varint(length)) + body


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
