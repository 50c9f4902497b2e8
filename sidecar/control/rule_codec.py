"""The rules of a route to and from `canary.v1` messages, for `codec`.

What is unset, or of a kind this release does not know, has no meaning here: UnknownRuleError.
"""

from collections.abc import Iterable
from typing import Any

from sidecar.control.pb import rollout_pb2 as pb
from sidecar.routing import rules

_NAMED = ("header", "cookie", "query", "attribute")
_TEXT = ("exact", "prefix", "suffix", "contains", "regex")
_RANGES = ("number", "semver", "date")
_MOST_KNOWN = 1_024


class UnknownRuleError(Exception):
    """A rule of a kind that this release does not know; the message says where."""


# ---- writing ---------------------------------------------------------------------------------


def write(message: pb.Rollout, route: Any) -> None:
    """Fill in the rules of a route."""
    message.killed = route.killed
    if route.holdout:
        one = route.holdout
        message.holdout.CopyFrom(pb.Holdout(name=one.name, part=one.part, whole=one.whole))
    message.excluded.extend(route.excluded)
    message.requires.extend(
        pb.Prerequisite(rollout=one.rollout, variants=one.variants) for one in route.requires
    )
    message.overrides.extend(
        pb.Override(variant=one.variant, units=one.units) for one in route.overrides
    )
    if route.layer:
        two = route.layer
        message.layer.CopyFrom(
            pb.Layer(name=two.name, start=two.start, end=two.end, whole=two.whole)
        )
    message.segments.extend(map(_segment_message, route.segments))


def _segment_message(segment: rules.Segment) -> pb.Segment:
    message = pb.Segment(name=segment.name, when=map(_condition_message, segment.when))
    if segment.variant:
        message.variant = segment.variant
    else:
        message.draw.CopyFrom(pb.Draw(weights=segment.weights, salt=segment.salt))
    return message


def _condition_message(condition: rules.Condition) -> pb.Condition:
    message = pb.Condition()
    if isinstance(condition, rules.Not):
        getattr(message, "not").CopyFrom(_condition_message(condition.condition))
    elif isinstance(condition, rules.AllOf):
        message.all_of.CopyFrom(_conditions_message(condition.conditions))
    elif isinstance(condition, rules.AnyOf):
        message.any_of.CopyFrom(_conditions_message(condition.conditions))
    else:
        message.check.CopyFrom(_check_message(condition))
    return message


def _conditions_message(conditions: Iterable[rules.Condition]) -> pb.Conditions:
    return pb.Conditions(conditions=map(_condition_message, conditions))


def _check_message(check: rules.Check) -> pb.Check:
    message = pb.Check(input=_input_message(check.input))
    if check.operator in _TEXT:
        setattr(message, check.operator, check.texts[0])
    elif check.operator in _RANGES:
        ends = pb.Range(low=_bound_message(check.low), high=_bound_message(check.high))
        getattr(message, check.operator).CopyFrom(ends)
    elif check.operator == "present":
        message.present.SetInParent()
    else:
        getattr(message, check.operator).CopyFrom(pb.Texts(texts=check.texts))
    return message


def _bound_message(bound: rules.Bound | None) -> pb.Bound | None:
    return pb.Bound(text=bound.text, inclusive=bound.inclusive) if bound else None


def _input_message(asked: rules.Input) -> pb.Input:
    message = pb.Input()
    if asked.kind in _NAMED:
        setattr(message, asked.kind, asked.name[0])
    elif asked.kind == "metadata":
        message.metadata.CopyFrom(pb.Metadata(filter=asked.name[0], keys=asked.name[1:]))
    else:
        getattr(message, asked.kind).SetInParent()
    return message


# ---- reading ---------------------------------------------------------------------------------


class Known:
    """The segments that were read lately, by their bytes.

    Thousands of rollouts share a few (staff, a region): each is read and checked once, as long as
    this lives, which is while one table is made.
    """

    def __init__(self) -> None:
        self._segments: dict[bytes, rules.Segment] = {}

    def segment(self, message: pb.Segment) -> rules.Segment:
        """Read one, or return the very same as before. Raises UnknownRuleError."""
        said = message.SerializeToString(deterministic=True)
        found = self._segments.get(said)
        if found is None:
            found = _segment(message)
            if len(self._segments) >= _MOST_KNOWN:
                self._segments.clear()
            self._segments[said] = found
        return found


def read(message: pb.Rollout, known: Known) -> dict[str, Any]:
    """Return the fields of a Route that are rules. Raises UnknownRuleError."""
    holdout, layer = message.holdout, message.layer
    return {
        "killed": message.killed,
        "holdout": rules.Holdout(holdout.name, holdout.part, holdout.whole)
        if message.HasField("holdout")
        else None,
        "excluded": tuple(message.excluded),
        "requires": tuple(
            rules.Prerequisite(one.rollout, tuple(one.variants)) for one in message.requires
        ),
        "overrides": tuple(
            rules.Override(one.variant, tuple(one.units)) for one in message.overrides
        ),
        "layer": rules.Layer(layer.name, layer.start, layer.end, layer.whole)
        if message.HasField("layer")
        else None,
        "segments": tuple(map(known.segment, message.segments)),
    }


def _segment(message: pb.Segment) -> rules.Segment:
    when = tuple(map(_condition, message.when))
    gives = message.WhichOneof("gives")
    if gives == "variant":
        return rules.Segment(message.name, when, variant=message.variant)
    if gives is None:
        raise UnknownRuleError(f"segment {message.name!r} gives nothing that is known")
    salt = message.draw.salt if message.draw.HasField("salt") else None
    return rules.Segment(message.name, when, weights=tuple(message.draw.weights), salt=salt)


def _condition(message: pb.Condition) -> rules.Condition:
    kind = message.WhichOneof("is")
    if kind is None:
        raise UnknownRuleError("a condition is unset")
    found = getattr(message, kind)
    if kind == "not":
        return rules.Not(_condition(found))
    if kind == "check":
        return _check(found)
    group = rules.AllOf if kind == "all_of" else rules.AnyOf
    return group(tuple(map(_condition, found.conditions)))


def _check(message: pb.Check) -> rules.Check:
    operator: Any = message.WhichOneof("operator")
    if operator is None:
        raise UnknownRuleError("an operator is unset")
    asked, found = _input(message.input), getattr(message, operator)
    if operator in _TEXT:
        return rules.Check(asked, operator, (found,))
    if operator in _RANGES:
        low = _bound(found.low) if found.HasField("low") else None
        high = _bound(found.high) if found.HasField("high") else None
        return rules.Check(asked, operator, (), low, high)
    texts = () if operator == "present" else tuple(found.texts)
    return rules.Check(asked, operator, texts)


def _bound(message: pb.Bound) -> rules.Bound:
    return rules.Bound(message.text, message.inclusive)


def _input(message: pb.Input) -> rules.Input:
    kind: Any = message.WhichOneof("input")
    if kind is None:
        raise UnknownRuleError("an input is unset")
    if kind in _NAMED:
        return rules.Input(kind, (getattr(message, kind),))
    if kind == "metadata":
        return rules.Input(kind, (message.metadata.filter, *message.metadata.keys))
    return rules.Input(kind)
