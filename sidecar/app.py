"""The composition root: makes the parts of a process, wires them, starts and stops them.

The rooms below never import each other; what one needs of another is handed in here. A process
runs until SIGTERM or SIGINT (drain, then exit 0; a second signal exits at once), or until one of
its parts fails.
"""

import asyncio
import functools
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import Protocol, TypeVar

import uvloop
import watchfiles

from sidecar import extproc, telemetry, web
from sidecar.config import NO_SECURITY, ConfigError, Settings, socket_path
from sidecar.control import documents, messages, receiving, services, wire
from sidecar.control.backoff import Backoff
from sidecar.control.client import Client
from sidecar.control.doors import Door
from sidecar.control.driving import Driver, Judge, no_judgements
from sidecar.control.force_keys import ForceKeys
from sidecar.control.guarding import Guard
from sidecar.control.keeper import Keeper
from sidecar.control.noting import Notes, launches
from sidecar.control.pb import control_pb2 as pb
from sidecar.control.pb import outcomes_pb2
from sidecar.control.reporting import Reporter
from sidecar.control.server import Server
from sidecar.control.services import AdminServer, RolloutService
from sidecar.delivery import Change, Command, Event, Origin, State
from sidecar.errors import CanaryError
from sidecar.outcomes.recording import Recorder
from sidecar.outcomes.spool import Row
from sidecar.outcomes.windows import LONGEST_S, Windows
from sidecar.store import Outcomes, Store
from sidecar.telemetry import Telemetry
from sidecar.web import Notifier, Webhooks

_T = TypeVar("_T")
GRACE_S = 10.0
# A change is read once nothing more has come for this long.
_SETTLE_MS = 100
# What the watch cannot see (a link to a file elsewhere, a folder that comes back) is found so.
_REREAD_MS = 5_000
_RETRY_S = 1.0
# What a controller that crashed did not come to tell, people are told within this time.
_STILL_NEWS = timedelta(hours=1)
_JUDGE_EVERY_S = 1.0
# Three times as long as a row may rise: clocks differ, and a restarted guard reads back.
_OUTCOMES_KEPT_S = 3_600
_SWITCH_S = 0.0005
_log = logging.getLogger(__name__)


class Part(Protocol):
    """One side of the product inside this process."""

    async def start(self) -> None:
        """Become ready. Raises CanaryError."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def stop(self) -> None:
        """End well: also after a failed start."""

    def tell(self) -> None:
        """Log how it stands, in one line per variant."""


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
        # The guard's seat: whoever measures is put here before `run`.
        self.judge: Judge = no_judgements
        self._webhooks: Webhooks | None = None
        self._notifier: Notifier | None = None
        self._http: web.Server | None = None
        self._notes = Notes(onlooker.event)
        onlooker.measure_controller(
            telemetry.ControllerSources(
                self._current_and_behind,
                lambda: self._notes.changes,
                lambda: self._notes.verdicts,
                lambda: launches(self._keeper) if self._keeper else {},
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
        self._keeper = Keeper(self._store, self._server.publish, self._blocking, self._observe)
        await self._keeper.adopt(await asyncio.to_thread(self._documents.scan))
        self._outcomes = await self._counting(lambda: Outcomes(self._settings.outcomes_database))
        service = RolloutService(self._keeper, lambda: self._server.sidecars, self._history)
        await self._server.start(
            service,
            receiving.Inbox(
                self._keep_outcomes, tripped=self._tripped, hurried=self._keeper.judging
            ),
        )
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
        assert self._keeper
        assert self._webhooks
        driver = Driver(self._keeper, self.judge, self._webhooks.ask, heard=self._notes.judged)
        async with asyncio.TaskGroup() as both:
            both.create_task(driver.run())
            both.create_task(self._follow())
            both.create_task(_lasting(self._sum_up))

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
            await asyncio.sleep(_RETRY_S)

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

    def _tripped(self, trip: receiving.Trip) -> None:
        task = asyncio.create_task(self._roll_back(trip))
        self._tripping.add(task)
        task.add_done_callback(self._tripping.discard)

    async def _roll_back(self, trip: receiving.Trip) -> None:
        """Take out everywhere what one sidecar took out, unless somebody has decided since."""
        assert self._keeper
        origin = Origin(datetime.now(UTC), f"sidecar {trip.node}", trip.reason)
        try:
            await self._keeper.act(trip.rollout, Command.ROLL_BACK, origin, trip.revision)
        except CanaryError as error:
            said = {"rollout": trip.rollout, "node": trip.node, "because": error.args[0]}
            _log.warning("a sidecar's trip changes nothing here", extra=said)

    async def _keep_outcomes(self, rows: Sequence[receiving.Received]) -> None:
        assert self._outcomes
        await self._counting(functools.partial(self._outcomes.add, rows))

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def _counting(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._counter, call)


class _Outcomes:
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

    def guard(self, client: Client) -> None:
        """Watch the hard limits of what this client follows."""
        self._guard = Guard(client, self._windows.seen, self._reporter.news)

    def begin_version(self, version: str, names: Sequence[tuple[str, str]]) -> None:
        """Take note that a table is about to come into force."""
        if self._recorder:
            self._recorder.begin_version(version, names)

    async def run(self) -> None:
        """Record and report until cancelled."""
        if self._recorder:
            runs = (self._recorder.run, self._reporter.run, self._judge)
            await asyncio.gather(*map(_lasting, runs))

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


async def _lasting(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Begin again whatever ended: it is beside the requests, and must not take them along."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("outcomes go on after a fault")
        await asyncio.sleep(_RETRY_S)


class Sidecar:
    """Answers one Envoy and follows a controller."""

    def __init__(self, settings: Settings, engine: str, onlooker: Telemetry) -> None:
        self._settings = settings
        self._engine = extproc.create(engine, settings.listen, socket_mode=settings.socket_mode)
        self._outcomes = _Outcomes(settings, self._engine)
        self._client = Client(
            settings.control,
            settings.node,
            settings.resources,
            self._engine.swap,
            Backoff(SystemRandom()),
            security=settings.security,
            announce=self._outcomes.begin_version,
            force_keys=ForceKeys(settings.force_keys),
        )
        self._outcomes.guard(self._client)
        self._admin = AdminServer(settings.admin, self._report, self._client)
        self._engine.observer = onlooker.observer
        onlooker.measure_sidecar(self._sources())

    async def start(self) -> None:
        """Listen; with a table at once if there is one on disk."""
        if path := socket_path(self._settings.listen):
            wire.claim(path)
        await self._admin.start()
        await self._outcomes.start()
        await self._engine.start()
        await self._client.start_from_disk()
        _log.info(
            "sidecar serving",
            extra={"address": self._settings.listen, "engine": self._engine.name},
        )

    async def run(self) -> None:
        """Follow the controller, and tell it what became of requests."""
        async with asyncio.TaskGroup() as parts:
            for part in (self._client, self._outcomes):
                parts.create_task(part.run())

    async def stop(self) -> None:
        """Drain: no stream of Envoy's is cut."""
        await self._engine.drain(GRACE_S)
        await self._outcomes.stop()
        await self._admin.stop()

    def tell(self) -> None:
        """Log the decisions since the start, in one line per variant."""
        lines: dict[tuple[str, str], dict[str, int]] = {}
        for (rollout, variant, reason), count in self._engine.decisions().items():
            lines.setdefault((rollout, variant), {})[reason] = count
        for (rollout, variant), counts in sorted(lines.items()):
            _log.info("decisions", extra={"rollout": rollout, "variant": variant, **counts})

    def _sources(self) -> telemetry.SidecarSources:
        engine, client = self._engine, self._client

        def table() -> tuple[str, float] | None:
            if client.table is None or client.table_since is None:
                return None
            return client.table.version, (datetime.now(UTC) - client.table_since).total_seconds()

        def control_stream() -> telemetry.ControlStream:
            connected = client.link.connected
            return telemetry.ControlStream(connected, client.connections, client.nacks)

        return telemetry.SidecarSources(
            engine.decisions, engine.durations, engine.counters, table, control_stream
        )

    async def _report(self) -> pb.SidecarStatus:
        engine = self._engine
        status = messages.sidecar_status(self._client)
        status.engine, status.ready = engine.name, engine.ready
        status.listen = self._settings.listen
        status.counters.update({**engine.counters(), **await self._outcomes.counters()})
        if table := await messages.table_status(self._client):
            status.table.CopyFrom(table)
        return status


def run_controller(settings: Settings, folder: Path) -> None:
    """Run a controller until a signal ends it. Raises CanaryError if it cannot start."""
    _run(settings, "canary-controller", lambda onlooker: [Controller(settings, folder, onlooker)])


def run_sidecar(settings: Settings, engine: str) -> None:
    """Run a sidecar until a signal ends it. Raises CanaryError if it cannot start."""
    _run(settings, "canary-sidecar", lambda onlooker: [Sidecar(settings, engine, onlooker)])


def run_up(settings: Settings, folder: Path, engine: str) -> None:
    """Run both in one process, over the real control socket."""
    # Wherever else the controller listens, its own sidecar is on its machine.
    near = replace(settings, control=settings.own_control, security=NO_SECURITY)

    def make(onlooker: Telemetry) -> Sequence[Part]:
        return [Controller(settings, folder, onlooker), Sidecar(near, engine, onlooker)]

    _run(settings, "canary-sidecar", make)


def _run(settings: Settings, service: str, make: Callable[[Telemetry], Sequence[Part]]) -> None:
    _favour_requests()
    telemetry.configure_logs(settings.log_format)
    onlooker = telemetry.start(service, settings.node, settings.metrics)
    try:
        uvloop.run(_serve(lambda: make(onlooker)))
    finally:
        onlooker.stop()


def _favour_requests() -> None:
    """Let no other thread hold the interpreter for long: reading thousands of metrics did."""
    sys.setswitchinterval(_SWITCH_S)
    # A full collection walks every rollout there is; young garbage goes as before.
    gc.set_threshold(50_000, 20, 100)


async def _serve(make: Callable[[], Sequence[Part]]) -> None:
    stopping = asyncio.create_task(_signalled())
    running: list[tuple[Part, asyncio.Task[None] | None]] = []

    def tell() -> None:
        for part, _ in running:
            part.tell()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    try:
        for part in make():
            running.append((part, None))
            await part.start()
            running[-1] = (part, asyncio.create_task(part.run()))
        tasks = [task for _, task in running if task]
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        # The sidecar goes first: it drains while its controller still stands.
        for part, work in reversed(running):
            await _end(work)
            await part.stop()
        await _end(stopping)
    _log.info("stopped")


async def _end(task: asyncio.Task[None] | None) -> None:
    if task:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _signalled() -> None:
    """Return at the first signal; the second ends the process there and then."""
    first = asyncio.Event()

    def on_signal(number: int) -> None:
        if first.is_set():
            os._exit(128 + number)
        _log.info("stopping", extra={"signal": signal.Signals(number).name})
        first.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await first.wait()
