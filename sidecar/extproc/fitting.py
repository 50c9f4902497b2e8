"""What in an Envoy configuration does not fit the rollouts.

Everything found here fails silently in Envoy: a unit that is never forwarded, a route that is
not there, a header that a client may write. A configuration is judged as it stands (a bootstrap,
or the parts that `doctor` finds in a config dump); statistics are `doctor`'s, routes are `routes`'.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.extproc import declaring, forwarding, routes, tagging, trees
from sidecar.extproc.declaring import Forwards
from sidecar.extproc.findings import Finding, gathered
from sidecar.extproc.routes import Declared, listed
from sidecar.extproc.trees import at
from sidecar.rollout.names import RESERVED_PREFIX

MANAGER = "network.http_connection_manager.v3.HttpConnectionManager"
_EXT_PROC = "http.ext_proc.v3.ExternalProcessor"
_OUTCOME_LOG = "access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_DEFAULT_FLUSH_S = 1.0
_LONGEST_FLUSH_S = 0.1
_ROUTER = "http.router.v3.Router"
_HTTP_OPTIONS = "upstreams.http.v3.HttpProtocolOptions"
_DEFAULT_BREAKER = 1024
# Any header below the prefix must be stripped, not only those that rollouts have today.
_ADDRESS = re.compile(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]")
_PROBES = (RESERVED_PREFIX, f"{RESERVED_PREFIX}0", f"{RESERVED_PREFIX}~")
_DEFAULT_TIMEOUT_S = 0.2
# At 50 ms, a Python engine was seen to time out whenever its process was busy for a moment.
_SHORTEST_TIMEOUT_S = {"grpcio": 0.2}


@dataclass(frozen=True, slots=True)
class Use:
    """What of the sidecar decides: its engine, whether it exports spans, where it listens.

    `address` is as `canary` writes it, empty if nobody knows.
    """

    engine: str = "grpcio"
    traced: bool = False
    address: str = ""


_ORDINARY = Use()


@dataclass(frozen=True, slots=True)
class Parts:
    """What is judged: managers with the filter in them that is ours, clusters, route tables."""

    placed: list[tuple[Any, Any]]
    clusters: Mapping[str, Any]
    tables: list[Any]


def misfits(config: Any, rollouts: Iterable[Declared], use: Use = _ORDINARY) -> tuple[Finding, ...]:
    """Compare a configuration (a tree of any shape) with the rollouts."""
    tree = trees.snake(config)
    placed = ours(tree)
    clusters = (one for one in trees.items(tree, "clusters") if "weight" not in one)
    tables = [one for manager, _ in placed for one in trees.walk(manager) if "virtual_hosts" in one]
    return judged(Parts(placed, by_name(clusters), tables), rollouts, use)


def judged(parts: Parts, rollouts: Iterable[Declared], use: Use) -> tuple[Finding, ...]:
    """Compare the parts of a configuration with the rollouts."""
    if not parts.placed:
        what = "no HTTP filter chain has ext_proc"
        return (Finding("no-filter", "listeners", what, "add its filter"),)
    declared, clusters = list(rollouts), parts.clusters
    found = [one for place in parts.placed for one in _place(*place, declared, clusters, use)]
    hosts = [host for table in parts.tables for host in trees.items(table, "virtual_hosts")]
    hosts = [host for host in hosts if routes.decided_upon(host)]
    for rollout in declared:
        missing = list(routes.judged(rollout, hosts, clusters))
        found += missing
        # What leads nowhere cannot lead astray.
        if not any(one.id == "no-route" for one in missing):
            found += routes.reached(rollout, parts.tables, _disabled_in(parts.placed))
    return gathered(found)


def by_name(items: Iterable[Any]) -> dict[str, Any]:
    """Index objects by their names."""
    return {str(one.get("name")): one for one in items}


def ours(tree: Any) -> list[tuple[Any, Any]]:
    """Pair each HTTP connection manager with the ext_proc filter in it that asks the sidecar.

    Other processors may stand beside it: if any filter is plainly ours, only such ones are.
    """
    placed = [
        (manager, ext_proc)
        for manager in trees.typed(tree, MANAGER)
        for ext_proc in trees.typed(manager.get("http_filters"), _EXT_PROC)
    ]
    return [place for place in placed if _plainly_ours(place[1])] or placed


def _plainly_ours(ext_proc: Any) -> bool:
    signs = (
        *at(ext_proc, "metadata_options", "receiving_namespaces", "untyped"),
        ext_proc.get("stat_prefix", ""),
        sidecar_cluster(ext_proc),
    )
    return any("canary" in str(sign) for sign in signs)


def sidecar_cluster(ext_proc: Any) -> str:
    """Return the Envoy cluster that a filter asks; empty if it asks by other means."""
    return str(at(ext_proc, "grpc_service", "envoy_grpc", "cluster_name") or "")


def _place(
    manager: Any,
    ext_proc: Any,
    rollouts: list[Declared],
    clusters: Mapping[str, Any],
    use: Use,
) -> Iterator[Finding]:
    where = f"http_connection_manager {manager.get('stat_prefix', '')!r}"
    yield from _strip(where, manager)
    if use.traced:
        yield from _tracing(where, manager, ext_proc)
    yield from _told(where, manager, ext_proc, rollouts)
    where = f"{where}, ext_proc"
    yield from _in_order(where, manager, ext_proc)
    yield from forwarding.hidden(where, manager, ext_proc, rollouts)
    yield from _asked(where, ext_proc)
    yield from _obeyed(where, ext_proc, rollouts)
    yield from _late(where, ext_proc, use)
    if name := sidecar_cluster(ext_proc):
        yield from _sidecars(name, clusters.get(name), use)


def _in_order(where: str, manager: Any, ext_proc: Any) -> Iterator[Finding]:
    filters = list(trees.objects(manager.get("http_filters")))
    ours_at = next((i for i, one in enumerate(filters) if _holds(one, ext_proc)), 0)
    if any(any(trees.typed(one, _ROUTER)) for one in filters[:ours_at]):
        yield Finding(
            "after-router",
            where,
            "it stands after the router: no request ever reaches it",
            "put it before the router, which must be the last filter",
        )


def _holds(http_filter: Any, ext_proc: Any) -> bool:
    return any(one is ext_proc for one in trees.typed(http_filter, _EXT_PROC))


def _disabled_in(placed: Iterable[tuple[Any, Any]]) -> dict[str, bool]:
    """Name our filters, each with whether it is disabled where no route enables it."""
    return {
        str(one.get("name")): bool(one.get("disabled"))
        for manager, ext_proc in placed
        for one in trees.objects(manager.get("http_filters"))
        if _holds(one, ext_proc)
    }


# --- what the client and the sidecar may say ----------------------------------------------------


def _strip(where: str, manager: Any) -> Iterator[Finding]:
    mutations = list(trees.items(manager.get("early_header_mutation_extensions"), "mutations"))
    keys = [at(one, "remove_on_match", "key_matcher") for one in mutations]
    if not all(any(trees.matches(key, probe) for key in keys) for probe in _PROBES):
        yield Finding(
            "no-early-strip",
            where,
            f"a client's own {RESERVED_PREFIX} headers reach the routes",
            "add early_header_mutation_extensions with "
            f"remove_on_match: {{key_matcher: {{prefix: {RESERVED_PREFIX}}}}}",
        )


def _asked(where: str, ext_proc: Any) -> Iterator[Finding]:
    mode = at(ext_proc, "processing_mode")
    remedy = "set processing_mode: {request_header_mode: SEND, response_header_mode: SKIP}"
    if mode.get("request_header_mode") == "SKIP":
        yield Finding("not-asked", where, "the sidecar is not asked about requests", remedy)
    if mode.get("response_header_mode") != "SKIP":
        yield Finding(
            "responses-asked",
            where,
            "every response makes a second round trip (Envoy's default processing mode)",
            remedy,
        )
    if not ext_proc.get("failure_mode_allow"):
        yield Finding(
            "fail-closed",
            where,
            "without the sidecar every request fails",
            "set failure_mode_allow: true (the baseline answers)",
        )


def _obeyed(where: str, ext_proc: Any, rollouts: list[Declared]) -> Iterator[Finding]:
    if ext_proc.get("route_cache_action") == "RETAIN" or ext_proc.get("disable_clear_route_cache"):
        yield Finding(
            "route-kept",
            where,
            "the route chosen before the decision stays",
            "set route_cache_action: CLEAR",
        )
    rules = at(ext_proc, "mutation_rules")
    for name in (f"{RESERVED_PREFIX}{rollout.name}" for rollout in rollouts):
        if not _settable(rules, name):
            yield Finding(
                "mutations-forbidden",
                where,
                f"mutation_rules refuse {name!r}, the header that carries the decision",
                f"set mutation_rules.allow_expression: {{regex: '{RESERVED_PREFIX}.*'}}",
            )
    if "canary" not in at(ext_proc, "metadata_options", "receiving_namespaces", "untyped"):
        yield Finding(
            "metadata-refused",
            where,
            "the decision's metadata is refused: no log or trace tells variants apart",
            "set metadata_options: {receiving_namespaces: {untyped: [canary]}}",
        )


def _settable(rules: Any, name: str) -> bool:
    if (regex := at(rules, "disallow_expression", "regex")) and trees.fits(regex, name):
        return False
    regex = at(rules, "allow_expression", "regex")
    return not rules.get("disallow_all") or bool(regex and trees.fits(regex, name))


# --- what becomes of requests -------------------------------------------------------------------


def _told(where: str, manager: Any, ext_proc: Any, rollouts: list[Declared]) -> Iterator[Finding]:
    """Judge the access log that goes to the sidecar."""
    logs = trees.typed(manager.get("access_log"), _OUTCOME_LOG)
    told = [one for one in logs if _goes_to(one, sidecar_cluster(ext_proc))]
    if not told:
        yield Finding(
            "no-outcomes",
            where,
            "the sidecar hears of no answer: nobody can tell how a variant does",
            "add the access log envoy.access_loggers.http_grpc to the sidecar's cluster, as in"
            " deploy/envoy/envoy.yaml",
        )
        return
    flush_s = _seconds(at(told[0], "common_config").get("buffer_flush_interval"), _DEFAULT_FLUSH_S)
    if flush_s > _LONGEST_FLUSH_S:
        yield Finding(
            "outcomes-late",
            where,
            f"answers are told every {flush_s:g} s only: a bad variant is noticed that much later",
            "set common_config.buffer_flush_interval: 0.1s",
        )
    wanted = ("additional_response_headers_to_log", "additional_response_trailers_to_log")
    if not all(tagging.GRPC_STATUS in (told[0].get(key) or []) for key in wanted):
        yield Finding(
            "grpc-status-hidden",
            where,
            "gRPC calls that fail look like successes (HTTP 200) to the sidecar",
            f"add {tagging.GRPC_STATUS} to {' and '.join(wanted)}",
        )
    yield from _declared(where, ext_proc, at(told[0], "common_config"), rollouts)


def _declared(
    where: str, ext_proc: Any, common: Any, rollouts: list[Declared]
) -> Iterator[Finding]:
    """Judge what the log's name says of what reaches the sidecar."""
    said = Forwards.read(str(common.get("log_name")))
    if said is None:
        yield Finding(
            "forwards-unsaid",
            where,
            "the sidecar is not told what is forwarded: a hidden header looks as if nobody sent it",
            "give the access log the log_name that `canary envoy` prints, or `canary?header=*`"
            " where all headers are forwarded",
        )
    elif wrong := forwarding.untrue(ext_proc, said, rollouts):
        yield Finding(
            "forwards-untrue",
            where,
            f"log_name says that {', '.join(wrong)} reaches the sidecar, and the filter hides it",
            "forward it, or take it out of the access log's log_name",
        )


def _goes_to(log: Any, cluster: str) -> bool:
    """Whether a log goes to the sidecar; meshes give its cluster a name of their own."""
    common = at(log, "common_config")
    named = str(at(common, "grpc_service", "envoy_grpc", "cluster_name") or "")
    ours = str(common.get("log_name")).partition("?")[0] == declaring.LOG_NAME
    return bool(cluster and named == cluster) or ours


# --- time, load and traces ----------------------------------------------------------------------


def _late(where: str, ext_proc: Any, use: Use) -> Iterator[Finding]:
    timeout_s = _seconds(ext_proc.get("message_timeout"))
    shortest_s = _SHORTEST_TIMEOUT_S.get(use.engine, 0.0)
    if timeout_s < shortest_s:
        yield Finding(
            "timeout-short",
            where,
            f"a decision may take {timeout_s * 1000:g} ms, short for the engine {use.engine}: "
            "what is late gets the baseline",
            f"set message_timeout: {shortest_s:g}s",
        )


def _seconds(duration: Any, default_s: float = _DEFAULT_TIMEOUT_S) -> float:
    try:
        return float(str(duration).removesuffix("s"))
    except ValueError:
        return default_s


def _tracing(where: str, manager: Any, ext_proc: Any) -> Iterator[Finding]:
    if "tracing" not in manager:
        yield Finding(
            "no-trace-parent",
            where,
            "Envoy does not trace, so the sidecar's spans have no parent",
            "add tracing with a provider to the http_connection_manager",
        )
    elif ext_proc.get("emit_client_span") is False:
        yield Finding(
            "no-trace-parent",
            f"{where}, ext_proc",
            "emit_client_span: false makes the parent of the sidecar's spans unsampled",
            "remove emit_client_span",
        )


def _sidecars(name: str, cluster: Any, use: Use) -> Iterator[Finding]:
    where = f"cluster {name!r}"
    if cluster is None:
        yield Finding("no-sidecar-cluster", where, "ext_proc's cluster is not there", "declare it")
        return
    if not _speaks_http2(cluster):
        yield Finding(
            "sidecar-not-grpc",
            where,
            "speaks HTTP/1.1, so no question ever reaches the sidecar (gRPC is HTTP/2)",
            f"add typed_extension_protocol_options, {_HTTP_OPTIONS}: "
            "{explicit_http_config: {http2_protocol_options: {}}}",
        )
    endpoints = list(_addresses(cluster))
    if use.address and endpoints and not any(_same(one, use.address) for one in endpoints):
        yield Finding(
            "sidecar-elsewhere",
            where,
            f"asks {listed(endpoints)}, the sidecar listens at {use.address!r}",
            "let both agree: the cluster's endpoint and the sidecar's --listen",
        )
    yield from _breaker(where, cluster)


def _speaks_http2(cluster: Any) -> bool:
    options = trees.typed(cluster.get("typed_extension_protocol_options"), _HTTP_OPTIONS)
    kinds = ("explicit_http_config", "use_downstream_protocol_config", "auto_config")
    places = [cluster, *(at(one, kind) for one in options for kind in kinds)]
    return any("http2_protocol_options" in place for place in places)


def _addresses(cluster: Any) -> Iterator[str]:
    for one in trees.items(cluster.get("load_assignment"), "lb_endpoints"):
        address = at(one, "endpoint", "address")
        if path := at(address, "pipe", "path"):
            yield f"unix://{path}"
        elif socket := at(address, "socket_address"):
            yield f"{socket.get('address')}:{socket.get('port_value')}"


def _same(endpoint: str, listening: str) -> bool:
    """Whether an endpoint may be where the sidecar listens; a name may be any address."""
    sides = [re.sub(r"^(unix:)?/+", "/", one) for one in (endpoint, listening)]
    if sides[0] == sides[1] or any(one.startswith("/") for one in sides):
        return sides[0] == sides[1]
    (host, _, port), (own, _, own_port) = (one.rpartition(":") for one in sides)
    anywhere = own.strip("[]") in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return port == own_port and (anywhere or not _ADDRESS.fullmatch(host) or host == own)


def _breaker(where: str, cluster: Any) -> Iterator[Finding]:
    thresholds = at(cluster, "circuit_breakers", "thresholds") or [{}]
    limits = [int(at(one, "max_requests") or _DEFAULT_BREAKER) for one in thresholds]
    if min(limits) <= _DEFAULT_BREAKER:
        yield Finding(
            "breaker-default",
            where,
            f"at most {min(limits)} decisions at once, then requests fail open",
            "set circuit_breakers: {thresholds: [{max_connections: 1000000, "
            "max_pending_requests: 1000000, max_requests: 1000000}]}",
        )
