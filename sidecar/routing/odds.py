"""Whether a rollout meets people with other odds than before, when one table follows another.

Outcomes are compared where everybody met the same odds. A table is new whenever any rollout in it
was edited; for all the others nothing is.
"""

from collections.abc import Iterable
from dataclasses import replace

from sidecar.routing.route import Route


def same(before: Route, after: Route) -> bool:
    """Whether everything in a route is as it was, but for its revision and its limits."""
    return replace(after, revision=before.revision, limits=before.limits) == before


def spread(changed: Iterable[str], routes: Iterable[Route]) -> frozenset[str]:
    """Return what changed, and of `routes` whatever requires any of it.

    What a rollout requires chooses the people who come to it.
    """
    found = set(changed)
    asking = {r.name: {one.rollout for one in r.requires} for r in routes if r.requires}
    while more := {name for name, others in asking.items() if others & found} - found:
        found |= more
    return frozenset(found)
