"""The controller's listening end: the delta xDS stream, and beside it the RolloutService.

Both are served at every door; whom a door lets in, and to what, is the door's business. None is
opened before the first snapshot is known: a controller that has not read its folder must not
announce that there is nothing. One task per stream; what is sent is the newest snapshot at the
moment the stream can take it. Where callers must show who they are, no stream lives for ever: it
ends cleanly, and whoever may come back does.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any

import grpc

from sidecar.config import NO_SECURITY, Security
from sidecar.control import envelopes, receiving, services, wire
from sidecar.control.conversation import Conversation, ProtocolError
from sidecar.control.doors import Door
from sidecar.control.offload import LARGE_BYTES, off_loop_if
from sidecar.control.snapshot import Snapshot
from sidecar.errors import CanaryError

# Streams end themselves within the age given, spread over its last fifth. The connection below is
# cut (gRPC varies its age by a tenth) only under those who came back on it all the same.
_SPREAD = 0.2
_CUT = 1.2
_CUT_GRACE_MS = 10_000
_log = logging.getLogger(__name__)


class _Stream:
    """One connected sidecar: the conversation, and the bell that says there may be news."""

    def __init__(self, identity: str = "") -> None:
        self.conversation = Conversation(_now(), identity)
        self.bell = asyncio.Event()
        self.over = False
        self.failure: Exception | None = None

    def end(self) -> None:
        """Let it end, without having failed."""
        self.over = True
        self.bell.set()


class Server:
    """Serves delta xDS at `address`, as `security` wants it, and openly at a socket `beside` it.

    `publish` at least once before `start`. Raises ConfigError if an address would stand open.
    """

    def __init__(
        self,
        address: str,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        *,
        security: Security = NO_SECURITY,
        beside: str = "",
    ) -> None:
        self.doors = [Door(address, security)]
        if beside not in {"", address}:
            self.doors.append(Door(beside))
        self._snapshot: Snapshot | None = None
        self._streams: set[_Stream] = set()
        self._age_s = security.max_connection_age_s
        self._servers = [
            grpc.aio.server(interceptors=interceptors, options=self._options(door))
            for door in self.doors
        ]
        self._stopping = False

    @property
    def address(self) -> str:
        """Where it serves; once it listens, with the port filled in if it was 0."""
        return self.doors[0].address

    @property
    def sidecars(self) -> list[Conversation]:
        """The conversations with the sidecars connected now."""
        return [stream.conversation for stream in tuple(self._streams)]

    def publish(self, snapshot: Snapshot) -> None:
        """Let every sidecar have this, and forget what was before."""
        self._snapshot = snapshot
        for stream in self._streams:
            stream.bell.set()

    async def start(
        self, rollouts: services.RolloutService, inbox: receiving.Inbox | None = None
    ) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        service, _, method = envelopes.METHOD[1:].rpartition("/")
        for door, server in zip(self.doors, self._servers, strict=True):
            # Of the class, not the instance: gRPC looks through one wrapper only.
            stream: Any = functools.partial(Server._stream, self, door)
            handler: Any = grpc.stream_stream_rpc_method_handler(stream)
            ours = grpc.method_handlers_generic_handler(service, {method: handler})
            server.add_generic_rpc_handlers((ours, services.rollout_handlers(rollouts, door)))
            if inbox:
                server.add_generic_rpc_handlers((receiving.handlers(inbox, door),))
            door.bind(server)
        await asyncio.gather(*(server.start() for server in self._servers))

    async def stop(self) -> None:
        """End every stream cleanly; the sidecars keep what they have."""
        self._stopping = True
        for stream in self._streams:
            stream.bell.set()
        await asyncio.gather(*(server.stop(grace=1.0) for server in self._servers))

    def _options(self, door: Door) -> list[tuple[str, int]]:
        if not door.guarded:
            return wire.SERVER_OPTIONS
        return [
            *wire.SERVER_OPTIONS,
            ("grpc.max_connection_age_ms", int(self._age_s * 1000 * _CUT)),
            ("grpc.max_connection_age_grace_ms", _CUT_GRACE_MS),
        ]

    async def _stream(
        self,
        door: Door,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[bytes]:
        try:
            caller = door.admit(context)
        except CanaryError as error:
            await services.abort(context, error)
        stream = _Stream(caller.identity)
        age_s = self._age_s * (1 - SystemRandom().uniform(0, _SPREAD))
        age = asyncio.get_running_loop().call_later(age_s, stream.end) if door.guarded else None
        reader = asyncio.create_task(self._listen_to(stream, requests))
        self._streams.add(stream)
        try:
            while not (stream.over or self._stopping):
                await stream.bell.wait()
                stream.bell.clear()
                while response := self._news(stream):
                    yield response
            if stream.failure:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(stream.failure))
        finally:
            self._streams.discard(stream)
            reader.cancel()
            if age:
                age.cancel()
            _log.info("sidecar disconnected", extra={"node": stream.conversation.node})

    def _news(self, stream: _Stream) -> bytes | None:
        if self._snapshot is None or stream.over:
            return None
        return stream.conversation.respond(self._snapshot)

    async def _listen_to(self, stream: _Stream, requests: AsyncIterator[bytes]) -> None:
        """Feed the conversation until the sidecar is gone or breaks the protocol."""
        conversation = stream.conversation
        try:
            async for data in requests:
                large = len(data) > LARGE_BYTES
                request = await off_loop_if(large, envelopes.unpack_request, data)
                refused = conversation.last_nack
                conversation.receive(request, _now())
                _log_request(conversation, request, refused is not conversation.last_nack)
                stream.bell.set()
        except (ProtocolError, ValueError) as error:
            stream.failure = error
        finally:
            stream.end()


def _log_request(sidecar: Conversation, request: envelopes.Request, refused: bool) -> None:  # noqa: FBT001
    if refused and sidecar.last_nack:
        nack = sidecar.last_nack
        extra = {"node": sidecar.node, "version": nack.version, "error": nack.reason}
        _log.warning("update refused by sidecar", extra=extra)
    elif not request.nonce:
        who = {"identity": sidecar.identity} if sidecar.identity else {}
        about = {"node": sidecar.node, **who, "resumes": len(request.held)}
        _log.info("sidecar connected", extra=about)


def _now() -> datetime:
    return datetime.now(UTC)
