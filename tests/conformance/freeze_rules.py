"""Writes rules-v1.json from the twin: documents with rules, requests, and who got what, and why.

Run once, never to mend a test. .venv/bin/python tests/conformance/freeze_rules.py
"""

import json
from pathlib import Path

from sidecar import rollout, routing
from sidecar.routing import twin
from sidecar.routing.force import Key, sign

HERE = Path(__file__).parent
KEY = {"id": "qa", "secret": "0123456789abcdef0123456789abcdef"}
NOW_S = 1_800_000_000
JWT = "envoy.filters.http.jwt_authn"


def document(name: str, **spec) -> dict:
    return {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "unit": [{"header": "x-user-id"}],
            "variants": [
                {"name": "stable", "weight": 60},
                {"name": "canary", "weight": 20},
                {"name": "next", "weight": 10},
                {"name": "late", "weight": 10},
            ],
            **spec,
        },
    }


def claim(*path: str) -> dict:
    return {"metadata": {"filter": JWT, "path": list(path)}}


OPERATORS = [
    {"header": "x-a", "exact": "de"}, {"header": "x-a", "in": ["de", "fr"]},
    {"header": "x-a", "prefix": "d"}, {"header": "x-a", "suffix": "@example.com"},
    {"header": "x-a", "contains": "-"}, {"header": "x-a", "regex": "(?i)[a-z]+\\d?"},
    {"header": "x-a", "present": True}, {"header": "x-a", "present": False},
    {"header": "x-a", "number": {"atLeast": 1, "below": 2.5}},
    {"header": "x-a", "number": {"above": -3}},
    {"header": "x-a", "semver": {"atLeast": "1.2.0", "below": "2.0.0"}},
    {"header": "x-a", "semver": {"above": "1.0.0-rc.1", "atMost": "1.0.0"}},
    {"header": "x-a", "date": {"after": "2026-01-01T00:00:00Z", "before": "2027-01-01T00:00:00Z"}},
    {"header": "x-a", "cidr": ["10.0.0.0/8", "2001:db8::/32"]},
    {"not": {"header": "x-a", "exact": "de"}},
    {"anyOf": [{"header": "x-a", "exact": "de"}, {"header": "x-b", "exact": "1"}]},
    {"allOf": [{"header": "x-a", "exact": "de"}, {"header": "x-b", "exact": "1"}]},
]  # fmt: skip
VALUES = [
    None, "", "de", "fr", "DE", "a-b", "ann@example.com", "1", "2.5", "2.499999999", "-3", "+1.0",
    "1e0", "1.2.0", "1.2.0-rc.1", "1.10.0", "01.2.0", "1.0.0-rc.2", "1.0.0+build", "1.0",
    "2026-06-01T12:00:00Z", "2026-01-01T01:00:00+01:00", "2026-02-29T00:00:00Z",
    "2026-12-31T23:59:60Z", "10.255.0.1", "11.0.0.0", "::ffff:10.0.0.1", "2001:db8::7",
]  # fmt: skip
INPUTS = [
    ({"cookie": "c", "exact": "1"}, {"headers": [["cookie", "a=b; c=1"]]}),
    ({"query": "q", "exact": "%20"}, {"headers": [[":path", "/a?q=%20"]]}),
    ({"path": True, "exact": "/a"}, {"headers": [[":path", "/a?q=1"]]}),
    ({"method": True, "exact": "GET"}, {"headers": [[":method", "GET"]]}),
    ({"host": True, "exact": "a.b"}, {"headers": [[":authority", "A.B:8080"]]}),
    ({"clientAddress": True, "cidr": ["10.0.0.1"]}, {"source_address": "10.0.0.1:99"}),
    ({"attribute": "connection.mtls", "exact": "true"}, {"attributes": {"connection.mtls": True}}),
    ({**claim("p", "tier"), "exact": "gold"}, {"metadata": {JWT: {"p": {"tier": "gold"}}}}),
    ({**claim("p", "roles"), "exact": "qa"}, {"metadata": {JWT: {"p": {"roles": ["dev", "qa"]}}}}),
    ({**claim("p", "age"), "number": {"atLeast": 18}}, {"metadata": {JWT: {"p": {"age": 18}}}}),
    ({**claim("p", "score"), "exact": "0.25"}, {"metadata": {JWT: {"p": {"score": 0.25}}}}),
    ({**claim("p"), "present": True}, {"metadata": {JWT: {"p": {"tier": "gold"}}}}),
]  # fmt: skip
PEOPLE = [
    document("api", segments=[{"name": "s", "when": [{"header": "x-b", "exact": "1"}],
                               "variant": "canary"}]),
    document("chat", holdout={"name": "global", "percent": 12.5}, exclude=["u1"],
             overrides=[{"variant": "late", "units": ["u2", "u3"]}],
             layer={"name": "shop", "from": 10, "to": 80},
             segments=[{"name": "own", "when": [{"header": "x-a", "exact": "own"}],
                        "weights": {"canary": 30, "late": 20}, "salt": "own-line"},
                       {"name": "nested", "when": [{"header": "x-a", "exact": "nested"}],
                        "weights": {"canary": 40, "next": 30, "late": 10}}]),
    document("needs", requires=[{"rollout": "api", "variants": ["canary", "late"]}]),
]  # fmt: skip


def request(**said) -> dict:
    return {"headers": [], "source_address": "", "metadata": {}, "attributes": {}, **said}


def header(value: str | None, *others: list[str]) -> dict:
    sent = [] if value is None else [["x-a", value]]
    return request(headers=[["x-user-id", "u7"], *sent, *others])


def cases() -> list[dict]:
    made = []
    for condition in OPERATORS:
        segment = {"name": "s", "when": [condition], "variant": "late"}
        asked = [header(value, *more) for value in VALUES for more in ([], [["x-b", "1"]])]
        made.append({"documents": [document("r", segments=[segment])], "requests": asked})
    for condition, said in INPUTS:
        segment = {"name": "s", "when": [condition], "variant": "late"}
        asked = [request(), request(**said)]
        made.append({"documents": [document("r", segments=[segment])], "requests": asked})
    token = sign(Key(KEY["id"], KEY["secret"].encode()), {"chat": "next", "api": "late"},
                 NOW_S + 1)  # fmt: skip
    people = [["x-user-id", f"u{n}"] for n in range(40)]
    asked = [
        request(headers=[user, *more])
        for user in people
        for more in ([], [["x-a", "own"]], [["x-a", "nested"], ["x-b", "1"]],
                     [["canary-force", token]])
    ]  # fmt: skip
    return [*made, {"documents": PEOPLE, "requests": asked}]


def routes_of(documents: list[dict]) -> list[routing.Route]:
    sources = [
        rollout.Source(f"{n}.json", json.dumps(one).encode()) for n, one in enumerate(documents)
    ]
    reading = rollout.read(sources)
    assert not reading.mistakes, reading.mistakes
    found = [one.rollout for one in reading.declared]
    return [routing.route_of(one, {v.name: v.weight for v in one.variants}) for one in found]


def asked_of(said: dict) -> twin.Request:
    return twin.Request(
        headers=[(name, value.encode()) for name, value in said["headers"]],
        source_address=said["source_address"].encode(),
        metadata=said["metadata"],
        attributes=said["attributes"],
    )


def freeze() -> None:
    keys = [Key(KEY["id"], KEY["secret"].encode())]
    frozen = []
    for case in cases():
        routes = routes_of(case["documents"])
        decided = [
            [
                [d.rollout, d.variant, d.reason, f"{d.position:016x}", f"{d.second:016x}"]
                for d in twin.decide(routes, asked_of(said), now_s=NOW_S, keys=keys)
            ]
            for said in case["requests"]
        ]
        frozen.append({**case, "decisions": decided})
    made = {"assignment": "v1", "now_s": NOW_S, "keys": [KEY], "cases": frozen}
    (HERE / "rules-v1.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    freeze()
