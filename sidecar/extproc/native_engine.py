"""The native engine: HTTP/2, gRPC, protobuf, decision and counting in C, on threads of its own.

Python starts it, hands it tables, reads its counters and drains it. No request ever waits for the
interpreter. What happens to one is told in native/sc_server.h, sc_conn.h and sc_extproc.h.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sidecar.extproc._transport import BOUNDS_NS, Server
from sidecar.extproc.engine import Durations, Observer
from sidecar.extproc.listening import Listener
from sidecar.routing import Rows, Table

# One thread serves some hundred thousand decisions a second; more than a few serve nobody.
_MAX_THREADS = 4
# A thread's ring holds 2,048 sampled decisions, and calls when it is half full.
_SPANS_EVERY_S = 0.25
_SPANS_AT_ONCE = 2_048
_DRAIN_POLL_S = 0.01
_BOUNDS_S = tuple(ns / 1e9 for ns in BOUNDS_NS)
# Before the start.
_NOTHING = dict.fromkeys(("streams", "answers", "malformed", "not_ready"), 0)
_NO_DURATIONS = (0,) * (len(BOUNDS_NS) + 1)


class NativeEngine:
    """Answers on native threads; every method here is for the event loop's thread."""

    name = "native"

    def __init__(self, address: str, *, socket_mode: int = 0o600) -> None:
        self._listener = Listener(address, socket_mode)
        self.observer: Observer | None = None
        self.rows: Rows | None = None
        self._server: Server | None = None
        self._early: Table | None = None
        self._ready = self._draining = self._closed = False
        self._sampler: asyncio.Task[None] | None = None
        self._alarm = 0

    @property
    def ready(self) -> bool:
        """Whether a table is loaded and the engine is not draining."""
        return self._ready and not self._draining

    @property
    def path(self) -> Path:
        """Where the Unix socket stands, if the address is one."""
        return self._listener.path

    def counters(self) -> Mapping[str, int]:
        """Return what happened since the start."""
        return self._server.counters() if self._server else _NOTHING

    def decisions(self) -> Mapping[tuple[str, str, str], int]:
        """Return decisions by (rollout, variant, reason), those of earlier tables included."""
        return self._server.decisions() if self._server else {}

    def durations(self) -> Durations:
        """Return how long decisions took, from the arrival of Envoy's call to the answer."""
        counts, sum_ns = self._server.durations() if self._server else (_NO_DURATIONS, 0)
        return Durations(_BOUNDS_S, counts, sum_ns / 1e9)

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        listener = self._listener.open()
        sampling = self.observer.sampling if self.observer else None
        if sampling:
            self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._server = Server(
                listener.fileno(),
                _threads(),
                self._listener.is_unix,
                sampling,
                self.rows,
                alarm=self._alarm,
            )
        except OSError as error:
            listener.close()
            raise self._listener.unavailable() from error
        listener.detach()
        if self._early:
            self.swap(self._early)
        if sampling:
            self._sampler = asyncio.create_task(self._take_spans())
            asyncio.get_running_loop().add_reader(self._alarm, self._alarmed)
        self._listener.publish()

    def swap(self, table: Table) -> None:
        """Answer every message from now on by `table`; the first one makes the engine ready."""
        if self._server is None:
            self._early = table
            return
        self._server.swap(table)
        if not self._ready:
            self._ready = True
            self._server.set_serving(self.ready)

    async def drain(self, grace_s: float) -> None:
        """Accept nothing new, answer what was accepted, then stop; cut after `grace_s` seconds."""
        self._draining = True
        if self._server is None or self._closed:
            return
        self._closed = True
        self._listener.withdraw()
        self._server.drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone(self._server), grace_s)
        if self._sampler:
            self._sampler.cancel()
            asyncio.get_running_loop().remove_reader(self._alarm)
            self._record()
        await asyncio.to_thread(self._server.close)
        if self._alarm:
            os.close(self._alarm)

    @staticmethod
    async def _gone(server: Server) -> None:
        while server.open_connections:  # noqa: ASYNC110 - native threads set no asyncio.Event
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _take_spans(self) -> None:
        while True:
            await asyncio.sleep(_SPANS_EVERY_S)
            self._record()

    def _alarmed(self) -> None:
        os.eventfd_read(self._alarm)
        self._record()

    def _record(self) -> None:
        assert self._server
        assert self.observer
        taken = _SPANS_AT_ONCE
        # A ring that stays more than half full does not call again.
        while taken == _SPANS_AT_ONCE:
            spans = self._server.spans(_SPANS_AT_ONCE, self.observer.template)
            self.observer.record(spans)
            taken = len(spans)


def _threads() -> int:
    return min(_MAX_THREADS, len(os.sched_getaffinity(0)))
