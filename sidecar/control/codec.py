"""Routes to `canary.v1.Rollout` bytes and back.

Encoding is deterministic, so a resource's version can be the hash of its bytes. Decoding is
strict about meaning (an assignment is never guessed) and lenient about fields it does not know.
"""

import hashlib

from google.protobuf.message import DecodeError

from sidecar.control import rule_codec
from sidecar.control.pb import rollout_pb2 as pb
from sidecar.control.rule_codec import Known
from sidecar.errors import CanaryError
from sidecar.routing import HardLimit, Route, RouteError, UnitSource, Variant

TYPE_URL = "type.googleapis.com/canary.v1.Rollout"


class ResourceError(CanaryError):
    """A resource that cannot be a route; the message names it."""


def encode(route: Route) -> bytes:
    """Serialise a route: equal routes give equal bytes."""
    message = pb.Rollout(
        name=route.name,
        assignment=pb.ASSIGNMENT_V1,
        match=pb.Match(hosts=route.hosts, path_prefix=route.path_prefix),
        unit=[_source_message(source) for source in route.unit],
        salt=route.salt,
        variants=[
            pb.Variant(name=v.name, weight=v.weight, cluster=v.cluster) for v in route.variants
        ],
        revision=route.revision,
        limits=[_limit_message(limit) for limit in route.limits],
    )
    rule_codec.write(message, route)
    return message.SerializeToString(deterministic=True)


def decode(name: str, data: bytes, known: Known | None = None) -> Route:
    """Read the resource called `name`. Raises ResourceError naming it.

    Who reads thousands gives the same `known` to all.
    """
    try:
        message = pb.Rollout.FromString(data)
    except DecodeError as error:
        raise _refuse(name, "not a canary.v1.Rollout") from error
    if message.name != name:
        raise _refuse(name, f"it calls itself {message.name!r}")
    if message.assignment != pb.ASSIGNMENT_V1:
        raise _refuse(name, f"assignment {message.assignment} is not v1, the one known here")
    try:
        return _route(name, message, known or Known())
    except rule_codec.UnknownRuleError as error:
        raise _refuse(name, f"{error}, or of a kind this release does not know") from error
    except RouteError as error:
        raise ResourceError(f"resource {name!r}: {error.args[0]}", remedy=error.remedy) from error


def weights(data: bytes) -> list[tuple[str, int]]:
    """Read nothing but the weights, (variant, weight), of a resource that `decode` could read."""
    return [(variant.name, variant.weight) for variant in pb.Rollout.FromString(data).variants]


def version_of_bytes(data: bytes) -> str:
    """Name a resource by its content: 16 hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _route(name: str, message: pb.Rollout, known: Known) -> Route:
    return Route(
        name=name,
        unit=tuple(_source(message.name, source) for source in message.unit),
        salt=message.salt,
        variants=tuple(Variant(v.name, v.weight, v.cluster) for v in message.variants),
        hosts=tuple(message.match.hosts),
        path_prefix=message.match.path_prefix,
        **rule_codec.read(message, known),
        revision=message.revision,
        limits=tuple(
            HardLimit(one.metric, one.threshold, one.window_s, one.min_count, one.slower_than_us)
            for one in message.limits
        ),
    )


def _limit_message(limit: HardLimit) -> pb.HardLimit:
    return pb.HardLimit(
        metric=limit.metric,
        threshold=limit.threshold,
        window_s=limit.window_s,
        min_count=limit.min_count,
        slower_than_us=limit.slower_than_us,
    )


def _source_message(source: UnitSource) -> pb.UnitSource:
    if source.kind == "client_address":
        return pb.UnitSource(client_address=pb.ClientAddress())
    message = pb.UnitSource()
    setattr(message, source.kind, source.name)
    return message


def _source(rollout: str, message: pb.UnitSource) -> UnitSource:
    kind = message.WhichOneof("source")
    if kind is None:
        raise _refuse(rollout, "a unit source is unset, or of a kind this release does not know")
    return UnitSource(kind, "" if kind == "client_address" else getattr(message, kind))


def _refuse(name: str, what: str) -> ResourceError:
    return ResourceError(
        f"resource {name!r}: {what}",
        remedy="let a controller of this or an older release send it, or upgrade this sidecar",
    )
