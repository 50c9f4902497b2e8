"""Asking a running controller or sidecar, from the command line: plain blocking calls.

Whatever the other side refuses comes back as a CanaryError with the text it was refused with.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message

from sidecar.config import NO_SECURITY, Security
from sidecar.control import wire
from sidecar.control.dialling import Dialler
from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from sidecar.routing import Route

TIMEOUT_S = 10.0

_Answer = TypeVar("_Answer")
_Reply = TypeVar("_Reply", bound=Message)


class UnreachableError(CanaryError):
    """Nobody answers at the address."""


class RefusedError(CanaryError):
    """The other side answered with an error, its remedy included."""


def set_weights(  # noqa: PLR0913 - a request has its parts
    address: str,
    rollout: str,
    weights: Mapping[str, Decimal],
    *,
    reason: str = "",
    expected_revision: int | None = None,
    security: Security = NO_SECURITY,
) -> pb.SetWeightsResponse:
    """Change the weights in force. Raises UnreachableError or RefusedError."""
    request = pb.SetWeightsRequest(
        rollout=rollout,
        weights=[pb.Weight(variant=name, weight=str(value)) for name, value in weights.items()],
        expected_revision=expected_revision,
        who=_who(),
        reason=reason,
    )
    method = f"/{wire.ROLLOUT_SERVICE}/SetWeights"
    return _call(Dialler(address, security), method, request, pb.SetWeightsResponse)


def act(  # noqa: PLR0913 - a request has its parts
    address: str,
    rollout: str,
    action: str,
    *,
    reason: str = "",
    expected_revision: int | None = None,
    security: Security = NO_SECURITY,
) -> pb.ActResponse:
    """Move a launch; `action` is a name of pb.Action. Raises UnreachableError or RefusedError."""
    request = pb.ActRequest(
        rollout=rollout,
        action=action,
        expected_revision=expected_revision,
        who=_who(),
        reason=reason,
    )
    method = f"/{wire.ROLLOUT_SERVICE}/Act"
    return _call(Dialler(address, security), method, request, pb.ActResponse)


def history(
    address: str, rollout: str, newest: int = 0, security: Security = NO_SECURITY
) -> pb.History:
    """Ask what happened to a rollout, oldest first. Raises UnreachableError or RefusedError."""
    request = pb.GetHistoryRequest(rollout=rollout, newest=newest)
    method = f"/{wire.ROLLOUT_SERVICE}/GetHistory"
    return _call(Dialler(address, security), method, request, pb.History)


def controller_status(address: str, security: Security = NO_SECURITY) -> pb.ControllerStatus:
    """Ask a controller how everything stands. Raises UnreachableError or RefusedError."""
    request = pb.GetControllerStatusRequest()
    method = f"/{wire.ROLLOUT_SERVICE}/GetStatus"
    return _call(Dialler(address, security), method, request, pb.ControllerStatus)


def preview(address: str, documents: Iterable[str], security: Security = NO_SECURITY) -> pb.Preview:
    """Ask a controller what documents (JSON) would change. Raises as the others do."""
    request = pb.PreviewRequest(documents=documents)
    method = f"/{wire.ROLLOUT_SERVICE}/PreviewDocuments"
    return _call(Dialler(address, security), method, request, pb.Preview)


def sidecar_status(address: str) -> pb.SidecarStatus:
    """Ask a sidecar how everything stands. Raises UnreachableError or RefusedError."""
    request = pb.GetSidecarStatusRequest()
    method = f"/{wire.SIDECAR_SERVICE}/GetStatus"
    return _call(Dialler(address), method, request, pb.SidecarStatus, "sidecar")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a sidecar has in force, by the name of the table that it makes; nothing before one."""

    version: str
    routes: Sequence[Route]


def sidecar_resources(address: str) -> Resources:
    """Ask a sidecar for what it has in force.

    Raises UnreachableError, RefusedError, ResourceError.
    """
    # Only this call needs the rollouts' own code, whose import takes longer than the call.
    from sidecar.control import keepsake  # noqa: PLC0415

    request = pb.GetResourcesRequest()
    method = f"/{wire.SIDECAR_SERVICE}/GetResources"
    said = _call(Dialler(address), method, request, pb.StoredResources, "sidecar")
    holdings = keepsake.unpack(said)
    return Resources(holdings.version, holdings.routes)


def attempt(ask: Callable[[str], _Answer], address: str) -> _Answer | CanaryError:
    """Ask, and return the error instead of raising it: for whoever asks several."""
    try:
        return ask(address)
    except CanaryError as error:
        return error


def _call(
    dialler: Dialler,
    method: str,
    request: Message,
    reply: type[_Reply],
    whom: str = "controller",
) -> _Reply:
    with dialler.channel() as channel:
        call: Any = channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        try:
            answer: _Reply = call(request, timeout=TIMEOUT_S, metadata=dialler.metadata())
        except grpc.RpcError as error:
            raise _explained(error, dialler, whom) from error
        return answer


def _explained(error: Any, dialler: Dialler, whom: str) -> CanaryError:
    code, address = error.code(), dialler.address
    if reason := dialler.reason(error.details() or ""):
        return UnreachableError(
            f"the {whom} at {address} cannot be spoken to: {reason.what}", remedy=reason.remedy
        )
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        option = "--control or --run-dir" if whom == "controller" else "--run-dir"
        return UnreachableError(
            f"no {whom} answers at {address}",
            remedy=f"start one (`canary up DIR`), or say where it is with {option}",
        )
    return RefusedError(error.details() or code.name)


def _who() -> str:
    """Name the person for the record."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {user})" if behind else user
