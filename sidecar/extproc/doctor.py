"""What a running Envoy says about itself (its admin interface), judged.

The pieces of a config dump are put back together, so that `fitting` judges a mesh's Envoy
(listeners by LDS, routes by RDS, filters by ECDS) as it judges a file; what only runs show is found
here: updates that Envoy rejected, endpoints that are gone, and what its counters tell.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sidecar.extproc import fitting, trees
from sidecar.extproc.findings import Finding, gathered
from sidecar.extproc.routes import Declared
from sidecar.extproc.trees import at

CONFIG_PATH = "/config_dump?include_eds"
STATS_PATH = "/stats?format=json&filter=ext_proc"

_STAT = re.compile(r"(?P<filter>.+\.ext_proc(?:\.(?P<prefix>.+))?)\.(?P<name>[a-z_]+)")
_FAILURES = ("streams_failed", "message_timeouts", "failure_mode_allowed")


def examine(
    dump: Any, stats: Any, rollouts: Iterable[Declared], use: fitting.Use
) -> tuple[Finding, ...]:
    """Judge what Envoy answered for CONFIG_PATH and STATS_PATH, both parsed."""
    whole = trees.snake(dump)
    parts = _parts(whole)
    found = [*fitting.judged(parts, rollouts, use), *_rejected(whole)]
    for name in dict.fromkeys(fitting.sidecar_cluster(ext_proc) for _, ext_proc in parts.placed):
        found += _endpoints(name, whole)
    prefixes = {str(ext_proc.get("stat_prefix", "")) for _, ext_proc in parts.placed}
    return gathered([*found, *_counted(stats, prefixes)])


# --- the config dump ----------------------------------------------------------------------------


def _parts(dump: Any) -> fitting.Parts:
    """Return what a dump has, in snake_case, with everything at its place."""
    listeners = [*_held(dump, "static_listeners"), *_held(dump, "dynamic_listeners")]
    filters = fitting.by_name(_held(dump, "ecds_filters"))
    for one in trees.items(listeners, "http_filters"):
        if "config_discovery" in one:
            one["typed_config"] = at(filters.get(str(one.get("name"))), "typed_config")
    clusters = (
        cluster
        for kind in ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters")
        for cluster in _held(dump, kind)
    )
    placed = fitting.ours(listeners)
    return fitting.Parts(placed, fitting.by_name(clusters), _tables(placed, dump))


def _tables(placed: Iterable[tuple[Any, Any]], dump: Any) -> list[Any]:
    """List the route configurations of the managers, each once: listeners of a mesh share them."""
    known = [*_held(dump, "static_route_configs"), *_held(dump, "dynamic_route_configs")]
    routes = fitting.by_name(known)
    tables: dict[int, Any] = {}
    for manager, _ in placed:
        name = str(at(manager, "rds", "route_config_name"))
        meant = [manager.get("route_config"), routes.get(name)]
        found = known if "scoped_routes" in manager else meant
        tables |= {id(one): one for one in found if at(one, "virtual_hosts")}
    return list(tables.values())


def _held(dump: Any, key: str) -> Iterator[Any]:
    """List the resources under a key of the dump, whatever wraps them."""
    wrapped = ("listener", "cluster", "route_config", "ecds_filter", "endpoint_config")
    for config in trees.objects(at(dump, "configs")):
        for entry in trees.objects(config.get(key)):
            state = at(entry, "active_state") or at(entry, "warming_state") or entry
            yield from (state[kind] for kind in wrapped if isinstance(state.get(kind), dict))


def _rejected(dump: Any) -> Iterator[Finding]:
    for node in trees.walk(dump):
        if details := at(node, "error_state", "details"):
            name = next(_names(node), "?")
            yield Finding(
                "config-rejected",
                f"resource {name!r}",
                f"Envoy rejected its last update and runs an older one: {details}",
                "mend the resource that the control plane sends (in Istio: the EnvoyFilter)",
            )


def _names(node: Any) -> Iterator[str]:
    return (str(one["name"]) for one in trees.walk(node) if one.get("name"))


def _endpoints(cluster: str, dump: Any) -> Iterator[Finding]:
    """Judge the endpoints of the sidecar's cluster, if the dump has any."""
    known = [
        one
        for kind in ("static_endpoint_configs", "dynamic_endpoint_configs")
        for one in _held(dump, kind)
        if one.get("cluster_name") == cluster
    ]
    endpoints = list(trees.items(known, "lb_endpoints"))
    sick = [one for one in endpoints if one.get("health_status") in {"UNHEALTHY", "TIMEOUT"}]
    if known and len(sick) == len(endpoints):
        what = "all its endpoints are unhealthy" if sick else "it has no endpoint"
        yield Finding(
            "no-sidecar-endpoint",
            f"cluster {cluster!r}",
            f"{what}: every request gets the baseline",
            "start the sidecar where the cluster points, or point the cluster at the sidecar",
        )


# --- the statistics -----------------------------------------------------------------------------


def _counted(stats: Any, prefixes: Iterable[str]) -> Iterator[Finding]:
    counters: dict[str, dict[str, int]] = {}
    for one in trees.items(stats, "stats"):
        stat = _STAT.fullmatch(str(one.get("name", "")))
        if stat and (stat["prefix"] or "") in prefixes and isinstance(one.get("value"), int):
            counters.setdefault(stat["filter"], {})[stat["name"]] = one["value"]
    for where, counts in counters.items():
        yield from _ignored(where, counts)
        yield from _failed(where, counts)
    if not counters and set(prefixes):
        yield Finding(
            "stats-hidden",
            "Envoy's statistics",
            "none of ext_proc: nobody sees decisions fail",
            "let them in: stats_config.stats_matcher (in Istio: the annotation "
            'proxy.istio.io/config with proxyStatsMatcher {inclusionRegexps: [".*ext_proc.*"]})',
        )


def _ignored(where: str, counts: Mapping[str, int]) -> Iterator[Finding]:
    if number := counts.get("clear_route_cache_ignored", 0):
        yield Finding(
            "route-clear-ignored",
            where,
            f"clear_route_cache_ignored {number}: the route chosen before the decision stayed",
            "set route_cache_action: CLEAR, and let nothing but the sidecar answer this filter",
        )
    if number := counts.get("rejected_header_mutations", 0):
        yield Finding(
            "mutations-rejected",
            where,
            f"rejected_header_mutations {number}: headers of the decision were refused",
            "set mutation_rules: {disallow_all: true, allow_expression: {regex: 'x-canary-.*'}}",
        )


def _failed(where: str, counts: Mapping[str, int]) -> Iterator[Finding]:
    failures = {name: counts[name] for name in _FAILURES if counts.get(name)}
    if failures:
        listed = ", ".join(f"{name} {number}" for name, number in failures.items())
        yield Finding(
            "decisions-failed",
            where,
            f"{listed}, of {counts.get('streams_started', 0)} since Envoy started: "
            "those requests got no decision",
            "if the numbers grow: is the sidecar up (`canary status`), is it starved of CPU, "
            "is message_timeout 200 ms",
        )
    if silent := _silent(counts):
        yield Finding(
            "silent-failures",
            where,
            f"{silent} decisions were closed without an answer, which Envoy counts as no failure",
            "let nothing but the sidecar serve this cluster; a sidecar never does this",
        )


def _silent(counts: Mapping[str, int]) -> int:
    """Count streams that the server closed cleanly without an answer.

    Clients that leave early are unanswered as well, so what counts is bounded by server_half_closed
    (to which Envoy adds one for a failed stream, and another one where failures are allowed).
    """
    asked, answered, failed, late, allowed, closed = (
        counts.get(name, 0)
        for name in (
            "stream_msgs_sent",
            "stream_msgs_received",
            *_FAILURES,
            "server_half_closed",
        )
    )
    return max(0, min(asked - answered - failed - late, closed - failed - min(failed, allowed)))
