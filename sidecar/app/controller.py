"""The controller's parts, wired: folder, store, keeper, guard, driver, and those who ask."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import watchfiles

from sidecar import telemetry, web
from sidecar.app.running import RETRY_S, lasting
from sidecar.config import ConfigError, Settings, socket_path
from sidecar.control import documents, receiving, services, wire
from sidecar.control.doors import Door
from sidecar.control.driving import Driver
from sidecar.control.judging import Jury
from sidecar.control.keeper import Keeper
from sidecar.control.noting import Notes, launches
from sidecar.control.server import Server
from sidecar.control.services import RolloutService
from sidecar.control.snapshot import Snapshot
from sidecar.control.trips import Trip
from sidecar.delivery import Change, Command, Event, Judgement, Origin, State
from sidecar.errors import CanaryError
from sidecar.store import Outcomes, Store
from sidecar.telemetry import Telemetry
from sidecar.web import Notifier, Webhooks

_T = TypeVar("_T")
# A change is read once nothing more has come for this long.
_SETTLE_MS = 100
# What the watch cannot see (a link to a file elsewhere, a folder that comes back) is found so.
_REREAD_MS = 5_000
# What a controller that crashed did not come to tell, people are told within this time.
_STILL_NEWS = timedelta(hours=1)
# Three times as long as a row may rise: clocks differ, and a restarted guard reads back.
_OUTCOMES_KEPT_S = 3_600
_log = logging.getLogger(__name__)


class Controller:
    """Owns the rollouts of a folder and their delivery."""

    def __init__(self, settings: Settings, folder: Path, onlooker: Telemetry) -> None:
        self._settings = settings
        self._folder = folder
        self._documents = documents.Folder(folder)
        self._server = Server(
            settings.control,
            [telemetry.TraceContext()],
            security=settings.security,
            beside=settings.own_control,
        )
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._counter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outcomes-store")
        self._store: Store | None = None
        self._outcomes: Outcomes | None = None
        self._tripping: set[asyncio.Task[None]] = set()
        self._keeper: Keeper | None = None
        self._stamp: object = None
        self._webhooks: Webhooks | None = None
        self._notifier: Notifier | None = None
        self._http: web.Server | None = None
        self._notes = Notes(onlooker.event)
        self._driver: Driver | None = None
        self._jury: Jury | None = None
        onlooker.measure_controller(
            telemetry.ControllerSources(
                self._current_and_behind,
                lambda: self._notes.changes,
                lambda: self._notes.verdicts,
                lambda: launches(self._keeper) if self._keeper else {},
                lambda: self._jury.unjudged if self._jury else {},
            )
        )

    async def start(self) -> None:
        """Read store and folder, then listen."""
        if not self._folder.exists():
            raise ConfigError(f"{self._folder}: no such folder", remedy="name the rollouts' folder")
        self._store = await self._blocking(functools.partial(Store, self._settings.database))
        self._webhooks = Webhooks()
        self._notifier = Notifier(self._webhooks.ask, self._told)
        since = datetime.now(UTC) - _STILL_NEWS
        untold = await self._blocking(functools.partial(self._store.untold, since))
        self._keeper = Keeper(self._store, self._publish, self._blocking, self._observe)
        await self._keeper.adopt(await asyncio.to_thread(self._documents.scan))
        self._outcomes = await self._counting(lambda: Outcomes(self._settings.outcomes_database))
        service = RolloutService(self._keeper, lambda: self._server.sidecars, self._history)
        self._jury = Jury(self._keeper, self._outcomes, self._counting, self._act)
        if self._keeper.snapshot:
            self._jury.published(self._keeper.snapshot.version)
        self._driver = Driver(
            self._keeper, self._jury.judge, self._webhooks.ask, heard=self._notes.judged
        )
        inbox = receiving.Inbox(
            self._keep_outcomes, self._jury.arrived, self._tripped, self._keeper.judging
        )
        self._keeper.trips = inbox.trips
        await self._server.start(service, inbox)
        self._notifier.catch_up(untold, self._keeper.states)
        await self._serve_http(self._keeper)
        for door in self._server.doors:
            said = {"address": door.address, "protection": door.protection}
            _log.info("controller serving", extra={**said, "rollouts": len(self._keeper.states)})

    def _observe(self, before: State | None, change: Change) -> None:
        """Hear of every change once it is kept: those who look on, and those who want telling."""
        self._notes.changed(before, change)
        if self._notifier:
            self._notifier.tell(before, change)

    async def _serve_http(self, keeper: Keeper) -> None:
        address = self._settings.http
        if not address:
            return
        door = Door(address, self._settings.security)
        if path := socket_path(address):
            wire.claim(path)
        access = web.Access(door.recognise, door.guarded, services.http_status)
        api = web.application(keeper, self._history, access)
        self._http = web.Server(api, address, door.tls())
        await self._http.start()
        said = {"address": self._http.address, "protection": door.protection}
        _log.info("HTTP API serving", extra=said)

    async def run(self) -> None:
        """Follow the folder and drive the launches."""
        assert self._driver
        assert self._jury
        async with asyncio.TaskGroup() as parts:
            for run in (self._driver.run, self._jury.run, self._follow):
                parts.create_task(run())
            parts.create_task(lasting(self._sum_up))

    def _publish(self, snapshot: Snapshot) -> None:
        """Let the guard know which shares a table means before anybody is routed by it."""
        if self._jury:
            self._jury.published(snapshot.version)
        self._server.publish(snapshot)

    async def _act(self, words: Mapping[str, Judgement]) -> None:
        """Act on harm at once."""
        assert self._driver
        await self._driver.hear(words)

    async def _sum_up(self) -> None:
        """Make hours of the outcomes that cannot rise any more, and that no test looks at."""
        assert self._outcomes
        while True:
            before = int(time.time()) - _OUTCOMES_KEPT_S
            await self._counting(functools.partial(self._outcomes.compact, before))
            await asyncio.sleep(_OUTCOMES_KEPT_S / 4)

    async def _follow(self) -> None:
        """Follow the folder, whatever becomes of it."""
        while True:
            # RuntimeError: the system has no watch left to give; then the clock alone must do.
            with suppress(OSError, RuntimeError):
                await self._watch()
            await self._reread(surely=False)
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        """Read the folder after every change, until it is another folder than it was."""
        folder = self._folder if self._folder.is_dir() else self._folder.parent
        inode = folder.stat().st_ino
        watch = watchfiles.awatch(
            folder,
            watch_filter=None,
            debounce=_SETTLE_MS,
            step=_SETTLE_MS // 4,
            rust_timeout=_REREAD_MS,
            yield_on_timeout=True,
        )
        async with aclosing(watch):
            async for changes in watch:
                await self._reread(surely=bool(changes))
                if folder.stat().st_ino != inode:
                    return

    async def stop(self) -> None:
        """Let the sidecars go and close the store."""
        await self._server.stop()
        if self._http:
            await self._http.stop()
        if self._notifier and self._webhooks:
            await self._notifier.close()
            await self._webhooks.close()
        if self._store:
            await self._blocking(self._store.close)
        if self._jury:
            await self._jury.close()
        if self._outcomes:
            await self._counting(self._outcomes.close)
        self._writer.shutdown()
        self._counter.shutdown()

    def tell(self) -> None:
        """Log the weights in force, in one line per variant."""
        for name, state in sorted(self._keeper.states.items() if self._keeper else ()):
            for variant, weight in state.in_force.items():
                said = {"rollout": name, "variant": variant, "weight": f"{weight:f}"}
                _log.info("weight in force", extra={**said, "retired": state.retired})

    def _current_and_behind(self) -> tuple[int, int]:
        snapshot = self._keeper.snapshot if self._keeper else None
        acked = [sidecar.acked_version for sidecar in self._server.sidecars]
        current = acked.count(snapshot.version) if snapshot else 0
        return current, len(acked) - current

    async def _reread(self, *, surely: bool) -> None:
        assert self._keeper
        stamp = await asyncio.to_thread(documents.stamp, self._folder)
        if not surely and stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            await self._keeper.adopt(await asyncio.to_thread(self._documents.scan))
        except CanaryError as error:
            self._stamp = None
            _log.warning("folder not taken", extra={"error": error})

    async def _history(self, rollout: str, newest: int) -> list[Event]:
        assert self._store
        return await self._blocking(functools.partial(self._store.events, rollout, newest))

    async def _told(self, rollout: str, revision: int) -> None:
        assert self._store
        await self._blocking(functools.partial(self._store.mark_told, rollout, revision))

    def _tripped(self, trip: Trip) -> None:
        task = asyncio.create_task(self._roll_back(trip))
        self._tripping.add(task)
        task.add_done_callback(self._tripping.discard)

    async def _roll_back(self, trip: Trip) -> None:
        """Take out everywhere what one sidecar took out, unless somebody has decided since."""
        assert self._keeper
        origin = Origin(datetime.now(UTC), f"sidecar {trip.node}", trip.reason)
        try:
            await self._keeper.act(trip.rollout, Command.ROLL_BACK, origin, trip.revision)
        except CanaryError as error:
            said = {"rollout": trip.rollout, "node": trip.node, "because": error.args[0]}
            _log.warning("a sidecar's trip changes nothing here", extra=said)
            # Unless the same launch is still under way: then the guard takes it up.
            if self._jury:
                self._jury.tripped(trip)

    async def _keep_outcomes(self, rows: Sequence[receiving.Received]) -> None:
        assert self._outcomes
        await self._counting(functools.partial(self._outcomes.add, rows))

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def _counting(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._counter, call)
