"""Twin, grpcio and native engine give the same bytes to the same requests, over their own wires.

The requests: what a real Envoy sent (recorded/, made by record.py), and what hypothesis invents.
"""

import asyncio
import json
import tempfile
import threading
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import REQUESTS, TABLES
from transport_lab import data, grpc_message, headers, serving

from sidecar.extproc import SERVICE, create
from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, twin_codec

RECORDED = {
    path.stem: [bytes.fromhex(one) for one in json.loads(path.read_text())["messages"]]
    for path in sorted(Path(__file__).with_name("recorded").glob("*.json"))
}
HALVES = (Variant("stable", 1), Variant("canary", 1))
ROUTES = [
    Route("user", (UnitSource("header", "x-user-id"),), b"s", HALVES),
    Route("session", (UnitSource("cookie", "session"),), b"t", HALVES, ("shop.example",)),
    Route("query", (UnitSource("query", "u"),), b"u", HALVES, (), "/v1/chat"),
    Route("address", (UnitSource("client_address"),), b"v", HALVES),
    Route("nobody", (UnitSource("header", "x-absent"),), b"w", HALVES),
]


class NativeWire:
    """The native engine, asked by a raw HTTP/2 peer: one stream for each request."""

    def __init__(self, server, peer):
        self._server, self._peer, self._next = server, peer, 1

    def answers(self, table, requests):
        self._server.swap(table)
        stream, self._next = self._next, self._next + 2
        frames = [data(stream, part) for one in requests for part in parts(grpc_message(one))]
        self._peer.send(headers(stream), *frames, data(stream, b"", end=True))
        result = self._peer.result(stream)
        assert result.status == 0
        del self._peer.streams[stream]
        return result.messages


def parts(payload):
    return [payload[at : at + 16_000] for at in range(0, len(payload), 16_000)]


class GrpcioWire:
    """The grpcio engine on a loop of its own, asked by an official client."""

    def __init__(self, folder):
        self._address = f"{folder}/s"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._engine = create("grpcio", f"unix://{self._address}")
        self._call(self._engine.start())
        self._channel = grpc.insecure_channel(f"unix:{self._address}")
        self._process = self._channel.stream_stream(f"/{SERVICE}/Process")

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def answers(self, table, requests):
        async def swap():
            self._engine.swap(table)

        self._call(swap())
        return list(self._process(iter(requests), timeout=20))

    def close(self):
        self._channel.close()
        self._call(self._engine.drain(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def native():
    with serving() as (server, place), place.greeted() as peer:
        yield NativeWire(server, peer)


@pytest.fixture(scope="module")
def grpcio():
    with tempfile.TemporaryDirectory() as folder:
        wire = GrpcioWire(folder)
        yield wire
        wire.close()


def expected(routes, requests):
    answers = [twin_codec.answer(routes, "v", request) for request in requests]
    return [answer for answer in answers if answer]


def test_the_recordings_are_those_that_the_script_makes():
    assert {"curl", "http2", "grpc", "websocket", "attributes", "forward_rules"} <= set(RECORDED)
    assert all(RECORDED.values())
    assert len(RECORDED["everything"]) >= 4


@pytest.mark.parametrize("name", RECORDED)
def test_what_envoy_sent_has_the_same_answers_everywhere(name, native, grpcio):
    requests = RECORDED[name]
    answers = expected(ROUTES, requests)
    table = Table(compile_table(ROUTES, "v"))
    assert native.answers(table, requests) == answers
    assert grpcio.answers(table, requests) == answers


def test_what_envoy_sent_is_decided_by_it(native):
    """Not by chance the same empty answer everywhere."""
    table = Table(compile_table(ROUTES, "v"))
    [user, session, query, address] = [
        next(d for d in table.decide(message) if d[0] == name)
        for name, message in [
            ("user", RECORDED["curl"][0]),
            ("session", RECORDED["browser"][0]),
            ("query", RECORDED["forward_rules"][0]),
            ("address", RECORDED["attributes"][0]),
        ]
    ]
    assert {one[2] for one in (user, session, query, address)} == {"weight"}


@settings(max_examples=150)
@given(TABLES, st.lists(REQUESTS, min_size=1, max_size=5))
def test_whatever_is_asked_has_the_same_answers_everywhere(native, grpcio, routes, requests):
    table = Table(compile_table(routes, "v"))
    answers = expected(routes, requests)
    assert native.answers(table, requests) == answers
    assert grpcio.answers(table, requests) == answers
