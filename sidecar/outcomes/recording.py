"""The ledger on a running event loop: ticks in a thread of its own, and rows for whoever reports.

Everything that touches the spool happens on that one thread, in the order it was asked for. What a
request could wait for does not.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sidecar.errors import CanaryError
from sidecar.outcomes.ledger import TICK_S, Decisions, Ledger, Table
from sidecar.outcomes.spool import Row
from sidecar.routing import Rows

_T = TypeVar("_T")
# Above so many decisions to compare, they are counted once a second only.
_MANY = 2_000
# A tick is due so long before each tenth: a request is never counted to a second before its own.
_AHEAD_S = 0.002
_log = logging.getLogger(__name__)


class Recorder:
    """Records what becomes of requests, under `folder`.

    `decisions` are the engine's, since the start; `rose` is told of rows that rose, on the loop.
    While `hurried` says so, rows are brought to disk ten times a second, else once: a tick costs
    some milliseconds, whatever the load. Raises CanaryError if the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        decisions: Callable[[], Decisions],
        rose: Callable[[list[Row]], None],
        hurried: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._decisions = decisions
        self._rose = rose
        self._hurried = hurried
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outcomes")
        self._ledger = self._worker.submit(Ledger, folder).result()
        self._failing = False
        # The second at whose end it ticked last.
        self._ended = -1

    @property
    def epoch(self) -> str:
        """This life's name."""
        return self._ledger.epoch

    @property
    def rows(self) -> Rows:
        """What engines hand Envoy's access log to."""
        return self._ledger.rows

    def begin_version(self, table: Table) -> None:
        """Take note that a table is about to come into force. Never waits for the disk."""
        self._ledger.announce(table)
        decided, now_s = dict(self._decisions()), self._clock()
        done = self._worker.submit(self._ledger.begin, table, decided, now_s)
        done.add_done_callback(lambda future: self._note(future.exception()))

    async def run(self) -> None:
        """Tick until cancelled, just before whole tenths: what is counted is of one second."""
        while True:
            await asyncio.sleep(TICK_S - (self._clock() + _AHEAD_S) % TICK_S)
            ends = self._ends_second(self._clock())
            if not ends and not self._hurried():
                continue
            try:
                rows = await self._tick(ends=ends)
            except CanaryError as error:
                self._note(error)
                continue
            self._note(None)
            if rows:
                self._rose(rows)

    async def counts(self) -> dict[str, int]:
        """Return what became of entries in this life, and how the spool stands."""
        waiting, lost = await self._blocking(self._ledger.spool.standing)
        return {**self.rows.counts(), "waiting": waiting, "lost": lost}

    def pending(self) -> Awaitable[list[Row]]:
        """Return the first rows that the controller has not acknowledged."""
        return self._blocking(self._ledger.spool.pending)

    def acknowledge(self, sequence: int) -> Awaitable[None]:
        """Take note that the controller has everything up to `sequence`."""
        return self._blocking(lambda: self._ledger.spool.acknowledge(sequence))

    async def stop(self) -> None:
        """Bring everything to disk. The engine must have stopped taking entries."""
        decided, now_s = dict(self._decisions()), self._clock()
        try:
            await self._blocking(lambda: self._ledger.count_started(decided, now_s))
            await self._blocking(self._ledger.close)
        except CanaryError as error:
            self._note(error)
        self._worker.shutdown()

    def _ends_second(self, now_s: float) -> bool:
        """Whether this is the last tick of a second, or the first after one that had none."""
        ends = int(now_s + TICK_S) > int(now_s)
        if not ends and int(now_s) <= self._ended + 1:
            return False
        self._ended = int(now_s) if ends else int(now_s) - 1
        return True

    async def _tick(self, *, ends: bool) -> list[Row]:
        if ends or len(self._ledger.decided) <= _MANY:
            # The time after the count: whatever was decided, was decided before.
            decided, now_s = dict(self._decisions()), self._clock()
            await self._blocking(lambda: self._ledger.count_started(decided, now_s))
        return await self._blocking(lambda: self._ledger.tick(self._clock()))

    def _note(self, error: BaseException | None) -> None:
        if error and not self._failing:
            _log.error("outcomes wait for the disk", extra={"error": error})
        if self._failing and not error:
            _log.info("outcomes are kept again")
        self._failing = error is not None

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)
