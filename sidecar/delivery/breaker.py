"""The sidecar's own circuit breaker: it takes a candidate out, and waits for the controller's word.

Theory. For each rollout a sidecar is in one of two states. Clear: the controller's weights are in
force. Tripped: a hard limit broke on this sidecar's own traffic, and the variants named have no
weight here, whatever the controller said before. What ends a trip is a decision made after it:

    state    | what comes                                  | next
    Clear    | a limit broke for a candidate               | Tripped, at the revision in force
    Tripped  | a limit broke for another candidate         | Tripped, with that one as well
    Tripped  | the rollout, at the revision of the trip    | Tripped (nobody has decided since)
    Tripped  | the rollout, at a higher revision           | Clear (the controller has decided)
    Tripped  | the rollout, at a lower revision            | Tripped (an older controller)
    Tripped  | the rollout, without a revision, changed    | Clear (an older release sent it)
    Tripped  | the rollout is gone                         | Clear

So a controller that is away changes nothing, one that comes back with the same decision changes
nothing, and one that decides (to roll back, or to go on all the same) is obeyed. After that the
limit may break anew, on requests that started since. Pure: rows and time are arguments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sidecar.routing import HardLimit, Route, version_of
from sidecar.routing.rules import Segment

METRICS = ("error_rate", "latency")


class Seen(NamedTuple):
    """What became of a variant's requests that started in one second; `slow` ones by the limit.

    Requests that are still without an answer are those started and not completed.
    """

    second: int
    started: int
    completed: int
    errors: int
    slow: int


@dataclass(frozen=True, slots=True)
class Trip:
    """A variant that this sidecar holds out; `resource` is the version of what was in force."""

    rollout: str
    variant: str
    revision: int
    resource: str
    at_s: float
    reason: str


# By rollout.
Trips = Mapping[str, tuple[Trip, ...]]
NOTHING: Trips = {}


def judge(limit: HardLimit, seen: Iterable[Seen], now_s: float, since_s: float = 0) -> str:
    """Say in one sentence that a limit is broken; empty if it is not.

    Only requests that started at `since_s` or later count: those before are of another decision.
    """
    first = max(now_s - limit.window_s, since_s)
    inside = [one for one in seen if first <= one.second <= now_s]
    # Not second by second: one begun at the end of a second may be decided in the next.
    started = max(sum(one.started for one in inside), sum(one.completed for one in inside))
    bad = sum(_bad(limit, one, now_s) for one in inside)
    if limit.metric not in METRICS or started < limit.min_count or bad <= limit.threshold * started:
        return ""
    what = (
        "failed" if limit.metric == "error_rate" else f"took over {limit.slower_than_us / 1e6:g} s"
    )
    return (
        f"{bad} of {started} requests of the last {limit.window_s} s {what}: "
        f"{bad / started:.1%}, and the hard limit is {limit.threshold:.1%}"
    )


def _bad(limit: HardLimit, one: Seen, now_s: float) -> int:
    if limit.metric == "error_rate":
        return one.errors
    # A second's last request started just before its end.
    late = now_s - (one.second + 1) > limit.slower_than_us / 1e6
    return one.slow + (max(0, one.started - one.completed) if late else 0)


def tripped(trips: Trips, trip: Trip) -> Trips:
    """Add a trip; one for the same variant that stands already stays as it was."""
    standing = trips.get(trip.rollout, ())
    if any(one.variant == trip.variant for one in standing):
        return trips
    return {**trips, trip.rollout: (*standing, trip)}


def after(trips: Trips, resources: Mapping[str, tuple[str, int]]) -> Trips:
    """Return the trips that stand once these resources came: (version, revision) by rollout."""
    kept = {
        name: tuple(one for one in standing if _stands(one, resources.get(name)))
        for name, standing in trips.items()
    }
    return {name: standing for name, standing in kept.items() if standing}


def _stands(trip: Trip, resource: tuple[str, int] | None) -> bool:
    if resource is None:
        return False
    version, revision = resource
    return version == trip.resource if revision == 0 else revision <= trip.revision


def without(route: Route, out: Iterable[str]) -> Route:
    """Return a route in which nobody gets these variants, in no segment and by no override.

    The baseline gets them all. Only who forces a variant with a token still reaches it.
    """
    names = [variant.name for variant in route.variants]
    gone = frozenset(out) - {names[0]}
    weights = _moved(names, [variant.weight for variant in route.variants], gone)
    return replace(
        route,
        variants=tuple(
            replace(variant, weight=weight)
            for variant, weight in zip(route.variants, weights, strict=True)
        ),
        segments=tuple(_segment(one, names, gone) for one in route.segments),
        overrides=tuple(
            replace(one, variant=names[0]) if one.variant in gone else one
            for one in route.overrides
        ),
    )


def _segment(segment: Segment, names: Sequence[str], gone: frozenset[str]) -> Segment:
    variant = names[0] if segment.variant in gone else segment.variant
    return replace(segment, variant=variant, weights=_moved(names, segment.weights, gone))


def _moved(names: Sequence[str], weights: Sequence[int], gone: frozenset[str]) -> tuple[int, ...]:
    """Give the baseline what those who are gone had; no weights stay none."""
    kept = [0 if name in gone else weight for name, weight in zip(names, weights, strict=False)]
    if kept:
        kept[0] += sum(weights) - sum(kept)
    return tuple(kept)


def obeyed(route: Route, trips: Trips) -> Route:
    """Return the route as it is to be obeyed here."""
    standing = trips.get(route.name, ())
    return without(route, (one.variant for one in standing)) if standing else route


def version(table: str, trips: Trips) -> str:
    """Name the table that these trips make of another: outcomes are told apart by it."""
    if not trips:
        return table
    held = {name: ",".join(sorted(t.variant for t in some)) for name, some in trips.items()}
    return version_of({"": table, **held})
