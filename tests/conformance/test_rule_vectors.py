"""Frozen answers to documents with rules: they never change, in no implementation."""

import json
from pathlib import Path

import pytest
from freeze_rules import asked_of, routes_of

from sidecar.routing import Table, compile_table, twin, twin_codec
from sidecar.routing.force import Key

VECTORS = json.loads((Path(__file__).parent / "rules-v1.json").read_text())
KEYS = [Key(one["id"], one["secret"].encode()) for one in VECTORS["keys"]]
NOW_S = VECTORS["now_s"]


@pytest.mark.parametrize("case", VECTORS["cases"])
def test_rules(case):
    routes = routes_of(case["documents"])
    table = Table(compile_table(routes, "v", KEYS))
    for said, expected in zip(case["requests"], case["decisions"], strict=True):
        asked = asked_of(said)
        plain = twin.decide(routes, asked, now_s=NOW_S, keys=KEYS)
        native = table.decide(twin_codec.write(asked), NOW_S)
        wanted = [(*d[:3], int(d[3], 16), int(d[4], 16)) for d in expected]
        assert native == wanted
        assert [(d.rollout, d.variant, d.reason, d.position, d.second) for d in plain] == wanted
