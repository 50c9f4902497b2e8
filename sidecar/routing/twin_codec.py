"""One ProcessingRequest in, one ProcessingResponse out, in envoy-data-plane's messages.

The specification of native/sc_request.c and sc_answer.c, byte for byte. Nothing on the request
path imports it: betterproto2 takes a thousand times as long.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import betterproto2
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.google import protobuf

from sidecar.rollout.names import RESERVED_PREFIX
from sidecar.routing import twin
from sidecar.routing.force import Key
from sidecar.routing.route import Route

_FILTER = "envoy.filters.http.ext_proc"
_EMPTY_ANSWERS = {
    "response_headers": ext_proc.HeadersResponse,
    "request_body": ext_proc.BodyResponse,
    "response_body": ext_proc.BodyResponse,
    "request_trailers": ext_proc.TrailersResponse,
    "response_trailers": ext_proc.TrailersResponse,
}


def answer(
    routes: Sequence[Route],
    version: str,
    message: bytes,
    *,
    now_s: int = twin.NEVER,
    keys: Sequence[Key] = (),
) -> bytes:
    """Answer as the native table does; empty where the protocol wants no answer."""
    request = ext_proc.ProcessingRequest.parse(message)
    kind, _ = betterproto2.which_one_of(request, "request")
    if request.observability_mode or not kind:
        return b""
    if kind == "request_headers":
        asked = read(request)
        decisions = twin.decide(routes, asked, now_s=now_s, keys=keys)
        return bytes(_decided(decisions, version, asked))
    return bytes(ext_proc.ProcessingResponse(**{kind: _EMPTY_ANSWERS[kind]()}))


def read(request: ext_proc.ProcessingRequest) -> twin.Request:
    """Return what a decision may look at."""
    sent = request.request_headers.headers if request.request_headers else None
    attributes = _plain(request.attributes.get(_FILTER))
    address = attributes.get("source.address")
    metadata = request.metadata_context.filter_metadata if request.metadata_context else {}
    return twin.Request(
        headers=[(h.key, h.raw_value or h.value.encode()) for h in sent.headers] if sent else [],
        source_address=address.encode() if isinstance(address, str) else b"",
        metadata={name: _plain(struct) for name, struct in metadata.items()},
        attributes=attributes,
    )


def write(request: twin.Request) -> bytes:
    """Return the message with which Envoy would ask about a request."""
    values = [core.HeaderValue(key=key, raw_value=value) for key, value in request.headers]
    headers = ext_proc.HttpHeaders(headers=core.HeaderMap(headers=values), end_of_stream=True)
    attributes = dict(request.attributes)
    if request.source_address:
        attributes["source.address"] = request.source_address.decode()
    metadata = {name: _value(fields).struct_value for name, fields in request.metadata.items()}
    return bytes(
        ext_proc.ProcessingRequest(
            request_headers=headers,
            metadata_context=core.Metadata(filter_metadata=metadata) if metadata else None,
            attributes={_FILTER: _value(attributes).struct_value} if attributes else {},
        )
    )


def _plain(struct: protobuf.Struct | None) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in struct.fields.items()} if struct else {}


def _plain_value(value: protobuf.Value) -> Any:
    kind, found = betterproto2.which_one_of(value, "kind")
    if kind == "struct_value":
        return _plain(found)
    if kind == "list_value":
        return [_plain_value(one) for one in found.values]
    return None if kind in {"", "null_value"} else found


def _value(plain: Any) -> protobuf.Value:
    if plain is None:
        return protobuf.Value(null_value=protobuf.NullValue.NULL_VALUE)
    if isinstance(plain, Mapping):
        return _struct({key: _value(one) for key, one in plain.items()})
    if isinstance(plain, bool):
        return protobuf.Value(bool_value=plain)
    if isinstance(plain, int | float):
        return protobuf.Value(number_value=float(plain))
    if isinstance(plain, str):
        return protobuf.Value(string_value=plain)
    return protobuf.Value(list_value=protobuf.ListValue(values=[_value(one) for one in plain]))


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
    if decision.has_unit:
        said["unit"] = f"{decision.second:016x}"
    return _struct({key: protobuf.Value(string_value=text) for key, text in said.items()})


def _struct(fields: dict[str, protobuf.Value]) -> protobuf.Value:
    return protobuf.Value(struct_value=protobuf.Struct(fields=fields))
