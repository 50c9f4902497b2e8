"""A route's rules as the bytes that native/sc_load.c reads."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sidecar.rollout import values
from sidecar.routing.rules import AllOf, AnyOf, Not
from sidecar.routing.writing import shares, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sidecar.routing.route import Route
    from sidecar.routing.rules import Bound, Check, Condition, Input, Segment

_KILLED, _HOLDOUT, _LAYER = 1, 2, 4
_EXCLUDED = 255
_WEIGHTS, _OWN_SALT, _OUTRIGHT = range(3)
_TEST, _NOT, _ALL, _ANY = range(4)
_INPUTS = {
    "header": 1,
    "cookie": 2,
    "query": 3,
    "client_address": 4,
    "path": 5,
    "host": 6,
    "metadata": 7,
    "attribute": 8,
}
_OPERATORS = {
    "present": 0,
    "exact": 1,
    "in": 2,
    "prefix": 3,
    "suffix": 4,
    "contains": 5,
    "regex": 6,
    "number": 7,
    "semver": 8,
    "date": 9,
    "cidr": 10,
}
_LOW, _LOW_INCLUSIVE, _HIGH, _HIGH_INCLUSIVE = 1, 2, 4, 8
# About what a test costs, in tests of a header's bytes; `make bench-core` shows the extremes.
_COSTS = {"in": 2, "contains": 2, "number": 3, "date": 5, "semver": 5, "cidr": 8, "regex": 10}
_LOOKS = {"cookie": 10, "query": 5, "metadata": 10, "attribute": 10, "host": 3, "client_address": 3}


def rules(route: Route) -> Iterator[bytes]:
    """Write everything that stands behind the variants."""
    flags = _KILLED * route.killed
    flags |= _HOLDOUT * (route.holdout is not None) | _LAYER * (route.layer is not None)
    yield bytes([flags])
    if route.holdout:
        yield text(route.holdout.salt) + struct.pack("<Q", route.holdout.last)
    if route.layer:
        yield text(route.layer.salt) + struct.pack("<QQ", route.layer.first, route.layer.last)
    yield bytes([len(route.requires)])
    for one in route.requires:
        yield text(one.rollout) + bytes([len(one.variants)]) + b"".join(map(text, one.variants))
    yield from _lists(route)
    inputs = _Inputs()
    segments = [_segment(route, one, inputs) for one in route.segments]
    yield struct.pack("<H", len(inputs.known))
    yield from map(_input, inputs.known)
    yield struct.pack("<BI", len(segments), inputs.asked)
    yield from segments


def _lists(route: Route) -> Iterator[bytes]:
    slots = {variant.name: slot for slot, variant in enumerate(route.variants)}
    lists = [(_EXCLUDED, route.excluded), *((slots[o.variant], o.units) for o in route.overrides)]
    yield struct.pack("<I", sum(len(units) for _, units in lists))
    for slot, units in lists:
        yield from (struct.pack("<BH", slot, len(unit)) + unit for unit in units)


class _Inputs:
    """The distinct inputs of one route, numbered, and how often they are asked for."""

    def __init__(self) -> None:
        self.known: dict[Input, int] = {}
        self.asked = 0

    def number(self, asked: Input) -> int:
        self.asked += 1
        return self.known.setdefault(asked, len(self.known))


def _input(asked: Input) -> bytes:
    return struct.pack("<BB", _INPUTS[asked.kind], len(asked.name)) + b"".join(
        map(text, asked.name)
    )


def _segment(route: Route, segment: Segment, inputs: _Inputs) -> bytes:
    parts = [text(f"segment:{segment.name}")]
    if segment.variant:
        slot = [variant.name for variant in route.variants].index(segment.variant)
        parts.append(bytes([_OUTRIGHT, slot]))
    elif segment.salt is not None:
        parts.append(bytes([_OWN_SALT]) + text(segment.salt) + shares(segment.thresholds))
    else:
        parts.append(bytes([_WEIGHTS]) + shares(segment.thresholds))
    nodes = [bytes([_ALL]), *_group(segment.when, inputs)]
    return b"".join([*parts, *nodes])


def _cost(condition: Condition) -> int:
    if isinstance(condition, Not):
        return _cost(condition.condition)
    if isinstance(condition, AllOf | AnyOf):
        return sum(map(_cost, condition.conditions))
    return _COSTS.get(condition.operator, 1) + _LOOKS.get(condition.input.kind, 0)


def _group(conditions: Iterable[Condition], inputs: _Inputs) -> Iterator[bytes]:
    """Write the cheapest first: no condition changes anything, so any order will do."""
    nodes = [_node(one, inputs) for one in sorted(conditions, key=_cost)]
    yield struct.pack("<H", len(nodes))
    yield from nodes


def _node(condition: Condition, inputs: _Inputs) -> bytes:
    if isinstance(condition, Not):
        return bytes([_NOT]) + _node(condition.condition, inputs)
    if isinstance(condition, AllOf | AnyOf):
        kind = _ALL if isinstance(condition, AllOf) else _ANY
        return bytes([kind]) + b"".join(_group(condition.conditions, inputs))
    head = struct.pack(
        "<BHB", _TEST, inputs.number(condition.input), _OPERATORS[condition.operator]
    )
    return head + _operand(condition)


def _operand(check: Check) -> bytes:
    match check.operator:
        case "present":
            return b""
        case "in":
            return struct.pack("<I", len(check.texts)) + b"".join(map(text, check.texts))
        case "cidr":
            return b"".join(_networks(check.texts))
        case "number" | "date" | "semver":
            return bytes([_flags(check)]) + _end(check, check.low) + _end(check, check.high)
    return text(check.texts[0])


def _end(check: Check, bound: Bound | None) -> bytes:
    said = bound.text if bound else ""
    if check.operator == "semver":
        return text(said)
    read = values.number if check.operator == "number" else values.date
    return (read(said.encode()) or 0).to_bytes(16, "little", signed=True)


def _flags(check: Check) -> int:
    def of(bound: Bound | None, there: int, inclusive: int) -> int:
        return there | inclusive * bound.inclusive if bound else 0

    return of(check.low, _LOW, _LOW_INCLUSIVE) | of(check.high, _HIGH, _HIGH_INCLUSIVE)


def _networks(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Write the networks as ranges of addresses, sorted and without overlap."""
    merged: list[list[int]] = []
    for family, low, high in sorted(filter(None, (values.network(t.decode()) for t in texts))):
        if merged and merged[-1][0] == family and low <= merged[-1][2] + 1:
            merged[-1][2] = max(merged[-1][2], high)
        else:
            merged.append([family, low, high])
    yield struct.pack("<I", len(merged))
    for family, low, high in merged:
        yield bytes([family]) + low.to_bytes(16, "little") + high.to_bytes(16, "little")
