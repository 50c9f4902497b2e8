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
from sidecar.control.keeper import Accepted, Keeper, UnknownRolloutError
from sidecar.control.offload import MANY, off_loop_if
from sidecar.control.pb import control_pb2 as pb
from sidecar.delivery import (
    Command,
    ConflictError,
    Event,
    Origin,
    RefusedError,
    RetiredError,
    Switch,
    UnknownVariantError,
    WeightsError,
)
from sidecar.errors import CanaryError
from sidecar.routing import RouteError

# No weight within the bounds needs more; unbounded digits would cost unbounded time.
_LONGEST_WEIGHT = 64
_Asked = TypeVar("_Asked", bound=Message)
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class UnknownActionError(CanaryError):
    """An action of a later release, or none at all."""


_CODES: dict[type[CanaryError], grpc.StatusCode] = {
    UnknownRolloutError: grpc.StatusCode.NOT_FOUND,
    UnknownVariantError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.ABORTED,
    RetiredError: grpc.StatusCode.FAILED_PRECONDITION,
    RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownActionError: grpc.StatusCode.INVALID_ARGUMENT,
    WeightsError: grpc.StatusCode.INVALID_ARGUMENT,
    previewing.DocumentError: grpc.StatusCode.INVALID_ARGUMENT,
    RouteError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
}


_ACTIONS: dict[int, Command | Switch] = {
    pb.ACTION_PAUSE: Command.PAUSE,
    pb.ACTION_RESUME: Command.RESUME,
    pb.ACTION_PROMOTE: Command.PROMOTE,
    pb.ACTION_ABORT: Command.ABORT,
    pb.ACTION_ROLL_BACK: Command.ROLL_BACK,
    pb.ACTION_APPROVE: Command.APPROVE,
    pb.ACTION_LAUNCH: Command.LAUNCH,
    pb.ACTION_KILL: Switch.KILL,
    pb.ACTION_REVIVE: Switch.REVIVE,
}


async def no_history(rollout: str, newest: int) -> list[Event]:
    """Read the trail of a rollout where none is kept."""
    del rollout, newest
    return []


_HTTP = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
}


class RolloutService:
    """Answers for the controller.

    `sidecars` lists the conversations of the moment; `history` reads a rollout's trail, oldest
    first, the newest so many (-1: all).
    """

    def __init__(
        self,
        keeper: Keeper,
        sidecars: Callable[[], list[Conversation]],
        history: Callable[[str, int], Awaitable[list[Event]]] = no_history,
    ) -> None:
        self._keeper = keeper
        self._sidecars = sidecars
        self._history = history

    async def set_weights(self, request: pb.SetWeightsRequest) -> pb.SetWeightsResponse:
        """Change weights; see control.proto. Raises CanaryError if refused."""
        expected = request.expected_revision if request.HasField("expected_revision") else None
        accepted = await self._keeper.set_weights(
            request.rollout,
            {weight.variant: _decimal(weight) for weight in request.weights},
            Origin(datetime.now(UTC), request.who, request.reason),
            expected,
        )
        return pb.SetWeightsResponse(**self._accepted(accepted))

    async def act(self, request: pb.ActRequest) -> pb.ActResponse:
        """Move a launch; see control.proto. Raises CanaryError if refused."""
        command = _ACTIONS.get(request.action)
        if command is None:
            raise UnknownActionError(
                f"action {request.action} is not one this controller knows",
                remedy="upgrade the controller, or ask for another action",
            )
        expected = request.expected_revision if request.HasField("expected_revision") else None
        origin = Origin(datetime.now(UTC), request.who, request.reason)
        accepted = await self._keeper.act(request.rollout, command, origin, expected)
        return pb.ActResponse(**self._accepted(accepted))

    async def get_history(self, request: pb.GetHistoryRequest) -> pb.History:
        """Read what happened to a rollout. Raises UnknownRolloutError."""
        name = self._keeper.state(request.rollout).name
        events = await self._history(name, request.newest or -1)
        return pb.History(events=map(messages.event, events))

    def _accepted(self, accepted: Accepted) -> dict[str, Any]:
        before, after = accepted.before, accepted.after
        keeper = self._keeper
        last, word = keeper.last_events.get(after.name), keeper.judgements.get(after.name)
        return {
            "rollout": messages.rollout_status(after, last, word),
            "before": messages.weights(before.in_force),
            "accepted_at_unix_ns": accepted.at_unix_ns,
            "changed": after is not before,
        }

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

    async def act(request: pb.ActRequest, context: _Context) -> Message:
        request.who = door.admit(context).signs(request.who)
        return await service.act(request)

    async def get_status(request: pb.GetControllerStatusRequest, context: _Context) -> Message:
        door.admit(context)
        return await service.get_status(request)

    async def get_history(request: pb.GetHistoryRequest, context: _Context) -> Message:
        door.admit(context)
        return await service.get_history(request)

    async def preview(request: pb.PreviewRequest, context: _Context) -> Message:
        door.admit(context)
        return await service.preview(request)

    return grpc.method_handlers_generic_handler(
        wire.ROLLOUT_SERVICE,
        {
            "PreviewDocuments": _handler(preview, pb.PreviewRequest),
            "SetWeights": _handler(set_weights, pb.SetWeightsRequest),
            "GetStatus": _handler(get_status, pb.GetControllerStatusRequest),
            "Act": _handler(act, pb.ActRequest),
            "GetHistory": _handler(get_history, pb.GetHistoryRequest),
        },
    )


async def abort(context: _Context, error: CanaryError) -> Never:
    """End a call with the status that fits the error."""
    await context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))
    raise AssertionError


def http_status(error: CanaryError) -> int:
    """Return the HTTP status that fits the error as its gRPC status does."""
    return _HTTP.get(_CODES.get(type(error), grpc.StatusCode.INTERNAL), 500)


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
