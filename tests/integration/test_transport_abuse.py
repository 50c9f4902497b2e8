"""Peers that stall, flood, lie or talk nonsense: right error, bounded memory, nobody else hurt."""

import contextlib
import struct
import time

import pytest
from hyperframe import frame as h2
from messages import request_headers
from transport_lab import (
    ANSWER,
    BLOCK,
    CALM,
    MESSAGE,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ServerProcess,
    block,
    call,
    data,
    grpc_message,
    headers,
    reset,
    serving,
    settings,
)

MAX_STREAMS = 1 << 15
GREETING_MS, STALL_MS = 300, 1_000


@pytest.fixture(scope="module")
def alone():
    """Warmed up, so that what it grows by afterwards is the test's."""
    with ServerProcess() as server:
        assert server.still_answers()
        yield server


@pytest.fixture(scope="module")
def impatient():
    with ServerProcess("tcp", greeting_ms=GREETING_MS, stall_ms=STALL_MS) as server:
        yield server


# --- resets ------------------------------------------------------------------------------------


def thrown_away(streams):
    return [frame for number in streams for frame in (headers(number), reset(number))]


def test_a_tcp_peer_that_resets_unanswered_calls_without_end_is_sent_away():
    with serving("tcp") as (server, place), place.greeted() as peer:
        peer.send(*thrown_away(range(1, 2 * 2_000, 2)))
        assert peer.goaway().error_code == CALM
        assert peer.closed()
        assert 1_000 <= server.counters()["resets_unanswered"] <= 1_100


def test_a_tcp_peer_may_reset_a_thousand_unanswered_calls_at_once():
    with serving("tcp") as (_, place), place.greeted() as peer:
        peer.send(*thrown_away(range(1, 2 * 1_000, 2)), *call(2_001, MESSAGE))
        assert peer.answers(2_001) == [ANSWER]


def test_a_unix_peer_may_reset_as_many_as_it_likes():
    with serving("unix") as (server, place), place.greeted() as peer:
        peer.send(*thrown_away(range(1, 2 * 5_000, 2)), *call(10_001, MESSAGE))
        assert peer.answers(10_001) == [ANSWER]
        assert peer.of(h2.GoAwayFrame) == []
        assert server.counters()["resets_unanswered"] == 5_000


# --- too much ----------------------------------------------------------------------------------


def opened(streams):
    """HEADERS of many streams, without building a frame object for each."""
    size = struct.pack(">I", len(BLOCK))[1:] + bytes([1, 4])
    return b"".join(size + struct.pack(">I", number) + BLOCK for number in streams)


def test_of_100_000_streams_opened_at_once_those_beyond_the_limit_are_refused(alone):
    before = alone.resident_mb()
    with alone.place.connect(manners=False) as peer:
        peer.greet()
        for first in range(1, 200_000, 2_000):
            peer.send(opened(range(first, first + 2_000, 2)))
            peer.until(lambda: not peer.unread())
        peer.result(199_999)
        refused = [s for s in peer.streams.values() if s.reset == REFUSED_STREAM]
        assert len(refused) == len(peer.streams) == 100_000 - MAX_STREAMS
        assert alone.resident_mb() - before < 64
        peer.send(data(1, grpc_message(MESSAGE)))
        assert peer.answers(1) == [ANSWER]
        assert alone.still_answers()


def test_a_peer_that_knows_the_limit_and_breaks_it_loses_its_connection_alone(alone):
    with alone.place.greeted() as peer:
        peer.ping()
        peer.send(opened(range(1, 2 * MAX_STREAMS + 2, 2)))
        assert peer.goaway().error_code == PROTOCOL_ERROR
        assert peer.closed()
    assert alone.still_answers()


def test_what_large_messages_needed_is_given_back_while_their_calls_stay_open(alone):
    message = request_headers([("x-user-id", b"u1"), ("x", b"y" * 3_000_000)])
    raw = grpc_message(message)
    frames = [raw[at : at + 16_384] for at in range(0, len(raw), 16_384)]
    with alone.place.greeted() as peer:
        before = alone.resident_mb()
        for number in range(1, 2 * 40, 2):
            peer.send(headers(number), *[data(number, one) for one in frames])
            assert peer.answers(number)
        assert alone.resident_mb() - before < 24


def test_what_waiting_replies_needed_is_given_back_while_their_calls_stay_open(alone):
    many = grpc_message(MESSAGE) * 150
    with alone.place.greeted(INITIAL_WINDOW_SIZE=0) as peer:
        before = alone.resident_mb()
        for number in range(1, 2 * 40, 2):
            peer.send(headers(number), *[data(number, many)] * 40)
            peer.ping()
            peer.send(h2.WindowUpdateFrame(number, 1 << 30))
            peer.until(lambda n=number: len(peer.stream(n).body) == 6_000 * (len(ANSWER) + 5))
        assert alone.resident_mb() - before < 24


def test_parts_of_messages_are_held_up_to_16_mib_a_connection(alone):
    before = alone.resident_mb()
    unfinished = [data(1, b"\0" + (4 << 20).to_bytes(4, "big"))]
    chunk = b"y" * 16_384
    with alone.place.greeted() as peer:
        for number in range(1, 100, 2):
            start = data(number, unfinished[0].data)
            peer.send(headers(number), start, *[data(number, chunk)] * 200)
            if peer.unread():
                peer.read()
            if peer.of(h2.GoAwayFrame):
                break
        assert peer.goaway().error_code == CALM
        assert peer.closed()
    assert alone.resident_mb() - before < 48
    assert alone.still_answers()


def test_replies_nobody_makes_room_for_are_held_up_to_16_mib_a_connection(alone):
    before = alone.resident_mb()
    many = grpc_message(MESSAGE) * 150
    with alone.place.greeted(INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(headers(1))
        while not peer.over and not peer.of(h2.GoAwayFrame):
            peer.send(*[data(1, many)] * 10)
            if peer.unread():
                peer.read()
        assert peer.goaway().error_code == CALM
    assert alone.resident_mb() - before < 64
    assert alone.still_answers()


FLOODS = {
    "ping": h2.PingFrame(0, b"12345678").serialize(),
    "settings": settings(ENABLE_PUSH=0).serialize(),
    "priority": h2.PriorityFrame(1, depends_on=0, stream_weight=7).serialize(),
    "window_update": h2.WindowUpdateFrame(0, 1).serialize(),
    "empty_data": headers(1).serialize(),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_small_frames_costs_bounded_memory_and_only_its_own_connection(alone, kind):
    before = alone.resident_mb()
    flood = FLOODS[kind] if kind != "empty_data" else data(1, b"").serialize()
    with alone.place.connect(manners=False) as peer:
        peer.greet().send(FLOODS["empty_data"])
        for _ in range(50):
            peer.send(flood * 2_000)
            while peer.unread() and not peer.over:
                peer.read()
            peer.frames.clear()
        assert alone.still_answers()
    assert alone.resident_mb() - before < 16


def send_until_it_is_stuck(peer, raw):
    """Until the server takes no more, or has closed."""
    peer.socket.settimeout(0.2)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            peer.socket.sendall(raw)


def test_acknowledgements_nobody_reads_end_the_connection(impatient):
    with impatient.place.connect(manners=False) as peer:
        peer.greet()
        send_until_it_is_stuck(peer, FLOODS["ping"] * 500)
        assert peer.closed()


def test_an_endless_header_block_ends_its_connection(alone):
    before = alone.resident_mb()
    with alone.place.greeted() as peer:
        peer.send(headers(1, BLOCK, flags=()))
        piece = h2.ContinuationFrame(1, b"\x40\x01a\x01b" * 3_000).serialize()
        for _ in range(1_000):
            peer.send(piece)
            if peer.unread():
                break
        assert peer.closed()
    assert alone.resident_mb() - before < 16
    assert alone.still_answers()


# --- too slow ----------------------------------------------------------------------------------


def wait_closed(server, stalled_before):
    server.count("stalled", stalled_before + 1)
    assert server.still_answers()


def wait_until_others_are_let_go(server):
    with server.place.connect(manners=False) as other:
        assert other.closed()


@pytest.mark.parametrize(
    "beginning",
    [b"", PREFACE[:12], PREFACE, PREFACE + b"\0\0\6\4\0"],
    ids=["nothing", "half a preface", "no settings", "half a settings frame"],
)
def test_a_peer_that_does_not_greet_is_let_go(impatient, beginning):
    stalled = impatient.counters()["stalled"]
    with impatient.place.connect(manners=False) as peer:
        peer.send(beginning)
        assert peer.closed()
    wait_closed(impatient, stalled)


def test_a_greeted_peer_may_be_silent_for_as_long_as_it_likes(impatient):
    with impatient.place.greeted() as quiet:
        quiet.ping()
        wait_until_others_are_let_go(impatient)
        quiet.send(*call(1, MESSAGE))
        assert quiet.answers(1) == [ANSWER]


def test_a_call_may_stay_open_without_a_word_for_as_long_as_it_likes(impatient):
    with impatient.place.greeted() as quiet:
        quiet.send(*call(1, MESSAGE))
        quiet.answers(1)
        wait_until_others_are_let_go(impatient)
        quiet.send(data(1, grpc_message(MESSAGE)))
        assert quiet.answers(1, 2) == [ANSWER] * 2


def test_a_peer_that_makes_no_room_for_its_answers_is_let_go(impatient):
    stalled = impatient.counters()["stalled"]
    with impatient.place.greeted(INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(*call(1, MESSAGE))
        assert peer.closed()
    wait_closed(impatient, stalled)


def test_a_peer_that_makes_room_little_by_little_is_waited_for(impatient):
    until = time.monotonic() + 1.5 * STALL_MS / 1000
    with impatient.place.greeted(INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(*call(1, *[MESSAGE] * 100, end=True))
        while time.monotonic() < until:
            peer.send(h2.WindowUpdateFrame(1, 1))
            peer.ping()
        peer.send(h2.WindowUpdateFrame(1, 1 << 20))
        assert peer.result(1).messages == [ANSWER] * 100


def test_a_peer_that_reads_nothing_is_not_read_either_and_then_let_go(impatient):
    before, stalled = impatient.resident_mb(), impatient.counters()["stalled"]
    with impatient.place.greeted(INITIAL_WINDOW_SIZE=(1 << 31) - 1) as peer:
        peer.send(headers(1))
        send_until_it_is_stuck(peer, data(1, grpc_message(MESSAGE) * 150).serialize())
        wait_closed(impatient, stalled)
    assert impatient.resident_mb() - before < 32


# --- nonsense ----------------------------------------------------------------------------------

NONSENSE = {
    "http/1.1": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(64),
    "zeros": bytes(4_096),
    "a wrong preface": PREFACE.replace(b"SM", b"MS"),
    "data before settings": PREFACE + data(1, b"x").serialize(),
    "an oversized frame": PREFACE + settings().serialize() + b"\xff\xff\xff\0\0\0\0\0\1",
    "data on stream 0": PREFACE + settings().serialize() + b"\0\0\1\0\0\0\0\0\0x",
    "a push": PREFACE + settings().serialize() + h2.PushPromiseFrame(1, 2, BLOCK).serialize(),
    "broken HPACK": PREFACE + settings().serialize() + headers(1, b"\xff" * 40).serialize(),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_hung_up_on(alone, kind):
    with alone.place.connect() as peer:
        peer.send(NONSENSE[kind])
        assert peer.closed()
        assert peer.streams == {}
    assert alone.still_answers()


def test_a_peer_that_goes_at_any_byte_leaves_nothing_behind(alone):
    whole = b"".join(f.serialize() for f in call(1, MESSAGE, MESSAGE))
    for cut in range(0, len(whole), 3):
        with alone.place.greeted() as peer:
            peer.send(whole[:cut])
    assert alone.still_answers()


def test_frames_of_unknown_types_are_passed_over(alone):
    with alone.place.greeted() as peer:
        peer.send(b"\0\0\5\xee\xff\0\0\0\0hello", headers(1), b"\0\0\3\xef\0\0\0\0\1abc")
        peer.send(data(1, grpc_message(MESSAGE)))
        assert peer.answers(1) == [ANSWER]


def test_a_traceparent_and_odd_metadata_change_no_answer(alone):
    extra = [("traceparent", "00-" + "a" * 32), ("tracestate", "x" * 5_000), ("bin-bin", "%%%")]
    with alone.place.greeted() as peer:
        peer.send(headers(1, block(extra=extra)), data(1, grpc_message(MESSAGE)))
        assert peer.answers(1) == [ANSWER]


# --- too many ----------------------------------------------------------------------------------


def test_without_descriptors_newcomers_are_hung_up_on_and_the_rest_served():
    with ServerProcess(descriptors=40) as server, contextlib.ExitStack() as ended:
        inside = [ended.enter_context(server.place.greeted()) for _ in range(60)]
        server.count("rejected")
        served, away = [], []
        for peer in inside:
            peer.send(*call(1, MESSAGE))
            try:
                peer.answers(1)
                served.append(peer)
            except EOFError:
                away.append(peer)
        assert served
        assert away
        ended.close()
        assert eventually_answers(server)


def eventually_answers(server):
    """The server sees the end of a connection in its own time."""
    for _ in range(1_000):
        try:
            return server.still_answers()
        except EOFError:
            continue
    return False


def test_beyond_4096_connections_newcomers_are_hung_up_on():
    with ServerProcess() as server, contextlib.ExitStack() as ended:
        before = server.resident_mb()
        inside = [ended.enter_context(server.place.connect()) for _ in range(4_096)]
        server.count("connections", 4_096)
        with server.place.connect() as late:
            assert late.closed()
        assert server.counters()["rejected"] == 1
        assert server.resident_mb() - before < 256
        inside[0].greet().send(*call(1, MESSAGE))
        assert inside[0].answers(1) == [ANSWER]
        ended.close()
        assert eventually_answers(server)
