"""Each engine given an access log by a real gRPC client, as Envoy would."""

import asyncio
import time

import grpc
import pytest
from entries import entry, message
from envoy_data_plane.envoy.service.accesslog import v3 as als

from sidecar.analysis import cells
from sidecar.extproc import create
from sidecar.extproc.engine import ACCESS_LOG
from sidecar.routing import Rows


@pytest.fixture(params=["native", "grpcio"])
def kind(request):
    return request.param


def log_stream(channel):
    return channel.stream_unary(f"/{ACCESS_LOG}/StreamAccessLogs")(timeout=10)


async def counted(rows, name, number):
    async with asyncio.timeout(10):
        while rows.counts()[name] < number:
            await asyncio.sleep(0.005)


async def _entries_of_two_streams(address, kind):
    engine, rows = create(kind, address), Rows(bytearray(1 << 20))
    rows.know("v1", [("chat", "canary")])
    engine.rows = rows
    await engine.start()
    try:
        async with grpc.aio.insecure_channel(address.replace("unix://", "unix:")) as channel:
            streams = [log_stream(channel) for _ in range(2)]
            for stream in streams:
                await stream.write(message(*[entry(start_us=_now_us())] * 20))
                await stream.write(b"\xff\xff garbage")
                await stream.write(message(entry(start_us=_now_us())))
            await counted(rows, "taken", 42)
            await counted(rows, "malformed_messages", 2)
            for stream in streams:
                stream.cancel()
    finally:
        await engine.drain(1)
    return rows


def _now_us():
    return time.time_ns() // 1000


def test_entries_of_every_stream_become_rows_and_garbage_ends_none(tmp_path, kind):
    rows = asyncio.run(_entries_of_two_streams(f"unix://{tmp_path}/s", kind))
    folded = rows.fold(rows.turn())
    assert sum(counts[cells.COMPLETED] for *_, counts in folded) == 42


def test_without_rows_the_service_is_not_offered(tmp_path, kind):
    async def ask():
        engine = create(kind, f"unix://{tmp_path}/s")
        await engine.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
                call = channel.unary_unary(f"/{ACCESS_LOG}/StreamAccessLogs")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(message(entry()), timeout=10)
                return caught.value.code()
        finally:
            await engine.drain(0)

    assert asyncio.run(ask()) is grpc.StatusCode.UNIMPLEMENTED


def named(name):
    identifier = als.StreamAccessLogsMessageIdentifier(log_name=name)
    return bytes(als.StreamAccessLogsMessage(identifier=identifier))


async def until(names, rows):
    async with asyncio.timeout(10):
        while rows.log_names() != names:
            await asyncio.sleep(0.005)


async def _logs_come_and_go(address, kind):
    engine, rows = create(kind, address), Rows(bytearray(1 << 20))
    engine.rows = rows
    await engine.start()
    try:
        async with grpc.aio.insecure_channel(address.replace("unix://", "unix:")) as channel:
            streams = [log_stream(channel) for _ in range(4)]
            names = ["canary?header=a", "canary?header=b", "canary?header=b", "x" * 20_000]
            for stream, name in zip(streams, names, strict=True):
                await stream.write(named(name))
                await stream.write(message(entry(start_us=_now_us())))
            await until(names[:2], rows)
            streams[1].cancel()
            streams[0].cancel()
            await until(["canary?header=b"], rows)
            streams[2].cancel()
            await until([], rows)
    finally:
        await engine.drain(1)


def test_what_open_logs_are_called_is_known_until_the_last_of_a_name_ends(tmp_path, kind):
    asyncio.run(_logs_come_and_go(f"unix://{tmp_path}/s", kind))
