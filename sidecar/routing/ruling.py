"""The rules of a rollout document become rules of a route."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sidecar.rollout.names import MAX_WEIGHT_DECIMALS
from sidecar.routing import rules
from sidecar.routing.weighing import scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sidecar.rollout import Rollout
    from sidecar.rollout import rules as documents

_WHOLE = Decimal(100)
# 100 %, in the finest parts that a share is given in.
_GRAINS = 100 * 10**MAX_WEIGHT_DECIMALS
_TEXTS: tuple[rules.Operator, ...] = ("exact", "prefix", "suffix", "contains", "regex")


def holdout(rollout: Rollout) -> rules.Holdout | None:
    """Return the share that is held out."""
    said = rollout.spec.holdout
    return rules.Holdout(said.name, _grains(said.percent), _GRAINS) if said else None


def layer(rollout: Rollout) -> rules.Layer | None:
    """Return the slice of the layer."""
    said = rollout.spec.layer
    if not said:
        return None
    return rules.Layer(said.name, _grains(said.from_), _grains(said.to), _GRAINS)


def excluded(rollout: Rollout) -> tuple[bytes, ...]:
    """Return the units that always get the baseline."""
    return _encoded(rollout.spec.exclude)


def overrides(rollout: Rollout) -> tuple[rules.Override, ...]:
    """Return the units that get a variant by name."""
    return tuple(rules.Override(one.variant, _encoded(one.units)) for one in rollout.spec.overrides)


def requires(rollout: Rollout) -> tuple[rules.Prerequisite, ...]:
    """Return the prerequisites."""
    return tuple(rules.Prerequisite(one.rollout, one.variants) for one in rollout.spec.requires)


def segments(rollout: Rollout) -> tuple[rules.Segment, ...]:
    """Return the segments in their order."""
    declared = [variant.name for variant in rollout.variants]
    return tuple(_segment(one, declared) for one in rollout.spec.segments)


def _segment(one: documents.Segment, declared: list[str]) -> rules.Segment:
    when = tuple(map(condition, one.when))
    if one.variant:
        return rules.Segment(one.name, when, variant=one.variant)
    salt = one.salt.encode() if one.salt else None
    return rules.Segment(one.name, when, weights=_weights(one.weights, declared), salt=salt)


def _weights(said: Mapping[str, Decimal], declared: list[str]) -> tuple[int, ...]:
    """Fill in what is not named: nothing for a candidate, the rest of 100 for the baseline."""
    full = {name: said.get(name, Decimal(0)) for name in declared}
    if declared[0] not in said:
        full[declared[0]] = _WHOLE - sum(said.values(), Decimal(0))
    return tuple(scale(full).values())


def condition(said: documents.Condition) -> rules.Condition:
    """Convert a condition with all that is in it."""
    there = said.model_fields_set
    if "not_" in there:
        return rules.Not(condition(said.not_))
    if "all_of" in there:
        return rules.AllOf(tuple(map(condition, said.all_of)))
    if "any_of" in there:
        return rules.AnyOf(tuple(map(condition, said.any_of)))
    asked = _input(said)
    if "present" in there:
        check = rules.Check(asked, "present")
        return check if said.present else rules.Not(check)
    return _check(said, asked)


def _input(said: documents.Condition) -> rules.Input:
    there = said.model_fields_set
    if "metadata" in there:
        return rules.Input("metadata", (said.metadata.filter, *said.metadata.path))
    if "method" in there:
        return rules.Input("header", (":method",))
    named: tuple[rules.InputKind, ...] = ("header", "cookie", "query", "attribute")
    for kind in named:
        if kind in there:
            return rules.Input(kind, (getattr(said, kind),))
    bare: tuple[rules.InputKind, ...] = ("path", "host", "client_address")
    return rules.Input(next(kind for kind in bare if kind in there))


def _check(said: documents.Condition, asked: rules.Input) -> rules.Check:
    there = said.model_fields_set
    if "in_" in there:
        return rules.Check(asked, "in", tuple(sorted(_encoded(said.in_))))
    if "cidr" in there:
        return rules.Check(asked, "cidr", tuple(sorted(_encoded(said.cidr))))
    for operator in _TEXTS:
        if operator in there:
            return rules.Check(asked, operator, (getattr(said, operator).encode(),))
    ranged: tuple[rules.Operator, ...] = ("number", "semver", "date")
    operator = next(one for one in ranged if one in there)
    found = getattr(said, operator)
    low = _bound(found, above=False, at_least=True, after=False)
    high = _bound(found, below=False, at_most=True, before=False)
    return rules.Check(asked, operator, (), low, high)


def _bound(found: object, **ends: bool) -> rules.Bound | None:
    there: set[str] = getattr(found, "model_fields_set", set())
    for name, inclusive in ends.items():
        if name in there:
            value = getattr(found, name)
            text = f"{value:f}" if isinstance(value, Decimal) else value
            return rules.Bound(text, inclusive)
    return None


def _grains(percent: Decimal) -> int:
    return int(percent.scaleb(MAX_WEIGHT_DECIMALS))


def _encoded(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)
