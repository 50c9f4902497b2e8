"""The controller's end of the outcome stream: rows are on disk before they are acknowledged.

Reports of a thousand sidecars share commits: whatever came while the last one was being written is
written together. A row that cannot be is refused by itself, counted and logged, and acknowledged
all the same: sending it again would not make it better.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from sidecar.analysis import cells, edges
from sidecar.control import services
from sidecar.control.doors import Door
from sidecar.control.pb import outcomes_pb2 as pb
from sidecar.control.trips import Trip
from sidecar.errors import CanaryError

SERVICE = "canary.v1.OutcomeService"
_LONGEST_NAME = 255
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A row that came, in the order of the store's columns."""

    node: str
    epoch: str
    number: int
    sequence: int
    second: int
    rollout: str
    variant: str
    version: str
    segment: str
    counts: bytes


def _ignore(news: object) -> None:
    del news


class Inbox:
    """Takes reports. `keep` writes rows, and returns once they are on disk; one call at a time.

    `arrived` is told which rollouts have news, right after their rows are on disk, and `tripped` of
    each trip when it is first heard of, and again when its revision changes. `hurried` says whether
    rows are wanted at once, as while a launch is judged, or once a second.
    """

    def __init__(
        self,
        keep: Callable[[Sequence[Received]], Awaitable[None]],
        arrived: Callable[[frozenset[str]], None] = _ignore,
        tripped: Callable[[Trip], None] = _ignore,
        hurried: Callable[[], bool] = lambda: True,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self.trips: dict[str, tuple[Trip, ...]] = {}
        self._keep = keep
        self._arrived = arrived
        self._tripped = tripped
        self.hurried = hurried
        self._waiting: list[tuple[Sequence[Received], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def take(self, report: pb.OutcomeReport, node: str) -> int:
        """Keep a report; return the sequence up to which everything is on disk."""
        self._hear(node, report.trips)
        rows = [row for row in (self._read(one, node) for one in report.rows) if row]
        if rows:
            await self._kept(rows)
        return max((row.sequence for row in report.rows), default=0)

    async def _kept(self, rows: Sequence[Received]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await asyncio.shield(done)

    async def _write(self) -> None:
        """Write what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            rows = [row for some, _ in waiting for row in some]
            try:
                await self._keep(rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, these are not kept
                _fail([done for _, done in waiting], error)
                continue
            for _, done in waiting:
                if not done.done():
                    done.set_result(None)
            # Not from here: what a listener does wrong must not stop the writing.
            loop.call_soon(self._arrived, frozenset(row.rollout for row in rows))
        self._writer = None

    def _read(self, row: pb.OutcomeRow, node: str) -> Received | None:
        if why := _mistake(row):
            if not self.refused[why]:
                _log.warning("outcome row refused", extra={"node": node, "because": why})
            self.refused[why] += 1
            return None
        names = (row.rollout, row.variant, row.version, row.segment)
        return Received(node, row.epoch, row.number, row.sequence, row.second, *names, row.counts)

    def _hear(self, node: str, trips: Sequence[pb.Trip]) -> None:
        before = self.trips.get(node, ())
        now = tuple(
            Trip(node, t.rollout, t.variant, t.revision, t.at_unix_ms, t.reason) for t in trips
        )
        if now == before:
            return
        self.trips[node] = now
        for trip in now:
            if trip not in before:
                _log.warning("sidecar took a variant out", extra=trip._asdict())
                self._tripped(trip)


def handlers(inbox: Inbox, door: Door) -> grpc.GenericRpcHandler:
    """Return the gRPC handlers of an OutcomeService for those who come by this door."""

    async def report(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        try:
            door.admit(context)
        except CanaryError as error:
            await services.abort(context, error)
        node = ""
        async for data in requests:
            try:
                message = pb.OutcomeReport.FromString(data)
                node = message.node or node
                sequence = await inbox.take(message, node)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an OutcomeReport")
            except CanaryError as error:
                await services.abort(context, error)
            receipt = pb.OutcomeReceipt(sequence=sequence, hurry=inbox.hurried())
            yield receipt.SerializeToString()

    handler: Any = grpc.stream_stream_rpc_method_handler(report)
    return grpc.method_handlers_generic_handler(SERVICE, {"Report": handler})


def _mistake(row: pb.OutcomeRow) -> str:
    """Say why a row cannot be; empty if it can."""
    names = (row.epoch, row.rollout, row.variant, row.version, row.segment)
    if not all(0 < len(name) <= _LONGEST_NAME for name in names):
        return "a name is missing or too long"
    if not (0 < row.number < cells.MOST and 0 < row.sequence < cells.MOST):
        return "its number or sequence cannot be"
    if (row.edges or 1) != edges.VERSION:
        return f"its durations are counted by edges of version {row.edges}"
    try:
        _check(cells.unpack(row.counts))
    except ValueError:
        return "its counts cannot be read"
    return ""


def _check(counts: Mapping[int, int]) -> None:
    if not counts:
        raise ValueError("a row that counts nothing")


def _fail(waiting: Sequence[asyncio.Future[None]], error: Exception) -> None:
    kept = error if isinstance(error, CanaryError) else CanaryError(f"rows not kept: {error}")
    for done in waiting:
        if not done.done():
            done.set_exception(kept)
