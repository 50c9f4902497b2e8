"""Why a request is answered as it is: the twin's decision with every step that led to it.

Nothing is decided here. Each step is the twin's own function, asked about a part of the route or
the request, so an explanation cannot say anything else than the decision. The rules themselves are
explained by explaining_rules.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.routing import twin
from sidecar.routing.explaining_rules import Rule, at_line, rules
from sidecar.routing.force import Key
from sidecar.routing.route import Route, UnitSource, by_name
from sidecar.routing.rules import Segment

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
    """One rollout and one request. Without a `decision` it does not speak, for its `silence`.

    `rules` stand in the order of precedence; the first that applies decides. `stretches` are those
    of the weights that drew, the segment's if it was one: `drawn` says where the unit is there.
    """

    route: Route
    silence: tuple[Silence, ...]
    looked: tuple[Looked, ...]
    rules: tuple[Rule, ...]
    stretches: tuple[Stretch, ...]
    clocks: tuple[Clock, ...]
    decision: twin.Decision | None
    drawn: tuple[int, int] | None

    @property
    def unit(self) -> bytes:
        """What was hashed; empty if no source gave anything."""
        return self.looked[-1].value if self.looked else b""


def explain(
    routes: Iterable[Route],
    request: twin.Request,
    *,
    now_s: int = twin.NEVER,
    keys: Sequence[Key] = (),
) -> tuple[Explanation, ...]:
    """Explain every rollout's part in the answer, the silent ones' too, in order of names."""
    ordered = by_name(routes)
    decisions = twin.decide(ordered, request, now_s=now_s, keys=keys)
    return tuple(_explained(one, request, decisions, now_s, keys) for one in ordered)


def explain_one(
    route: Route,
    request: twin.Request,
    *,
    among: Sequence[Route] = (),
    now_s: int = twin.NEVER,
    keys: Sequence[Key] = (),
) -> Explanation:
    """Explain one rollout's part; `among` are all the rollouts, for its prerequisites."""
    decisions = twin.decide(among or (route,), request, now_s=now_s, keys=keys)
    return _explained(route, request, decisions, now_s, keys)


def _explained(
    route: Route,
    request: twin.Request,
    decisions: Sequence[twin.Decision],
    now_s: int,
    keys: Sequence[Key],
) -> Explanation:
    decision = next((one for one in decisions if one.rollout == route.name), None)
    segment = _drawing(route, decision)
    weights = segment.weights if segment else tuple(v.weight for v in route.variants)
    stretches = _stretches(route, weights, segment.thresholds if segment else route.thresholds)
    drawn = None
    if segment or (decision and decision.reason == "weight"):
        own = segment.salt if segment else None
        drawn = at_line(route, request, route.salt if own is None else own)
    return Explanation(
        route=route,
        silence=() if decision else _silence(route, request),
        looked=_looked(route, request) if decision else (),
        rules=rules(route, request, decisions, now_s, keys) if decision else (),
        stretches=stretches,
        clocks=_clocks(stretches, *drawn) if drawn else (),
        decision=decision,
        drawn=drawn,
    )


def _drawing(route: Route, decision: twin.Decision | None) -> Segment | None:
    """Return the segment by whose weights was drawn, if one was."""
    reason = decision.reason if decision else ""
    segments = (one for one in route.segments if reason == f"segment:{one.name}" and one.weights)
    return next(segments, None)


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


def _stretches(
    route: Route, weights: Sequence[int], shares: tuple[int, ...]
) -> tuple[Stretch, ...]:
    first, last = _ends(shares)
    places = {1: (0, first), 2: (last, twin.LINE)}
    return tuple(
        Stretch(variant.name, weight, share, *places.get(slot, (first, last)))
        if share
        else Stretch(variant.name, weight, 0, 0, 0)
        for slot, (variant, weight, share) in enumerate(
            zip(route.variants, weights, shares, strict=True)
        )
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


def _clocks(stretches: Sequence[Stretch], position: int, second: int) -> tuple[Clock, ...]:
    """List the runners, if there was a race: a variant alone in the middle has no rival."""
    runners = [s for s in stretches if s.threshold and s.low <= position < s.high]
    if len(runners) < 2:
        return ()
    return tuple(
        Clock(one.variant, twin.waiting_time(second, one.variant), one.threshold) for one in runners
    )
