"""Assignment v1 never changes its answers: frozen vectors for the twin and the native core."""

import json
from pathlib import Path

import pytest
from freeze import route
from messages import request_headers

from sidecar.routing import Table, compile_table, hash128, twin

VECTORS = json.loads(Path(__file__).with_name("assignment-v1.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["hash"])
def test_hash(vector):
    position, second = hash128(vector["salt"].encode(), b"\0", vector["unit"].encode())
    assert (f"{position:016x}", f"{second:016x}") == (vector["position"], vector["second"])


@pytest.mark.parametrize(("x", "expected"), VECTORS["log2_fixed"])
def test_log2(x, expected):
    assert f"{twin.log2_fixed(int(x, 16)):x}" == expected


@pytest.mark.parametrize("vector", VECTORS["slots"], ids=lambda v: "-".join(v["weights"]))
def test_slots(vector):
    declared = route(vector["weights"])
    table = Table(compile_table([declared], "v"))
    assert [f"{share:x}" for share in declared.thresholds] == vector["shares"]
    for position, second, slot in vector["position_second_slot"]:
        point = int(position, 16), int(second, 16)
        assert twin.slot_at(declared, *point) == slot
        assert table.slot_at(0, *point) == slot


@pytest.mark.parametrize("vector", VECTORS["decisions"])
def test_decisions(vector):
    declared = route(["60", "40"], match=vector["match"], unit=vector["unit"])
    headers = [(key, value.encode()) for key, value in vector["request"]["headers"]]
    address = vector["request"]["source_address"]
    message = request_headers(headers, address)
    native = Table(compile_table([declared], "v")).decide(message)
    plain = twin.decide([declared], twin.Request(headers, address.encode()))
    expected = [
        ("chat-model", d["variant"], d["reason"], int(d["position"], 16), int(d["second"], 16))
        for d in vector["decisions"]
    ]
    assert native == expected
    assert [(d.rollout, d.variant, d.reason, d.position, d.second) for d in plain] == expected
