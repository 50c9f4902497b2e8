"""Which route of an Envoy takes a request, as far as its configuration tells.

Envoy's order: the virtual host of the closest domain, in it the first route that matches. Of a
request, host, path and one of our headers are known; whether a route that asks for more matches is
not (None), and what may be otherwise is never blamed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.extproc import trees
from sidecar.extproc.trees import at
from sidecar.rollout.names import RESERVED_PREFIX

Verdict = bool | None

_PATHS = {"prefix", "path", "path_separated_prefix", "safe_regex"}
_UNDERSTOOD = _PATHS | {"case_sensitive", "headers"}
_PORT = re.compile(r":(\d+|\*)$")


@dataclass(frozen=True, slots=True)
class Request:
    """A path, and the decision's header; without one, nothing is decided yet."""

    path: str
    header: str = ""
    value: str = ""


def virtual_host(table: Any, host: str) -> Any:
    """Return the virtual host of a route configuration that takes `host`; None if none does."""
    ranked = [
        (closeness, index)
        for index, one in enumerate(trees.objects(at(table, "virtual_hosts")))
        for domain in at(one, "domains") or ()
        if (closeness := _closeness(_PORT.sub("", str(domain).lower()), host.lower()))
    ]
    return table["virtual_hosts"][max(ranked)[1]] if ranked else None


def obstacle(routes: Iterable[Any], leading: list[Any], request: Request) -> Any:
    """Return the route that takes a request before those that should; None if none does.

    An empty object if it reaches no route at all.
    """
    for route in routes:
        verdict = _verdict(route, request)
        if verdict is not False and any(route is one for one in leading):
            return None
        if verdict:
            return route
    return {}


def first(routes: Iterable[Any], request: Request) -> Any:
    """Return the first route that surely takes a request; an empty object if none does."""
    return next((route for route in routes if _verdict(route, request)), {})


def fits_path(route: Any, path: str) -> bool:
    """Whether a route may take a path."""
    return _path(at(route, "match"), path) is not False


def _closeness(domain: str, host: str) -> tuple[int, int] | None:
    """How closely a domain fits, as Envoy ranks them; None if it does not."""
    if domain == host:
        return 3, 0
    if domain == "*":
        return 0, 0
    if domain[:1] == "*" and len(host) >= len(domain) and host.endswith(domain[1:]):
        return 2, len(domain)
    if domain[-1:] == "*" and len(host) >= len(domain) and host.startswith(domain[:-1]):
        return 1, len(domain)
    return None


def _verdict(route: Any, request: Request) -> Verdict:
    match = at(route, "match")
    said = [_path(match, request.path), *_headers(match, request)]
    if any(value for key, value in match.items() if key not in _UNDERSTOOD):
        said.append(None)
    if False in said:
        return False
    return None if None in said else True


def _path(match: Any, path: str) -> Verdict:
    if regex := at(match, "safe_regex", "regex"):
        return trees.fits(str(regex), path)
    kind = next((key for key in ("prefix", "path", "path_separated_prefix") if key in match), None)
    if kind is None:
        return None
    wanted = str(match[kind])
    if match.get("case_sensitive") is False:
        wanted, path = wanted.lower(), path.lower()
    if kind == "prefix":
        return path.startswith(wanted)
    return path == wanted or (kind != "path" and path.startswith(f"{wanted}/"))


def _headers(match: Any, request: Request) -> Iterator[Verdict]:
    for one in trees.objects(at(match, "headers")):
        name = str(one.get("name", "")).lower()
        inverted = bool(one.get("invert_match"))
        if request.header and name == request.header:
            fits = _fits(one, request.value)
            yield None if fits is None else fits != inverted
        elif not request.header and name.startswith(RESERVED_PREFIX):
            yield (one.get("present_match") is False) != inverted
        else:
            yield None


def _fits(matcher: Any, value: str) -> Verdict:
    if "string_match" in matcher:
        return trees.matches(at(matcher, "string_match"), value)
    if "exact_match" in matcher:
        return str(matcher["exact_match"]) == value
    kinds = {key for key in matcher if key.endswith("_match")} - {"invert_match", "present_match"}
    return None if kinds else matcher.get("present_match") is not False
