"""The sidecar's end of the control stream: follow a controller, for ever.

Invariant: what is in force changes only by a response that could be taken whole, and only then is
it acknowledged. Whatever else happens (no controller, a broken stream, a bad update, a full disk)
leaves the last good table in force.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

import grpc

from sidecar.config import NO_SECURITY, Security
from sidecar.control import edition, envelopes, following, keepsake, tripkeeping
from sidecar.control.backoff import Backoff
from sidecar.control.conversation import Refusal
from sidecar.control.dialling import Dialler
from sidecar.control.edition import Edition, Variants
from sidecar.control.following import Holdings, OutOfStepError
from sidecar.control.force_keys import ForceKeys
from sidecar.control.offload import LARGE_BYTES, MANY, give_memory_back, off_loop_if
from sidecar.delivery import breaker
from sidecar.errors import CanaryError
from sidecar.routing import Route, Table
from sidecar.routing.force import Key

Names = Iterable[tuple[str, str]]
# A table's version, its (rollout, variant), those that changed, and the rollouts of other odds.
Announce = Callable[[str, Names, Names, Collection[str]], None]
_RESAVE_FIRST_S = 1.0
_RESAVE_LIMIT_S = 60.0
_Stream = grpc.aio.StreamStreamCall[bytes, bytes]
_log = logging.getLogger(__name__)
_NO_KEYS = ForceKeys(None)
_KEYS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Link:
    """The state of the stream: connected or not, and since when."""

    connected: bool
    since: datetime
    last_error: str = ""


def _nobody(*_: object) -> None:
    pass


class Client:
    """Follows the controller at `address` and gives every good table to `swap`.

    `announce` is told of it just before. What could not be kept on disk is tried again, at last
    when it ends.

    Raises ConfigError if that would be plaintext by accident.
    """

    def __init__(  # noqa: PLR0913 - each is a part of its own
        self,
        address: str,
        node: str,
        keep: Path,
        swap: Callable[[Table], None],
        backoff: Backoff,
        *,
        security: Security = NO_SECURITY,
        announce: Announce = _nobody,
        force_keys: ForceKeys = _NO_KEYS,
    ) -> None:
        self.address = address
        self._dialler = Dialler(address, security)
        self.node = node
        self.backoff = backoff
        self.holdings: Holdings | None = None
        self._edition: Edition | None = None
        # The rollouts in force as they are obeyed here, trips included, with their time of arrival.
        self.routes: dict[str, tuple[Route, float]] = {}
        self.table_since: datetime | None = None
        self.source = ""
        self.last_nack: Refusal | None = None
        self.link = Link(connected=False, since=_now())
        self.connections = 0
        self.nacks = 0
        self._keep = keep
        self._swap = swap
        self._announce = announce
        self._unsaved = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._save_error = ""
        self._force_keys = force_keys
        self._honoured: tuple[Key, ...] = ()

    @property
    def trips(self) -> breaker.Trips:
        """What this sidecar holds out by itself."""
        return self._edition.trips if self._edition else breaker.NOTHING

    @property
    def table(self) -> Table | None:
        """The table in force."""
        return self._edition.table if self._edition else None

    async def start_from_disk(self) -> bool:
        """Put the last good resources in force, if there are any; say whether there were.

        Raises CanaryError if the keys of force tokens cannot be read.
        """
        self._honoured = await asyncio.to_thread(self._force_keys.value)
        try:
            holdings = await asyncio.to_thread(keepsake.load, self._keep)
            if holdings is None:
                return False
            kept = await asyncio.to_thread(tripkeeping.load, self._trips_file)
            made = await asyncio.to_thread(_after, None, holdings, kept, self._honoured)
            self._put_in_force(made, "disk")
        except (CanaryError, ValueError) as error:
            _log.warning("resources on disk ignored", extra={"error": error})
            return False
        return True

    async def run(self) -> None:
        """Follow until cancelled."""
        saver = asyncio.create_task(self._save_when_changed())
        follower = asyncio.create_task(self._follow_keys())
        try:
            while True:
                await self._session()
                await asyncio.sleep(self.backoff.next_s())
        finally:
            for task in (saver, follower):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            if self._unsaved.is_set():
                self._save()

    async def _session(self) -> None:
        """Run one stream to its end; every way to fail is an end.

        A controller ends streams cleanly to see anew who follows it: that is no failure.
        """
        try:
            metadata = self._dialler.metadata()
            async with self._dialler.aio_channel() as channel:
                stream: _Stream = channel.stream_stream(envelopes.METHOD)(metadata=metadata)
                await stream.write(envelopes.pack_request(self._hello()))
                # Nothing here holds on to a response of megabytes while it waits for the next.
                while (answer := await self._heard(stream)) is not None:
                    await stream.write(envelopes.pack_request(answer))
                code, details = await stream.code(), await stream.details()
            if code is grpc.StatusCode.OK and self.link.connected:
                return
            error = self._explained(code, details)
        except grpc.aio.AioRpcError as failed:
            error = self._explained(failed.code(), failed.details())
        except (CanaryError, asyncio.InvalidStateError, ValueError) as failed:
            error = str(failed)
        self._disconnected(error)

    def _explained(self, code: grpc.StatusCode, details: str | None) -> str:
        reason = self._dialler.reason(details or "")
        return f"{code.name}: {f'{reason.what} ({reason.remedy})' if reason else details}"

    def _hello(self) -> envelopes.Request:
        held = self.holdings.versions if self.holdings else {}
        return envelopes.Request(node=self.node, subscribe=(envelopes.WILDCARD,), held=held)

    async def _heard(self, stream: _Stream) -> envelopes.Request | None:
        data = await stream.read()
        return await self._take(data) if isinstance(data, bytes) else None

    async def _take(self, data: bytes) -> envelopes.Request:
        """Put a response in force, or not; return the ACK or the NACK."""
        large = len(data) > LARGE_BYTES or len(self._held.resources) > MANY
        response = await off_loop_if(large, envelopes.unpack_response, data)
        self._connected()
        try:
            async with self._one_at_a_time:
                after = await off_loop_if(large, following.step, self._held, response)
                if self.holdings is None or after.version != self.holdings.version:
                    before, keys = self._edition, self._honoured
                    made = await off_loop_if(large, _after, before, after, self.trips, keys)
                    self._put_in_force(made, "control stream")
                    self._unsaved.set()
        except Exception as error:  # noqa: BLE001 - whatever it is, the last good table stays
            self._refused(error, response.table_version)
            return envelopes.Request(nonce=response.nonce, refusal=str(error))
        self.source = "control stream"
        self.holdings = after
        return envelopes.Request(nonce=response.nonce)

    async def trip(self, trip: breaker.Trip) -> bool:
        """Take a variant out until the controller decides anew; say whether that is news."""
        async with self._one_at_a_time:
            held = self._held.resources.get(trip.rollout)
            trips = breaker.tripped(self.trips, trip)
            # What was in force when the limit broke may be over by now.
            if held is None or held.version != trip.resource or trips is self.trips:
                return False
            large = len(self._held.resources) > MANY
            before, keys = self._edition, self._honoured
            made = await off_loop_if(large, edition.after, before, self._held, trips, keys)
            self._put_in_force(made, self.source)
            self._unsaved.set()
        return True

    @property
    def _trips_file(self) -> Path:
        return self._keep.with_suffix(".trips")

    @property
    def _held(self) -> Holdings:
        return self.holdings or following.NOTHING

    def _put_in_force(self, made: Edition, source: str) -> None:
        table, holdings = made.table, made.holdings
        names = Variants(table), Variants(table, made.changed)
        self._announce(table.version, *names, made.odds)
        self._swap(table)
        self.routes = _since(self.routes, made.noted.values())
        self.holdings = holdings
        self._edition = made
        self.table_since = _now()
        self.source = source
        _log.info(
            "table in force",
            extra={
                "version": table.version,
                "rollouts": len(holdings.resources),
                "source": source,
            },
        )

    def _refused(self, error: Exception, version: str) -> None:
        self.nacks += 1
        # The reason that counts is the first: what was built on a refused update falls with it.
        if not (isinstance(error, OutOfStepError) and self.last_nack):
            self.last_nack = Refusal(_now(), version, str(error))
        _log.warning("update refused", extra={"version": version, "error": error})

    def _connected(self) -> None:
        self.backoff.reset()
        if not self.link.connected:
            self.connections += 1
            self.link = Link(connected=True, since=_now())
            _log.info("controller connected", extra={"address": self.address})

    def _disconnected(self, error: str) -> None:
        if self.link.connected or not self.link.last_error:
            _log.warning("no controller", extra={"address": self.address, "error": error})
        since = _now() if self.link.connected else self.link.since
        self.link = Link(connected=False, since=since, last_error=error)

    async def _save_when_changed(self) -> None:
        """Save, until it is done: a disk may be full for a while only."""
        again = Backoff(SystemRandom(), first_s=_RESAVE_FIRST_S, limit_s=_RESAVE_LIMIT_S)
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            if await asyncio.to_thread(self._save):
                again.reset()
                if len(self._held.resources) > MANY:
                    await asyncio.to_thread(give_memory_back)
            else:
                self._unsaved.set()
                await asyncio.sleep(again.next_s())

    async def _follow_keys(self) -> None:
        """Put the table in force anew, with other keys, when their file changes."""
        while True:
            await asyncio.sleep(_KEYS_EVERY_S)
            keys = await asyncio.to_thread(self._force_keys.value)
            if keys == self._honoured:
                continue
            async with self._one_at_a_time:
                self._honoured = keys
                if self._edition is None:
                    continue
                before = self._edition
                made = await asyncio.to_thread(
                    edition.after, before, before.holdings, before.trips, keys
                )
                self._put_in_force(made, self.source)

    def _save(self) -> bool:
        if self.holdings is None:
            return True
        try:
            keepsake.save(self._keep, self.holdings)
            tripkeeping.save(self._trips_file, self.trips)
        except CanaryError as error:
            self._warn_unsaved(str(error))
            return False
        self._warn_unsaved("")
        return True

    def _warn_unsaved(self, error: str) -> None:
        """Say once what stands in the way, and when it no longer does."""
        if error and error != self._save_error:
            _log.warning("resources not kept", extra={"error": error})
        elif self._save_error and not error:
            _log.info("resources kept again", extra={"path": str(self._keep)})
        self._save_error = error


def _after(
    before: Edition | None, holdings: Holdings, trips: breaker.Trips, keys: Sequence[Key]
) -> Edition:
    """Make the edition of these holdings, with those of the trips that they leave standing."""
    standing = breaker.after(trips, edition.revisions(holdings, trips))
    return edition.after(before, holdings, standing, keys)


def _since(
    before: Mapping[str, tuple[Route, float]], routes: Iterable[Route]
) -> dict[str, tuple[Route, float]]:
    """Pair each route with limits with the moment from which it has been in force unchanged."""
    now_s = time.time()
    known = ((route, before.get(route.name)) for route in routes if route.limits)
    return {r.name: old if old and old[0] == r else (r, now_s) for r, old in known}


def _now() -> datetime:
    return datetime.now(UTC)
