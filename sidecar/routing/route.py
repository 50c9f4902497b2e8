"""A route: what the data path knows of a rollout, checked once, then immutable.

Rollout documents and `canary.v1` resources both become Routes; the native table and the twin are
both made from Routes. A Route that exists is valid, so nothing behind this door checks again
(the native loader excepted: it trusts nobody).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from sidecar.rollout import names
from sidecar.routing.rule_checks import check_rules
from sidecar.routing.rule_checks import refuse as _refuse
from sidecar.routing.rules import Holdout, Layer, Override, Prerequisite, Segment, thresholds

SourceKind = Literal["header", "cookie", "query", "client_address"]

_SOURCE_NAMES = {"header": names.HEADER_NAME, "cookie": names.TOKEN, "query": names.TOKEN}


@dataclass(frozen=True, slots=True)
class UnitSource:
    """One place to look for the unit: `name` is empty for client_address."""

    kind: SourceKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """`weight` is relative to its siblings; `cluster` is the Envoy cluster that serves it."""

    name: str
    weight: int
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class HardLimit:
    """What no candidate may ever do: more than `threshold` (a share) of its requests bad.

    Judged over requests that started in the last `window_s` seconds, once there are `min_count`.
    `metric` is "error_rate", or "latency": slower than `slower_than_us`.
    """

    metric: str
    threshold: float
    window_s: int
    min_count: int
    slower_than_us: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """One rollout as the data path sees it.

    `hosts` are exact or `*.suffix`, lower case, without port; none means every host. `path_prefix`
    is "" (every path) or whole segments without a trailing slash. The first variant is the
    baseline. `killed` sends everybody there. The other rules stand in the order in which they are
    looked at (docs/assignment.md); `limits` are watched beside the requests. Raises RouteError if
    any of it cannot be.
    """

    name: str
    unit: tuple[UnitSource, ...]
    salt: bytes
    variants: tuple[Variant, ...]
    hosts: tuple[str, ...] = ()
    path_prefix: str = ""
    killed: bool = False
    holdout: Holdout | None = None
    excluded: tuple[bytes, ...] = field(default=(), repr=False)
    requires: tuple[Prerequisite, ...] = ()
    overrides: tuple[Override, ...] = field(default=(), repr=False)
    layer: Layer | None = None
    segments: tuple[Segment, ...] = ()
    # Of the controller's decision; a sidecar's own holds until a higher one comes.
    revision: int = 0
    limits: tuple[HardLimit, ...] = ()
    thresholds: tuple[int, ...] = field(init=False, repr=False, compare=False)
    # What the twin made of the lists, once; by `remember`.
    by_unit: Mapping[bytes, str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_match(self)
        _check_unit(self)
        _check_variants(self)
        check_rules(self)
        _check_limits(self)
        object.__setattr__(self, "thresholds", thresholds(tuple(v.weight for v in self.variants)))
        self.remember(None)

    def remember(self, by_unit: Mapping[bytes, str] | None) -> None:
        """Keep the lists as a dict."""
        object.__setattr__(self, "by_unit", by_unit)


def _check_name(name: str) -> None:
    if not names.DNS_LABEL.fullmatch(name) or name.startswith(names.SHADOW_PREFIX):
        raise _refuse(
            name,
            "the name is not a DNS label or begins with 'shadow-'",
            "use 1-63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )


def _check_match(route: Route) -> None:
    bad = [h for h in route.hosts if not names.HOST.fullmatch(h) or len(h) > names.MAX_HOST_BYTES]
    if bad or len(route.hosts) > names.MAX_HOSTS or len(set(route.hosts)) < len(route.hosts):
        raise _refuse(
            route.name,
            f"match.hosts {bad or 'too many or repeated'}",
            f"at most {names.MAX_HOSTS} different lower-case hosts without port, or '*.suffix'",
        )
    prefix = route.path_prefix
    if not names.PATH_PREFIX.fullmatch(prefix) or len(prefix.encode()) > names.MAX_TEXT_BYTES:
        raise _refuse(
            route.name,
            f"match.pathPrefix {prefix!r}",
            "begin with '/', no empty segment, no trailing '/', no query",
        )


def _check_unit(route: Route) -> None:
    if not 1 <= len(route.unit) <= names.MAX_SOURCES:
        raise _refuse(route.name, "no unit source, or too many", f"name 1 to {names.MAX_SOURCES}")
    if len(route.salt) > names.MAX_TEXT_BYTES or b"\x00" in route.salt:
        raise _refuse(
            route.name,
            "the salt is too long or holds a NUL",
            f"at most {names.MAX_TEXT_BYTES} bytes",
        )
    for source in route.unit:
        pattern = _SOURCE_NAMES.get(source.kind)
        named = bool(pattern and pattern.fullmatch(source.name))
        if source.kind == "client_address":
            named = source.name == ""
        reserved = source.kind == "header" and source.name.startswith(names.RESERVED_PREFIX)
        if not named or reserved or len(source.name) > names.MAX_TEXT_BYTES:
            raise _refuse(
                route.name,
                f"unit source {source.kind} {source.name!r} cannot be",
                f"name a lower-case header outside {names.RESERVED_PREFIX}, a cookie or a query"
                " parameter",
            )


def _check_variants(route: Route) -> None:
    declared = [v.name for v in route.variants]
    unique = len(set(declared)) == len(declared)
    if not 1 <= len(declared) <= names.MAX_VARIANTS or not unique:
        raise _refuse(
            route.name,
            "no variant, too many, or one twice",
            f"declare 1 to {names.MAX_VARIANTS}, each once",
        )
    for variant in route.variants:
        if not names.DNS_LABEL.fullmatch(variant.name):
            raise _refuse(route.name, f"variant {variant.name!r} is not a DNS label", "rename it")
        if not 0 <= variant.weight < 1 << 64:
            raise _refuse(
                route.name, f"variant {variant.name!r} has weight {variant.weight}", "0 to 2^64-1"
            )
    if not any(v.weight for v in route.variants):
        raise _refuse(route.name, "every weight is zero", "give the baseline a weight above zero")


def _check_limits(route: Route) -> None:
    for limit in route.limits:
        share = 0 <= limit.threshold <= 1
        slow = limit.metric != "latency" or limit.slower_than_us > 0
        if not (share and slow and limit.window_s > 0 and limit.min_count > 0):
            raise _refuse(
                route.name,
                f"hard limit {limit} cannot be watched",
                "give a share from 0 to 1, a window of at least 1 s and at least 1 request"
                " (and for latency, how slow is too slow)",
            )


def by_name(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The order in which rollouts speak for a request. Raises RouteError on a name used twice."""
    ordered = tuple(sorted(routes, key=lambda route: route.name))
    for one, next_one in pairwise(ordered):
        if one.name == next_one.name:
            raise _refuse(one.name, "declared twice", "keep one of them")
    return ordered
