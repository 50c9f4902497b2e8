"""The native codec against envoy-data-plane, and against bytes that nobody should send."""

import pytest
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import header_map, request_headers

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table

UNIT = (UnitSource("header", "x-user-id"),)
ROUTES = [
    Route("chat", UNIT, b"s", (Variant("stable", 1), Variant("canary", 1))),
    Route("elsewhere", UNIT, b"s", (Variant("a", 1),), hosts=("other.example",)),
]
TABLE = Table(compile_table(ROUTES, "v7"))
HEADERS = [(":path", b"/"), (":authority", b"shop.example"), ("x-user-id", b"u1")]
MESSAGE = request_headers(HEADERS, "10.0.0.1:5")


def parsed(message: bytes) -> ext_proc.ProcessingResponse:
    return ext_proc.ProcessingResponse.parse(TABLE.answer(message))


def test_answer_sets_the_header_clears_the_route_and_describes_the_decision():
    response = parsed(MESSAGE)
    common = response.request_headers.response
    [option] = common.header_mutation.set_headers
    described = response.dynamic_metadata.fields["canary"].struct_value.fields
    chat = {k: v.string_value for k, v in described["chat"].struct_value.fields.items()}
    [(_, variant, _, _, second)] = TABLE.decide(MESSAGE)
    assert (option.header.key, option.header.raw_value) == ("x-canary-chat", variant.encode())
    assert option.append_action == 2
    assert option.append is None
    assert common.clear_route_cache
    assert chat == {
        "variant": variant, "version": "v7", "reason": "weight", "unit": f"{second:016x}",
    }  # fmt: skip
    assert list(described) == ["chat"]


def test_without_a_unit_the_baseline_answers_and_no_pseudonym_is_made_up():
    response = parsed(request_headers([(":path", b"/"), ("x-user-id", b"")]))
    described = response.dynamic_metadata.fields["canary"].struct_value.fields["chat"]
    said = {k: v.string_value for k, v in described.struct_value.fields.items()}
    assert said == {"variant": "stable", "version": "v7", "reason": "no_unit"}


def test_where_no_rollout_speaks_the_route_is_cleared_all_the_same():
    response = ext_proc.ProcessingResponse.parse(Table(compile_table([], "v")).answer(MESSAGE))
    common = response.request_headers.response
    assert common.clear_route_cache
    assert common.header_mutation is not None
    assert response.dynamic_metadata is None


def test_reserved_headers_of_a_client_are_removed_unless_overwritten():
    sent = [("x-canary-chat", b"canary"), ("x-canary-shadow-chat", b"c"), ("x-canaryx", b"ok")]
    mutation = parsed(request_headers(HEADERS + sent)).request_headers.response.header_mutation
    assert mutation.remove_headers == ["x-canary-shadow-chat"]
    assert [option.header.key for option in mutation.set_headers] == ["x-canary-chat"]


@pytest.mark.parametrize(
    ("kind", "request_message", "response_type"),
    [
        ("response_headers", header_map([(":status", b"200")]), ext_proc.HeadersResponse),
        ("request_body", ext_proc.HttpBody(body=b"x" * 70_000), ext_proc.BodyResponse),
        ("response_body", ext_proc.HttpBody(end_of_stream=True), ext_proc.BodyResponse),
        ("request_trailers", ext_proc.HttpTrailers(), ext_proc.TrailersResponse),
        ("response_trailers", ext_proc.HttpTrailers(), ext_proc.TrailersResponse),
    ],
)
def test_every_other_message_gets_the_empty_answer_of_its_kind(
    kind, request_message, response_type
):
    answer = TABLE.answer(bytes(ext_proc.ProcessingRequest(**{kind: request_message})))
    assert answer == bytes(ext_proc.ProcessingResponse(**{kind: response_type()}))


def test_observability_mode_and_messages_without_a_kind_get_no_answer():
    watched = ext_proc.ProcessingRequest(
        request_headers=header_map(HEADERS), observability_mode=True
    )
    assert TABLE.answer(bytes(watched)) == b""
    assert TABLE.answer(b"") == b""


def test_answers_are_counted_by_rollout_variant_and_reason_and_refusals_are_not():
    table = Table(compile_table(ROUTES, "v"))
    without_unit = request_headers([(":path", b"/")])
    [(_, variant, reason, _, _)] = table.decide(MESSAGE)
    for _ in range(3):
        table.answer(MESSAGE)
    table.answer(without_unit)
    with pytest.raises(ValueError, match="not a"):
        table.answer(b"\xff")
    assert table.tally() == {("chat", variant, reason): 3, ("chat", "stable", "no_unit"): 1}


# Field numbers nobody uses yet, in every wire type.
UNKNOWN = {
    "varint": b"\xa0\x06\xff\x01",
    "fixed64": b"\xa1\x06" + bytes(8),
    "bytes": b"\xa2\x06\x03abc",
    "group": b"\xa3\x06\xa0\x06\x01\xab\x06\xac\x06\xa4\x06",
    "fixed32": b"\xa5\x06" + bytes(4),
    "known number, other wire type": b"\x10\x05",
}


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_fields_are_skipped(unknown):
    assert TABLE.answer(MESSAGE + unknown) == TABLE.answer(MESSAGE)
    assert TABLE.answer(unknown + MESSAGE) == TABLE.answer(MESSAGE)


def test_the_last_kind_of_a_message_with_two_wins():
    body = bytes(ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=b"x")))
    assert TABLE.answer(MESSAGE + body) == TABLE.answer(body)
    assert TABLE.answer(body + MESSAGE) == TABLE.answer(MESSAGE)


def test_headers_of_a_kind_that_was_overruled_are_forgotten():
    body = bytes(ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=b"x")))
    other = request_headers([(":path", b"/"), ("x-user-id", b"u2")])
    assert TABLE.answer(MESSAGE + body + other) == TABLE.answer(other)


def test_attributes_of_other_filters_are_not_the_clients_address():
    route = Route("r", (UnitSource("client_address"),), b"s", (Variant("a", 1),))
    table = Table(compile_table([route], "v"))
    [(_, _, reason, _, _)] = table.decide(MESSAGE)
    assert reason == "weight"
    elsewhere = MESSAGE.replace(b"envoy.filters.http.ext_proc", b"envoy.filters.http.ext_prox")
    [(_, _, reason, _, _)] = table.decide(elsewhere)
    assert reason == "no_unit"


MALFORMED = {
    "truncated tag": b"\x80",
    "truncated length": b"\x12\x80",
    "length beyond the end": b"\x12\x05ab",
    "endless varint": b"\x10" + b"\xff" * 11,
    "tag zero": b"\x00",
    "reserved wire type": b"\x17",
    "group that does not end": b"\xa3\x06",
    "end of a group that did not begin": b"\xa4\x06",
    "group ended by another": b"\xa3\x06\xac\x06",
    "groups without end": b"\xa3\x06" * 100_000,
    "nested length beyond the end": b"\x12\x04\x0a\x7fab",
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_refused(message):
    with pytest.raises(ValueError, match="not a ProcessingRequest"):
        TABLE.answer(message)


def test_a_message_cut_anywhere_is_refused_or_is_a_shorter_message():
    refused = 0
    for end in range(len(MESSAGE)):
        try:
            shorter = parsed(MESSAGE[:end])
        except ValueError:
            refused += 1
        else:
            assert shorter == parsed(bytes(ext_proc.ProcessingRequest.parse(MESSAGE[:end])))
    assert refused > len(MESSAGE) * 0.9


@settings(max_examples=2000)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_answered_or_refused(message):
    try:
        answer = TABLE.answer(message)
    except ValueError:
        return
    ext_proc.ProcessingResponse.parse(answer)


@settings(max_examples=2000)
@given(st.data())
def test_damaged_messages_are_answered_or_refused(data):
    damaged = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = TABLE.answer(bytes(damaged))
    except ValueError:
        return
    ext_proc.ProcessingResponse.parse(answer)
