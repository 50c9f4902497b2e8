"""Why a request is answered as it is: the twin's decision with every step that led to it.

Nothing is decided here. Each step is the twin's own function, asked about a part of the route or
the request, so an explanation cannot say anything else than the decision.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.routing import twin
from sidecar.routing.route import Route, UnitSource, by_name

Silence = Literal["host", "path"]


@dataclass(frozen=True, slots=True)
class Looked:
    """A source that was tried, and what it gave: empty if the request has nothing there."""

    source: UnitSource
    value: bytes


@dataclass(frozen=True, slots=True)
class Stretch:
    """A variant's place on the hash line: the points `low` up to, not including, `high`.

    The baseline and the candidates from the third on have the same stretch and race for it.
    """

    variant: str
    weight: int
    threshold: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Clock:
    """A runner in the rendezvous: the smallest `time / threshold` wins."""

    variant: str
    time: int
    threshold: int

    @property
    def rings_at(self) -> float:
        """The time that is compared, as near as a float comes; smaller is sooner."""
        return (self.time << (64 - twin.LOG_BITS)) / self.threshold


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rollout and one request. Without a `decision` it does not speak, for its `silence`."""

    route: Route
    silence: tuple[Silence, ...]
    looked: tuple[Looked, ...]
    stretches: tuple[Stretch, ...]
    clocks: tuple[Clock, ...]
    decision: twin.Decision | None

    @property
    def unit(self) -> bytes:
        """What was hashed; empty if no source gave anything."""
        return self.looked[-1].value if self.looked else b""


def explain(routes: Iterable[Route], request: twin.Request) -> tuple[Explanation, ...]:
    """Explain every rollout's part in the answer, the silent ones' too, in order of names."""
    return tuple(explain_one(route, request) for route in by_name(routes))


def explain_one(route: Route, request: twin.Request) -> Explanation:
    """Explain one rollout's part."""
    silence = _silence(route, request)
    decision = None if silence else twin.decide_one(route, request)
    at = decision.position if decision and decision.reason == "weight" else None
    return Explanation(
        route=route,
        silence=silence,
        looked=() if silence else _looked(route, request),
        stretches=_stretches(route),
        clocks=() if at is None or decision is None else _clocks(route, at, decision.second),
        decision=decision,
    )


def _silence(route: Route, request: twin.Request) -> tuple[Silence, ...]:
    asked: tuple[tuple[Silence, Route], ...] = (
        ("host", replace(route, path_prefix="")),
        ("path", replace(route, hosts=())),
    )
    return tuple(name for name, alone in asked if not twin.matches(alone, request))


def _looked(route: Route, request: twin.Request) -> tuple[Looked, ...]:
    looked = []
    for source in route.unit:
        looked.append(Looked(source, twin.find_unit(replace(route, unit=(source,)), request)))
        if looked[-1].value:
            break
    return tuple(looked)


def _stretches(route: Route) -> tuple[Stretch, ...]:
    shares = route.thresholds
    first, last = _ends(shares)
    places = {1: (0, first), 2: (last, twin.LINE)}
    return tuple(
        Stretch(variant.name, variant.weight, share, *places.get(slot, (first, last)))
        if share
        else Stretch(variant.name, variant.weight, 0, 0, 0)
        for slot, (variant, share) in enumerate(zip(route.variants, shares, strict=True))
    )


def _ends(shares: tuple[int, ...]) -> tuple[int, int]:
    """Return where the middle begins and ends."""
    first, last = ((*shares, 0, 0)[slot] for slot in (1, 2))
    if any(_middle(shares)):
        return first, twin.LINE - last
    # Flooring may leave a point between two candidates that have everything.
    return (first, first) if last else (twin.LINE, twin.LINE)


def _middle(shares: tuple[int, ...]) -> tuple[int, ...]:
    return shares[:1] + shares[3:]


def _clocks(route: Route, position: int, second: int) -> tuple[Clock, ...]:
    """List the runners, if there was a race: a variant alone in the middle has no rival."""
    runners = [s for s in _stretches(route) if s.threshold and s.low <= position < s.high]
    if len(runners) < 2:
        return ()
    return tuple(
        Clock(one.variant, twin.waiting_time(second, one.variant), one.threshold) for one in runners
    )
