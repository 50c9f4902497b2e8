"""The portable engine: grpc.aio, raw bytes in and out of the native table.

Envoy ends each stream with RST_STREAM as soon as it has its answer, so a cancelled handler is a
normal end. What must never happen is a clean close without an answer: Envoy takes that for
"nothing to change" and nobody would know. Whatever cannot be answered is therefore aborted with a
status, which Envoy counts (streams_failed, failure_mode_allowed).
"""

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sidecar.extproc.engine import ACCESS_LOG, BOUNDS_NS, SERVICE, Durations, Observer
from sidecar.extproc.listening import Listener
from sidecar.routing import Rows, Table

_OPTIONS = [
    ("grpc.max_concurrent_streams", 1 << 20),
    ("grpc.so_reuseport", 0),
    # Envoy resets every stream once it has its answer; that is no attack here.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_receive_message_length", 4 << 20),
]
_REFUSALS = {
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "malformed": grpc.StatusCode.INVALID_ARGUMENT,
}
_BOUNDS_S = tuple(ns / 1e9 for ns in BOUNDS_NS)


class GrpcioEngine:
    """Answers on the event loop that started it."""

    name = "grpcio"

    def __init__(self, address: str, *, socket_mode: int = 0o600) -> None:
        self._listener = Listener(address, socket_mode)
        self.observer: Observer | None = None
        self.rows: Rows | None = None
        self._table: Table | None = None
        # Replaced whole, with the table it does not count: readers come from other threads.
        self._counted: tuple[Counter[tuple[str, str, str]], Table | None] = (Counter(), None)
        self._refused_earlier: Counter[str] = Counter()
        self._draining = False
        self._counts: Counter[str] = Counter()
        self._buckets = [0] * (len(BOUNDS_NS) + 1)
        self._total_ns = 0
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._logs: set[asyncio.Task[Any]] = set()

    @property
    def ready(self) -> bool:
        """Whether a table is loaded and the engine is not draining."""
        return self._table is not None and not self._draining

    def counters(self) -> Mapping[str, int]:
        """Return what happened since the start."""
        own = {key: self._counts[key] for key in ("streams", "answers", "malformed", "not_ready")}
        return own | {f"force_{why}": count for why, count in self._force_refused().items()}

    def _force_refused(self) -> Counter[str]:
        table = self._counted[1]
        counted = Counter(self._refused_earlier)
        if table:
            counted.update(table.force_refused())
        return counted

    def decisions(self) -> Mapping[tuple[str, str, str], int]:
        """Return decisions by (rollout, variant, reason), those of earlier tables included."""
        earlier, table = self._counted
        return earlier + Counter(table.tally()) if table else earlier

    def durations(self) -> Durations:
        """Return how long decisions took, from the arrival of Envoy's call to the answer."""
        return Durations(_BOUNDS_S, tuple(self._buckets), self._total_ns / 1e9)

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        server = grpc.aio.server(options=_OPTIONS)
        method: Any = grpc.stream_stream_rpc_method_handler(self._process)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Process": method}),)
        )
        if self.rows:
            logs: Any = grpc.stream_unary_rpc_method_handler(self._take_log)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(ACCESS_LOG, {"StreamAccessLogs": logs}),)
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._announce()
        self._bind(server)
        self._server = server
        await server.start()
        self._listener.publish()

    def swap(self, table: Table) -> None:
        """Answer every message from now on by `table`; the first one makes the engine ready."""
        first, self._table = self._table is None, table
        self._refused_earlier = self._force_refused()
        self._counted = (Counter(self.decisions()), table)
        if first:
            task = asyncio.get_running_loop().create_task(self._announce())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, grace_s: float) -> None:
        """Accept nothing new, answer what was accepted, then stop; cut after `grace_s` seconds."""
        self._draining = True
        await self._announce()
        if self._server is None:
            return
        self._listener.withdraw()
        # Envoy never ends these; it begins another with the next process.
        for log in tuple(self._logs):
            log.cancel()
        await self._server.stop(grace_s)

    # The request path.

    async def _process(self, requests: Any, context: Any) -> Any:
        began_ns = time.perf_counter_ns()
        self._counts["streams"] += 1
        watch = self.observer.watch(context.invocation_metadata()) if self.observer else None
        async for message in requests:
            table = self._table
            if table is None:
                await self._refuse(context, "not_ready", "no routing table yet")
            try:
                answer = table.answer(message, int(time.time()))
            except ValueError as error:
                await self._refuse(context, "malformed", str(error))
            if not answer:
                continue
            self._counts["answers"] += 1
            # Only the first message of a stream can be the one that decides.
            if began_ns:
                took_ns, began_ns = time.perf_counter_ns() - began_ns, 0
                self._buckets[bisect_left(BOUNDS_NS, took_ns)] += 1
                self._total_ns += took_ns
                if watch:
                    asyncio.get_running_loop().call_soon(watch, table, message, took_ns)
            yield answer

    async def _refuse(self, context: Any, count: str, why: str) -> Never:
        self._counts[count] += 1
        await context.abort(_REFUSALS[count], why)
        raise AssertionError

    async def _take_log(self, messages: Any, context: Any) -> bytes:
        """Take Envoy's access log for as long as it comes."""
        del context
        assert self.rows
        task = asyncio.current_task()
        assert task
        self._logs.add(task)
        log = -1
        try:
            async for message in messages:
                if log < 0:
                    log = self.rows.log_opened(message)
                self.rows.take(message, time.time_ns() // 1000)
        finally:
            self.rows.log_closed(log)
            self._logs.discard(task)
        return b""

    # Health and the address.

    async def _announce(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if self.ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    @property
    def path(self) -> Path:
        """Where the Unix socket stands, if the address is one."""
        return self._listener.path

    def _bind(self, server: grpc.aio.Server) -> None:
        address = self._listener.address
        if self._listener.is_unix:
            address = f"unix:{self._listener.private_path}"
        try:
            port = server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise self._listener.unavailable()
