"""The shapes of the mesh resources in deploy/, written down from their published schemas.

Only the fields that deploy/ uses are here, so a misspelt or misplaced one is refused without a
cluster and without the schemas, which no Python package carries. `published.py` holds the same
manifests against the schemas themselves.

A shape is a type, a set of allowed values, a list (of one shape), or a dict of fields; a field
that ends in `!` is required, and `{str: ...}` is a map.
"""

from typing import Any

TARGET = {"group!": {"gateway.networking.k8s.io"}, "kind!": str, "name!": str}
HEADER_MATCH = {"exact": str, "prefix": str, "regex": str}
DESTINATION = {"destination!": {"host!": str, "subset": str, "port": {"number": int}}}
CONTEXT = {"ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"}
OPERATIONS = {"MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE"}
FILTER = {"name": str, "subFilter": {"name": str}}
LISTENER = {"name": str, "portNumber": int, "filterChain": {"name": str, "filter": FILTER}}

SPECS: dict[tuple[str, str], Any] = {
    ("networking.istio.io/v1alpha3", "EnvoyFilter"): {
        "priority": int,
        "workloadSelector": {"labels!": {str: str}},
        "configPatches!": [
            {
                "applyTo!": {"CLUSTER", "NETWORK_FILTER", "HTTP_FILTER"},
                "match": {"context": CONTEXT, "listener": LISTENER},
                # The schema leaves this open; Envoy's own definitions judge it.
                "patch!": {"operation!": OPERATIONS, "value": dict},
            }
        ],
    },
    ("networking.istio.io/v1", "DestinationRule"): {
        "host!": str,
        "subsets": [{"name!": str, "labels": {str: str}}],
    },
    ("networking.istio.io/v1", "VirtualService"): {
        "hosts!": [str],
        "http": [
            {
                "name": str,
                "match": [{"headers": {str: HEADER_MATCH}}],
                "route!": [DESTINATION],
                "retries": {"attempts": int, "retryOn": str},
            }
        ],
    },
    ("telemetry.istio.io/v1", "Telemetry"): {
        "tracing": [{"customTags": {str: {"header": {"name!": str}}}}],
    },
    ("gateway.networking.k8s.io/v1", "Gateway"): {
        "gatewayClassName!": str,
        "infrastructure": {"parametersRef": {"group!": str, "kind!": str, "name!": str}},
        "listeners!": [{"name!": str, "protocol!": {"HTTP", "HTTPS"}, "port!": int}],
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs": [{"name!": str}],
        "hostnames": [str],
        "rules": [
            {
                "matches": [{"headers": [{"name!": str, "value!": str}]}],
                "backendRefs": [{"name!": str, "port!": int}],
                "timeouts": {"request": str},
            }
        ],
    },
    ("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy"): {
        "telemetry": {
            "accessLog": {
                "settings": [
                    {
                        "sinks!": [
                            {
                                "type!": {"ALS"},
                                "als": {
                                    "logName": str,
                                    "type!": {"HTTP"},
                                    "backendRefs!": [{"group": str, "kind": str, "name!": str}],
                                    "http": {"responseHeaders": [str], "responseTrailers": [str]},
                                },
                            }
                        ]
                    }
                ]
            }
        },
        "provider": {
            "type!": {"Kubernetes"},
            "kubernetes": {
                "envoyDeployment": {
                    "pod": {"labels": {str: str}, "volumes": [dict]},
                    "container": {"volumeMounts": [dict]},
                    "initContainers": [dict],
                }
            },
        },
    },
    ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"): {
        "targetRefs": [TARGET],
        "headers": {
            "earlyRequestHeaders": {
                "removeOnMatch": [
                    {"type": {"Exact", "Prefix", "Suffix", "RegularExpression"}, "value!": str}
                ]
            }
        },
    },
    ("gateway.envoyproxy.io/v1alpha1", "Backend"): {
        "endpoints": [{"unix": {"path!": str}}],
    },
    ("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy"): {
        "targetRefs": [TARGET],
        "extProc": [
            {
                "backendRefs!": [{"group": str, "kind": {"Backend", "Service"}, "name!": str}],
                "processingMode": {"request": {"attributes": [str]}},
                "messageTimeout": str,
                "failOpen": bool,
                "metadata": {"writableNamespaces": [str]},
                "backendSettings": {
                    "circuitBreaker": {
                        "maxConnections": int,
                        "maxPendingRequests": int,
                        "maxParallelRequests": int,
                    },
                    "timeout": {"tcp": {"connectTimeout": str}},
                },
            }
        ],
    },
}


def mistakes(one: dict[str, Any]) -> list[str]:
    """List what does not fit in an object; KeyError for a kind that is not written down."""
    return list(_fit(one["spec"], SPECS[one["apiVersion"], one["kind"]], one["kind"]))


def _fit(value: Any, shape: Any, where: str) -> Any:
    if isinstance(shape, set):
        if value not in shape:
            yield f"{where}: {value!r} is none of {sorted(shape)}"
    elif isinstance(shape, type):
        if type(value) is not shape:
            yield f"{where}: {value!r} is not {shape.__name__}"
    elif not isinstance(value, type(shape)):
        yield f"{where}: {value!r} is not a {type(shape).__name__}"
    elif isinstance(shape, list):
        for number, one in enumerate(value):
            yield from _fit(one, shape[0], f"{where}[{number}]")
    else:
        yield from _fields(value, shape, where)


def _fields(value: dict[str, Any], shape: dict[Any, Any], where: str) -> Any:
    if str in shape:
        for name, one in value.items():
            yield from _fit(one, shape[str], f"{where}.{name}")
        return
    known = {name.rstrip("!"): one for name, one in shape.items()}
    for name in value.keys() - known.keys():
        yield f"{where}.{name} is not known"
    for name in shape:
        if name.endswith("!") and name[:-1] not in value:
            yield f"{where}.{name[:-1]} is missing"
    for name in value.keys() & known.keys():
        yield from _fit(value[name], known[name], f"{where}.{name}")
