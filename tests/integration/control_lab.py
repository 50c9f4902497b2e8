"""Parts for the tests of the control stream: real ends, a raw peer for either, a cutting proxy."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import grpc

from sidecar.config import NO_SECURITY, Security
from sidecar.control import documents, envelopes, wire
from sidecar.control.backoff import Backoff
from sidecar.control.client import Client
from sidecar.control.driving import Driver, no_judgements
from sidecar.control.keeper import Keeper
from sidecar.control.server import Server
from sidecar.control.services import RolloutService
from sidecar.control.snapshot import Resource, Snapshot
from sidecar.delivery import Event, Origin
from sidecar.routing import Route, UnitSource, Variant
from sidecar.store import Store

DEADLINE_S = 60.0


@contextmanager
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="cn"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


async def until(condition: Callable[[], object], what: str = "") -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"never came: {what or condition}"
        await asyncio.sleep(0.002)


def route(name: str = "chat", stable: int = 95, canary: int = 5, hosts=()) -> Route:
    return Route(
        name=name,
        unit=(UnitSource("header", "x-user-id"),),
        salt=name.encode(),
        variants=(
            Variant("stable", stable, f"{name}-stable"),
            Variant("canary", canary, f"{name}-canary"),
        ),
        hosts=tuple(hosts),
    )


def snapshot(*routes: Route) -> Snapshot:
    return Snapshot([Resource.of(one) for one in routes])


def document(name: str = "chat", stable: object = 95, canary: object = 5) -> str:
    return (
        "apiVersion: canary.dev/v1\nkind: Rollout\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n  unit: [{header: x-user-id}]\n"
        f"  variants: [{{name: stable, weight: {stable}}}, {{name: canary, weight: {canary}}}]\n"
    )


class Sidecar:
    """A real client with a recorder where the engine would be."""

    def __init__(
        self, address: str, keep: Path, node: str = "edge", security: Security = NO_SECURITY
    ) -> None:
        self.tables = []
        self.refuse: Exception | None = None
        backoff = Backoff(Random(7), first_s=0.01, limit_s=0.05)
        self.client = Client(address, node, keep, self._swap, backoff, security=security)

    def _swap(self, table) -> None:
        if self.refuse:
            raise self.refuse
        self.tables.append(table)

    @property
    def version(self) -> str:
        return self.tables[-1].version if self.tables else ""

    def shares(self, name: str = "chat") -> dict[str, int]:
        route = self.client.holdings.route(name)
        return {variant.name: variant.weight for variant in route.variants}

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Sidecar"]:
        task = asyncio.create_task(self.client.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def serving(address: str, first: Snapshot) -> AsyncIterator[Server]:
    """The stream alone, fed by the test."""
    server = Server(address)
    server.publish(first)
    await server.start(RolloutService(None, lambda: server.sidecars))
    try:
        yield server
    finally:
        await server.stop()


class Controller:
    """Keeper, store and server as the application wires them, the folder read when told."""

    def __init__(self, root: Path, address: str = "", security: Security = NO_SECURITY) -> None:
        self.folder = root / "rollouts"
        self.folder.mkdir(exist_ok=True)
        self.address = address or f"unix://{root / 'control.sock'}"
        self._root = root
        self._security = security

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Controller"]:
        with ThreadPoolExecutor(1) as pool:
            loop = asyncio.get_running_loop()
            store = self._store = Store(self._root / "controller.sqlite")
            self.server = Server(self.address, security=self._security)
            self.keeper = Keeper(
                store, self.server.publish, lambda call: loop.run_in_executor(pool, call)
            )
            await self.read()
            await self.server.start(RolloutService(self.keeper, lambda: self.server.sidecars))
            self.address = self.server.address
            try:
                yield self
            finally:
                await self.server.stop()
                store.close()

    async def tick(self) -> None:
        """Let every launch hear the time, once."""
        driver = Driver(self.keeper, no_judgements, self._no_gate)
        await driver.tick(datetime.now(UTC), time.monotonic())

    async def history(self, rollout: str, newest: int) -> list[Event]:
        return self._store.events(rollout, newest)

    @staticmethod
    async def _no_gate(url: str, *_: object) -> tuple[bool, str]:
        raise AssertionError(url)

    async def read(self) -> None:
        await self.keeper.adopt(documents.scan(self.folder))

    async def set(self, name: str = "chat", revision: int | None = None, **weights: object):
        changes = {variant: Decimal(str(weight)) for variant, weight in weights.items()}
        return await self.keeper.set_weights(name, changes, origin(), revision)


def origin() -> Origin:
    return Origin(datetime.now(UTC), "test", "because")


class RawSidecar:
    """The sidecar's end of a stream, one message at a time."""

    def __init__(self, stream) -> None:
        self._stream = stream

    async def say(self, **request) -> None:
        await self._stream.write(envelopes.pack_request(envelopes.Request(**request)))

    async def hear(self) -> envelopes.Response:
        async with asyncio.timeout(DEADLINE_S):
            data = await self._stream.read()
        assert data is not grpc.aio.EOF, await self._stream.details()
        return envelopes.unpack_response(data)

    async def status(self) -> grpc.StatusCode:
        return await self._stream.code()


@asynccontextmanager
async def raw_sidecar(address: str) -> AsyncIterator[RawSidecar]:
    async with grpc.aio.insecure_channel(address, wire.CLIENT_OPTIONS) as channel:
        stream = channel.stream_stream(envelopes.METHOD)()
        yield RawSidecar(stream)
        stream.cancel()


class RawController:
    """The controller's end, one message at a time: `said` collects requests, `tell` answers."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[envelopes.Request] = asyncio.Queue()
        self._tell: asyncio.Queue[bytes | None] = asyncio.Queue()

    def tell(self, *routes: Route, nonce: str = "1", removed=(), version: str = "") -> None:
        pieces = b"".join(Resource.of(one).piece for one in routes)
        self.tell_bytes(pieces + envelopes.pack_head(nonce, version, removed))

    def tell_bytes(self, data: bytes | None) -> None:
        self._tell.put_nowait(data)

    async def hear(self) -> envelopes.Request:
        async with asyncio.timeout(DEADLINE_S):
            return await self.said.get()

    async def stream(self, requests, context):
        async def listen() -> None:
            async for data in requests:
                self.said.put_nowait(envelopes.unpack_request(data))

        listener = asyncio.create_task(listen())
        try:
            while (data := await self._tell.get()) is not None:
                yield data
        finally:
            listener.cancel()


@asynccontextmanager
async def raw_controller(address: str) -> AsyncIterator[RawController]:
    raw = RawController()
    server = grpc.aio.server(options=wire.SERVER_OPTIONS)
    service, _, method = envelopes.METHOD[1:].rpartition("/")
    handler = grpc.stream_stream_rpc_method_handler(raw.stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    server.add_insecure_port(address)
    await server.start()
    try:
        yield raw
    finally:
        await server.stop(0)


class Cutter:
    """A proxy between two Unix sockets that can drop one direction and cut every connection."""

    def __init__(self, listen: Path, target: Path) -> None:
        self.address = f"unix://{listen}"
        self._listen, self._target = listen, target
        self._writers: set[asyncio.StreamWriter] = set()
        self.mute_client = False
        self.refuse = False
        self.connections = 0
        self.bytes_down = 0
        self.cut_after_bytes_down: int | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cutter"]:
        server = await asyncio.start_unix_server(self._accept, self._listen)
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader, writer) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        self.connections += 1
        up_reader, up_writer = await asyncio.open_unix_connection(self._target)
        mine = {writer, up_writer}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._pump(reader, up_writer, down=False), self._pump(up_reader, writer, down=True)
            )
        finally:
            self._writers -= mine
            for one in mine:
                one.transport.abort()

    async def _pump(self, reader, writer, *, down: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not down and self.mute_client:
                    continue
                if down:
                    self.bytes_down += len(data)
                    if self.cut_after_bytes_down and self.bytes_down >= self.cut_after_bytes_down:
                        self.cut_after_bytes_down = None
                        self.cut()
                        return
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
