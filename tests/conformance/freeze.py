"""Writes assignment-v1.json from the twin. Run once per assignment version, never to mend a test.

.venv/bin/python tests/conformance/freeze.py
"""

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from sidecar.routing import Route, UnitSource, Variant, scale, twin

TARGET = Path(__file__).with_name("assignment-v1.json")
RANDOM = Random(20261123)

UNITS = [
    "u42",
    "",
    "a",
    "0123456789abcde",
    "0123456789abcdef",
    "0123456789abcdefg",
    "Ünï-∞",
    " u42 ",
]
SALTS = ["chat-model", "", "chat-model-2026-11"]
WEIGHTS = [
    ["95", "5"],
    ["1", "0"],
    ["0", "1"],
    ["0.5", "99.5"],
    ["1", "1", "1"],
    ["0", "1", "2"],
    ["999999999", "0.000000001"],
    ["40", "10", "10", "20", "20"],
    ["0", "0", "0", "60", "40"],
    ["10", "10", "10", "10", "10", "10", "10", "30"],
]
HEADER_UNIT, COOKIE_UNIT = {"header": "x-user-id"}, {"cookie": "sid"}
QUERY_UNIT, ADDRESS_UNIT = {"query": "u"}, {"client_address": True}
MATCH = {"hosts": [], "path_prefix": ""}
REQUESTS = [
    (MATCH, [HEADER_UNIT], [["x-user-id", "u42"]], ""),
    (MATCH, [HEADER_UNIT], [["x-user-id", ""], ["x-user-id", "u43"]], ""),
    (MATCH, [HEADER_UNIT], [["accept", "*/*"]], ""),
    (MATCH, [HEADER_UNIT, COOKIE_UNIT], [["cookie", "a=b; sid=x=y; sid=z"]], ""),
    (MATCH, [COOKIE_UNIT], [["cookie", "sid=; SID=no"], ["cookie", "sid= padded "]], ""),
    (MATCH, [QUERY_UNIT], [[":path", "/x?a=1&u=%41&u=B"]], ""),
    (MATCH, [QUERY_UNIT], [[":path", "/x?u"]], ""),
    (MATCH, [ADDRESS_UNIT], [], "10.1.2.3:4567"),
    (MATCH, [ADDRESS_UNIT], [], "[2001:db8::1]:4567"),
    (MATCH, [ADDRESS_UNIT], [], "2001:db8::1"),
    ({"hosts": ["chat.example"], "path_prefix": "/v1/chat"}, [HEADER_UNIT],
     [[":authority", "Chat.Example:8443"], [":path", "/v1/chat?x"], ["x-user-id", "u"]], ""),
    ({"hosts": ["chat.example"], "path_prefix": "/v1/chat"}, [HEADER_UNIT],
     [[":authority", "chat.example"], [":path", "/v1/chatter"], ["x-user-id", "u"]], ""),
    ({"hosts": ["*.example"], "path_prefix": ""}, [HEADER_UNIT],
     [[":authority", "a.b.example"], [":path", "/"], ["x-user-id", "u"]], ""),
    ({"hosts": ["*.example"], "path_prefix": ""}, [HEADER_UNIT],
     [[":authority", "example"], [":path", "/"], ["x-user-id", "u"]], ""),
]  # fmt: skip


def route(
    weights: list[str],
    salt: str = "chat-model",
    match: dict[str, Any] = MATCH,
    unit: Sequence[dict[str, Any]] = (HEADER_UNIT,),
) -> Route:
    """Return the route that a vector describes."""
    scaled = scale({f"v{i}": Decimal(w) for i, w in enumerate(weights)})
    sources = [next(iter(described.items())) for described in unit]
    return Route(
        name="chat-model",
        unit=tuple(UnitSource(kind, "" if name is True else name) for kind, name in sources),
        salt=salt.encode(),
        variants=tuple(Variant(name, weight) for name, weight in scaled.items()),
        hosts=tuple(match["hosts"]),
        path_prefix=match["path_prefix"],
    )


def hashes() -> list[dict[str, str]]:
    found = []
    for salt in SALTS:
        for unit in filter(None, UNITS):
            [decision] = twin.decide([route(["1", "1"], salt)], request([["x-user-id", unit]]))
            found.append({"salt": salt, "unit": unit, **halves(decision)})
    return found


def halves(decision: twin.Decision) -> dict[str, str]:
    return {"position": f"{decision.position:016x}", "second": f"{decision.second:016x}"}


def request(headers: list[list[str]], address: str = "") -> twin.Request:
    return twin.Request([(k, v.encode()) for k, v in headers], address.encode())


def slots() -> list[dict[str, object]]:
    found = []
    for weights in WEIGHTS:
        declared = route(weights)
        edges = [0, (1 << 64) - 1]
        for share in declared.thresholds[1:3]:
            edges += [share - 1, share, (1 << 64) - share - 1, (1 << 64) - share]
        points = [(e, RANDOM.getrandbits(64)) for e in edges if 0 <= e < 1 << 64]
        points += [(RANDOM.getrandbits(64), RANDOM.getrandbits(64)) for _ in range(12)]
        rows = [[f"{p:016x}", f"{s:016x}", twin.slot_at(declared, p, s)] for p, s in points]
        shares = [f"{share:x}" for share in declared.thresholds]
        found.append({"weights": weights, "shares": shares, "position_second_slot": rows})
    return found


def decisions() -> list[dict[str, object]]:
    found = []
    for match, unit, headers, address in REQUESTS:
        declared = route(["60", "40"], match=match, unit=unit)
        made = [
            {"variant": d.variant, "reason": d.reason, **halves(d)}
            for d in twin.decide([declared], request(headers, address))
        ]
        sent = {"headers": headers, "source_address": address}
        found.append({"match": match, "unit": unit, "request": sent, "decisions": made})
    return found


def vectors() -> dict[str, object]:
    xs = [
        1,
        2,
        3,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        *(RANDOM.getrandbits(64) for _ in range(10)),
    ]
    return {
        "assignment": "v1",
        "hash": hashes(),
        "log2_fixed": [[f"{x:016x}", f"{twin.log2_fixed(x):x}"] for x in xs],
        "slots": slots(),
        "decisions": decisions(),
    }


if __name__ == "__main__":
    if TARGET.exists():
        sys.exit(f"{TARGET.name} is frozen: a new answer needs a new assignment version")
    TARGET.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
