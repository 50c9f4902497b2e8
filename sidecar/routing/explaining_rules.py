"""Each rule of a route, asked by itself: whether it applies to a request, and what it looked at.

A rule applies if the twin decides by it where the route has no other: `_only` leaves one rule in.
The first that applies, in the order of precedence, decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.rollout import names
from sidecar.routing import force, twin, twin_inputs
from sidecar.routing.force import Key
from sidecar.routing.route import Route
from sidecar.routing.rule_checks import inner
from sidecar.routing.rules import Check, Condition, Segment
from sidecar.routing.twin_rules import holds


@dataclass(frozen=True, slots=True)
class Tested:
    """A condition, whether it holds, and what it found: of a check the values that are there."""

    condition: Condition
    holds: bool
    values: tuple[bytes, ...]
    inner: tuple["Tested", ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that was looked at; `row` is its row of twin.PRECEDENCE.

    `name` is the holdout's, layer's, segment's or prerequisite's, or the variant that is given.
    `position` is the unit's point on the rule's own hash line, between `low` and `high` if it
    applies to it (a layer applies to who is outside). `found` is what a prerequisite answered with
    (empty: it does not speak), or why a force token is refused.
    """

    row: str
    applies: bool
    name: str = ""
    position: int | None = None
    low: int = 0
    high: int = 0
    found: str = ""
    tested: tuple[Tested, ...] = ()


def rules(
    route: Route,
    request: twin.Request,
    decisions: Sequence[twin.Decision],
    now_s: int,
    keys: Sequence[Key],
) -> tuple[Rule, ...]:
    """List the rules that the route has, in their order, the draw by its weights as the last."""
    token = force.read(request.first(names.FORCE_HEADER), keys, now_s)
    return (
        Rule("killed", _only(route, request, "killed", killed=route.killed)),
        *_kept_out(route, request),
        *_prerequisites(route, decisions),
        *_forced(route, request, token),
        *_listed(route, request),
        *_layer(route, request),
        *(_segment(one, request) for one in route.segments),
        Rule("weight", applies=True),
    )


def at_line(route: Route, request: twin.Request, salt: bytes) -> tuple[int, int]:
    """Return where the unit is on the line of a salt, and its second half there; zeros without."""
    found = twin.decide_one(_bare(route, salt=salt), request)
    return found.position, found.second


def tested(condition: Condition, request: twin.Request) -> Tested:
    """Test a condition and all within it."""
    found = twin_inputs.values(condition.input, request) if isinstance(condition, Check) else ()
    within = tuple(tested(one, request) for one in inner(condition))
    return Tested(condition, holds(condition, request), found, within)


def _bare(route: Route, **kept: Any) -> Route:
    """Return the route without any rule but those kept."""
    none = {"killed": False, "holdout": None, "layer": None}
    empty = dict.fromkeys(("excluded", "requires", "overrides", "segments"), ())
    return replace(route, **{**none, **empty, **kept})


def _only(route: Route, request: twin.Request, row: str, *, forced: str = "", **kept: Any) -> bool:
    """Whether the twin decides by this row where there is no other rule."""
    return twin.decide_one(_bare(route, **kept), request, forced=forced).reason == row


def _kept_out(route: Route, request: twin.Request) -> Iterator[Rule]:
    if holdout := route.holdout:
        position, _ = at_line(route, request, holdout.salt)
        applies = _only(route, request, "holdout", holdout=holdout)
        yield Rule("holdout", applies, holdout.name, position, 0, holdout.last)
    if route.excluded:
        yield Rule("excluded", _only(route, request, "excluded", excluded=route.excluded))


def _prerequisites(route: Route, decisions: Sequence[twin.Decision]) -> Iterator[Rule]:
    answered = {one.rollout: one.variant for one in decisions}
    for one in route.requires:
        found = answered.get(one.rollout, "")
        yield Rule("prerequisite", found not in one.variants, one.rollout, found=found)


def _forced(route: Route, request: twin.Request, token: force.Force) -> Iterator[Rule]:
    if not request.first(names.FORCE_HEADER):
        return
    named = token.variants.get(route.name, "")
    yield Rule("forced", _only(route, request, "forced", forced=named), named, found=token.refusal)


def _listed(route: Route, request: twin.Request) -> Iterator[Rule]:
    if route.overrides:
        named = twin.listed(route).get(twin.find_unit(route, request), "")
        applies = _only(route, request, "override", overrides=route.overrides)
        yield Rule("override", applies, named)


def _layer(route: Route, request: twin.Request) -> Iterator[Rule]:
    if layer := route.layer:
        position, _ = at_line(route, request, layer.salt)
        reason = twin.decide_one(_bare(route, layer=layer), request).reason
        applies = reason == "layer" or not twin.find_unit(route, request)
        yield Rule("layer", applies, layer.name, position, layer.first, layer.last)


def _segment(segment: Segment, request: twin.Request) -> Rule:
    found = tuple(tested(one, request) for one in segment.when)
    return Rule("segment", all(one.holds for one in found), segment.name, tested=found)
