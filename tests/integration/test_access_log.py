"""Each engine given an access log by a real gRPC client, as Envoy would."""

import asyncio
import time

import grpc
import pytest
from entries import entry, message

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
