"""Which segments hand a variant to whoever asks for it: inputs that a client writes, alone.

A share of the people by client input is normal; a grant by it is allowed, but never silent.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from sidecar.rollout.document import Rollout
from sidecar.rollout.rules import Condition, Segment
from sidecar.rollout.tree import Parsed, Problem, place

# Envoy writes or removes these itself, whatever a client sends.
_ENVOYS = frozenset(("x-envoy-external-address", "x-envoy-internal", "x-forwarded-client-cert"))
_COPIED = "envoy.filters.http.header_to_metadata"
_CLIENTS = ("header", "cookie", "query", "path", "method", "host")


def grants(document: Parsed, rollout: Rollout) -> Iterator[Problem]:
    """Warn of every segment that grants a variant outright by what the client says alone."""
    for index, segment in enumerate(rollout.spec.segments if rollout.variants else ()):
        baseline = rollout.variants[0].name
        granted = _granted(segment, baseline)
        if granted and granted != baseline and _is_claimed(segment):
            loc = ("spec", "segments", index)
            yield Problem(
                place(document, loc),
                loc,
                f"gives {granted!r} to whoever says so: every input of segment {segment.name!r}"
                " is written by the client",
                "add a verified condition (metadata of jwt_authn, clientAddress, an attribute), or"
                " let it be, if anybody may have the variant",
            )


def _granted(segment: Segment, baseline: str) -> str:
    """Name the one variant that everybody of the segment gets; "" if there is none."""
    if segment.variant:
        return segment.variant
    weights: Mapping[str, Decimal] = {name: w for name, w in segment.weights.items() if w > 0}
    rest = baseline not in segment.weights and sum(weights.values(), Decimal(0)) < 100
    return next(iter(weights)) if len(weights) == 1 and not rest else ""


def _is_claimed(segment: Segment) -> bool:
    reads = any(map(_reads_client, segment.when))
    return reads and not any(map(is_verified, segment.when))


def is_verified(condition: Condition) -> bool:
    """Whether it cannot hold by what the client says alone.

    A negation of something verified holds for everybody else, so it vouches for nobody.
    """
    there = condition.model_fields_set
    if "not_" in there:
        return False
    if "all_of" in there:
        return any(map(is_verified, condition.all_of))
    if "any_of" in there:
        return all(map(is_verified, condition.any_of))
    denies = "present" in there and not condition.present
    return not denies and not _is_clients(condition)


def _reads_client(condition: Condition) -> bool:
    there = condition.model_fields_set
    inner = (*condition.all_of, *condition.any_of)
    if "not_" in there:
        inner = (condition.not_,)
    return any(map(_reads_client, inner)) if inner else _is_clients(condition)


def _is_clients(condition: Condition) -> bool:
    there = condition.model_fields_set
    if "metadata" in there:
        return condition.metadata.filter == _COPIED
    return any(kind in there for kind in _CLIENTS) and condition.header not in _ENVOYS
