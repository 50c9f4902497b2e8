"""What a sidecar has in force at a moment, and how the next moment is made of it.

Invariant: an edition is made whole or not at all, and only what changed is read: everything else is
taken over from the table before. So one weight among ten thousand rollouts costs one reading, and
no rollout is kept in memory three times.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.control.following import Holdings
from sidecar.control.rule_codec import Known
from sidecar.delivery import breaker
from sidecar.routing import Draft, Route, Table, odds
from sidecar.routing.force import Key
from sidecar.routing.together import is_tied


@dataclass(frozen=True, slots=True)
class Variants:
    """(rollout, variant) of a table's rollouts, or of those `among` them, as often as one asks."""

    table: Table
    among: Sequence[str] | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.table.variants(self.among)


@dataclass(frozen=True, slots=True)
class Edition:
    """Resources, what this sidecar holds out of them, and the table that obeys both.

    `noted` are the routes that somebody looks at beside the table: those tied to others, and those
    with limits. `changed` names the rollouts that are not as they were the edition before, `odds`
    those of them, and of those that require them, that meet people with other odds now (of a first
    edition nobody asks).
    """

    holdings: Holdings
    trips: breaker.Trips
    table: Table
    noted: Mapping[str, Route] = field(repr=False)
    changed: Sequence[str] = field(default=(), repr=False)
    odds: frozenset[str] = field(default=frozenset(), repr=False)


def after(
    before: Edition | None, holdings: Holdings, trips: breaker.Trips, keys: Sequence[Key]
) -> Edition:
    """Return the next edition. Raises ResourceError, RouteError: then the one before stands."""
    draft = Draft(before.table if before else None)
    noted = dict(before.noted) if before else {}
    changed = _changed(before, holdings, trips)
    known, others = Known(), set()
    for name in changed:
        noted.pop(name, None)
        if name not in holdings.resources:
            draft.drop(name)
            others.add(name)
            continue
        route = breaker.obeyed(holdings.route(name, known), trips)
        if is_tied(route) or route.limits:
            noted[name] = route
        if before and not _as_before(before, route, known):
            others.add(name)
        draft.put(route)
    version = breaker.version(holdings.version, trips)
    table = Table(draft.finish(version, keys, filter(is_tied, noted.values())))
    return Edition(holdings, trips, table, noted, changed, odds.spread(others, noted.values()))


def _as_before(before: Edition, route: Route, known: Known) -> bool:
    """Whether a rollout has the odds that it had the edition before."""
    if route.name not in before.holdings.resources:
        return False
    was = breaker.obeyed(before.holdings.route(route.name, known), before.trips)
    return odds.same(was, route)


def _changed(before: Edition | None, holdings: Holdings, trips: breaker.Trips) -> list[str]:
    held = before.holdings.resources if before else {}
    changed = {name for name, one in holdings.resources.items() if held.get(name) is not one}
    changed.update(name for name in held if name not in holdings.resources)
    # Trips are few: whether they are the same ones is not worth asking.
    return sorted(changed.union(trips, before.trips if before else ()))


def revisions(holdings: Holdings, trips: breaker.Trips) -> dict[str, tuple[str, int]]:
    """Return (version, revision) of the rollouts that have tripped. Raises ResourceError."""
    return {
        name: (holdings.resources[name].version, holdings.route(name).revision)
        for name in trips
        if name in holdings.resources
    }
