"""Rollouts become the Envoy configuration that carries them: a bootstrap as a plain dict.

What a rule may see (`forwarding`), where a variant lives (clusters) and which header leads
there (routes) are all derived from the rollouts, so none of them can be forgotten. The reason
of every hardening line stands in deploy/envoy/README.md; `fitting.py` checks configurations
that people wrote themselves.

Which rollout routes a request follows Gateway API: the most specific host first, then the
longest path prefix. The others still speak (header and metadata), they do not route.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import groupby
from typing import Any

from sidecar.errors import CanaryError
from sidecar.extproc import forwarding, tagging
from sidecar.rollout import Rollout, Variant
from sidecar.rollout.names import RESERVED_PREFIX
from sidecar.routing import Route
from sidecar.routing import Variant as RouteVariant

Json = dict[str, Any]

TYPES = "type.googleapis.com/envoy.extensions."
SIDECAR_CLUSTER = "canary_sidecar"
# What CGI and WSGI servers cannot tell from the reserved prefix.
RESERVED_LOOKALIKE = "x[-_]canary[-_].*"
EXT_PROC_STATS = "canary"
INGRESS_STATS = "ingress"
# Envoy's default of 1024 would answer 500 once so many decisions are in flight.
NO_BREAKER = 1_000_000

_UNIX = re.compile(r"unix:(?://)?(?P<path>/.+)")
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/,]+):(?P<port>\d{1,5})")


class BootstrapError(CanaryError):
    """Rollouts and options from which no sane Envoy configuration can be made."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a cluster's service is: `address` as in `socket_address()`; `http2` for gRPC."""

    address: str
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What the rollouts do not say. Addresses are `host:port` or `unix:///path`.

    `access_log` is a file, `otlp` the address of a collector of spans: none if empty. Without
    `outcomes` the sidecar hears of no answer, and nobody can watch a launch. `filters` are HTTP
    filters that run before the decision, such as jwt_authn, whose claims rules may look at.
    """

    listen: str = "127.0.0.1:10000"
    admin: str = "127.0.0.1:9901"
    ext_proc: str = "unix:///run/canary/ext_proc.sock"
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    access_log: str = ""
    otlp: str = ""
    trace_percent: float = 100.0
    outcomes: bool = True
    filters: tuple[Json, ...] = ()


def bootstrap(rollouts: Iterable[Rollout], options: Options) -> Json:
    """Return a complete static Envoy bootstrap.

    Raises BootstrapError on an address that cannot be, a cluster without an upstream, an
    upstream without a cluster, or two rollouts that claim the same requests.
    """
    ordered = sorted(rollouts, key=lambda rollout: rollout.name)
    named = clusters_of(ordered)
    _check_upstreams(named, options.upstreams)
    upstreams = [_cluster(name, options.upstreams[name]) for name in named]
    return {
        "node": {"id": "canary", "cluster": "canary"},
        "admin": {"address": _address(options.admin)},
        "static_resources": {
            "listeners": [_listener(ordered, options)],
            "clusters": [_sidecar_cluster(options.ext_proc), *_otlp_cluster(options), *upstreams],
        },
    }


def clusters_of(rollouts: Iterable[Rollout]) -> tuple[str, ...]:
    """List every cluster that some variant needs, each once, in the order of declaration."""
    return tuple(dict.fromkeys(v.cluster for rollout in rollouts for v in rollout.variants))


def candidates(rollout: Rollout | Route) -> tuple[Variant | RouteVariant, ...]:
    """List the variants that need their own route: those that do not live with the baseline."""
    baseline, *others = rollout.variants
    return tuple(variant for variant in others if variant.cluster != baseline.cluster)


def parse_upstreams(texts: Iterable[str]) -> dict[str, Upstream]:
    """Read NAME=ADDRESS[,h2] of each. Raises BootstrapError on anything else, or a name twice."""
    named: dict[str, Upstream] = {}
    for text in texts:
        name, upstream = _upstream(text)
        if name in named:
            raise BootstrapError(f"two upstreams for cluster {name!r}", remedy="give one of them")
        named[name] = upstream
    return named


def _upstream(text: str) -> tuple[str, Upstream]:
    name, found, rest = text.partition("=")
    address, _, protocol = rest.partition(",")
    if not name or not found or protocol not in {"", "h2"}:
        raise BootstrapError(
            f"upstream {text!r} is not NAME=ADDRESS[,h2]",
            remedy="write --upstream chat-model-stable=127.0.0.1:8081, with ,h2 for gRPC",
        )
    _address(address)
    return name, Upstream(address, http2=protocol == "h2")


# --- routes -----------------------------------------------------------------------------------


def _virtual_hosts(rollouts: list[Rollout]) -> list[Json]:
    hosts = sorted({host for rollout in rollouts for host in rollout.hosts} | {"*"})
    by_routes: dict[tuple[str, ...], list[str]] = {}
    chosen: dict[tuple[str, ...], list[Rollout]] = {}
    for host in hosts:
        routing = _routing(rollouts, host)
        key = tuple(rollout.name for rollout in routing)
        by_routes.setdefault(key, []).append(host)
        chosen[key] = routing
    return [
        {
            "name": "-".join(key),
            "domains": domains,
            "routes": [route for rollout in chosen[key] for route in _routes(rollout)],
        }
        for key, domains in sorted(by_routes.items())
        if key
    ]


def _routing(rollouts: list[Rollout], host: str) -> list[Rollout]:
    """List the rollouts that route requests for `host` (a virtual host's domain), best first."""

    def rank(rollout: Rollout) -> tuple[int, int, str]:
        return (-_specificity(rollout, host), -len(rollout.path_prefix), rollout.path_prefix)

    speaking = sorted((r for r in rollouts if _specificity(r, host) >= 0), key=rank)
    routing: list[Rollout] = []
    for _, equals in groupby(speaking, key=rank):
        one = _only_router(list(equals))
        if not any(_covers(earlier.path_prefix, one.path_prefix) for earlier in routing):
            routing.append(one)
    return routing


def _specificity(rollout: Rollout, host: str) -> int:
    """How closely a rollout's hosts fit: -1 not at all, 0 any host, else characters that match."""
    if not rollout.hosts:
        return 0
    exact = [2 * len(h) + 1 for h in rollout.hosts if h == host]
    wild = [2 * len(h) for h in rollout.hosts if h[:2] == "*." and host.endswith(h[1:])]
    return max(exact + wild, default=-1)


def _covers(prefix: str, other: str) -> bool:
    return other == prefix or other.startswith(f"{prefix}/")


def _only_router(equals: list[Rollout]) -> Rollout:
    """Of rollouts for the same hosts and paths, the one that sends variants to clusters."""
    routers = [r for r in equals if candidates(r)] or equals
    first, *others = routers
    rivals = [
        r for r in others if candidates(r) or r.variants[0].cluster != clusters_of([first])[0]
    ]
    if rivals:
        raise BootstrapError(
            f"rollouts {first.name!r} and {rivals[0].name!r} both route the same hosts and paths",
            remedy="narrow match.hosts or match.pathPrefix of one, or give all variants of one of "
            "them the same cluster (it then speaks by its header and routes nothing)",
        )
    return first


def _routes(rollout: Rollout) -> list[Json]:
    prefix = rollout.path_prefix
    path = {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}
    header = f"{RESERVED_PREFIX}{rollout.name}"
    leads = [
        {
            "match": {
                **path,
                "headers": [{"name": header, "string_match": {"exact": variant.name}}],
            },
            "route": _action(variant.cluster),
        }
        for variant in candidates(rollout)
    ]
    return [*leads, {"match": path, "route": _action(rollout.variants[0].cluster)}]


def _action(cluster: str) -> Json:
    # Retries only what no upstream has begun to work on; answers may stream for any time.
    return {
        "cluster": cluster,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
        },
    }


# --- listener ---------------------------------------------------------------------------------


def _listener(rollouts: list[Rollout], options: Options) -> Json:
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": INGRESS_STATS,
            **_tagged(rollouts, options),
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "request_headers_timeout": "10s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "early_header_mutation_extensions": [_strip()],
            "route_config": {
                "name": "canary",
                "ignore_port_in_host_matching": True,
                "virtual_hosts": _virtual_hosts(rollouts),
            },
            "http_filters": [
                *options.filters,
                _ext_proc(rollouts),
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"},
                },
            ],
        },
    }
    return {
        "name": INGRESS_STATS,
        "address": _address(options.listen),
        "filter_chains": [{"filters": [manager]}],
    }


def _tagged(rollouts: list[Rollout], options: Options) -> Json:
    tagged: Json = {}
    name = forwarding.declared(rollouts).log_name()
    logs = [tagging.outcome_log(SIDECAR_CLUSTER, name)] if options.outcomes else []
    if options.access_log:
        logs += tagging.access_log(rollouts, options.access_log)
    if logs:
        tagged["access_log"] = logs
    if options.otlp:
        tagged["tracing"] = tagging.tracing(rollouts, options.trace_percent)
    return tagged


def _strip() -> Json:
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{TYPES}http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove_on_match": {"key_matcher": {"prefix": RESERVED_PREFIX}}},
                {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": RESERVED_LOOKALIKE}}}},
            ],
        },
    }


def _ext_proc(rollouts: list[Rollout]) -> Json:
    return {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": f"{TYPES}filters.http.ext_proc.v3.ExternalProcessor",
            "stat_prefix": EXT_PROC_STATS,
            "grpc_service": {
                "envoy_grpc": {"cluster_name": SIDECAR_CLUSTER, "skip_envoy_headers": True}
            },
            "failure_mode_allow": True,
            "message_timeout": "0.2s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SKIP",
                "request_body_mode": "NONE",
                "response_body_mode": "NONE",
                "request_trailer_mode": "SKIP",
                "response_trailer_mode": "SKIP",
            },
            "route_cache_action": "CLEAR",
            "mutation_rules": {
                "disallow_all": True,
                "allow_expression": {"regex": f"{RESERVED_PREFIX}.*"},
            },
            **forwarding.rules(rollouts),
        },
    }


# --- clusters ---------------------------------------------------------------------------------


def _sidecar_cluster(address: str) -> Json:
    many = dict.fromkeys(["max_connections", "max_pending_requests", "max_requests"], NO_BREAKER)
    return {
        **_cluster(SIDECAR_CLUSTER, Upstream(address, http2=True)),
        "connect_timeout": "0.25s",
        "circuit_breakers": {"thresholds": [many]},
    }


def _otlp_cluster(options: Options) -> list[Json]:
    given = [options.otlp] if options.otlp else []
    return [_cluster(tagging.OTLP_CLUSTER, Upstream(address, http2=True)) for address in given]


def _cluster(name: str, upstream: Upstream) -> Json:
    address = _address(upstream.address)
    protocol = {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STRICT_DNS" if _is_dns_name(address) else "STATIC",
        "connect_timeout": "1s",
        **(protocol if upstream.http2 else {}),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _check_upstreams(needed: tuple[str, ...], given: Mapping[str, Upstream]) -> None:
    for own in (SIDECAR_CLUSTER, tagging.OTLP_CLUSTER):
        if own in needed:
            raise BootstrapError(
                f"cluster {own!r} is the sidecar's own", remedy="rename the variant's cluster"
            )
    if missing := [name for name in needed if name not in given]:
        raise BootstrapError(
            f"no upstream for cluster {', '.join(map(repr, missing))}",
            remedy=f"add --upstream {missing[0]}=HOST:PORT (,h2 for gRPC)",
        )
    if unknown := [name for name in given if name not in needed]:
        raise BootstrapError(
            f"no variant is served by cluster {', '.join(map(repr, unknown))}",
            remedy=f"the rollouts need: {', '.join(needed)}",
        )


def _address(text: str) -> Json:
    if unix := _UNIX.fullmatch(text):
        return {"pipe": {"path": unix["path"]}}
    tcp = _TCP.fullmatch(text)
    if not tcp or int(tcp["port"]) > 65535:
        raise BootstrapError(
            f"address {text!r} is neither host:port nor unix:///path",
            remedy="write 127.0.0.1:8081 or unix:///run/canary/ext_proc.sock",
        )
    host = tcp["host"].strip("[]")
    return {"socket_address": {"address": host, "port_value": int(tcp["port"])}}


def _is_dns_name(address: Json) -> bool:
    if "pipe" in address:
        return False
    try:
        ip_address(address["socket_address"]["address"])
    except ValueError:
        return True
    return False
