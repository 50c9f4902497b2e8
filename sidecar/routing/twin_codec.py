"""One ProcessingRequest in, one ProcessingResponse out, in envoy-data-plane's messages.

The specification of native/sc_request.c and sc_answer.c, byte for byte. Nothing on the request
path imports it: betterproto2 takes a thousand times as long.
"""

from collections.abc import Sequence

import betterproto2
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.google import protobuf

from sidecar.rollout.names import RESERVED_PREFIX
from sidecar.routing import twin
from sidecar.routing.route import Route

_FILTER = "envoy.filters.http.ext_proc"
_EMPTY_ANSWERS = {
    "response_headers": ext_proc.HeadersResponse,
    "request_body": ext_proc.BodyResponse,
    "response_body": ext_proc.BodyResponse,
    "request_trailers": ext_proc.TrailersResponse,
    "response_trailers": ext_proc.TrailersResponse,
}


def answer(routes: Sequence[Route], version: str, message: bytes) -> bytes:
    """Answer as the native table does; empty where the protocol wants no answer."""
    request = ext_proc.ProcessingRequest.parse(message)
    kind, _ = betterproto2.which_one_of(request, "request")
    if request.observability_mode or not kind:
        return b""
    if kind == "request_headers":
        return bytes(_decided(twin.decide(routes, read(request)), version, read(request)))
    return bytes(ext_proc.ProcessingResponse(**{kind: _EMPTY_ANSWERS[kind]()}))


def read(request: ext_proc.ProcessingRequest) -> twin.Request:
    """Return what a decision may look at."""
    sent = request.request_headers.headers if request.request_headers else None
    attributes = request.attributes.get(_FILTER)
    address = attributes.fields.get("source.address") if attributes else None
    return twin.Request(
        headers=[(h.key, h.raw_value or h.value.encode()) for h in sent.headers] if sent else [],
        source_address=((address.string_value if address else None) or "").encode(),
    )


def write(request: twin.Request) -> bytes:
    """Return the message with which Envoy would ask about a request."""
    values = [core.HeaderValue(key=key, raw_value=value) for key, value in request.headers]
    headers = ext_proc.HttpHeaders(headers=core.HeaderMap(headers=values), end_of_stream=True)
    address = protobuf.Value(string_value=request.source_address.decode())
    attributes = protobuf.Struct(fields={"source.address": address})
    return bytes(
        ext_proc.ProcessingRequest(
            request_headers=headers,
            attributes={_FILTER: attributes} if request.source_address else {},
        )
    )


def _decided(
    decisions: Sequence[twin.Decision], version: str, request: twin.Request
) -> ext_proc.ProcessingResponse:
    ours = {RESERVED_PREFIX + d.rollout: d.variant for d in decisions}
    foreign = [k for k, _ in request.headers if k.startswith(RESERVED_PREFIX) and k not in ours]
    mutation = ext_proc.HeaderMutation(
        set_headers=[_overwrite(key, value) for key, value in ours.items()], remove_headers=foreign
    )
    # Envoy ignores the first without the second, and a stale route must never survive an answer.
    common = ext_proc.CommonResponse(header_mutation=mutation, clear_route_cache=True)
    metadata = {"canary": _struct({d.rollout: _described(d, version) for d in decisions})}
    return ext_proc.ProcessingResponse(
        request_headers=ext_proc.HeadersResponse(response=common),
        dynamic_metadata=protobuf.Struct(fields=metadata) if decisions else None,
    )


def _overwrite(key: str, value: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=key, raw_value=value.encode()),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _described(decision: twin.Decision, version: str) -> protobuf.Value:
    said = {"variant": decision.variant, "version": version, "reason": decision.reason}
    if decision.reason != "no_unit":
        said["unit"] = f"{decision.second:016x}"
    return _struct({key: protobuf.Value(string_value=text) for key, text in said.items()})


def _struct(fields: dict[str, protobuf.Value]) -> protobuf.Value:
    return protobuf.Value(struct_value=protobuf.Struct(fields=fields))
