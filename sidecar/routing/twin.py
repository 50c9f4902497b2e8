"""The decision in plain Python: the specification of native/sc_decide.c and sc_table.c.

Written from the contract (docs/assignment.md), not from the C; its hash is mmh3's. Both give the
same answers to the same requests, bit for bit: tests/property/ and tests/conformance/ say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mmh3

from sidecar.rollout import names
from sidecar.routing import force, twin_inputs
from sidecar.routing.route import Route, by_name
from sidecar.routing.rules import AllOf, Input
from sidecar.routing.twin_rules import holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sidecar.routing.force import Key
    from sidecar.routing.route import UnitSource

LINE = 1 << 64
LOG_BITS = 48

# A row of PRECEDENCE, "segment:<name>" in place of "segment", or "no_unit".
Reason = str
# Who decides, from top to bottom: docs/assignment.md has the same rows.
PRECEDENCE = (
    "killed", "holdout", "excluded", "prerequisite", "forced", "override", "layer", "segment",
    "weight",
)  # fmt: skip
NEVER = 1 << 62  # a time after every expiry: who does not know the time forces nothing


@dataclass(frozen=True, slots=True)
class Request:
    """What a decision may look at; header names are lower case, `source_address` as Envoy's.

    `metadata` (by filter) and `attributes` are plain values, as JSON has them.
    """

    headers: Sequence[tuple[str, bytes]]
    source_address: bytes = b""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> Iterator[bytes]:
        """Every value of a header, in order of arrival."""
        return (value for key, value in self.headers if key == name)

    def first(self, name: str) -> bytes:
        """Return the first value that is not empty, or an empty one."""
        return next(filter(None, self.values(name)), b"")


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers, and why.

    `position` is the point of the hash line on which was decided, `second` the unit's pseudonym;
    both are 0 without a unit.
    """

    rollout: str
    variant: str
    reason: Reason
    position: int = 0
    second: int = 0
    has_unit: bool = True


def decide(
    routes: Iterable[Route], request: Request, *, now_s: int = NEVER, keys: Sequence[Key] = ()
) -> tuple[Decision, ...]:
    """Return one decision per rollout that speaks for the request, in order of their names."""
    speaking = {route.name: route for route in by_name(routes) if matches(route, request)}
    forced = force.read(request.first(names.FORCE_HEADER), keys, now_s).variants
    decided: dict[str, Decision] = {}

    def settle(name: str) -> Decision:
        if name not in decided:
            route = speaking[name]
            met = all(
                one.rollout in speaking and settle(one.rollout).variant in one.variants
                for one in route.requires
            )
            decided[name] = decide_one(route, request, forced=forced.get(name, ""), met=met)
        return decided[name]

    return tuple(settle(name) for name in speaking)


def decide_one(route: Route, request: Request, *, forced: str = "", met: bool = True) -> Decision:
    """Decide for a rollout whose match fits: the table of precedence, from top to bottom.

    First what keeps out, then what lets in by name, then the draw. `forced` is the variant a valid
    force token names, `met` whether the prerequisites are. Without a unit nobody is drawn.
    """
    unit = find_unit(route, request)
    drawn = _hash(route.salt, unit)
    given, reason = _kept_out(route, unit, met=met) or _let_in(route, unit, forced) or ("", "")
    if not reason:
        given, reason, drawn = _draw(route, request, unit, drawn)
    second = _hash(route.salt, unit)[1]
    return Decision(
        route.name, given or route.variants[0].name, reason, drawn[0], second, bool(unit)
    )


_Given = tuple[str, Reason]  # a variant ("": the baseline) and why


def _kept_out(route: Route, unit: bytes, *, met: bool) -> _Given | None:
    if route.killed:
        return "", "killed"
    if unit and route.holdout and _hash(route.holdout.salt, unit)[0] <= route.holdout.last:
        return "", "holdout"
    if listed(route).get(unit) == "":
        return "", "excluded"
    return None if met else ("", "prerequisite")


def _let_in(route: Route, unit: bytes, forced: str) -> _Given | None:
    if any(forced == variant.name for variant in route.variants):
        return forced, "forced"
    if variant := listed(route).get(unit):
        return variant, "override"
    return None


def _draw(
    route: Route, request: Request, unit: bytes, drawn: tuple[int, int]
) -> tuple[str, Reason, tuple[int, int]]:
    layer = route.layer
    if layer and not unit:
        return "", "no_unit", drawn
    if layer and not layer.first <= _hash(layer.salt, unit)[0] <= layer.last:
        return "", "layer", drawn
    segment = next((one for one in route.segments if holds(AllOf(one.when), request)), None)
    if segment and segment.variant:
        return segment.variant, f"segment:{segment.name}", drawn
    if not unit:
        return "", "no_unit", drawn
    if segment is None:
        return route.variants[slot_at(route, *drawn)].name, "weight", drawn
    if segment.salt is not None:
        drawn = _hash(segment.salt, unit)
    slot = slot_at(route, *drawn, segment.thresholds)
    return route.variants[slot].name, f"segment:{segment.name}", drawn


def _hash(salt: bytes, unit: bytes) -> tuple[int, int]:
    """Return the position and the second half; zeros without a unit."""
    if not unit:
        return 0, 0
    position, second = mmh3.hash64(salt + b"\0" + unit, 0, x64arch=True, signed=False)
    return position, second


def listed(route: Route) -> Mapping[bytes, str]:
    """Return the units that are named: each with its variant, "" for those excluded."""
    if route.by_unit is None:
        lists = {unit: one.variant for one in route.overrides for unit in one.units}
        route.remember(lists | dict.fromkeys(route.excluded, ""))
    assert route.by_unit is not None
    return route.by_unit


# ---- match ---------------------------------------------------------------------------------------


def matches(route: Route, request: Request) -> bool:
    """Whether host (ignoring case and port) and path (whole segments) fit."""
    host = twin_inputs.plain_host(request.first(":authority"))
    path = request.first(":path").split(b"?", 1)[0]
    prefix = route.path_prefix.encode()
    on_path = not prefix or path == prefix or path.startswith(prefix + b"/")
    return on_path and (not route.hosts or any(_host_fits(h.encode(), host) for h in route.hosts))


def _host_fits(pattern: bytes, host: bytes) -> bool:
    if pattern.startswith(b"*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


# ---- unit ----------------------------------------------------------------------------------------


def find_unit(route: Route, request: Request) -> bytes:
    """Return the bytes of the first source that is present and not empty, exactly as received."""
    return next(filter(None, (_source(source, request) for source in route.unit)), b"")


def _source(source: UnitSource, request: Request) -> bytes:
    asked = Input(source.kind, (source.name,) if source.name else ())
    return next(iter(twin_inputs.values(asked, request)), b"")


# ---- the hash line -------------------------------------------------------------------------------


def slot_at(route: Route, position: int, second: int, shares: Sequence[int] | None = None) -> int:
    """Return the slot at a point of the hash line, by the rollout's own shares or other ones.

    Candidate 1 grows from the low end, candidate 2 from the high end, each by its own share alone;
    the baseline and any further candidates share what lies between.
    """
    shares = route.thresholds if shares is None else shares
    if len(shares) > 1 and position < shares[1]:
        return 1
    if len(shares) > 2 and position >= LINE - shares[2]:
        return 2
    middle = [slot for slot in (0, *range(3, len(shares))) if shares[slot] > 0]
    if not middle:
        # Flooring may leave a point between candidates that have everything: 0 % stays exact.
        return 2 if len(shares) > 2 and shares[2] > 0 else 1
    return _race(route, shares, middle, second)


def _race(route: Route, shares: Sequence[int], slots: Sequence[int], second: int) -> int:
    """Weighted rendezvous: each variant has an exponential clock, the first to ring wins.

    -ln(u)/w is smallest with probability w/sum(w) (Efraimidis & Spirakis 2006). A clock depends on
    the unit and the variant's name alone, so only a change of ratios moves people.
    """
    best = slots[0]
    for slot in slots[1:]:
        # time / share, compared without dividing; the earlier slot wins a tie.
        challenge = waiting_time(second, route.variants[slot].name) * shares[best]
        if challenge < waiting_time(second, route.variants[best].name) * shares[slot]:
            best = slot
    return best


def waiting_time(second: int, name: str) -> int:
    """-log2 of a uniform number in (0, 1], in 48 fractional bits."""
    key = second.to_bytes(8, "little") + name.encode()
    uniform = mmh3.hash64(key, 0, x64arch=True, signed=False)[0] | 1
    return (64 << LOG_BITS) - log2_fixed(uniform)


def log2_fixed(x: int) -> int:
    """log2 of 0 < x < 2^64 in 48 fractional bits, by repeated squaring in integers."""
    exponent = x.bit_length() - 1
    mantissa, result = x << (63 - exponent), exponent
    for _ in range(LOG_BITS):
        square = mantissa * mantissa
        bit = square >> 127
        mantissa = square >> (63 + bit)
        result = result << 1 | bit
    return result
