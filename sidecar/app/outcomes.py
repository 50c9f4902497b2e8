"""The sidecar's part beside the requests: what became of them, and whether a hard limit broke."""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from random import SystemRandom

from sidecar import extproc
from sidecar.app.running import lasting
from sidecar.config import Settings
from sidecar.control.backoff import Backoff
from sidecar.control.client import Client
from sidecar.control.guarding import Guard
from sidecar.control.pb import outcomes_pb2
from sidecar.control.reporting import Reporter
from sidecar.errors import CanaryError
from sidecar.outcomes.ledger import Names, Table
from sidecar.outcomes.recording import Recorder
from sidecar.outcomes.spool import Row
from sidecar.outcomes.windows import LONGEST_S, Windows

_JUDGE_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Outcomes:
    """Records what becomes of requests, reports it, and takes out what breaks a hard limit.

    Its failures touch no request.
    """

    def __init__(self, settings: Settings, engine: extproc.Engine) -> None:
        self._folder = settings.outcomes
        self._engine = engine
        self._recorder: Recorder | None = None
        self._windows = Windows()
        self._guard: Guard | None = None
        self._risen = asyncio.Event()
        self._reporter = Reporter(
            settings.control,
            settings.node,
            self,
            Backoff(SystemRandom()),
            security=settings.security,
        )

    async def start(self) -> None:
        """Give the engine somewhere to put the access log, before it listens."""
        try:
            self._recorder = await asyncio.to_thread(
                Recorder, self._folder, self._engine.decisions, self._rose, self._hurried
            )
        except CanaryError as error:
            _log.error("outcomes are not recorded", extra={"error": error})
            return
        self._engine.rows = self._recorder.rows

    def log_names(self) -> list[str]:
        """Return what the open access logs say of themselves."""
        return self._recorder.rows.log_names() if self._recorder else []

    def guard(self, client: Client) -> None:
        """Watch the hard limits of what this client follows."""
        self._guard = Guard(client, self._windows.seen, self._reporter.news)

    def begin_version(
        self, version: str, names: Names, changed: Names, odds: Collection[str]
    ) -> None:
        """Take note that a table is about to come into force: all of it, what changed, and odds."""
        if self._recorder:
            self._recorder.begin_version(Table(version, names, changed, odds))

    async def run(self) -> None:
        """Record and report until cancelled."""
        if self._recorder:
            runs = (self._recorder.run, self._reporter.run, self._judge)
            await asyncio.gather(*map(lasting, runs))

    async def stop(self) -> None:
        """Bring everything to disk."""
        if self._recorder:
            await self._recorder.stop()

    async def counters(self) -> dict[str, int]:
        """Return what became of access log entries, by name."""
        counts = await self._recorder.counts() if self._recorder else {}
        return {f"outcomes_{name}": count for name, count in counts.items()}

    async def pending(self) -> Sequence[Row]:
        """Return rows that the controller has not acknowledged."""
        return await self._recorder.pending() if self._recorder else ()

    async def acknowledge(self, sequence: int) -> None:
        """Take note of what the controller has."""
        if self._recorder:
            await self._recorder.acknowledge(sequence)

    def trips(self) -> Sequence[outcomes_pb2.Trip]:
        """Return the variants that this sidecar holds out."""
        return self._guard.trips() if self._guard else ()

    def _hurried(self) -> bool:
        return self._reporter.hurried or bool(self._guard and self._guard.watched)

    def _rose(self, rows: list[Row]) -> None:
        if self._guard:
            self._windows.see(rows, self._guard.watched)
        self._risen.set()
        self._reporter.news()

    async def _judge(self) -> None:
        """Judge whenever rows rose, and every second: requests without an answer grow late."""
        assert self._guard
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_JUDGE_EVERY_S):
                    await self._risen.wait()
            self._risen.clear()
            await self._guard.judge()
            self._windows.forget(time.time() - LONGEST_S)
