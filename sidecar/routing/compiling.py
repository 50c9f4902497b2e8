"""Routes become the flat bytes that native/sc_table.c loads.

The layout is written down there, in the comment on top; rules are written in writing_rules.py. It
is private to one build: what is stored or sent are `canary.v1` resources, never these bytes.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence

from sidecar.routing import route as routes_
from sidecar.routing import together
from sidecar.routing.force import Key
from sidecar.routing.writing import shares, text
from sidecar.routing.writing_rules import rules

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
    ranks = together.ranks(ordered)
    together.check_layers(ordered)
    head = struct.pack(
        "<4sIIII",
        b"SCT3",
        len(ordered),
        sum(max(1, len(r.hosts)) for r in ordered),
        sum(len(r.unit) for r in ordered),
        sum(len(r.variants) for r in ordered),
    )
    honoured = [struct.pack("<B", len(keys)), *(text(k.id) + text(k.secret) for k in keys)]
    return b"".join(
        [head, text(version), *honoured, bytes(ranks[r.name] for r in ordered)]
        + [_rollout(r) for r in ordered]
    )


# A change touches few of the routes: the others keep their bytes.
def _rollout(route: routes_.Route) -> bytes:
    if route.table_bytes is None:
        route.remember(table_bytes=b"".join(_parts(route)))
    assert route.table_bytes is not None
    return route.table_bytes


def _parts(route: routes_.Route) -> list[bytes]:
    parts = [text(route.name), text(route.salt), text(route.path_prefix)]
    parts.append(struct.pack("<H", len(route.hosts)))
    parts.extend(map(text, route.hosts))
    parts.append(struct.pack("<B", len(route.unit)))
    parts.extend(bytes([_KINDS[s.kind]]) + text(s.name) for s in route.unit)
    parts.append(struct.pack("<B", len(route.variants)))
    parts.extend(text(variant.name) for variant in route.variants)
    parts.append(shares(route.thresholds))
    parts.extend(rules(route))
    return parts
