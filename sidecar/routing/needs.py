"""What a set of routes looks at in a request: what Envoy has to send for them to be decided."""

from collections.abc import Iterable, Iterator

from sidecar.rollout import names
from sidecar.routing.route import Route
from sidecar.routing.rule_checks import walk
from sidecar.routing.rules import Check, Input


def needs(routes: Iterable[Route]) -> dict[Input, tuple[str, ...]]:
    """Return every input with the names of the rollouts that look at it, both in order.

    The pseudo headers that say which rollouts speak, and the force token's header, are everybody's.
    """
    found: dict[Input, set[str]] = {}
    for route in routes:
        for asked in _of_one(route):
            found.setdefault(asked, set()).add(route.name)
    return {
        asked: tuple(sorted(found[asked]))
        for asked in sorted(found, key=lambda i: (i.kind, i.name))
    }


def headers(asked: Iterable[Input]) -> tuple[str, ...]:
    """Return the request headers, in order, that must be forwarded for these inputs to be seen."""
    found = {":authority", ":path", names.FORCE_HEADER, *map(header_of, asked)}
    return tuple(sorted(found - {""}))


def header_of(asked: Input) -> str:
    """Return the request header in which an input stands; "" if it stands elsewhere."""
    sources = {"cookie": "cookie", "query": ":path", "path": ":path", "host": ":authority"}
    return asked.name[0] if asked.kind == "header" else sources.get(asked.kind, "")


def attribute_of(asked: Input) -> str:
    """Return the attribute of Envoy's in which an input stands; "" if it stands elsewhere."""
    if asked.kind == "client_address":
        return "source.address"
    return asked.name[0] if asked.kind == "attribute" else ""


def _of_one(route: Route) -> Iterator[Input]:
    for source in route.unit:
        yield Input(source.kind, (source.name,) if source.name else ())
    for segment in route.segments:
        for condition in walk(segment.when):
            if isinstance(condition, Check):
                yield condition.input
