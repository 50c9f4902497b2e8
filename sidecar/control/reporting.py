"""The sidecar's end of the outcome stream: rows go up until the controller has them on disk.

Nothing is kept here: what was not acknowledged is asked from the spool anew for each stream, in the
order of its changes. One report is under way at a time, which is all the flow control there is; the
next one carries whatever rose in between. Trips travel in every report, so that a controller which
was away hears of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

import grpc

from sidecar.config import NO_SECURITY, Security
from sidecar.control.backoff import Backoff
from sidecar.control.dialling import Dialler
from sidecar.control.pb import outcomes_pb2 as pb
from sidecar.errors import CanaryError

METHOD = "/canary.v1.OutcomeService/Report"
EDGES = 1
# A stream that has nothing to say still says so: that is how either end notices that it is dead.
_IDLE_S = 10.0
_Stream = grpc.aio.StreamStreamCall[bytes, bytes]
_log = logging.getLogger(__name__)


class Key(Protocol):
    """What a row counts."""

    @property
    def second(self) -> int: ...  # noqa: D102
    @property
    def rollout(self) -> str: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def segment(self) -> str: ...  # noqa: D102


class Row(Protocol):
    """A row as it stands; its fields are those of canary.v1.OutcomeRow."""

    @property
    def epoch(self) -> str: ...  # noqa: D102
    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def sequence(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> Key: ...  # noqa: D102
    @property
    def counts(self) -> bytes: ...  # noqa: D102


class Source(Protocol):
    """Where rows wait, on disk."""

    def pending(self) -> Awaitable[Sequence[Row]]:
        """Return the first rows that were not acknowledged, by sequence."""

    def acknowledge(self, sequence: int) -> Awaitable[None]:
        """Take note that the controller has everything up to `sequence`."""

    def trips(self) -> Sequence[pb.Trip]:
        """Return the variants held out by this sidecar itself."""


class Reporter:
    """Reports to the controller at `address` for ever; `news` wakes it up.

    Raises ConfigError if that would be plaintext by accident.
    """

    def __init__(
        self,
        address: str,
        node: str,
        source: Source,
        backoff: Backoff,
        *,
        security: Security = NO_SECURITY,
    ) -> None:
        self._dialler = Dialler(address, security)
        self._node = node
        self._source = source
        self._backoff = backoff
        self._bell = asyncio.Event()
        self.connected = False
        # Whether the controller wants rows at once, by its last receipt.
        self.hurried = False

    def news(self) -> None:
        """Say that rows rose, or a trip began or ended."""
        self._bell.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            error = await self._session()
            if self.connected:
                _log.warning("outcomes wait for the controller", extra={"error": error})
            self.connected = False
            await asyncio.sleep(self._backoff.next_s())

    async def _session(self) -> str:
        """Run one stream to its end; return what ended it."""
        try:
            metadata = self._dialler.metadata()
            async with self._dialler.aio_channel() as channel:
                stream: _Stream = channel.stream_stream(METHOD)(metadata=metadata)
                while await self._exchange(stream):
                    await self._more()
                return f"{(await stream.code()).name}: {await stream.details()}"
        except grpc.aio.AioRpcError as failed:
            return f"{failed.code().name}: {failed.details()}"
        except (CanaryError, asyncio.InvalidStateError, ValueError) as failed:
            return str(failed)

    async def _exchange(self, stream: _Stream) -> bool:
        """Report everything that waits; false if the stream is over."""
        while True:
            self._bell.clear()
            rows = await self._source.pending()
            report = pb.OutcomeReport(
                node=self._node, rows=map(_message, rows), trips=self._source.trips()
            )
            await stream.write(report.SerializeToString())
            receipt = await stream.read()
            if not isinstance(receipt, bytes):
                return False
            self._heard()
            said = pb.OutcomeReceipt.FromString(receipt)
            self.hurried = said.hurry
            if not rows:
                return True
            # What the controller says of rows it was not given is not believed.
            await self._source.acknowledge(min(said.sequence, rows[-1].sequence))

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._bell.wait()
        except TimeoutError:
            return

    def _heard(self) -> None:
        self._backoff.reset()
        if not self.connected:
            self.connected = True
            _log.info("outcomes go to the controller", extra={"address": self._dialler.address})


def _message(row: Row) -> pb.OutcomeRow:
    key = row.key
    return pb.OutcomeRow(
        epoch=row.epoch,
        number=row.number,
        sequence=row.sequence,
        second=key.second,
        rollout=key.rollout,
        variant=key.variant,
        version=key.version,
        segment=key.segment,
        counts=row.counts,
        edges=EDGES,
    )
