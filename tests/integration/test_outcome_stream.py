"""Rows on their way to the controller, with either end killed at any moment."""

import asyncio
import time
from random import Random

import grpc
import pytest
from entries import entry, message
from outcome_lab import CONTROLLER, SIDECAR, on_a_loop, process, socket_address

from sidecar.analysis import cells
from sidecar.control import receiving, wire
from sidecar.control.backoff import Backoff
from sidecar.control.doors import Door
from sidecar.control.pb import outcomes_pb2 as pb
from sidecar.control.reporting import METHOD, Reporter
from sidecar.errors import CanaryError
from sidecar.outcomes.ledger import Table
from sidecar.outcomes.recording import Recorder
from sidecar.store import Outcomes

DEADLINE_S = 60
ROW = {
    "epoch": "e1",
    "number": 1,
    "sequence": 1,
    "second": 1000,
    "rollout": "chat",
    "variant": "canary",
    "version": "v1",
    "segment": "weight",
}


def row(counts=None, **fields):
    counts = {cells.COMPLETED: 1} if counts is None else counts
    packed = counts if isinstance(counts, bytes) else cells.pack(counts)
    return pb.OutcomeRow(**{**ROW, **fields}, counts=packed)


def completed(path, rollout="chat"):
    store = Outcomes(path)
    try:
        found = store.seconds(rollout, 0, 1 << 40)
        return sum(cells.unpack(one.counts).get(cells.COMPLETED, 0) for one in found)
    finally:
        store.close()


def entries_of_now():
    return message(*[entry(start_us=time.time_ns() // 1000 - 1000)] * 5)


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(tmp_path, seed):
    """Three lives of each end, killed at different moments; then peace until all is told."""
    address, database = socket_address(tmp_path), tmp_path / "controller.outcomes"
    random = Random(seed)
    least = most = 0
    for _ in range(3):
        with (
            process(CONTROLLER, address, database) as controller,
            process(SIDECAR, address, tmp_path / "state", entries_of_now().hex()) as sidecar,
        ):
            controller.stdout.readline()
            lines = [sidecar.stdout.readline() for _ in range(random.randrange(20, 300))]
            first, second = random.sample([controller, sidecar], 2)
            first.kill()
            if first is controller:
                lines += [sidecar.stdout.readline() for _ in range(50)]
            second.kill()
            lines += sidecar.stdout.read().splitlines()
        given = int([line for line in lines if line.strip()][-1])
        least, most = least + given, most + given + 5
    with process(CONTROLLER, address, database) as controller:
        controller.stdout.readline()
        asyncio.run(_report_all(address, tmp_path / "state"))
    assert least <= completed(database) <= most


async def _report_all(address, folder):
    recorder = Recorder(folder, dict, lambda rows: None)
    reporter = Reporter(address, "n1", _Source(recorder), Backoff(Random(1)))
    async with asyncio.timeout(DEADLINE_S):
        running = asyncio.create_task(reporter.run())
        while await recorder.pending():
            await asyncio.sleep(0.01)
        running.cancel()
    await recorder.stop()


class _Source:
    def __init__(self, recorder, trips=()):
        self.pending, self.acknowledge = recorder.pending, recorder.acknowledge
        self._trips = trips

    def trips(self):
        return self._trips


class Receiving:
    """A controller's end in this process, writing to a list or a store."""

    def __init__(self, address, keep=None):
        self.rows, self.news, self.trips = [], [], []
        self.inbox = receiving.Inbox(keep or self._keep, self.news.append, self.trips.append)
        self._door = Door(address)
        self._server = grpc.aio.server(options=wire.SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((receiving.handlers(self.inbox, self._door),))

    async def _keep(self, rows):
        self.rows += rows

    async def __aenter__(self):
        self._door.bind(self._server)
        await self._server.start()
        return self

    async def __aexit__(self, *_):
        await self._server.stop(0)


async def exchange(address, *reports):
    """Send reports one by one; return the receipts."""
    async with grpc.aio.insecure_channel(address.replace("unix://", "unix:")) as channel:
        stream = channel.stream_stream(METHOD)(timeout=DEADLINE_S)
        receipts = []
        for report in reports:
            await stream.write(report.SerializeToString())
            receipts.append(pb.OutcomeReceipt.FromString(await stream.read()).sequence)
        stream.cancel()
        return receipts


@on_a_loop
async def test_a_row_is_on_disk_before_it_is_acknowledged(tmp_path):
    written = asyncio.Event()

    async def keep(rows):
        await written.wait()

    async with Receiving(socket_address(tmp_path), keep):
        asked = asyncio.create_task(
            exchange(socket_address(tmp_path), pb.OutcomeReport(node="n", rows=[row()]))
        )
        done, _ = await asyncio.wait([asked], timeout=0.1)
        assert not done
        written.set()
        assert await asked == [1]


BAD = {
    "no rollout": row(rollout=""),
    "name too long": row(variant="x" * 256),
    "no number": row(number=0),
    "counts nothing": row(counts=b""),
    "counts break off": row(counts=b"\x00"),
    "counts beyond reason": row(counts=b"\x00" + b"\xff" * 9 + b"\x01"),
    "other edges": row(edges=99),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@on_a_loop
async def test_a_row_that_cannot_be_is_refused_alone_and_not_asked_for_again(tmp_path, bad):
    bad.sequence = 7
    report = pb.OutcomeReport(node="n", rows=[row(sequence=6), bad])
    async with Receiving(socket_address(tmp_path)) as receiver:
        assert await exchange(socket_address(tmp_path), report) == [7]
        assert [one.sequence for one in receiver.rows] == [6]
        assert sum(receiver.inbox.refused.values()) == 1


@on_a_loop
async def test_what_cannot_be_written_is_not_acknowledged(tmp_path):
    async def keep(rows):
        raise CanaryError("the disk is full", remedy="make room")

    async with Receiving(socket_address(tmp_path), keep):
        with pytest.raises(grpc.aio.AioRpcError, match="the disk is full"):
            await exchange(socket_address(tmp_path), pb.OutcomeReport(node="n", rows=[row()]))


@on_a_loop
async def test_listeners_hear_of_rows_once_they_are_kept_and_of_each_trip_once(tmp_path):
    trip = pb.Trip(rollout="chat", variant="canary", revision=3, reason="too many errors")
    report = pb.OutcomeReport(node="n", rows=[row()], trips=[trip])
    async with Receiving(socket_address(tmp_path)) as receiver:
        await exchange(socket_address(tmp_path), report, report)
        assert receiver.news == [frozenset({"chat"})] * 2
        [heard] = receiver.trips
        assert (heard.node, heard.variant, heard.revision) == ("n", "canary", 3)


@on_a_loop
async def test_rows_reach_the_controller_within_a_moment(tmp_path):
    """From the sidecar's receipt of an entry to the controller's disk: ticks, not seconds."""
    address = socket_address(tmp_path)
    store = Outcomes(tmp_path / "controller.outcomes")

    async def keep(rows):
        await asyncio.to_thread(store.add, rows)

    async with Receiving(address, keep) as receiver:
        recorder = Recorder(tmp_path / "state", dict, lambda rows: reporter.news())
        recorder.begin_version(Table("v1", [("chat", "canary")], [("chat", "canary")]))
        reporter = Reporter(address, "n1", _Source(recorder), Backoff(Random(1)))
        running = [asyncio.create_task(part.run()) for part in (recorder, reporter)]
        async with asyncio.timeout(DEADLINE_S):
            recorder.rows.take(entries_of_now(), time.time_ns() // 1000)
            while not receiver.news:
                await asyncio.sleep(0.005)
        for task in running:
            task.cancel()
        await recorder.stop()
    store.close()
    assert completed(tmp_path / "controller.outcomes") == 5
