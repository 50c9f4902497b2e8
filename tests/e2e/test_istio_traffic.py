"""deploy/istio in a real Envoy: patched into a plain outbound listener, with live traffic.

Who gets what is held against the oracle, which knows nothing of Istio nor of the product.
"""

import contextlib
import copy
import socket

import grpc
import pytest
import yaml
from e2e import istio_mesh, istio_patches, mesh_clients
from e2e.mesh_clients import USERS, expected
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unit.deploy import kustomize

from bench.lab.envoy import validate
from bench.lab.process import LabError, wait_until
from bench.lab.stack import ROOT, Plan, Stack

FOLDERS = {"loopback": "istio", "unix-socket": "kubernetes/overlays/istio-unix-socket"}
HOST = "chat-model.shop.svc.cluster.local"
SPOOFS = [*mesh_clients.SPOOFS, mesh_clients.UNDERSCORES]
EXT_PROC = f"http.{istio_mesh.STATS}.ext_proc.canary"


def manifests(way="loopback"):
    objects = kustomize.build(ROOT / "deploy" / FOLDERS[way])
    return {one["kind"]: one for one in objects if "istio.io" in one["apiVersion"]}


def patch_of(envoy_filter, apply_to):
    [value] = istio_patches.patches(envoy_filter, apply_to)
    return value


def sidecar_address(envoy_filter):
    groups = patch_of(envoy_filter, "CLUSTER")["load_assignment"]["endpoints"]
    return groups[0]["lb_endpoints"][0]["endpoint"]["address"]


def meshed(told):
    """Turn the lab's bootstrap into a patched sidecar's: its upstreams become pods."""

    def adjust(config):
        addresses = {
            one["name"]: one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            for one in config["static_resources"]["clusters"]
        }
        pods = [
            istio_mesh.Pod(
                {"app": "chat-model", "version": v}, addresses[f"chat-model-{v}"]["address"]
            )
            for v in ("stable", "canary")
        ]
        services = [
            istio_mesh.Service("chat-model", "shop", tuple(pods)),
            istio_mesh.Service("ledger", "shop", (pods[1],)),
        ]
        plain = istio_mesh.outbound(services, told["DestinationRule"], told["VirtualService"])
        envoy_filter = copy.deepcopy(told["EnvoyFilter"])
        here = sidecar_address(envoy_filter)
        if "pipe" in here:
            here["pipe"] = addresses["canary_sidecar"]["address"]["pipe"]
        patched = istio_patches.apply(envoy_filter, plain)
        return {**config, "static_resources": patched}

    return adjust


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_loopback(stack, port):
    """Start `canary up` with the sidecar where deploy/istio expects it, but for the port."""

    def start():
        address = f"127.0.0.1:{port}"
        folder = str(stack.work / "rollouts")
        child = stack.start("canary", *stack.plan.canary, "up", folder, "--listen", address)
        with grpc.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            wait_until("a table", lambda: serving(check), alive=[child])

    return start


def serving(check):
    try:
        answer = check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@contextlib.contextmanager
def running(name, told):
    stack = Stack(Plan(name=name, adjust=meshed(told)))
    address = sidecar_address(told["EnvoyFilter"])
    if "socket_address" in address:
        address["socket_address"]["port_value"] = free_port()
        stack.start_canary = on_loopback(stack, address["socket_address"]["port_value"])
    with stack:
        yield stack
    stack.remove()


@pytest.fixture(scope="module", params=FOLDERS)
def stack(request):
    with running(f"istio-{request.param}", manifests(request.param)) as started:
        yield started


@pytest.fixture
def client(stack):
    return mesh_clients.Client(stack, HOST)


def test_everybody_is_answered_where_they_belong_and_a_weight_moves_them(client):
    for percent in (5, 60, 5):
        client.weights(percent)
        assert client.everybody() == expected(percent)
    assert client.stack.envoy.stats()[f"{EXT_PROC}.failure_mode_allowed"] == 0


def test_a_client_cannot_choose(client):
    client.weights(5)
    for spoof in SPOOFS:
        for who in USERS[:20]:
            assert client.ask(who, **spoof) == expected(5)[who]


@pytest.mark.parametrize("host", ["chat-model", "chat-model.shop", f"{HOST}:80"])
def test_the_service_is_the_same_by_each_of_its_names(client, host):
    client.weights(60)
    for who in USERS[:10]:
        assert client.ask(who, host) == expected(60)[who]


def test_another_service_is_left_alone(client):
    client.weights(5)
    assert {client.ask(who, "ledger") for who in USERS[:10]} == {"canary"}


def test_the_decision_stands_before_the_filters_that_look_at_the_route(stack):
    [listener] = stack.envoy.config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    names = [one["name"].rpartition(".")[2] for one in manager["http_filters"]]
    assert names == ["ext_proc", "grpc_stats", "fault", "cors", "router"]


def test_the_doctor_has_no_finding(stack):
    printed = stack.canary("doctor", "--admin", stack.envoy.admin_url).output
    assert printed.startswith("no findings")


def spoofed_without_sidecar(name, told):
    """Who answers the spoofers once the sidecar is dead."""
    with running(name, told) as stack:
        stack.children["canary"].kill()
        client = mesh_clients.Client(stack, HOST)
        seen = {client.ask(USERS[0], **spoof) for spoof in SPOOFS}
        assert stack.envoy.stats()[f"{EXT_PROC}.failure_mode_allowed"] >= len(SPOOFS)
    return seen


def test_without_the_sidecar_the_baseline_answers_even_those_who_ask_for_more():
    assert spoofed_without_sidecar("istio-down", manifests()) == {"stable"}


def test_without_the_strip_that_would_not_be_so():
    told = manifests()
    found = told["EnvoyFilter"]["spec"]["configPatches"]
    found[:] = [one for one in found if one["applyTo"] != "NETWORK_FILTER"]
    assert spoofed_without_sidecar("istio-spoofed", told) == {"stable", "canary"}


def patched(told):
    endpoint = {"endpoint": {"address": {"pipe": {"path": "/run/x.sock"}}}}
    names = ("chat-model-stable", "chat-model-canary", "canary_sidecar")
    clusters = [
        {"name": name, "load_assignment": {"endpoints": [{"lb_endpoints": [endpoint]}]}}
        for name in names
    ]
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    return meshed(told)({"admin": admin, "static_resources": {"clusters": clusters}})


@pytest.mark.parametrize("way", FOLDERS)
def test_envoy_itself_accepts_the_patched_listener(way, tmp_path):
    validate(patched(manifests(way)), tmp_path)


@pytest.mark.parametrize("apply_to", ["CLUSTER", "NETWORK_FILTER", "HTTP_FILTER"])
def test_a_field_that_is_not_there_is_refused_by_the_definitions_and_by_envoy(apply_to, tmp_path):
    told = manifests()
    value = patch_of(told["EnvoyFilter"], apply_to)
    value.get("typed_config", value)["no_such_field"] = True
    with pytest.raises(KeyError, match="no_such_field"):
        istio_patches.parse_strictly(told["EnvoyFilter"])
    with pytest.raises(LabError, match="no_such_field"):
        validate(patched(told), tmp_path)


def test_a_patch_that_matches_nothing_is_noticed():
    told = manifests()
    text = yaml.safe_dump(told["EnvoyFilter"]).replace(
        "http_connection_manager\n", "http_manager\n"
    )
    told["EnvoyFilter"] = yaml.safe_load(text)
    with pytest.raises(istio_patches.PatchError, match="changes nothing"):
        patched(told)
