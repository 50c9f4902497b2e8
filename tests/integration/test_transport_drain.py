"""How the native engine goes: nothing new, nothing lost; how tables change under its threads."""

import threading
import time

import pytest
from hyperframe import frame as h2
from transport_lab import (
    ANSWER,
    MESSAGE,
    NO_ERROR,
    call,
    data,
    grpc_message,
    make_table,
    serving,
    wait_for,
)

LAST_OF_ALL = (1 << 31) - 1
GOING_S = 1.0
CONNECTIONS = 4


def test_a_drain_gives_notice_first_and_the_last_word_once_that_was_heard():
    with serving() as (server, place), place.connect(manners=False) as peer:
        peer.greet().send(*call(1, MESSAGE))
        peer.answers(1)
        server.drain()
        assert (peer.goaway().last_stream_id, peer.goaway().error_code) == (LAST_OF_ALL, NO_ERROR)
        # What was on its way before the notice arrived is served.
        peer.send(*call(3, MESSAGE))
        assert peer.answers(3) == [ANSWER]
        [ping] = peer.of(h2.PingFrame)
        peer.send(h2.PingFrame(0, ping.opaque_data, flags=["ACK"]))
        peer.until(lambda: len(peer.of(h2.GoAwayFrame)) == 2)
        assert peer.goaway().last_stream_id == 3
        assert peer.goaway().error_code == NO_ERROR


def test_a_drained_connection_closes_when_its_last_call_ends():
    with serving() as (server, place), place.greeted() as peer:
        peer.send(*call(1, MESSAGE))
        peer.answers(1)
        server.drain()
        peer.until(lambda: len(peer.of(h2.GoAwayFrame)) == 2)
        peer.send(data(1, grpc_message(MESSAGE)))
        assert peer.answers(1, 2) == [ANSWER] * 2
        peer.send(data(1, b"", end=True))
        assert peer.result(1).trailers == {"grpc-status": "0"}
        assert peer.closed()
        wait_for(lambda: server.open_connections == 0, "the server's end closed")


def test_an_idle_connection_closes_at_once_in_a_drain():
    with serving() as (server, place), place.greeted() as peer:
        peer.ping()
        server.drain()
        assert peer.closed()


def test_nobody_new_is_let_in_during_a_drain():
    with serving("tcp") as (server, place), place.greeted() as peer:
        peer.send(*call(1, MESSAGE))
        peer.answers(1)
        server.drain()
        peer.goaway()
        with pytest.raises(ConnectionRefusedError):
            wait_for(lambda: place.connect().__exit__(), "the listener closed")


def test_every_answer_is_of_one_table_while_tables_change_all_the_time():
    """Five rollouts an answer: one of two tables would show."""
    names = [f"r{i}" for i in range(5)]
    tables = [make_table(f"v{i}", f"t{i}", names) for i in range(8)]
    answers = {table.answer(MESSAGE) for table in tables}
    seen, wrong = set(), []
    with serving(table=tables[0], threads=2) as (server, place):
        until = time.monotonic() + GOING_S

        def ask():
            with place.greeted() as peer:
                stream = 1
                while time.monotonic() < until:
                    peer.send(*call(stream, *[MESSAGE] * 20, end=True))
                    got = set(peer.result(stream).messages)
                    seen.update(got & answers)
                    wrong.extend(got - answers)
                    stream += 2

        asking = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
        for thread in asking:
            thread.start()
        swaps = 0
        while any(thread.is_alive() for thread in asking):
            swaps += 1
            server.swap(tables[swaps % len(tables)])
            asking[0].join(0.003)
        assert wrong == []
        assert len(seen) > 1
        assert swaps > 20
        wait_for(lambda: server.collect() == 0, "every old table freed")
        counted = sum(server.decisions().values())
        assert counted == len(names) * server.counters()["answers"]
