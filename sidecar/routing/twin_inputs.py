"""What an input of a rule, or a source of the unit, finds in a request: the twin's half.

An input has values, most often one or none; never an empty one. Bytes are exactly as received: no
trimming, no case folding (the host excepted), no decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.routing.rules import Input
    from sidecar.routing.twin import Request

MAX_HOST_BYTES = 255


def values(asked: Input, request: Request) -> tuple[bytes, ...]:
    """List what is there; () if the input is absent."""
    if asked.kind == "attribute":
        [name] = asked.name
        if name == "source.address":
            return _present(request.source_address)
        return texts(request.attributes.get(name))
    if asked.kind == "metadata":
        return texts(_followed(request.metadata, asked.name))
    return _present(_one(asked, request))


def _one(asked: Input, request: Request) -> bytes:
    path, _, query = request.first(":path").partition(b"?")
    match asked.kind:
        case "header":
            return request.first(asked.name[0])
        case "cookie":
            pieces = (p.lstrip(b" \t") for v in request.values("cookie") for p in v.split(b";"))
            return _in_pairs(pieces, asked.name[0])
        case "query":
            return _in_pairs(query.split(b"&"), asked.name[0])
        case "path":
            return path
        case "host":
            return plain_host(request.first(":authority"))
        case _:
            return _without_port(request.source_address)


def _present(text: bytes) -> tuple[bytes, ...]:
    return (text,) if text else ()


def _in_pairs(pieces: Iterable[bytes], name: str) -> bytes:
    pairs = (piece.partition(b"=") for piece in pieces)
    return next((value for key, _, value in pairs if key == name.encode() and value), b"")


def plain_host(authority: bytes) -> bytes:
    """Return the host without its port, lower case; nothing if it is too long to be one."""
    if authority.startswith(b"["):
        address, bracket, rest = authority.partition(b"]")
        host = address + bracket + rest.split(b":", 1)[0]
    else:
        host = authority.split(b":", 1)[0]
    return host.lower() if len(host) <= MAX_HOST_BYTES else b""


def _without_port(address: bytes) -> bytes:
    if address.startswith(b"["):
        return address[1:].split(b"]", 1)[0]
    return address if address.count(b":") > 1 else address.split(b":", 1)[0]


# ---- metadata and attributes: google.protobuf.Value ------------------------------------------


def _followed(metadata: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        metadata = metadata.get(key) if isinstance(metadata, Mapping) else None
    return metadata


def texts(value: Any) -> tuple[bytes, ...]:
    """Write a value as texts: a list is each of its plain entries, a mapping is none."""
    if isinstance(value, list | tuple):
        return tuple(text for one in value for text in _text(one))
    return _text(value)


def _text(value: Any) -> tuple[bytes, ...]:
    if isinstance(value, bool):
        return (b"true" if value else b"false",)
    if isinstance(value, int | float):
        return number_text(float(value))
    return _present(value.encode()) if isinstance(value, str) else ()


def number_text(value: float) -> tuple[bytes, ...]:
    """Write whole numbers below 2^63, others below 2^33 rounded to billionths; the rest is absent.

    A double holds no more: nanoseconds beside ten digits are its last ones.
    """
    if abs(value) < 1 << 63 and value == int(value):
        return (b"%d" % int(value),)
    if not abs(value) < 1 << 33:
        return ()
    billionths = round(value * 1e9)
    whole, decimals = divmod(abs(billionths), 10**9)
    sign = b"-" if billionths < 0 else b""
    return ((sign + b"%d.%09d" % (whole, decimals)).rstrip(b"0").rstrip(b"."),)
