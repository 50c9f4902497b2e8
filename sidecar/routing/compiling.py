"""Routes become the flat bytes that native/sc_table.c loads.

The layout is written down there, in the comment on top. It is private to one build: what is
stored or sent are `canary.v1` resources, never these bytes.
"""

import functools
import hashlib
import struct
from collections.abc import Iterable, Mapping

from sidecar.routing import route as routes_

_KINDS = {"header": 1, "cookie": 2, "query": 3, "client_address": 4}
_NO_SLOT = 255
_WHOLE_LINE = 1 << 64


def version_of(resource_versions: Mapping[str, str]) -> str:
    """Name a set of resources by its content: the same everywhere, whoever computes it.

    `resource_versions` maps a resource's name to its version; the answer has 12 hex digits.
    """
    digest = hashlib.sha256()
    for name in sorted(resource_versions):
        digest.update(f"{name}\0{resource_versions[name]}\n".encode())
    return digest.hexdigest()[:12]


def compile_table(routes: Iterable[routes_.Route], version: str) -> bytes:
    """Return the table's bytes. Raises RouteError on a name used twice."""
    ordered = routes_.by_name(routes)
    head = struct.pack(
        "<4sIIII",
        b"SCT1",
        len(ordered),
        sum(max(1, len(r.hosts)) for r in ordered),
        sum(len(r.unit) for r in ordered),
        sum(len(r.variants) for r in ordered),
    )
    return b"".join([head, _text(version), *map(_rollout, ordered)])


# A change touches few of the routes: the others keep their bytes.
@functools.lru_cache(maxsize=1 << 15)
def _rollout(route: routes_.Route) -> bytes:
    parts = [_text(route.name), _text(route.salt), _text(route.path_prefix)]
    parts.append(struct.pack("<H", len(route.hosts)))
    parts.extend(map(_text, route.hosts))
    parts.append(struct.pack("<B", len(route.unit)))
    parts.extend(bytes([_KINDS[s.kind]]) + _text(s.name) for s in route.unit)
    shares = route.thresholds
    whole = shares.index(_WHOLE_LINE) if _WHOLE_LINE in shares else _NO_SLOT
    parts.append(struct.pack("<BB", whole, len(shares)))
    parts.extend(
        _text(variant.name) + struct.pack("<Q", min(share, _WHOLE_LINE - 1))
        for variant, share in zip(route.variants, shares, strict=True)
    )
    return b"".join(parts)


def _text(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<H", len(raw)) + raw
