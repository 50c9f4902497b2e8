"""One call on the native engine's wire, as Envoy makes it and as others might.

Spoken by a raw HTTP/2 client, so that every frame is the test's own.
"""

import contextlib
import os
import socket
from pathlib import Path

import pytest
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hyperframe import frame as h2
from messages import header_map, request_headers
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from transport_lab import (
    ANSWER,
    MESSAGE,
    PATH,
    TABLE,
    block,
    call,
    data,
    grpc_message,
    headers,
    reset,
    serving,
)

OK, INVALID_ARGUMENT, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 3, 8, 12, 13, 14
FOUR_MIB = 4 << 20


@pytest.fixture(scope="module")
def served():
    with serving() as (server, place):
        yield server, place


@pytest.fixture
def peer(served):
    with served[1].greeted() as greeted:
        yield greeted


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_reset_after_the_answer_is_a_normal_end_five_thousand_times_on_one_connection(kind):
    with serving(kind) as (server, place), place.greeted() as peer:
        for first in range(1, 10_000, 500):
            streams = range(first, first + 500, 2)
            peer.send(*[frame for number in streams for frame in call(number, MESSAGE)])
            assert all(peer.answers(number) == [ANSWER] for number in streams)
            peer.send(*map(reset, streams))
        peer.ping()
        assert peer.of(h2.GoAwayFrame) == []
        counted = server.counters()
        assert counted["answers"] == counted["streams"] == 5_000
        assert counted["protocol_errors"] == counted["refused"] == counted["resets_unanswered"] == 0


def test_no_window_update_is_sent_per_request(peer):
    for number in range(1, 2_000, 2):
        peer.send(*call(number, MESSAGE))
        peer.answers(number)
    # The one at the start makes the connection's window large.
    assert [frame.stream_id for frame in peer.of(h2.WindowUpdateFrame)] == [0]


def test_a_call_ended_by_the_peer_ends_with_trailers_and_status_0(peer):
    peer.send(*call(1, MESSAGE))
    peer.answers(1)
    assert not peer.stream(1).over
    peer.send(data(1, b"", end=True))
    assert peer.result(1).trailers == {"grpc-status": "0"}
    assert peer.stream(1).head == {":status": "200", "content-type": "application/grpc"}


def test_a_message_that_ends_its_call_is_answered_before_the_trailers(peer):
    peer.send(headers(1), data(1, grpc_message(MESSAGE), end=True))
    assert (peer.result(1).messages, peer.stream(1).status) == ([ANSWER], OK)


def test_every_message_of_a_call_has_one_answer_in_its_order(peer):
    users = [request_headers([(":path", b"/"), ("x-user-id", b"u%d" % i)]) for i in range(9)]
    peer.send(*call(1, *users, end=True))
    assert peer.result(1).messages == [TABLE.answer(message) for message in users]


def test_messages_that_share_a_frame_are_told_apart(peer):
    peer.send(headers(1), data(1, grpc_message(MESSAGE) * 3))
    assert peer.answers(1, 3) == [ANSWER] * 3


def test_a_message_in_frames_of_one_byte_is_put_together(peer):
    frames = [data(1, bytes([byte])) for byte in grpc_message(MESSAGE) * 2]
    peer.send(headers(1), *frames)
    assert peer.answers(1, 2) == [ANSWER] * 2


def test_empty_and_padded_frames_add_nothing(peer):
    whole = grpc_message(MESSAGE)
    padded = h2.DataFrame(1, whole[7:], pad_length=200, flags=["PADDED"])
    peer.send(headers(1), data(1, b""), data(1, whole[:7]), *[data(1, b"")] * 50, padded)
    assert peer.answers(1) == [ANSWER]


def test_a_header_block_in_pieces_is_one_block(peer):
    encoded = block()
    pieces = [h2.ContinuationFrame(1, encoded[at : at + 30]) for at in range(30, len(encoded), 30)]
    pieces[-1].flags.add("END_HEADERS")
    peer.send(headers(1, encoded[:30], flags=()), *pieces, data(1, grpc_message(MESSAGE)))
    assert peer.answers(1) == [ANSWER]


OTHERS = {
    "request_headers": {"request_headers": header_map([(":path", b"/elsewhere")])},
    "response_headers": {"response_headers": header_map([(":status", b"200")])},
    "request_body": {"request_body": ext_proc.HttpBody(body=b"x", end_of_stream=True)},
    "response_body": {"response_body": ext_proc.HttpBody(body=b"x", end_of_stream=True)},
    "request_trailers": {"request_trailers": ext_proc.HttpTrailers()},
    "response_trailers": {"response_trailers": ext_proc.HttpTrailers()},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_of_message_has_the_answer_of_its_kind(peer, kind):
    peer.send(*call(1, MESSAGE, bytes(ext_proc.ProcessingRequest(**OTHERS[kind]))))
    answer = ext_proc.ProcessingResponse.parse(peer.answers(1, 2)[1])
    answered = [name for name in OTHERS if getattr(answer, name) is not None]
    assert answered == [kind]
    if kind != "request_headers":
        empty = type(getattr(answer, kind))()
        assert bytes(getattr(answer, kind)) == bytes(empty)


def test_a_message_that_only_observes_has_no_answer(peer):
    request = ext_proc.ProcessingRequest.parse(MESSAGE)
    request.observability_mode = True
    peer.send(*call(1, bytes(request), end=True))
    assert (peer.result(1).messages, peer.stream(1).status) == ([], OK)


def test_bytes_that_are_no_message_end_their_own_call_alone(peer):
    peer.send(*call(1, b"\xff\xff"), *call(3, MESSAGE))
    assert peer.result(1).status == INVALID_ARGUMENT
    assert peer.answers(3) == [ANSWER]


def test_before_the_first_table_a_call_is_refused_never_closed_cleanly():
    with serving(table=None) as (server, place), place.greeted() as peer:
        peer.send(*call(1, MESSAGE, end=True))
        assert peer.result(1).status == UNAVAILABLE
        assert server.counters()["not_ready"] == 1


@pytest.mark.parametrize(
    "path", ["/some.Service/Process", PATH + "2", PATH.lower(), "/", PATH.rpartition("/")[0]]
)
def test_a_service_or_method_that_is_not_here_is_unimplemented(peer, path):
    peer.send(headers(1, block(path=path)))
    assert (peer.result(1).head[":status"], peer.stream(1).status) == ("200", UNIMPLEMENTED)
    assert peer.stream(1).reset is None or peer.stream(1).reset == 0


@pytest.mark.parametrize("content_type", ["", "application/json", "application/grp"])
def test_another_content_type_is_refused_as_http_would(peer, content_type):
    peer.send(headers(1, block(content_type=content_type)))
    assert (peer.result(1).head[":status"], peer.stream(1).status) == ("415", INVALID_ARGUMENT)


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=x"])
def test_a_content_type_may_say_more_than_grpc(peer, content_type):
    peer.send(headers(1, block(content_type=content_type)), data(1, grpc_message(MESSAGE)))
    assert peer.answers(1) == [ANSWER]


@pytest.mark.parametrize("method", ["GET", "PUT", "post"])
def test_another_method_than_post_is_refused_as_http_would(peer, method):
    peer.send(headers(1, block(method=method), flags=["END_HEADERS", "END_STREAM"]))
    assert (peer.result(1).head[":status"], peer.stream(1).status) == ("405", UNIMPLEMENTED)


def test_whoever_goes_on_after_a_refusal_is_told_to_stop_without_an_error(peer):
    peer.send(headers(1, block(path="/no.Such/Method")))
    peer.until(lambda: peer.stream(1).reset is not None)
    assert (peer.stream(1).status, peer.stream(1).reset) == (UNIMPLEMENTED, 0)
    peer.send(data(1, b"x" * 9), *call(3, MESSAGE))
    assert peer.answers(3) == [ANSWER]


def test_headers_above_64_kib_are_refused_and_the_connection_goes_on(peer):
    encoded = block(extra=[(f"x-{i}", "v" * 4_000) for i in range(17)])
    first, *rest = [encoded[at : at + 16_384] for at in range(0, len(encoded), 16_384)]
    pieces = [h2.ContinuationFrame(1, piece) for piece in rest]
    pieces[-1].flags.add("END_HEADERS")
    peer.send(headers(1, first, flags=()), *pieces)
    assert (peer.result(1).head[":status"], peer.stream(1).status) == ("431", EXHAUSTED)
    peer.send(*call(3, MESSAGE))
    assert peer.answers(3) == [ANSWER]


def pieces(stream, payload):
    return [data(stream, payload[at : at + 16_384]) for at in range(0, len(payload), 16_384)]


def test_a_message_of_4_mib_is_taken(peer):
    room = FOUR_MIB - len(request_headers([("x-user-id", b"u1"), ("x", b"y" * (1 << 21))]))
    message = request_headers([("x-user-id", b"u1"), ("x", b"y" * ((1 << 21) + room))])
    assert FOUR_MIB - 8 <= len(message) <= FOUR_MIB
    peer.send(headers(1), *pieces(1, grpc_message(message)))
    assert peer.answers(1) == [TABLE.answer(message)]


def test_a_longer_message_is_refused_by_its_length_alone(peer):
    peer.send(headers(1), data(1, b"\0" + (FOUR_MIB + 1).to_bytes(4, "big")))
    assert peer.result(1).status == EXHAUSTED
    peer.send(*call(3, MESSAGE))
    assert peer.answers(3) == [ANSWER]


def test_a_compressed_message_is_refused_with_what_is_accepted(peer):
    peer.send(headers(1, block(extra=[("grpc-encoding", "gzip")])))
    peer.send(data(1, grpc_message(b"anything", flag=1)))
    assert peer.result(1).status == UNIMPLEMENTED
    assert peer.stream(1).head["grpc-accept-encoding"] == "identity"


def test_a_plain_message_of_a_compressing_peer_is_answered(peer):
    peer.send(headers(1, block(extra=[("grpc-encoding", "gzip")])), data(1, grpc_message(MESSAGE)))
    assert peer.answers(1) == [ANSWER]


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_a_message_flagged_without_an_encoding_is_an_internal_error(peer, flag):
    peer.send(headers(1), data(1, grpc_message(MESSAGE, flag=flag)))
    assert peer.result(1).status == INTERNAL


@pytest.mark.parametrize("cut", [1, 4, 5, 20])
def test_a_call_that_ends_within_a_message_is_an_internal_error(peer, cut):
    peer.send(headers(1), data(1, grpc_message(MESSAGE)[:cut], end=True))
    assert (peer.result(1).status, peer.stream(1).messages) == (INTERNAL, [])


def test_a_wrong_message_after_good_ones_does_not_take_their_answers_back(peer):
    peer.send(headers(1), data(1, grpc_message(MESSAGE) * 2 + grpc_message(b"\xff")))
    assert peer.result(1).messages == [ANSWER] * 2
    assert peer.stream(1).status == INVALID_ARGUMENT


def test_replies_wait_for_the_window_and_then_come_whole(served):
    with served[1].greeted(INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(*call(1, MESSAGE, end=True))
        peer.ping()
        assert not peer.stream(1).body
        for _ in range(len(ANSWER) + 5):
            peer.send(h2.WindowUpdateFrame(1, 1))
        assert peer.result(1).messages == [ANSWER]
        assert peer.stream(1).status == OK


def server_end_of(peer):
    """The server runs in this process, so its end of a connection is one of our descriptors."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            copy = socket.socket(fileno=os.dup(int(entry.name)))
            with contextlib.suppress(OSError):
                if copy.getpeername() == peer.socket.getsockname():
                    return copy
            copy.close()
    raise AssertionError("the server's end was not found")


def test_a_tracestate_that_no_collector_would_take_is_left_out_of_the_span():
    parent = ("traceparent", f"00-{7:032x}-{9:016x}-01")
    with serving(sampling=(True, False, 0)) as (server, place), place.greeted() as peer:
        for number, state in enumerate([b"a=b", b"a=\xff", b"a=\xc3\xa9", b"a=\tb"]):
            stream, extra = 1 + 2 * number, [parent, ("tracestate", state)]
            peer.send(headers(stream, block(extra=extra)), data(stream, grpc_message(MESSAGE)))
            assert peer.answers(stream) == [ANSWER]
        spans = server.spans(10, lambda *_: (b"", b""))
    read = ScopeSpans.FromString(b"".join(spans)).spans
    assert [(span.trace_state, int.from_bytes(span.parent_span_id)) for span in read] == [
        ("a=b", 9),
        *[("", 9)] * 3,
    ]


HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"", OK),
        (b"\x0a\x00", OK),
        (b"\x0a\x05other\x0a\x00", OK),  # the last one counts
        (b"\x10\x07\x0a\x00", OK),  # a field of a version to come
        (b"\x0a\x05other", 5),
        (b"\x0a\x80\x01" + b"x" * 128, 5),
        (b"\x0a\x05othe", INVALID_ARGUMENT),
        (b"\xff", INVALID_ARGUMENT),
    ],
)
def test_a_health_check_is_read_as_protobuf_is(peer, asked, status):
    peer.send(headers(1, block(HEALTH)), data(1, grpc_message(asked), end=True))
    answered = peer.result(1)
    assert (answered.status, answered.messages) == (status, [SERVING] if status == OK else [])


def test_an_accepted_tcp_connection_never_waits_to_fill_a_segment():
    with serving("tcp") as (_, place), place.greeted() as peer:
        peer.send(*call(1, MESSAGE))
        peer.answers(1)
        with server_end_of(peer) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
