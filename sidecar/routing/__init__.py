"""Rollouts become a routing table; the only door to the native core.

`Table` is the native one; `twin` is its specification in Python. Who wants to know how a request
is decided reads twin.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.routing import limiting, ruling
from sidecar.routing._native import Rows, Table, bucket, hash128
from sidecar.routing.compiling import Draft, compile_table, version_of
from sidecar.routing.route import HardLimit, Route, UnitSource, Variant, by_name
from sidecar.routing.rule_checks import RouteError
from sidecar.routing.weighing import scale

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from sidecar.rollout import Rollout

__all__ = [
    "Draft",
    "HardLimit",
    "Route",
    "RouteError",
    "Rows",
    "Table",
    "UnitSource",
    "Variant",
    "bucket",
    "by_name",
    "compile_table",
    "hash128",
    "route_of",
    "scale",
    "version_of",
]


def route_of(
    rollout: Rollout, weights: Mapping[str, Decimal], revision: int = 0, *, killed: bool = False
) -> Route:
    """Return the route of a rollout document with the weights in force (by variant name).

    `revision` is that of the decision that put them in force. `killed` sends everybody to the
    baseline. Raises RouteError if those weights cannot be.
    """
    scaled = scale(weights)
    return Route(
        name=rollout.name,
        unit=tuple(UnitSource(source.kind, source.name) for source in rollout.unit),
        salt=rollout.salt.encode(),
        variants=tuple(Variant(v.name, scaled[v.name], v.cluster) for v in rollout.variants),
        hosts=rollout.hosts,
        path_prefix=rollout.path_prefix,
        killed=killed,
        holdout=ruling.holdout(rollout),
        excluded=ruling.excluded(rollout),
        requires=ruling.requires(rollout),
        overrides=ruling.overrides(rollout),
        layer=ruling.layer(rollout),
        segments=ruling.segments(rollout),
        revision=revision,
        limits=limiting.limits(rollout),
    )
