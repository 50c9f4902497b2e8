"""The delta xDS envelopes around our resources: Envoy's own messages (see delta.proto).

A resource is packed once, as a response that holds nothing else: serialised messages of one type
merge by concatenation, so any response is a join of such pieces and the few fields of its own,
and a change fans out to every sidecar without being encoded again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.control.codec import TYPE_URL
from sidecar.control.pb import delta_pb2

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
# Our controllers sign with this: their system_version_info is the table's version.
IDENTIFIER = "canary"
WILDCARD = "*"
INVALID_ARGUMENT = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What a sidecar says: the first time who it is and what it holds, then ACK or NACK."""

    type_url: str = TYPE_URL
    node: str = ""
    subscribe: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a controller says: resources to take, as (name, version, type, bytes), and to drop."""

    type_url: str
    nonce: str
    # Empty if the controller is not one of ours: then it means nothing to us.
    table_version: str
    resources: Iterable[tuple[str, str, str, bytes]]
    removed: tuple[str, ...]


def pack_request(request: Request) -> bytes:
    """Serialise a DeltaDiscoveryRequest."""
    message = delta_pb2.DeltaRequest(
        type_url=request.type_url,
        resource_names_subscribe=request.subscribe,
        initial_resource_versions=request.held,
        response_nonce=request.nonce,
    )
    if request.node:
        message.node.id, message.node.user_agent_name = request.node, IDENTIFIER
    if request.refusal is not None:
        message.error_detail.code = INVALID_ARGUMENT
        message.error_detail.message = request.refusal
    return message.SerializeToString()


def unpack_request(data: bytes) -> Request:
    """Read a DeltaDiscoveryRequest. Raises ValueError on other bytes."""
    try:
        message = delta_pb2.DeltaRequest.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a DeltaDiscoveryRequest: {error}") from error
    refused, detail = message.HasField("error_detail"), message.error_detail
    return Request(
        type_url=message.type_url,
        node=message.node.id,
        subscribe=tuple(message.resource_names_subscribe),
        held=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        refusal=(detail.message or f"code {detail.code}") if refused else None,
    )


def pack_resource(name: str, version: str, data: bytes) -> bytes:
    """Serialise one resource as a piece of a response."""
    piece = delta_pb2.DeltaResponse()
    envelope = piece.resources.add(name=name, version=version)
    envelope.resource.type_url, envelope.resource.value = TYPE_URL, data
    return piece.SerializeToString()


def pack_head(nonce: str, table_version: str, removed: Iterable[str]) -> bytes:
    """Serialise the rest of a response; join it with pieces from `pack_resource`."""
    head = delta_pb2.DeltaResponse(
        type_url=TYPE_URL,
        nonce=nonce,
        system_version_info=table_version,
        removed_resources=removed,
        control_plane=delta_pb2.DeltaControlPlane(identifier=IDENTIFIER),
    )
    return head.SerializeToString()


def unpack_response(data: bytes) -> Response:
    """Read a DeltaDiscoveryResponse. Raises ValueError on other bytes."""
    try:
        message = delta_pb2.DeltaResponse.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a DeltaDiscoveryResponse: {error}") from error
    if not message.nonce:
        raise ValueError("not a DeltaDiscoveryResponse: it has no nonce")
    ours = message.control_plane.identifier == IDENTIFIER
    return Response(
        type_url=message.type_url,
        nonce=message.nonce,
        table_version=message.system_version_info if ours else "",
        resources=_Resources(message.resources),
        removed=tuple(message.removed_resources),
    )


class _Resources:
    """Gives each resource when it is asked for: ten thousand at once would be held twice."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def __iter__(self) -> Iterator[tuple[str, str, str, bytes]]:
        for one in self._found:
            type_url = one.resource.type_url
            # The same text for all of them, where it is ours.
            said = TYPE_URL if type_url == TYPE_URL else type_url
            yield one.name, one.version, said, one.resource.value
