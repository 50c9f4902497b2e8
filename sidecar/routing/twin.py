"""The decision in plain Python: the specification of native/sc_decide.c and sc_table.c.

Written from the contract (docs/assignment.md), not from the C; its hash is mmh3's. Both give the
same answers to the same requests, bit for bit: tests/property/ and tests/conformance/ say so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import mmh3

from sidecar.routing.route import Route, UnitSource, by_name

LINE = 1 << 64
LOG_BITS = 48
MAX_HOST_BYTES = 255

Reason = Literal["weight", "no_unit"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a decision may look at; header names are lower case, `source_address` as Envoy's."""

    headers: Sequence[tuple[str, bytes]]
    source_address: bytes = b""

    def values(self, name: str) -> Iterator[bytes]:
        """Every value of a header, in order of arrival."""
        return (value for key, value in self.headers if key == name)

    def first(self, name: str) -> bytes:
        """Return the first value that is not empty, or an empty one."""
        return next(filter(None, self.values(name)), b"")


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers, and why. `position` and `second` are the two halves of the unit's hash."""

    rollout: str
    variant: str
    reason: Reason
    position: int = 0
    second: int = 0


def decide(routes: Iterable[Route], request: Request) -> tuple[Decision, ...]:
    """Return one decision per rollout that speaks for the request, in order of their names."""
    return tuple(decide_one(route, request) for route in by_name(routes) if matches(route, request))


def decide_one(route: Route, request: Request) -> Decision:
    """Decide for a rollout whose match fits. Without a unit: the baseline, never a draw."""
    unit = find_unit(route, request)
    if not unit:
        return Decision(route.name, route.variants[0].name, "no_unit")
    position, second = mmh3.hash64(route.salt + b"\0" + unit, 0, x64arch=True, signed=False)
    chosen = route.variants[slot_at(route, position, second)]
    return Decision(route.name, chosen.name, "weight", position, second)


# ---- match ---------------------------------------------------------------------------------------


def matches(route: Route, request: Request) -> bool:
    """Whether host (ignoring case and port) and path (whole segments) fit."""
    host = _plain_host(request.first(":authority"))
    path = request.first(":path").split(b"?", 1)[0]
    prefix = route.path_prefix.encode()
    on_path = not prefix or path == prefix or path.startswith(prefix + b"/")
    return on_path and (not route.hosts or any(_host_fits(h.encode(), host) for h in route.hosts))


def _plain_host(authority: bytes) -> bytes:
    if authority.startswith(b"["):
        address, bracket, rest = authority.partition(b"]")
        host = address + bracket + rest.split(b":", 1)[0]
    else:
        host = authority.split(b":", 1)[0]
    return host.lower() if len(host) <= MAX_HOST_BYTES else b""


def _host_fits(pattern: bytes, host: bytes) -> bool:
    if pattern.startswith(b"*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


# ---- unit ----------------------------------------------------------------------------------------


def find_unit(route: Route, request: Request) -> bytes:
    """Return the bytes of the first source that is present and not empty, exactly as received."""
    return next(filter(None, (_read(source, request) for source in route.unit)), b"")


def _read(source: UnitSource, request: Request) -> bytes:
    if source.kind == "header":
        return request.first(source.name)
    if source.kind == "cookie":
        pieces = (p.lstrip(b" \t") for v in request.values("cookie") for p in v.split(b";"))
        return _in_pairs(pieces, source.name)
    if source.kind == "query":
        _, _, query = request.first(":path").partition(b"?")
        return _in_pairs(query.split(b"&"), source.name)
    return _without_port(request.source_address)


def _in_pairs(pieces: Iterable[bytes], name: str) -> bytes:
    pairs = (piece.partition(b"=") for piece in pieces)
    return next((value for key, _, value in pairs if key == name.encode() and value), b"")


def _without_port(address: bytes) -> bytes:
    if address.startswith(b"["):
        return address[1:].split(b"]", 1)[0]
    return address if address.count(b":") > 1 else address.split(b":", 1)[0]


# ---- the hash line -------------------------------------------------------------------------------


def slot_at(route: Route, position: int, second: int) -> int:
    """Return the slot at a point of the hash line.

    Candidate 1 grows from the low end, candidate 2 from the high end, each by its own share alone;
    the baseline and any further candidates share what lies between.
    """
    shares = route.thresholds
    if len(shares) > 1 and position < shares[1]:
        return 1
    if len(shares) > 2 and position >= LINE - shares[2]:
        return 2
    middle = [slot for slot in (0, *range(3, len(shares))) if shares[slot] > 0]
    if not middle:
        # Flooring may leave a point between candidates that have everything: 0 % stays exact.
        return 2 if len(shares) > 2 and shares[2] > 0 else 1
    return _race(route, middle, second)


def _race(route: Route, slots: Sequence[int], second: int) -> int:
    """Weighted rendezvous: each variant has an exponential clock, the first to ring wins.

    -ln(u)/w is smallest with probability w/sum(w) (Efraimidis & Spirakis 2006). A clock depends on
    the unit and the variant's name alone, so only a change of ratios moves people.
    """
    best = slots[0]
    for slot in slots[1:]:
        # time / share, compared without dividing; the earlier slot wins a tie.
        challenge = waiting_time(second, route.variants[slot].name) * route.thresholds[best]
        if challenge < waiting_time(second, route.variants[best].name) * route.thresholds[slot]:
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
