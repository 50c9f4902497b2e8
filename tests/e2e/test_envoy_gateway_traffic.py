"""deploy/envoy-gateway in a real Envoy: the configuration its policies mean, with live traffic.

Envoy Gateway declares ext_proc disabled on the listener and enables it per route; it sets no
route_cache_action, no mutation_rules and no forward_rules. So this shows the product answering
an Envoy that knows less than ours: the answer itself must clear the route cache.
"""

import pytest
from e2e import mesh_clients
from e2e.mesh_clients import USERS, expected
from unit.deploy import kustomize

from bench.lab.stack import ROOT, Plan, Stack

HOST = "chat.example.com"
TYPES = "type.googleapis.com/envoy.extensions"
EXT_PROC = "envoy.filters.http.ext_proc/envoyextensionpolicy/shop/canary/extproc/0"
HCM = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
KEYS = {"Prefix": "prefix", "RegularExpression": "safe_regex"}


def specs():
    found = kustomize.build(ROOT / "deploy" / "envoy-gateway")
    return {one["kind"]: one["spec"] for one in found if one["kind"] != "Service"}


def strip(spec):
    mutations = []
    for one in spec["headers"]["earlyRequestHeaders"]["removeOnMatch"]:
        value = {"regex": one["value"]} if one["type"] == "RegularExpression" else one["value"]
        mutations.append({"remove_on_match": {"key_matcher": {KEYS[one["type"]]: value}}})
    kind = f"{TYPES}.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": kind, "mutations": mutations},
    }


def ext_proc(spec, cluster):
    [told] = spec["extProc"]
    modes = {
        f"{way}_{part}_mode": "NONE" if part == "body" else "SKIP"
        for way in ("request", "response")
        for part in ("header", "body", "trailer")
    }
    assert told["processingMode"] == {"request": {}}
    return {
        "name": EXT_PROC,
        "disabled": True,
        "typed_config": {
            "@type": f"{TYPES}.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}, "timeout": "10s"},
            "failure_mode_allow": told["failOpen"],
            "message_timeout": f"{int(told['messageTimeout'].removesuffix('ms')) / 1000}s",
            "processing_mode": {**modes, "request_header_mode": "SEND"},
            "metadata_options": {
                "receiving_namespaces": {"untyped": told["metadata"]["writableNamespaces"]}
            },
        },
    }


def routes(spec):
    found = []
    for rule in spec["rules"]:
        headers = [
            {"name": one["name"], "string_match": {"exact": one["value"]}}
            for match in rule.get("matches", [])
            for one in match["headers"]
        ]
        [backend] = rule["backendRefs"]
        enabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
        found.append(
            {
                "match": {"prefix": "/", **({"headers": headers} if headers else {})},
                "route": {"cluster": backend["name"], "timeout": rule["timeouts"]["request"]},
                "typed_per_filter_config": {EXT_PROC: enabled},
            }
        )
    return found


def access_log(spec, cluster):
    """What a sink becomes; Envoy Gateway leaves the flush interval at Envoy's second."""
    [setting] = spec["telemetry"]["accessLog"]["settings"]
    [sink] = setting["sinks"]
    told = sink["als"]
    return {
        "name": "envoy.access_loggers.http_grpc",
        "typed_config": {
            "@type": f"{TYPES}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": told["logName"],
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
            },
            "additional_response_headers_to_log": told["http"]["responseHeaders"],
            "additional_response_trailers_to_log": told["http"]["responseTrailers"],
        },
    }


def gatewayed(config):
    """Turn the lab's bootstrap into what Envoy Gateway gives its Envoys."""
    told = specs()
    [listener] = config["static_resources"]["listeners"]
    manager = {
        "@type": HCM,
        "stat_prefix": "http-10080",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "early_header_mutation_extensions": [strip(told["ClientTrafficPolicy"])],
        "route_config": {
            "name": "shop/shop/http",
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [
                {
                    "name": "shop/shop/http/chat_example_com",
                    "domains": told["HTTPRoute"]["hostnames"],
                    "routes": routes(told["HTTPRoute"]),
                }
            ],
        },
        "access_log": [access_log(told["EnvoyProxy"], "canary_sidecar")],
        "http_filters": [
            ext_proc(told["EnvoyExtensionPolicy"], "canary_sidecar"),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{TYPES}.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    listener["filter_chains"][0]["filters"][0]["typed_config"] = manager
    return config


@pytest.fixture(scope="module")
def client():
    stack = Stack(Plan(name="gateway", adjust=gatewayed))
    with stack:
        yield mesh_clients.Client(stack, HOST)
    stack.remove()


def counter(client, name):
    return client.stack.envoy.stats()[f"http.http-10080.ext_proc.{name}"]


def test_everybody_is_answered_where_they_belong_and_a_weight_moves_them(client):
    for percent in (5, 60):
        client.weights(percent)
        assert client.everybody() == expected(percent)
    for name in ("failure_mode_allowed", "rejected_header_mutations", "clear_route_cache_ignored"):
        assert counter(client, name) == 0


def test_a_client_cannot_choose(client):
    client.weights(5)
    for spoof in mesh_clients.SPOOFS:
        for who in USERS[:20]:
            assert client.ask(who, **spoof) == expected(5)[who]
    assert client.status(**mesh_clients.UNDERSCORES) == (400, None)


def test_the_doctor_finds_only_what_envoy_gateway_cannot_say(client):
    printed = client.stack.canary("doctor", "--admin", client.stack.envoy.admin_url).output
    assert [line.split()[1] for line in printed.splitlines()[:1]] == ["outcomes-late"]
    assert len(printed.splitlines()) == 1


def test_without_the_sidecar_the_baseline_answers_even_those_who_ask_for_more():
    stack = Stack(Plan(name="gateway-down", adjust=gatewayed))
    with stack:
        stack.children["canary"].kill()
        client = mesh_clients.Client(stack, HOST)
        assert {client.ask(USERS[0], **spoof) for spoof in mesh_clients.SPOOFS} == {"stable"}
        assert counter(client, "failure_mode_allowed") == len(mesh_clients.SPOOFS)
    stack.remove()
