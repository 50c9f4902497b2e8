"""A plain Istio sidecar's outbound side, as far as one HTTP port needs it.

The listener, its filters and its virtual hosts have the names and the order that istiod gives
them; istio.alpn and istio.stats are left out, because only Istio's own Envoy has them. The
DestinationRule and the VirtualService are translated by the rules of their documentation;
what is not modelled is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
PORT = 80
STATS = f"outbound_0.0.0.0_{PORT};"
TYPES = "type.googleapis.com/envoy.extensions.filters"


@dataclass(frozen=True)
class Pod:
    """One endpoint of a service: its labels, and its address as Envoy writes it."""

    labels: dict[str, str]
    address: Json


@dataclass(frozen=True)
class Service:
    """A service `name` in `namespace` with its pods."""

    name: str
    namespace: str
    pods: tuple[Pod, ...]

    @property
    def host(self) -> str:
        """Its fully qualified name."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def domains(self) -> list[str]:
        """The hosts by which pods of its namespace call it."""
        short = [self.name, f"{self.name}.{self.namespace}", f"{self.name}.{self.namespace}.svc"]
        return [self.host, *short]


def outbound(services: Iterable[Service], rule: Json, virtual: Json) -> Json:
    """Return Envoy's static_resources: one listener, a virtual host and clusters per service."""
    services = list(services)
    return {
        "listeners": [_listener([_virtual_host(one, virtual) for one in services])],
        "clusters": [each for one in services for each in _clusters(one, rule)],
    }


def cluster_name(service: Service, subset: str) -> str:
    """Name a cluster as istiod does."""
    return f"outbound|{PORT}|{subset}|{service.host}"


def _clusters(service: Service, rule: Json) -> list[Json]:
    spec = rule["spec"]
    subsets = spec["subsets"] if spec["host"] in service.domains else []
    chosen = {"": {}} | {one["name"]: one["labels"] for one in subsets}
    return [
        _cluster(
            cluster_name(service, subset),
            [pod for pod in service.pods if labels.items() <= pod.labels.items()],
        )
        for subset, labels in chosen.items()
    ]


def _cluster(name: str, pods: list[Pod]) -> Json:
    endpoints = [{"endpoint": {"address": pod.address}} for pod in pods]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _virtual_host(service: Service, virtual: Json) -> Json:
    spec = virtual["spec"]
    ours = any(host in service.domains for host in spec["hosts"])
    plain = [{"name": "default", "match": {"prefix": "/"}, "route": _action(service, "")}]
    routes = [each for one in spec["http"] for each in _routes(service, one)] if ours else plain
    return {"name": f"{service.host}:{PORT}", "domains": service.domains, "routes": routes}


def _routes(service: Service, http: Json) -> list[Json]:
    if unknown := http.keys() - {"name", "match", "route", "retries"}:
        raise ValueError(f"VirtualService http {sorted(unknown)} is not modelled")
    [one] = http["route"]
    target = one["destination"]
    if target["host"] not in service.domains:
        raise ValueError(f"destination {target['host']} is another service")
    action = _action(service, target["subset"], http.get("retries"))
    return [
        {"name": http["name"], "match": _match(match), "route": action}
        for match in http.get("match", [{}])
    ]


def _match(match: Json) -> Json:
    if unknown := match.keys() - {"headers"}:
        raise ValueError(f"VirtualService match {sorted(unknown)} is not modelled")
    headers = [
        {"name": name, "string_match": {"exact": value["exact"]}}
        for name, value in match.get("headers", {}).items()
    ]
    return {"prefix": "/", **({"headers": headers} if headers else {})}


def _action(service: Service, subset: str, retries: Json | None = None) -> Json:
    told = retries or {
        "attempts": 2,
        "retryOn": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    }
    return {
        "cluster": cluster_name(service, subset),
        "timeout": "0s",
        "retry_policy": {
            "retry_on": told["retryOn"],
            "num_retries": told["attempts"],
            "host_selection_retry_max_attempts": 5,
        },
    }


def _listener(virtual_hosts: list[Json]) -> Json:
    filters = [("grpc_stats", "FilterConfig"), ("fault", "HTTPFault"), ("cors", "Cors")]
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STATS,
        "use_remote_address": False,
        "normalize_path": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "name": str(PORT),
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [*virtual_hosts, _block_all()],
        },
        "http_filters": [
            {
                "name": f"envoy.filters.http.{name}",
                "typed_config": {"@type": f"{TYPES}.http.{name}.v3.{message}"},
            }
            for name, message in [*filters, ("router", "Router")]
        ],
    }
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    return {
        "name": f"0.0.0.0_{PORT}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": PORT}},
        "filter_chains": [chain],
    }


def _block_all() -> Json:
    route = {"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}
    return {"name": "block_all", "domains": ["*"], "routes": [route]}
