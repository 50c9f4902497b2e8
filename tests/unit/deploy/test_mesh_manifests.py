"""What Istio and Envoy Gateway are told is what `canary envoy` makes: the same facts, no drift."""

import copy
import json
import re
from pathlib import Path

import pytest
from e2e import istio_mesh, istio_patches
from unit.deploy import kustomize, published, shapes

from sidecar import rollout
from sidecar.extproc import tagging
from sidecar.extproc.bootstrap import (
    EXT_PROC_STATS,
    Options,
    Upstream,
    bootstrap,
    candidates,
    clusters_of,
)

DEPLOY = Path(__file__).parents[3] / "deploy"
EXAMPLE = DEPLOY / "examples" / "rollouts" / "chat-model.yaml"
ISTIO = ("istio", "kubernetes/overlays/istio", "kubernetes/overlays/istio-unix-socket")
MESHES = (*ISTIO, "envoy-gateway")
SOCKET = "unix:///run/canary/ext_proc.sock"
LOOPBACK = "127.0.0.1:18001"


def objects(folder):
    found = kustomize.build(DEPLOY / folder)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def declared():
    reading = rollout.read([rollout.Source(EXAMPLE.name, EXAMPLE.read_bytes())])
    assert not reading.mistakes
    return reading.declared[0].rollout


def made(ext_proc):
    """Envoy's configuration for the example."""
    upstreams = {name: Upstream("127.0.0.1:8081") for name in clusters_of([declared()])}
    made = bootstrap([declared()], Options(ext_proc=ext_proc, upstreams=upstreams))
    return made["static_resources"]


def manager(ext_proc=SOCKET):
    [listener] = made(ext_proc)["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def routes():
    [host] = manager()["route_config"]["virtual_hosts"]
    return host["routes"]


def value(folder, apply_to):
    [one] = istio_patches.patches(objects(folder)["EnvoyFilter", "canary"], apply_to)
    return one


@pytest.mark.parametrize("folder", MESHES)
def test_every_mesh_resource_has_the_shape_of_its_schema(folder):
    checked = [one for one in kustomize.build(DEPLOY / folder) if "." in one["apiVersion"]]
    ours = [one for one in checked if "k8s.io" not in one["apiVersion"].split("/")[0]] + [
        one for one in checked if one["apiVersion"].startswith("gateway.networking.k8s.io")
    ]
    assert len(ours) >= 3
    assert [each for one in ours for each in shapes.mistakes(one)] == []


def test_a_misspelt_a_missing_and_a_misplaced_field_are_noticed():
    one = copy.deepcopy(objects("istio")["EnvoyFilter", "canary"])
    first, second, third = one["spec"]["configPatches"]
    first["match"]["contxt"] = "GATEWAY"
    second["patch"]["operation"] = "INSERT"
    del third["applyTo"]
    one["spec"]["priority"] = "10"
    assert sorted(found.split(": ")[0] for found in shapes.mistakes(one)) == [
        "EnvoyFilter.configPatches[0].match.contxt is not known",
        "EnvoyFilter.configPatches[1].patch.operation",
        "EnvoyFilter.configPatches[2].applyTo is missing",
        "EnvoyFilter.priority",
    ]


def test_a_published_schema_refuses_what_it_does_not_name(tmp_path):
    fields = {"size": {"type": "integer"}, "rest": {"type": "object", "properties": {}}}
    fields["rest"]["x-kubernetes-preserve-unknown-fields"] = True
    spec = {"type": "object", "properties": fields}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    crd = {"group": "example.com", "names": {"kind": "Thing"}, "versions": [version]}
    path = tmp_path / "crd.yaml"
    text = json.dumps({"kind": "CustomResourceDefinition", "spec": crd})
    path.write_text(f"{{{{- if .Values.x }}}}\n{text}\n{{{{- end }}}}\n")
    [found] = published.schemas([path]).values()
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}
    assert published.mistakes({**thing, "spec": {"size": 1, "rest": {"any": 1}}}, found) == []
    assert len(published.mistakes({**thing, "spec": {"size": "1", "sice": 1}}, found)) == 2


@pytest.mark.parametrize("folder", ISTIO)
def test_every_value_is_known_to_envoy_field_by_field(folder):
    istio_patches.parse_strictly(objects(folder)["EnvoyFilter", "canary"])


@pytest.mark.parametrize("folder", ISTIO)
def test_istio_gets_the_same_filter_as_any_envoy(folder):
    assert value(folder, "HTTP_FILTER") == manager()["http_filters"][0]


@pytest.mark.parametrize("folder", ISTIO)
def test_istio_gets_the_same_strip_and_tells_the_same_as_any_envoy(folder):
    strip, log = "early_header_mutation_extensions", "access_log"
    told = dict(value(folder, "NETWORK_FILTER")["typed_config"])
    assert told.pop("@type") == manager()["@type"]
    assert told == {strip: manager()[strip], log: manager()[log]}


@pytest.mark.parametrize(
    ("folder", "address"), [("istio", LOOPBACK), ("kubernetes/overlays/istio-unix-socket", SOCKET)]
)
def test_istio_gets_the_same_cluster_as_any_envoy(folder, address):
    assert value(folder, "CLUSTER") == made(address)["clusters"][0]


def test_the_virtual_service_has_the_routes_of_the_rollout():
    [spec] = [objects("istio")["VirtualService", "chat-model"]["spec"]]
    assert len(spec["http"]) == len(routes())
    for told, route in zip(spec["http"], routes(), strict=True):
        headers = {
            name: match["exact"]
            for one in told.get("match", [])
            for name, match in one["headers"].items()
        }
        wanted = {
            one["name"]: one["string_match"]["exact"] for one in route["match"].get("headers", [])
        }
        assert headers == wanted
        [one] = told["route"]
        assert f"chat-model-{one['destination']['subset']}" == route["route"]["cluster"]
        policy = route["route"]["retry_policy"]
        assert told["retries"] == {
            "attempts": policy["num_retries"],
            "retryOn": policy["retry_on"],
        }


def test_every_variant_has_a_subset_and_pods():
    found = objects("kubernetes/overlays/istio")
    rule = found["DestinationRule", "chat-model"]["spec"]
    names = [variant.name for variant in declared().variants]
    assert [one["name"] for one in rule["subsets"]] == names
    for one in rule["subsets"]:
        labels = found["Deployment", f"chat-model-{one['name']}"]["spec"]["template"]["metadata"][
            "labels"
        ]
        assert one["labels"].items() <= labels.items()
        selector = found["Service", "chat-model"]["spec"]["selector"]
        assert selector.items() <= labels.items()


def test_istio_proxy_tags_its_spans_as_any_envoy_does():
    [tracing] = objects(ISTIO[1])["Telemetry", "canary"]["spec"]["tracing"]
    name = declared().name
    header = {"header": {"name": f"x-canary-{name}"}}
    assert tracing["customTags"] == {f"{tagging.VARIANT_TAG}{name}": header}


def test_istio_proxy_shows_the_counters_to_watch():
    web = objects(ISTIO[1])["Deployment", "web"]["spec"]["template"]["metadata"]
    told = json.loads(web["annotations"]["proxy.istio.io/config"])
    [pattern] = told["proxyStatsMatcher"]["inclusionRegexps"]
    counter = f"http.{istio_mesh.STATS}.ext_proc.{EXT_PROC_STATS}.failure_mode_allowed"
    assert re.fullmatch(pattern, counter)


# What Envoy Gateway can say of the same facts; README.md names what it cannot.


def gateway(kind, name):
    return objects("envoy-gateway")[kind, name]["spec"]


def seconds(text):
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def test_envoy_gateway_strips_the_same_headers():
    [strip] = manager()["early_header_mutation_extensions"]
    wanted = []
    for one in strip["typed_config"]["mutations"]:
        key = one["remove_on_match"]["key_matcher"]
        regex = key.get("safe_regex", {}).get("regex")
        wanted.append(
            {"type": "Prefix", "value": key["prefix"]}
            if "prefix" in key
            else {"type": "RegularExpression", "value": regex}
        )
    told = gateway("ClientTrafficPolicy", "canary")["headers"]["earlyRequestHeaders"]
    assert told == {"removeOnMatch": wanted}


def test_envoy_gateway_asks_the_sidecar_in_the_same_way():
    filter_config = manager()["http_filters"][0]["typed_config"]
    [told] = gateway("EnvoyExtensionPolicy", "canary")["extProc"]
    assert seconds(told["messageTimeout"]) == seconds(filter_config["message_timeout"])
    assert told["failOpen"] is filter_config["failure_mode_allow"]
    assert told["processingMode"] == {"request": {}}
    writable = filter_config["metadata_options"]["receiving_namespaces"]["untyped"]
    assert told["metadata"] == {"writableNamespaces": writable}
    cluster = made(SOCKET)["clusters"][0]
    [limits] = cluster["circuit_breakers"]["thresholds"]
    assert told["backendSettings"]["circuitBreaker"] == {
        "maxConnections": limits["max_connections"],
        "maxPendingRequests": limits["max_pending_requests"],
        "maxParallelRequests": limits["max_requests"],
    }
    connect = told["backendSettings"]["timeout"]["tcp"]["connectTimeout"]
    assert seconds(connect) == seconds(cluster["connect_timeout"])
    [endpoint] = gateway("Backend", told["backendRefs"][0]["name"])["endpoints"]
    assert f"unix://{endpoint['unix']['path']}" == SOCKET


def test_the_http_route_has_the_routes_of_the_rollout():
    rules = gateway("HTTPRoute", "chat-model")["rules"]
    header = f"x-canary-{declared().name}"
    found = [
        (
            [one for match in rule.get("matches", []) for one in match["headers"]],
            rule["backendRefs"][0]["name"],
            rule["timeouts"]["request"],
        )
        for rule in rules
    ]
    leads = [
        ([{"name": header, "value": variant.name}], variant.cluster, "0s")
        for variant in candidates(declared())
    ]
    assert found == [*leads, ([], declared().variants[0].cluster, "0s")]
    for _, name, _ in found:
        assert ("Service", name) in objects("envoy-gateway")


def test_the_policies_point_at_what_is_there():
    found = objects("envoy-gateway")
    for kind in ("ClientTrafficPolicy", "EnvoyExtensionPolicy"):
        [target] = gateway(kind, "canary")["targetRefs"]
        assert (target["kind"], target["name"]) in found
    reference = gateway("Gateway", "shop")["infrastructure"]["parametersRef"]
    assert (reference["kind"], reference["name"]) in found
    [parent] = gateway("HTTPRoute", "chat-model")["parentRefs"]
    assert ("Gateway", parent["name"]) in found
