"""The sidecar's parts, wired: engine, client, outcomes, and what shows how it stands."""

import asyncio
import logging
from datetime import UTC, datetime
from random import SystemRandom

from sidecar import extproc, telemetry
from sidecar.app.hearing import Hearing
from sidecar.app.outcomes import Outcomes
from sidecar.app.running import lasting
from sidecar.config import Settings, socket_path
from sidecar.control import messages, wire
from sidecar.control.backoff import Backoff
from sidecar.control.client import Client
from sidecar.control.force_keys import ForceKeys
from sidecar.control.pb import control_pb2 as pb
from sidecar.control.services import AdminServer
from sidecar.telemetry import Telemetry

GRACE_S = 10.0
_log = logging.getLogger(__name__)


class Sidecar:
    """Answers one Envoy and follows a controller."""

    def __init__(self, settings: Settings, engine: str, onlooker: Telemetry) -> None:
        self._settings = settings
        self._engine = extproc.create(engine, settings.listen, socket_mode=settings.socket_mode)
        self._outcomes = Outcomes(settings, self._engine)
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
        self._hearing = Hearing(self._outcomes.log_names, lambda: self._client.table)
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
            parts.create_task(lasting(self._hearing.run))

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
            engine.decisions,
            engine.durations,
            engine.counters,
            table,
            control_stream,
            lambda: len(self._hearing.unseen) if self._hearing.said else None,
        )

    async def _report(self) -> pb.SidecarStatus:
        engine = self._engine
        status = messages.sidecar_status(self._client)
        status.engine, status.ready = engine.name, engine.ready
        status.listen = self._settings.listen
        status.counters.update({**engine.counters(), **await self._outcomes.counters()})
        status.forwarding.CopyFrom(await self._hearing.status())
        if table := await messages.table_status(self._client, engine.decisions()):
            status.table.CopyFrom(table)
        return status
