"""The services people ask: RolloutService on the controller, SidecarService on the sidecar.

A CanaryError becomes a gRPC status whose message is the error with its remedy.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Never, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from sidecar.control import following, keepsake, messages, previewing, wire
from sidecar.control.client import Client
from sidecar.control.conversation import Conversation
from sidecar.control.doors import Door, ForbiddenError, UnauthenticatedError
from sidecar.control.keeper import Keeper, UnknownRolloutError
from sidecar.control.offload import MANY, off_loop_if
from sidecar.control.pb import control_pb2 as pb
from sidecar.delivery import (
    ConflictError,
    Origin,
    RetiredError,
    UnknownVariantError,
    WeightsError,
)
from sidecar.errors import CanaryError
from sidecar.routing import RouteError

# No weight within the bounds needs more; unbounded digits would cost unbounded time.
_LONGEST_WEIGHT = 64
_Asked = TypeVar("_Asked", bound=Message)
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_CODES: dict[type[CanaryError], grpc.StatusCode] = {
    UnknownRolloutError: grpc.StatusCode.NOT_FOUND,
    UnknownVariantError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.ABORTED,
    RetiredError: grpc.StatusCode.FAILED_PRECONDITION,
    WeightsError: grpc.StatusCode.INVALID_ARGUMENT,
    previewing.DocumentError: grpc.StatusCode.INVALID_ARGUMENT,
    RouteError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
}


class RolloutService:
    """Answers for the controller. `sidecars` lists the conversations of the moment."""

    def __init__(self, keeper: Keeper, sidecars: Callable[[], list[Conversation]]) -> None:
        self._keeper = keeper
        self._sidecars = sidecars

    async def set_weights(self, request: pb.SetWeightsRequest) -> pb.SetWeightsResponse:
        """Change weights; see control.proto. Raises CanaryError if refused."""
        expected = request.expected_revision if request.HasField("expected_revision") else None
        accepted = await self._keeper.set_weights(
            request.rollout,
            {weight.variant: _decimal(weight) for weight in request.weights},
            Origin(datetime.now(UTC), request.who, request.reason),
            expected,
        )
        before, after = accepted.before, accepted.after
        return pb.SetWeightsResponse(
            rollout=messages.rollout_status(after, self._keeper.last_events.get(after.name)),
            before=messages.weights(before.in_force),
            accepted_at_unix_ns=accepted.at_unix_ns,
            changed=after is not before,
        )

    async def get_status(self, request: pb.GetControllerStatusRequest) -> pb.ControllerStatus:
        """Report everything the controller knows."""
        del request
        large = len(self._keeper.states) > MANY
        return await off_loop_if(large, messages.controller_status, self._keeper, self._sidecars())

    async def preview(self, request: pb.PreviewRequest) -> pb.Preview:
        """Say what documents would change. Raises CanaryError if one cannot be read."""
        large = len(request.documents) > MANY
        states = dict(self._keeper.states)
        return await off_loop_if(large, previewing.preview, states, request.documents)


class SidecarReport(Protocol):
    """Who knows how the sidecar stands."""

    async def __call__(self) -> pb.SidecarStatus:
        """Report everything the sidecar knows."""


def rollout_handlers(service: RolloutService, door: Door) -> grpc.GenericRpcHandler:
    """Return the gRPC handlers of a RolloutService for those who come by this door."""

    async def set_weights(request: pb.SetWeightsRequest, context: _Context) -> Message:
        request.who = door.admit(context).signs(request.who)
        return await service.set_weights(request)

    async def get_status(request: pb.GetControllerStatusRequest, context: _Context) -> Message:
        door.admit(context)
        return await service.get_status(request)

    async def preview(request: pb.PreviewRequest, context: _Context) -> Message:
        door.admit(context)
        return await service.preview(request)

    return grpc.method_handlers_generic_handler(
        wire.ROLLOUT_SERVICE,
        {
            "PreviewDocuments": _handler(preview, pb.PreviewRequest),
            "SetWeights": _handler(set_weights, pb.SetWeightsRequest),
            "GetStatus": _handler(get_status, pb.GetControllerStatusRequest),
        },
    )


async def abort(context: _Context, error: CanaryError) -> Never:
    """End a call with the status that fits the error."""
    await context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))
    raise AssertionError


class AdminServer:
    """The sidecar's own socket: SidecarService and nothing else."""

    def __init__(self, address: str, report: SidecarReport, client: Client) -> None:
        self._address = address
        self._report = report
        self._client = client
        self._server = grpc.aio.server(options=wire.SERVER_OPTIONS)

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        handler = grpc.method_handlers_generic_handler(
            wire.SIDECAR_SERVICE,
            {
                "GetStatus": _handler(self._status, pb.GetSidecarStatusRequest),
                "GetResources": _handler(self._resources, pb.GetResourcesRequest),
            },
        )
        self._server.add_generic_rpc_handlers((handler,))
        self._address = wire.listen(self._server, self._address)
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(grace=0.5)

    async def _status(
        self, request: pb.GetSidecarStatusRequest, context: _Context
    ) -> pb.SidecarStatus:
        del request, context
        return await self._report()

    async def _resources(
        self, request: pb.GetResourcesRequest, context: _Context
    ) -> pb.StoredResources:
        del request, context
        held = self._client.holdings or following.NOTHING
        return await off_loop_if(len(held.resources) > MANY, keepsake.pack, held)


def _handler(
    call: Callable[[_Asked, _Context], Awaitable[Message]], asked: type[_Asked]
) -> "grpc.RpcMethodHandler[Any, Any]":
    async def answer(request: _Asked, context: _Context) -> Message:
        try:
            return await call(request, context)
        except CanaryError as error:
            await abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=asked.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _decimal(weight: pb.Weight) -> Decimal:
    try:
        return Decimal(weight.weight if len(weight.weight) <= _LONGEST_WEIGHT else "too long")
    except InvalidOperation as error:
        raise WeightsError(
            f"weight {weight.weight!r} of {weight.variant} is not a number",
            remedy="give a decimal such as 5 or 12.5",
        ) from error
