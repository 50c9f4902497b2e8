"""The native core and its twin give the same bytes to the same bytes."""

import os

import mmh3
import pytest
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import REQUESTS, TABLES, request_headers, routes

from sidecar import routing
from sidecar.routing import _native, compile_table, hash128, twin, twin_codec

LINE = 1 << 64


def test_native_core_is_compiled_code():
    assert _native.__file__.endswith(".so")


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_hash_equals_mmh3_however_the_bytes_are_split(parts):
    joined = mmh3.hash64(b"".join(parts), 0, x64arch=True, signed=False)
    assert hash128(*parts) == joined


@settings(max_examples=int(os.environ.get("CANARY_EXAMPLES", "1000")))
@given(TABLES, st.lists(REQUESTS, min_size=1, max_size=4))
def test_same_answers_bit_for_bit(table, requests):
    native = routing.Table(compile_table(table, "v-1"))
    for request in requests:
        assert native.answer(request) == twin_codec.answer(table, "v-1", request)


@settings(max_examples=300)
@given(TABLES, REQUESTS)
def test_same_positions_and_reasons(table, request):
    expected = [
        (d.rollout, d.variant, d.reason, d.position, d.second)
        for d in twin.decide(table, twin_codec.read(ext_proc.ProcessingRequest.parse(request)))
    ]
    assert routing.Table(compile_table(table, "v")).decide(request) == expected


@settings(max_examples=500)
@given(routes(), st.lists(st.integers(0, LINE - 1), min_size=4, max_size=4))
def test_same_slots_on_the_thresholds_themselves(route, seconds):
    native = routing.Table(compile_table([route], "v"))
    edges = [0, LINE - 1]
    for share in route.thresholds[1:3]:
        edges += [share - 1, share, share + 1, LINE - share - 1, LINE - share, LINE - share + 1]
    for position in (edge for edge in edges if 0 <= edge < LINE):
        for second in seconds:
            assert native.slot_at(0, position, second) == twin.slot_at(route, position, second)


@settings(max_examples=500)
@given(routes(), st.integers(0, LINE - 1), st.integers(0, LINE - 1))
def test_weight_zero_is_exactly_nobody(route, position, second):
    edges = [position, *(t for share in route.thresholds for t in (share - 1, share, LINE - share))]
    for edge in (e for e in edges if 0 <= e < LINE):
        assert route.variants[twin.slot_at(route, edge, second)].weight > 0


@pytest.mark.parametrize("headers", [5, 60])
def test_many_headers_and_long_values_change_nothing(headers):
    sent = [(f"x-h{i}", os.urandom(200)) for i in range(headers)]
    unit = (":path", b"/"), ("x-user-id", b"u" * 10_000)
    route = routing.Route(
        "r", (routing.UnitSource("header", "x-user-id"),), b"s", (routing.Variant("a", 1),)
    )
    message = request_headers([*sent, *unit])
    table = routing.Table(compile_table([route], "v"))
    assert table.answer(message) == twin_codec.answer([route], "v", message)
