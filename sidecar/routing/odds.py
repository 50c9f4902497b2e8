"""Which rollouts meet people with other odds than before, when one table follows another.

Outcomes are compared where everybody met the same odds. A table is new whenever any rollout in it
was edited; for all the others nothing is.
"""

from collections.abc import Iterable
from dataclasses import replace

from sidecar.routing.route import Route


def changed(before: Iterable[Route], after: Iterable[Route]) -> set[str]:
    """Return the rollouts whose odds in `after` are not those of `before`, the ones gone included.

    Everything in a route is of account, but for its revision and its limits; and so is whatever a
    rollout requires, because that chooses the people who come to it.
    """
    known = {route.name: route for route in before}
    now = list(after)
    found = {route.name for route in now if not _same(known.get(route.name), route)}
    found |= known.keys() - {route.name for route in now}
    asking = {r.name: {one.rollout for one in r.requires} for r in now if r.requires}
    while more := {name for name, others in asking.items() if others & found} - found:
        found |= more
    return found


def _same(before: Route | None, after: Route) -> bool:
    if before is None or before is after:
        return before is after
    return replace(after, revision=before.revision, limits=before.limits) == before
