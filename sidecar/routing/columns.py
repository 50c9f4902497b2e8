"""Names for the inputs of a request, as people write them: in a CSV's head, on a command line.

x-user-id, header:x-user-id       a header
cookie:session  query:user        a cookie, a query parameter
path  host  method  clientAddress
attribute:connection.mtls         an attribute of Envoy's
metadata:FILTER:KEY.KEY           dynamic metadata; claim:KEY.KEY below the jwt_authn filter
"""

import json
from typing import Any

from sidecar.errors import CanaryError
from sidecar.rollout import names
from sidecar.routing.rules import Input

JWT = "envoy.filters.http.jwt_authn"
CONVENTION = (
    "name a header (x-user-id), or write cookie:NAME, query:NAME, path, host, method,"
    " clientAddress, attribute:NAME, metadata:FILTER:KEY.KEY or claim:KEY.KEY"
)
_BARE = {
    "path": Input("header", (":path",)),
    "host": Input("header", (":authority",)),
    "method": Input("header", (":method",)),
    "clientAddress": Input("client_address"),
}


class ColumnError(CanaryError):
    """A name of which nobody knows what it means."""


def read(text: str) -> Input:
    """Return the input that a name stands for. Raises ColumnError."""
    kind, colon, rest = text.partition(":")
    if text in _BARE:
        return _BARE[text]
    if colon and kind in {"cookie", "query"} and names.TOKEN.fullmatch(rest):
        return Input("cookie" if kind == "cookie" else "query", (rest,))
    if kind == "attribute" and rest:
        return Input("attribute", (rest,))
    if kind == "claim" and rest:
        return Input("metadata", (JWT, *rest.split(".")))
    filter_name, _, keys = rest.partition(":")
    if kind == "metadata" and filter_name and keys:
        return Input("metadata", (filter_name, *keys.split(".")))
    header = rest.lower() if kind == "header" and colon else text.lower()
    if names.HEADER_NAME.fullmatch(header):
        return Input("header", (header,))
    raise ColumnError(f"{text!r} names no input of a request", remedy=CONVENTION)


def plain(text: str) -> Any:
    """Return a value of metadata or an attribute: a text, or the JSON list that it is."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ColumnError(
            f"{text!r} is not a JSON list: {error}", remedy='write such as ["a", "b"]'
        ) from error


def place(into: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Put a value where a path of keys leads. Raises ColumnError if a value is in the way."""
    for key in keys[:-1]:
        into = into.setdefault(key, {})
        if not isinstance(into, dict):
            raise ColumnError(
                f"{'.'.join(keys)}: {key!r} is a value and not a mapping", remedy="name one of them"
            )
    into[keys[-1]] = value
