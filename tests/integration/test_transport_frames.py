"""What HTTP/2 asks of streams, windows and frames, put to a gRPC call.

h2spec (`make h2spec`) puts most of it to a server of web pages; these are the questions whose
answer needs a call that is open, or a body.
"""

import pytest
from hyperframe import frame as h2
from transport_lab import (
    ANSWER,
    MESSAGE,
    PROTOCOL_ERROR,
    block,
    call,
    data,
    grpc_message,
    headers,
    serving,
    settings,
)

FLOW_CONTROL_ERROR, STREAM_CLOSED = 0x3, 0x5


@pytest.fixture(scope="module")
def place():
    with serving() as (_, at):
        yield at


@pytest.fixture
def peer(place):
    with place.greeted() as greeted:
        yield greeted


@pytest.fixture
def narrow(place):
    """A peer that has made no room for any answer yet."""
    with place.greeted(INITIAL_WINDOW_SIZE=0) as greeted:
        yield greeted


def goes_on(peer, number=101):
    peer.send(*call(number, MESSAGE), h2.WindowUpdateFrame(number, 1 << 20))
    return peer.answers(number) == [ANSWER]


# An endpoint may take a stream error for one of the connection (RFC 9113 5.4.2); nghttp2 does.
def test_data_after_the_end_of_a_stream_ends_the_connection(narrow):
    narrow.send(*call(1, MESSAGE, end=True), data(1, b"more"))
    assert narrow.goaway().error_code == STREAM_CLOSED
    assert narrow.closed()


def test_window_updates_and_priorities_are_welcome_after_the_end_of_a_stream(narrow):
    narrow.send(*call(1, MESSAGE, end=True))
    narrow.send(h2.PriorityFrame(1, depends_on=0, stream_weight=3), h2.WindowUpdateFrame(1, 9_000))
    assert narrow.result(1).messages == [ANSWER]


def test_an_answer_goes_out_in_as_small_pieces_as_the_peer_asks_for(place):
    with place.greeted(INITIAL_WINDOW_SIZE=1) as peer:
        peer.send(*call(1, MESSAGE))
        peer.ping()
        assert len(peer.stream(1).body) == 1


def test_a_window_that_grows_by_settings_lets_waiting_answers_go(narrow):
    narrow.send(*call(1, MESSAGE))
    narrow.ping()
    assert not narrow.stream(1).body
    narrow.send(settings(INITIAL_WINDOW_SIZE=1), settings(INITIAL_WINDOW_SIZE=9_000))
    assert narrow.answers(1) == [ANSWER]


def test_a_window_that_settings_make_negative_waits_until_it_is_positive_again(place):
    with place.greeted(INITIAL_WINDOW_SIZE=10) as peer:
        peer.send(*call(1, MESSAGE))
        peer.ping()
        assert len(peer.stream(1).body) == 10
        peer.send(settings(INITIAL_WINDOW_SIZE=2), h2.WindowUpdateFrame(1, 8))
        peer.ping()
        assert len(peer.stream(1).body) == 10
        peer.send(h2.WindowUpdateFrame(1, 1))
        peer.ping()
        assert len(peer.stream(1).body) == 11


def test_a_window_update_of_nothing_ends_the_connection(peer):
    peer.send(*call(1, MESSAGE), b"\0\0\4\x08\0\0\0\0\1\0\0\0\0")
    assert peer.goaway().error_code == PROTOCOL_ERROR
    assert peer.closed()


def test_a_window_above_2_to_the_31_is_a_stream_error(peer):
    peer.send(*call(1, MESSAGE), *[h2.WindowUpdateFrame(1, (1 << 31) - 1)] * 2)
    assert peer.result(1).reset == FLOW_CONTROL_ERROR
    assert goes_on(peer)


def test_more_data_than_the_content_length_says_is_a_stream_error(peer):
    encoded = block(extra=[("content-length", "9")])
    peer.send(headers(1, encoded), data(1, grpc_message(MESSAGE), end=True))
    assert peer.result(1).reset == PROTOCOL_ERROR
    assert peer.stream(1).messages == []
    assert goes_on(peer)


def test_what_comes_for_a_call_that_is_over_is_passed_over(peer):
    peer.send(*call(1, MESSAGE, end=True))
    peer.result(1)
    peer.send(data(1, grpc_message(MESSAGE)), headers(1), h2.RstStreamFrame(1, 8))
    assert goes_on(peer)
    assert peer.stream(1).messages == [ANSWER]


def test_a_stream_below_the_last_one_is_never_served(peer):
    peer.send(*call(5, MESSAGE))
    peer.answers(5)
    peer.send(*call(3, MESSAGE))
    assert goes_on(peer)
    assert 3 not in peer.streams


def test_a_stream_with_the_servers_number_ends_the_connection(peer):
    peer.send(headers(2))
    assert peer.goaway().error_code == PROTOCOL_ERROR


def test_priorities_of_old_are_read_by_nobody(peer):
    itself = h2.PriorityFrame(1, depends_on=1, stream_weight=3)
    peer.send(*call(1, MESSAGE), itself)
    assert peer.answers(1) == [ANSWER]
    assert goes_on(peer)


@pytest.mark.parametrize(
    "extra",
    [
        [("connection", "close")],
        [("te", "gzip")],
        [("transfer-encoding", "chunked")],
        [("X-Upper", "1")],
        [(":path", "/")],
    ],
    ids=lambda extra: extra[0][0],
)
def test_a_malformed_request_is_a_stream_error_that_hurts_no_other(peer, extra):
    peer.send(headers(1, block(extra=extra)), data(1, grpc_message(MESSAGE)))
    assert peer.result(1).reset == PROTOCOL_ERROR
    assert peer.stream(1).messages == []
    assert goes_on(peer)


def test_a_settings_frame_is_acknowledged_and_a_ping_returned(peer):
    peer.ping()
    acknowledged = [f for f in peer.of(h2.SettingsFrame) if "ACK" in f.flags]
    assert len(acknowledged) == 1
    assert peer.of(h2.PingFrame)[-1].opaque_data == b"lab ping"


def test_the_server_says_what_it_takes(peer):
    peer.ping()
    [told] = [f.settings for f in peer.of(h2.SettingsFrame) if "ACK" not in f.flags]
    assert told[h2.SettingsFrame.MAX_CONCURRENT_STREAMS] == 1 << 15
    assert told[h2.SettingsFrame.INITIAL_WINDOW_SIZE] == (4 << 20) + 5
    assert told[h2.SettingsFrame.MAX_HEADER_LIST_SIZE] == 64 << 10
    [window] = peer.of(h2.WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, (1 << 31) - 1 - 65_535)
