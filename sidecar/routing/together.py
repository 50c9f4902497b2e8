"""What no single route can show: prerequisites in a circle, slices of a layer that overlap.

The controller's documents were checked for both (rollout/neighbours.py), each file as a whole. A
sidecar checks what it is about to put in force: old and new documents may stand side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from sidecar.rollout import names
from sidecar.routing.route import Route
from sidecar.routing.rule_checks import RouteError, refuse


def is_tied(route: Route) -> bool:
    """Whether other rollouts matter to this one: it requires some, or is in a layer with them."""
    return bool(route.requires or route.layer)


def check(tied: Iterable[Route]) -> dict[str, int]:
    """Return the rank of each tied route: above all it requires. Any other's is 0.

    Raises RouteError where rollouts require one another in a circle, or in too long a chain, and
    where two rollouts of one layer would share units.
    """
    routes = tuple(tied)
    found = ranks(routes)
    check_layers(routes)
    return found


def check_layers(routes: Sequence[Route]) -> None:
    """Raise RouteError where two rollouts of one layer would share units."""
    layers: dict[str, list[tuple[int, int, str]]] = {}
    for route in routes:
        if route.layer:
            slice_ = (route.layer.first, route.layer.last, route.name)
            layers.setdefault(route.layer.name, []).append(slice_)
    for name, slices in layers.items():
        for (_, end, one), (begin, _, other) in pairwise(sorted(slices)):
            if begin <= end:
                raise refuse(
                    other,
                    f"its slice of layer {name!r} overlaps that of rollout {one!r}",
                    "give each rollout of a layer a slice of its own",
                )


def ranks(routes: Sequence[Route]) -> dict[str, int]:
    """Number the rollouts so that each stands above all it requires; 0 requires none of them.

    Raises RouteError where rollouts require one another in a circle, or in too long a chain.
    """
    requires = {r.name: [one.rollout for one in r.requires] for r in routes}
    found = {name: 0 for name, others in requires.items() if not others}
    for name in requires:
        _rank(name, requires, found, ())
    return found


def _rank(
    name: str, requires: Mapping[str, list[str]], found: dict[str, int], way: tuple[str, ...]
) -> int:
    if name in found or name not in requires:
        return found.get(name, 0)
    if name in way:
        circle = " requires ".join([*way[way.index(name) :], name])
        raise refuse(name, f"prerequisites in a circle: {circle}", "remove one of them")
    if len(way) > names.MAX_CHAIN:
        raise _too_long(name)
    found[name] = 1 + max(_rank(one, requires, found, (*way, name)) for one in requires[name])
    if found[name] > names.MAX_CHAIN:
        raise _too_long(name)
    return found[name]


def _too_long(name: str) -> RouteError:
    return refuse(
        name,
        f"more than {names.MAX_CHAIN} rollouts require one another in a row",
        "require the last ones directly",
    )
