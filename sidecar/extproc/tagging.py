"""The variant on what Envoy itself records: its spans, its access log, and what it tells us.

All read the dynamic metadata that the decision left, so they name the variant whether the
sidecar's own span is sampled or not, and where there is no sidecar span at all.
"""

from collections.abc import Iterable
from typing import Any

from sidecar.rollout import Rollout

OTLP_CLUSTER = "canary_otlp"
# One name for both, beside `canary.variant` on the sidecar's own spans: several rollouts may speak.
VARIANT_TAG = "canary.variant."
GRPC_STATUS = "grpc-status"
_METADATA = "canary"
_TYPES = "type.googleapis.com/envoy."


def tracing(rollouts: Iterable[Rollout], percent: float) -> dict[str, Any]:
    """Return the manager's `tracing`: spans by OTLP to OTLP_CLUSTER, of `percent` of requests."""
    collector = {"envoy_grpc": {"cluster_name": OTLP_CLUSTER}, "timeout": "1s"}
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": f"{_TYPES}config.trace.v3.OpenTelemetryConfig",
                "grpc_service": collector,
                "service_name": "envoy",
            },
        },
        "random_sampling": {"value": percent},
        "spawn_upstream_span": True,
        "custom_tags": [_tag(rollout.name) for rollout in rollouts],
    }


def access_log(rollouts: Iterable[Rollout], path: str) -> list[dict[str, Any]]:
    """Return the manager's `access_log`: one JSON object per request in the file `path`."""
    line = {
        "start_time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "authority": "%REQ(:AUTHORITY)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "upstream_cluster": "%UPSTREAM_CLUSTER%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "trace_id": "%TRACE_ID%",
    }
    for rollout in rollouts:
        line[VARIANT_TAG + rollout.name] = f"%DYNAMIC_METADATA({_METADATA}:{rollout.name}:variant)%"
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": f"{_TYPES}extensions.access_loggers.file.v3.FileAccessLog",
                "path": path,
                "log_format": {"json_format": line, "omit_empty_values": True},
            },
        }
    ]


def outcome_log(cluster: str, name: str) -> dict[str, Any]:
    """Return the access log that tells the sidecar in `cluster` what became of each request.

    Its name says what the filter beside it forwards (declaring.py).
    """
    return {
        "name": "envoy.access_loggers.http_grpc",
        "typed_config": {
            "@type": f"{_TYPES}extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": name,
                "transport_api_version": "V3",
                "grpc_service": {
                    "envoy_grpc": {"cluster_name": cluster, "skip_envoy_headers": True}
                },
                "buffer_flush_interval": "0.1s",
            },
            # In the headers where an answer has nothing else.
            "additional_response_headers_to_log": [GRPC_STATUS],
            "additional_response_trailers_to_log": [GRPC_STATUS],
        },
    }


def _tag(rollout: str) -> dict[str, Any]:
    key = {"key": _METADATA, "path": [{"key": rollout}, {"key": "variant"}]}
    metadata = {"kind": {"request": {}}, "metadata_key": key}
    return {"tag": VARIANT_TAG + rollout, "metadata": metadata}
