"""Routes become the flat bytes that native/sc_table.c loads.

The layout is written down there, in the comment on top; rules are written in writing_rules.py. It
is private to one build: what is stored or sent are `canary.v1` resources, never these bytes.

A change touches few of the rollouts. What stays is taken over from the table in force, in whole
runs: so nobody has to keep what ten thousand rollouts were compiled to, or from.
"""

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from sidecar.routing import route as routes_
from sidecar.routing import together
from sidecar.routing._native import Table
from sidecar.routing.force import Key
from sidecar.routing.writing import shares, text
from sidecar.routing.writing_rules import rules

_MOST_RULES = 256
_KINDS = {"header": 1, "cookie": 2, "query": 3, "client_address": 4}


def version_of(resource_versions: Mapping[str, str]) -> str:
    """Name a set of resources by its content: the same everywhere, whoever computes it.

    `resource_versions` maps a resource's name to its version; the answer has 12 hex digits.
    """
    digest = hashlib.sha256()
    for name in sorted(resource_versions):
        digest.update(f"{name}\0{resource_versions[name]}\n".encode())
    return digest.hexdigest()[:12]


def compile_table(routes: Iterable[routes_.Route], version: str, keys: Sequence[Key] = ()) -> bytes:
    """Return the table's bytes; `keys` are those whose force tokens it honours.

    Raises RouteError on a name used twice, prerequisites in a circle, or layers that overlap.
    """
    ordered = routes_.by_name(routes)
    draft = Draft()
    for route in ordered:
        draft.put(route)
    return draft.finish(version, keys, filter(together.is_tied, ordered))


class Draft:
    """The bytes of a table while they are made, in ascending order of the rollouts' names.

    What is neither put nor dropped stays as it is in the table `before`.
    """

    def __init__(self, before: Table | None = None) -> None:
        self._before = before
        self._body = bytearray()
        self._taken_over = 0
        self._sizes = list(before.announced) if before else [0] * 4
        self._came: list[str] = []
        self._went: list[str] = []
        self._rules: dict[object, tuple[routes_.Route, bytes]] = {}

    def put(self, route: routes_.Route) -> None:
        """Add a rollout, or replace it."""
        if not self._pass(route.name):
            self._came.append(route.name)
        self._count((1, max(1, len(route.hosts)), len(route.unit), len(route.variants)), 1)
        self._body += b"".join(_parts(route)) + self._rules_of(route)

    def drop(self, name: str) -> None:
        """Leave a rollout out; there may be none."""
        if self._pass(name):
            self._went.append(name)

    def finish(self, version: str, keys: Sequence[Key], tied: Iterable[routes_.Route]) -> bytes:
        """Return the whole; `tied` are all its rollouts that are tied to others.

        Raises RouteError where they cannot stand together.
        """
        ranks = together.check(tied)
        if self._before:
            self._body += self._before.body(self._taken_over, self._before.body_len)
        ranked = bytearray(self._sizes[0])
        for name, rank in ranks.items():
            ranked[self._place(name)] = rank
        head = struct.pack("<4sIIII", b"SCT3", *self._sizes)
        honoured = [struct.pack("<B", len(keys)), *(text(k.id) + text(k.secret) for k in keys)]
        return b"".join([head, text(version), *honoured, ranked, self._body])

    def _rules_of(self, route: routes_.Route) -> bytes:
        """Write its rules; those that are the very same as another's (codec.Known) are written."""
        if not route.segments or route.excluded or route.overrides:
            return b"".join(rules(route))
        segments = tuple(map(id, route.segments))
        slots = tuple(variant.name for variant in route.variants)
        key = (route.killed, route.holdout, route.layer, route.requires, segments, slots)
        if key not in self._rules:
            if len(self._rules) >= _MOST_RULES:
                self._rules.clear()
            # With the route, so that the ids stay those of its segments.
            self._rules[key] = route, b"".join(rules(route))
        return self._rules[key][1]

    def _pass(self, name: str) -> bool:
        """Take over what stands before that name, and nothing of its own; say if there was any."""
        if self._before is None:
            return False
        _, begin, end = self._before.span(name)
        self._body += self._before.body(self._taken_over, begin)
        self._taken_over = end
        if begin < end:
            self._count(_announced(self._before.body(begin, end)), -1)
        return begin < end

    def _count(self, sizes: Iterable[int], times: int) -> None:
        self._sizes = [n + times * m for n, m in zip(self._sizes, sizes, strict=True)]

    def _place(self, name: str) -> int:
        """Number the rollout among all that are in the draft."""
        earlier = self._before.span(name)[0] if self._before else 0
        return earlier + bisect_left(self._came, name) - bisect_left(self._went, name)


def _announced(piece: bytes) -> tuple[int, int, int, int]:
    """Count rollouts, hosts, unit sources and variants in what `_parts` wrote, and more."""
    at = _behind(piece, 0, 3)
    hosts = int.from_bytes(piece[at : at + 2], "little")
    at = _behind(piece, at + 2, hosts)
    sources = piece[at]
    at = _behind(piece, at + 1, sources, lead=1)
    return 1, max(1, hosts), sources, piece[at]


def _behind(piece: bytes, at: int, texts: int, lead: int = 0) -> int:
    """Say where so many texts end, each with `lead` bytes before its length."""
    for _ in range(texts):
        at += lead
        at += 2 + int.from_bytes(piece[at : at + 2], "little")
    return at


def _parts(route: routes_.Route) -> list[bytes]:
    parts = [text(route.name), text(route.salt), text(route.path_prefix)]
    parts.append(struct.pack("<H", len(route.hosts)))
    parts.extend(map(text, route.hosts))
    parts.append(struct.pack("<B", len(route.unit)))
    parts.extend(bytes([_KINDS[s.kind]]) + text(s.name) for s in route.unit)
    parts.append(struct.pack("<B", len(route.variants)))
    parts.extend(text(variant.name) for variant in route.variants)
    parts.append(shares(route.thresholds))
    return parts
