"""Each engine spoken to by a real gRPC client, over the sockets Envoy would use."""

import asyncio
import contextlib
import socket
import stat
from contextvars import ContextVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from messages import request_headers

from sidecar.errors import CanaryError
from sidecar.extproc import SERVICE, create
from sidecar.routing import Route, Table, UnitSource, Variant, compile_table

DEADLINE_S = 10
KIND = ContextVar("engine")
MESSAGE = request_headers([(":path", b"/"), ("x-user-id", b"u1")])


def table(variant="stable"):
    unit = (UnitSource("header", "x-user-id"),)
    return Table(compile_table([Route("chat", unit, b"s", (Variant(variant, 1),))], "v"))


@contextlib.asynccontextmanager
async def serving(address, *, loaded=True):
    engine = create(KIND.get(), address)
    await engine.start()
    if loaded:
        engine.swap(table())
    target = address.replace("unix://", "unix:")
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            yield engine, channel
        finally:
            await engine.drain(0)


def process(channel):
    return channel.stream_stream(f"/{SERVICE}/Process")(timeout=DEADLINE_S)


async def ask(channel, message=MESSAGE):
    call = process(channel)
    await call.write(message)
    answer = await call.read()
    call.cancel()
    return answer


async def refusal(channel, message=MESSAGE):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, message)
    return caught.value.code()


@pytest.fixture(autouse=True, params=["native", "grpcio"])
def engine_kind(request):
    token = KIND.set(request.param)
    yield request.param
    KIND.reset(token)


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def address(tmp_path_factory):
    return f"unix://{tmp_path_factory.mktemp('s')}/x.sock"


def test_a_table_answers_and_a_swap_is_seen_by_the_next_message_of_an_open_stream(address):
    async def scenario():
        async with serving(address) as (engine, channel):
            call = process(channel)
            await call.write(MESSAGE)
            assert await call.read() == table().answer(MESSAGE)
            engine.swap(table("other"))
            await call.write(MESSAGE)
            assert await call.read() == table("other").answer(MESSAGE)
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert engine.counters()["answers"] == 2

    asyncio.run(scenario())


def test_before_the_first_table_nothing_is_answered_and_nothing_closed_cleanly(address):
    async def scenario():
        async with serving(address, loaded=False) as (engine, channel):
            assert await refusal(channel) is grpc.StatusCode.UNAVAILABLE
            assert engine.counters()["not_ready"] == 1

    asyncio.run(scenario())


def test_malformed_bytes_end_their_own_stream_and_no_other(address):
    async def scenario():
        async with serving(address) as (engine, channel):
            assert await refusal(channel, b"\xff") is grpc.StatusCode.INVALID_ARGUMENT
            assert await ask(channel) == table().answer(MESSAGE)
            assert engine.counters()["malformed"] == 1

    asyncio.run(scenario())


def test_health_is_serving_from_the_first_table_to_the_drain(address):
    async def scenario():
        async with serving(address, loaded=False) as (engine, channel):
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=DEADLINE_S
            )
            seen = [(await watch.read()).status]
            engine.swap(table())
            seen.append((await watch.read()).status)
            draining = asyncio.create_task(engine.drain(DEADLINE_S))
            seen.append((await watch.read()).status)
            watch.cancel()
            await draining
            not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
            assert seen == [not_serving, health_pb2.HealthCheckResponse.SERVING, not_serving]
            assert not engine.ready

    asyncio.run(scenario())


def test_a_drain_lets_open_streams_finish_and_takes_the_socket_away_first(address):
    async def scenario():
        async with serving(address) as (engine, channel):
            call = process(channel)
            await call.write(MESSAGE)
            await call.read()
            draining = asyncio.create_task(engine.drain(DEADLINE_S))
            while engine.ready or engine.path.exists():
                await asyncio.sleep(0)
            await call.write(MESSAGE)
            assert await call.read() == table().answer(MESSAGE)
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            await draining

    asyncio.run(scenario())


def test_the_socket_has_its_mode_when_it_appears_and_a_stale_one_is_replaced(address):
    async def scenario():
        path = address.removeprefix("unix://")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        async with serving(address) as (engine, channel):
            assert stat.S_IMODE(engine.path.stat().st_mode) == 0o600
            assert await ask(channel)

    asyncio.run(scenario())


@pytest.mark.parametrize("taken", ["port", "folder"])
def test_an_address_that_cannot_be_had_is_named(taken, tmp_path):
    async def scenario():
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = f"127.0.0.1:{holder.getsockname()[1]}"
            address = port if taken == "port" else f"unix://{tmp_path}/missing/x.sock"
            with pytest.raises(CanaryError, match="cannot listen on") as caught:
                await create(KIND.get(), address).start()
            assert address in str(caught.value)

    asyncio.run(scenario())


def test_two_engines_never_share_a_port(free_port):
    """Linux would let them (SO_REUSEPORT), and half of the decisions would be another table's."""

    async def scenario():
        async with serving(f"127.0.0.1:{free_port}") as (_, channel):
            assert await ask(channel)
            second = create(KIND.get(), f"127.0.0.1:{free_port}")
            try:
                await second.start()
                refused = ""
            except CanaryError as error:
                refused = str(error)
            finally:
                await second.drain(0)
            assert "cannot listen on" in refused

    asyncio.run(scenario())


def test_a_message_that_no_envoy_sends_ends_its_own_stream_and_no_other(address):
    def sized(size):
        return request_headers([(":path", b"/"), ("x-user-id", b"u1"), ("x-big", b"x" * size)])

    async def scenario():
        async with serving(address) as (_, channel):
            assert await ask(channel, sized(1 << 20))
            await refusal(channel, sized(5 << 20))
            assert await ask(channel)

    asyncio.run(scenario())


def test_an_unknown_engine_is_named_with_those_that_exist():
    with pytest.raises(CanaryError, match="grpcio"):
        create("teleport", "127.0.0.1:0")
