"""The controller's listening end: the delta xDS stream, and beside it the RolloutService.

It does not listen before the first snapshot is known: a controller that has not read its folder
must not announce that there is nothing. One task per stream; what is sent is the newest snapshot
at the moment the stream can take it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from sidecar.control import envelopes, services, wire
from sidecar.control.conversation import Conversation, ProtocolError
from sidecar.control.offload import LARGE_BYTES, off_loop_if
from sidecar.control.snapshot import Snapshot

_log = logging.getLogger(__name__)


class _Stream:
    """One connected sidecar: the conversation, and the bell that says there may be news."""

    def __init__(self) -> None:
        self.conversation = Conversation(_now())
        self.bell = asyncio.Event()
        self.over = False
        self.failure: Exception | None = None


class Server:
    """Serves delta xDS at `address`. `publish` at least once before `start`."""

    def __init__(
        self, address: str, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    ) -> None:
        self.address = address
        self._snapshot: Snapshot | None = None
        self._streams: set[_Stream] = set()
        self._server = grpc.aio.server(interceptors=interceptors, options=wire.SERVER_OPTIONS)
        self._stopping = False

    @property
    def sidecars(self) -> list[Conversation]:
        """The conversations with the sidecars connected now."""
        return [stream.conversation for stream in tuple(self._streams)]

    def publish(self, snapshot: Snapshot) -> None:
        """Let every sidecar have this, and forget what was before."""
        self._snapshot = snapshot
        for stream in self._streams:
            stream.bell.set()

    async def start(self, rollouts: services.RolloutService) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        service, _, method = envelopes.METHOD[1:].rpartition("/")
        handler: Any = grpc.stream_stream_rpc_method_handler(self._stream)
        ours = grpc.method_handlers_generic_handler(service, {method: handler})
        self._server.add_generic_rpc_handlers((ours, services.rollout_handlers(rollouts)))
        self.address = wire.listen(self._server, self.address)
        await self._server.start()

    async def stop(self) -> None:
        """End every stream cleanly; the sidecars keep what they have."""
        self._stopping = True
        for stream in self._streams:
            stream.bell.set()
        await self._server.stop(grace=1.0)

    async def _stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        stream = _Stream()
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
            stream.over = True
            stream.bell.set()


def _log_request(sidecar: Conversation, request: envelopes.Request, refused: bool) -> None:  # noqa: FBT001
    if refused and sidecar.last_nack:
        nack = sidecar.last_nack
        extra = {"node": sidecar.node, "version": nack.version, "error": nack.reason}
        _log.warning("update refused by sidecar", extra=extra)
    elif not request.nonce:
        _log.info("sidecar connected", extra={"node": sidecar.node, "resumes": len(request.held)})


def _now() -> datetime:
    return datetime.now(UTC)
