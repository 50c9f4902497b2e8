"""What in somebody's own Envoy configuration does not fit the rollouts.

Everything found here fails silently in Envoy: a unit that is never forwarded, a route that is
not there, a header that a client may write. Only what a static configuration shows is judged;
names are read in snake_case and camelCase, as Envoy reads them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.extproc.bootstrap import candidates, forwarded_headers, needs_client_address
from sidecar.rollout import Rollout
from sidecar.rollout.names import RESERVED_PREFIX

_MANAGER = "network.http_connection_manager.v3.HttpConnectionManager"
_EXT_PROC = "http.ext_proc.v3.ExternalProcessor"
_DEFAULT_BREAKER = 1024
_CAMEL = re.compile(r"[a-z]+([A-Z][a-z0-9]*)+")


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing to mend; `where` names the filter, listener or cluster."""

    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}\n  remedy: {self.remedy}"


def misfits(config: Any, rollouts: Iterable[Rollout]) -> tuple[Misfit, ...]:
    """Compare a bootstrap (a parsed YAML tree of any shape) with the rollouts."""
    declared = list(rollouts)
    tree = _snake(config)
    clusters = {str(one.get("name")): one for one in _all(tree, "clusters")}
    managers = [m for m in _typed(tree, _MANAGER) if _filters(m)]
    if not managers:
        return (
            Misfit("listeners", "no HTTP filter chain has ext_proc", "add the ext_proc filter"),
        )
    return tuple(found for m in managers for found in _manager(m, declared, clusters))


def _manager(
    manager: Any, rollouts: list[Rollout], clusters: Mapping[str, Any]
) -> Iterator[Misfit]:
    where = f"http_connection_manager {manager.get('stat_prefix', '')!r}"
    yield from _strip(where, manager)
    for ext_proc in _filters(manager):
        yield from _decision(where, ext_proc, rollouts, clusters)
    routes = list(_all(manager.get("route_config"), "routes"))
    for rollout in rollouts:
        yield from _routes(where, rollout, routes, clusters)


def _strip(where: str, manager: Any) -> Iterator[Misfit]:
    matchers = _all(manager.get("early_header_mutation_extensions"), "mutations")
    keys = (one.get("remove_on_match", {}).get("key_matcher", {}) for one in matchers)
    if not any(RESERVED_PREFIX.startswith(key.get("prefix") or "\0") for key in keys):
        yield Misfit(
            where,
            f"a client's own {RESERVED_PREFIX} headers reach the routes",
            "add early_header_mutation_extensions with "
            f"remove_on_match: {{key_matcher: {{prefix: {RESERVED_PREFIX}}}}}",
        )


def _decision(
    where: str, ext_proc: Any, rollouts: list[Rollout], clusters: Mapping[str, Any]
) -> Iterator[Misfit]:
    where = f"{where}, ext_proc"
    for name in forwarded_headers(rollouts):
        if not _forwarded(ext_proc.get("forward_rules") or {}, name):
            yield Misfit(
                where,
                f"forward_rules keep {name!r} from the sidecar, so what needs it never matches",
                f"add {{exact: {name!r}}} to forward_rules.allowed_headers.patterns",
            )
    attributes = ext_proc.get("request_attributes") or []
    if needs_client_address(rollouts) and "source.address" not in attributes:
        yield Misfit(where, "no client address", "add request_attributes: [source.address]")
    yield from _plain(where, ext_proc)
    sidecar = ext_proc.get("grpc_service", {}).get("envoy_grpc", {}).get("cluster_name", "")
    yield from _breaker(sidecar, clusters.get(sidecar))


def _plain(where: str, ext_proc: Any) -> Iterator[Misfit]:
    if ext_proc.get("route_cache_action") != "CLEAR":
        yield Misfit(
            where,
            "the route chosen before the decision may stay",
            "set route_cache_action: CLEAR",
        )
    if not ext_proc.get("failure_mode_allow"):
        yield Misfit(
            where,
            "without the sidecar every request fails",
            "set failure_mode_allow: true (the baseline answers)",
        )
    options = ext_proc.get("metadata_options") or {}
    if "canary" not in (options.get("receiving_namespaces") or {}).get("untyped", []):
        yield Misfit(
            where,
            "the decision's metadata is refused",
            "set metadata_options: {receiving_namespaces: {untyped: [canary]}}",
        )
    if (ext_proc.get("processing_mode") or {}).get("response_header_mode") != "SKIP":
        yield Misfit(
            where,
            "every response makes a second round trip",
            "set processing_mode: {request_header_mode: SEND, response_header_mode: SKIP}",
        )


def _breaker(name: str, cluster: Any) -> Iterator[Misfit]:
    if cluster is None:
        yield Misfit(f"cluster {name!r}", "ext_proc's cluster is not there", "declare it")
        return
    thresholds = (cluster.get("circuit_breakers") or {}).get("thresholds") or [{}]
    limits = [one.get("max_requests", _DEFAULT_BREAKER) for one in thresholds]
    if min(limits) <= _DEFAULT_BREAKER:
        yield Misfit(
            f"cluster {name!r}",
            f"at most {min(limits)} decisions at once, then requests fail open",
            "set circuit_breakers: {thresholds: [{max_connections: 1000000, "
            "max_pending_requests: 1000000, max_requests: 1000000}]}",
        )


def _routes(
    where: str, rollout: Rollout, routes: list[Any], clusters: Mapping[str, Any]
) -> Iterator[Misfit]:
    header = f"{RESERVED_PREFIX}{rollout.name}"
    for variant in candidates(rollout):
        leads = [one for one in routes if _leads(one, header, variant.name)]
        if not any(one.get("route", {}).get("cluster") == variant.cluster for one in leads):
            yield Misfit(
                where,
                f"no route leads {header}: {variant.name} to cluster {variant.cluster!r}",
                "add one before the default route, or set the variant's cluster in the rollout",
            )
    for variant in rollout.variants:
        if variant.cluster not in clusters:
            yield Misfit(f"cluster {variant.cluster!r}", "is not there", "declare it")


def _leads(route: Any, header: str, variant: str) -> bool:
    return any(
        one.get("name", "").lower() == header and _matches(one.get("string_match") or {}, variant)
        for one in (route.get("match") or {}).get("headers") or []
    )


def _forwarded(rules: Any, name: str) -> bool:
    allowed, disallowed = (
        (rules.get(key) or {}).get("patterns") for key in ("allowed_headers", "disallowed_headers")
    )
    if disallowed and any(_matches(one, name) for one in disallowed):
        return False
    return not allowed or any(_matches(one, name) for one in allowed)


def _matches(matcher: Any, text: str) -> bool:
    """Envoy's StringMatcher."""
    if regex := matcher.get("safe_regex"):
        return bool(re.fullmatch(regex.get("regex", ""), text))
    kind, wanted = next(((k, str(v)) for k, v in matcher.items() if k != "ignore_case"), ("", ""))
    if matcher.get("ignore_case"):
        wanted, text = wanted.lower(), text.lower()
    checks = {
        "exact": text == wanted,
        "prefix": text.startswith(wanted),
        "suffix": text.endswith(wanted),
        "contains": wanted in text,
    }
    return checks.get(kind, False)


def _filters(manager: Any) -> list[Any]:
    return list(_typed(manager.get("http_filters"), _EXT_PROC))


def _typed(tree: Any, suffix: str) -> Iterator[Any]:
    return (one for one in _walk(tree) if str(one.get("@type", "")).endswith(suffix))


def _all(tree: Any, key: str) -> Iterator[Any]:
    """Every object in every list called `key`."""
    for node in _walk(tree):
        items = node.get(key)
        yield from (
            (one for one in items if isinstance(one, dict)) if isinstance(items, list) else ()
        )


def _walk(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        yield tree
    for child in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        yield from _walk(child)


def _snake(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_snake(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    return {_snake_key(str(key)): _snake(value) for key, value in tree.items()}


def _snake_key(key: str) -> str:
    if not _CAMEL.fullmatch(key):
        return key
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
