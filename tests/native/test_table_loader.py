"""The native loader trusts nobody: bytes that are not a table are refused with the reason."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import TABLES, request_headers

from sidecar.routing import Route, RouteError, Table, UnitSource, Variant, compile_table, twin

UNIT = (UnitSource("header", "x-user-id"),)
CHAT = Route("chat", UNIT, b"salt", (Variant("stable", 95), Variant("canary", 5)), ("a.b",), "/v1")
BYTES = compile_table([CHAT], "v7")


def test_what_was_compiled_loads():
    table = Table(BYTES)
    assert (len(table), table.version) == (1, "v7")


@pytest.mark.parametrize("end", range(len(BYTES)))
def test_a_block_cut_short_is_refused(end):
    with pytest.raises(ValueError, match=r"early|not a routing table|announced"):
        Table(BYTES[:end])


SHARES = struct.pack("<Q", (5 << 64) // 100)
DAMAGE = {
    "magic": (b"SCT3", b"SCT2", "not a routing table"),
    "rollout name": (b"\x04\x00chat", b"\x04\x00ch\rt", "DNS label"),
    "variant name": (b"canary", b"can\nry", "DNS label"),
    "empty name": (b"\x06\x00canary", b"\x00\x00", "empty or too long"),
    "long name": (b"\x06\x00canary", b"\x40\x00" + b"c" * 64, "empty or too long"),
    "slot of all the weight": (b"canary\xff", b"canary\x02", "not exist"),
    "prefix": (b"/v1", b"/v/", "path prefix"),
    "source kind": (b"\x01\x09\x00x-user-id", b"\x09\x09\x00x-user-id", "kind of unit source"),
    "overlap": (SHARES, b"\xff" * 8, "overlap"),
    "gap": (SHARES, bytes(8), "fill the line"),
}


@pytest.mark.parametrize(("old", "new", "reason"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_block_is_refused_with_the_reason(old, new, reason):
    assert BYTES.count(old) == 1
    with pytest.raises(ValueError, match=reason):
        Table(BYTES.replace(old, new))


def test_bytes_left_over_are_refused():
    with pytest.raises(ValueError, match="left over"):
        Table(BYTES + b"\0")


def test_counts_that_promise_more_memory_than_there_are_bytes_are_refused():
    with pytest.raises(ValueError, match="announced"):
        Table(b"SCT3" + b"\xff" * 16 + b"\0\0")


def test_rollouts_out_of_order_are_refused():
    one = compile_table([Route("a", UNIT, b"", CHAT.variants), CHAT], "v")
    with pytest.raises(ValueError, match="order"):
        Table(one.replace(b"\x01\x00a", b"\x01\x00z"))


def test_a_name_twice_is_refused_before_it_is_compiled():
    with pytest.raises(RouteError, match="declared twice"):
        compile_table([CHAT, CHAT], "v")


@settings(max_examples=2000)
@given(TABLES, st.data())
def test_a_fuzzed_block_loads_or_is_refused_and_then_answers(routes, data):
    block = bytearray(compile_table(routes, "v"))
    for _ in range(data.draw(st.integers(1, 5))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = Table(bytes(block))
    except ValueError:
        return
    table.answer(request_headers([(":path", b"/v1/chat"), ("x-user-id", b"u")]))


def many(count: int) -> list[Route]:
    return [
        Route(f"r-{i}", UNIT, b"s", CHAT.variants, (f"h{i % 100}.example", "*.wild"), f"/p{i}/x")
        for i in range(count)
    ]


def test_ten_thousand_rollouts_are_found_by_host_and_path():
    table = Table(compile_table(many(10_000), "v"))
    for at in (0, 1, 99, 5_000, 9_999):
        for host in (f"h{at % 100}.example", "any.wild"):
            message = request_headers(
                [(":path", b"/p%d/x/y" % at), (":authority", host.encode()), ("x-user-id", b"u")]
            )
            assert [decision[0] for decision in table.decide(message)] == [f"r-{at}"]


@pytest.mark.parametrize(("length", "speaks"), [(255, True), (256, False)])
def test_a_host_longer_than_255_bytes_fits_no_host(length, speaks):
    wild = Route("wild", UNIT, b"s", CHAT.variants, hosts=("*.b",))
    host = b"c" * (length - 2) + b".b"
    headers = [(":path", b"/"), (":authority", host), ("x-user-id", b"u")]
    native = Table(compile_table([wild], "v")).decide(request_headers(headers))
    assert bool(native) == bool(twin.decide([wild], twin.Request(headers))) == speaks


def test_several_rollouts_speak_in_the_order_of_their_names():
    routes = [Route(n, UNIT, n.encode(), CHAT.variants, path_prefix=p) for n, p in [
        ("zeta", ""), ("alpha", "/v1"), ("mid", "/v1/chat"), ("off", "/v2"),
    ]]  # fmt: skip
    message = request_headers([(":path", b"/v1/chat?x"), ("x-user-id", b"u")])
    table = Table(compile_table(routes, "v"))
    assert [decision[0] for decision in table.decide(message)] == ["alpha", "mid", "zeta"]
