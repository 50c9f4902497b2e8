"""Checks of a route's rules: whatever the data path could not carry out is refused here.

A rollout document has its own checks, with line and remedy; these guard the door for resources
that come over the wire.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import CanaryError
from sidecar.rollout import names, regexes, values
from sidecar.routing.rules import AllOf, AnyOf, Check, Not

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.routing.route import Route
    from sidecar.routing.rules import Bound, Condition, Holdout, Input, Layer, Segment

_NAMED = {
    "header": names.HEADER_NAME,
    "cookie": names.TOKEN,
    "query": names.TOKEN,
    "attribute": names.ATTRIBUTE,
}
_TEXT_OPERATORS = ("exact", "prefix", "suffix", "contains", "regex")
_RANGES = {"number": values.number, "semver": values.version, "date": values.date}


class RouteError(CanaryError):
    """A route that cannot be: it is refused and the one in force stays."""


def refuse(route: str, what: str, remedy: str) -> RouteError:
    """Make the error that names the rollout."""
    return RouteError(f"rollout {route!r}: {what}", remedy=remedy)


def check_rules(route: Route) -> None:
    """Check everything beyond match, unit and variants. Raises RouteError."""
    _check_shares(route)
    _check_requires(route)
    _check_lists(route)
    declared = [segment.name for segment in route.segments]
    if len(declared) > names.MAX_SEGMENTS or len(set(declared)) < len(declared):
        raise refuse(
            route.name,
            "too many segments, or one twice",
            f"declare at most {names.MAX_SEGMENTS}, each once",
        )
    for segment in route.segments:
        _check_segment(route, segment)
    if sum(_surveyed(segment).conditions for segment in route.segments) > names.MAX_CONDITIONS:
        raise refuse(
            route.name, "too many conditions", f"use at most {names.MAX_CONDITIONS} in all segments"
        )


def walk(conditions: tuple[Condition, ...]) -> Iterator[Condition]:
    """List every condition, the nested ones too, each before those within it."""
    for one in conditions:
        yield one
        yield from walk(inner(one))


def inner(condition: Condition) -> tuple[Condition, ...]:
    """Return the conditions right within one."""
    if isinstance(condition, Not):
        return (condition.condition,)
    return condition.conditions if isinstance(condition, AllOf | AnyOf) else ()


class Survey(NamedTuple):
    """What conditions come to, with all that are in them, and the first that cannot be."""

    conditions: int
    depth: int
    misfit: Condition | None


def _surveyed(segment: Segment) -> Survey:
    if segment.survey is None:
        segment.remember(_survey(segment.when))
    found: Survey = segment.survey
    return found


def _survey(conditions: tuple[Condition, ...]) -> Survey:
    count, depth, misfit = len(conditions), 0, None
    for one in conditions:
        if misfit is None and not _fits(one):
            misfit = one
        if within := inner(one):
            below = _survey(within)
            count += below.conditions
            depth = max(depth, below.depth)
            misfit = misfit or below.misfit
    return Survey(count, depth + 1, misfit)


def _check_shares(route: Route) -> None:
    holdout, layer = route.holdout, route.layer
    if holdout is not None and not _is_holdout(holdout):
        raise refuse(route.name, f"holdout {holdout} cannot be", "name a share above 0 up to all")
    if layer is not None and not _is_layer(layer):
        raise refuse(
            route.name,
            f"layer {layer} cannot be",
            "begin the slice before it ends, within 0 to all",
        )


def _is_holdout(one: Holdout) -> bool:
    named = names.DNS_LABEL.fullmatch(one.name)
    return bool(named) and 0 < one.part <= one.whole < 1 << 64


def _is_layer(one: Layer) -> bool:
    named = names.DNS_LABEL.fullmatch(one.name)
    return bool(named) and 0 <= one.start < one.end <= one.whole < 1 << 60


def _check_requires(route: Route) -> None:
    others = [one.rollout for one in route.requires]
    if len(others) > names.MAX_REQUIRES or len(set(others)) < len(others):
        raise refuse(
            route.name,
            "too many prerequisites, or one twice",
            f"require at most {names.MAX_REQUIRES} other rollouts, each once",
        )
    for one in route.requires:
        texts = (one.rollout, *one.variants)
        few = 0 < len(one.variants) <= names.MAX_VARIANTS
        if not few or not all(names.DNS_LABEL.fullmatch(text) for text in texts):
            raise refuse(
                route.name, f"prerequisite {one.rollout!r} cannot be", "name it and its variants"
            )
        if one.rollout == route.name:
            raise refuse(route.name, "it requires itself", "remove that prerequisite")


def _check_lists(route: Route) -> None:
    known = {variant.name for variant in route.variants}
    for override in route.overrides:
        if override.variant not in known:
            raise refuse(
                route.name, f"override of unknown variant {override.variant!r}", "declare it"
            )
    lists = [route.excluded, *(override.units for override in route.overrides)]
    count = sum(map(len, lists))
    if count > names.MAX_UNITS or len(set(chain.from_iterable(lists))) < count:
        raise refuse(
            route.name,
            "too many listed units, or one twice",
            f"list at most {names.MAX_UNITS}, each once",
        )
    if not all(0 < len(unit) <= names.MAX_TEXT_BYTES for units in lists for unit in units):
        raise refuse(
            route.name,
            "a listed unit is empty or too long",
            f"use 1 to {names.MAX_TEXT_BYTES} bytes",
        )


def _check_segment(route: Route, segment: Segment) -> None:
    where = f"segment {segment.name!r}"
    if not names.DNS_LABEL.fullmatch(segment.name):
        raise refuse(route.name, f"{where} is not a DNS label", "rename it")
    known = [variant.name for variant in route.variants]
    fits = len(segment.weights) == len(known) and any(segment.weights) and not segment.variant
    if segment.variant:
        fits = segment.variant in known and not segment.weights and segment.salt is None
    if not fits or not all(0 <= weight < 1 << 64 for weight in segment.weights):
        raise refuse(
            route.name,
            f"{where} has neither one variant nor a weight for each",
            "give it a declared variant, or weights that are not all 0",
        )
    if segment.salt is not None and (
        len(segment.salt) > names.MAX_TEXT_BYTES or b"\0" in segment.salt
    ):
        raise refuse(route.name, f"{where}: the salt is too long or holds a NUL", "shorten it")
    found = _surveyed(segment)
    if not segment.when or found.depth > names.MAX_DEPTH:
        raise refuse(
            route.name,
            f"{where} has no condition, or nests them too deep",
            f"use 1 or more, at most {names.MAX_DEPTH} deep",
        )
    if found.misfit:
        raise refuse(
            route.name,
            f"{where}: condition {str(found.misfit)[:200]} cannot be",
            "compare docs/rollout.md, or let a release of this age send it",
        )


def _fits(condition: Condition) -> bool:
    if isinstance(condition, Not):
        return True
    if isinstance(condition, AllOf | AnyOf):
        return bool(condition.conditions)
    return _input_fits(condition.input) and _operand_fits(condition)


# The same few are asked for everywhere.
@lru_cache(maxsize=256)
def _input_fits(asked: Input) -> bool:
    if any(len(text.encode()) > names.MAX_TEXT_BYTES for text in asked.name):
        return False
    if asked.kind in _NAMED:
        [name] = asked.name if len(asked.name) == 1 else [""]
        reserved = asked.kind == "header" and name.startswith(names.RESERVED_PREFIX)
        return bool(_NAMED[asked.kind].fullmatch(name)) and not reserved
    if asked.kind == "metadata":
        return 2 <= len(asked.name) <= names.MAX_KEYS + 1 and all(asked.name)
    return asked.kind in {"path", "host", "client_address"} and not asked.name


def _operand_fits(check: Check) -> bool:
    texts, bounds = check.texts, (check.low, check.high)
    if check.operator in _RANGES:
        return not texts and any(bounds) and all(_is_bound(check.operator, one) for one in bounds)
    if any(bounds):
        return False
    if check.operator in _TEXT_OPERATORS or check.operator == "present":
        return _few_fit(check.operator, texts)
    return _many_fit(check.operator, texts)


def _few_fit(operator: str, texts: tuple[bytes, ...]) -> bool:
    if operator == "present":
        return not texts
    short = len(texts) == 1 and 0 < len(texts[0]) <= names.MAX_TEXT_BYTES
    return short and (operator != "regex" or regexes.mistake(texts[0]) is None)


def _many_fit(operator: str, texts: tuple[bytes, ...]) -> bool:
    if not 0 < len(texts) <= names.MAX_LISTED or len(set(texts)) < len(texts):
        return False
    if operator == "cidr":
        return all(values.network(text.decode("ascii", "replace")) for text in texts)
    return operator == "in" and all(0 < len(t) <= names.MAX_TEXT_BYTES for t in texts)


def _is_bound(operator: str, bound: Bound | None) -> bool:
    return bound is None or _RANGES[operator](bound.text.encode()) is not None
