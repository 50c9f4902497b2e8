"""`canary doctor` beside real Envoys: healthy ones, and each broken in one way."""

import asyncio
import contextlib
import copy
import functools
import json
import threading

import grpc
import misfitting
import pytest
import yaml
from click.testing import CliRunner
from e2e import test_envoy_gateway_traffic, test_istio_traffic
from e2e.test_envoy_config import ask
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc

from bench.lab.envoy import Envoy
from bench.lab.process import wait_until
from bench.lab.stack import Plan, Stack
from sidecar.cli import canary
from sidecar.extproc import SERVICE

# What Envoy itself refuses to start with cannot be shown with a real one.
REFUSED_BY_ENVOY = {"no-cluster", "no-sidecar-cluster", "after-router"}
SPOILERS = [one for one in misfitting.SPOILERS if not REFUSED_BY_ENVOY & set(one[1])]


@pytest.fixture(scope="module")
def stack():
    running = Stack(Plan(name="doctor"))
    with running:
        yield running
    running.remove()


@contextlib.contextmanager
def envoy(stack, spoil=lambda _: None):
    """A second Envoy beside the healthy one, for the same sidecar."""
    config = copy.deepcopy(stack.envoy.config)
    spoil(config)
    with Envoy(config, stack.work) as running:
        yield running


def examined(stack, admin_url, *words, **env):
    """Run the doctor; return its exit status and the ids it found."""
    command = ["doctor", "--admin", admin_url, "--run-dir", str(stack.work / "run"), *words]
    result = CliRunner().invoke(canary, command, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    lines = [one for one in result.stdout.splitlines() if not one.startswith("no findings")]
    found = [tuple(one.split()[:2]) for one in lines]
    assert all("; remedy: " in one for one in lines)
    assert result.exit_code == any(severity == "error" for severity, _ in found)
    return [name for _, name in found]


def test_a_healthy_stack_has_no_findings(stack):
    for number in range(20):
        assert ask(stack.envoy, "/", **{"x-user-id": f"u{number}"}).status == 200
    assert examined(stack, stack.envoy.admin_url) == []
    assert examined(stack, stack.envoy.admin_url, str(stack.work / "rollouts")) == []


@pytest.mark.parametrize(("spoil", "ids"), SPOILERS)
def test_each_misfit_is_found_in_a_running_envoy(stack, spoil, ids):
    # The native engine, which serves here, needs no long timeout.
    found = [one for one in ids if one != "timeout-short"]
    with envoy(stack, spoil) as running:
        assert examined(stack, running.admin_url) == found


@pytest.mark.parametrize("vary", misfitting.FITTING)
def test_a_running_envoy_that_fits_otherwise_is_left_alone(stack, vary):
    with envoy(stack, vary) as running:
        assert examined(stack, running.admin_url) == []


def test_what_a_running_envoy_hides_is_told_by_its_sidecar(stack):
    def made_for_other_rollouts(config):
        misfitting.unforward(config)
        misfitting.outcome_log(config)["common_config"]["log_name"] = "canary?header=:path"

    def told():
        command = ["status", "--run-dir", str(stack.work / "run"), "--json"]
        result = CliRunner().invoke(canary, command)
        return json.loads(result.stdout)["sidecar"].get("forwarding", {}).get("unseen", [])

    with envoy(stack, made_for_other_rollouts) as running:
        assert ask(running, "/").status == 200
        wait_until("the sidecar hears of it", told, alive=[stack.children["canary"]])
        assert {one["what"] for one in told()} == {"header 'cookie'", "header 'x-user-id'"}
        assert "input-unseen" in examined(stack, running.admin_url)
    log = stack.children["canary"].log.read_text()
    assert "Envoy does not forward it" in log
    assert "header 'x-user-id'" in log
    wait_until("its log is closed", lambda: not told(), alive=[stack.children["canary"]])
    assert "input-unseen" not in examined(stack, stack.envoy.admin_url)


def test_a_rollout_that_this_envoy_was_not_made_for(stack, tmp_path):
    document = yaml.safe_load(misfitting.EXAMPLE.read_text())
    document["spec"]["unit"] = [{"header": "x-session"}, {"clientAddress": True}]
    document["spec"]["variants"].append({"name": "next", "weight": 0})
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(document))
    found = examined(stack, stack.envoy.admin_url, str(tmp_path))
    assert sorted(found) == ["address-hidden", "header-hidden", "no-route"]


def test_traces_without_a_parent_where_the_sidecar_makes_spans(stack):
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
    assert examined(stack, stack.envoy.admin_url, **env) == ["no-trace-parent"]

    def traced(config):
        misfitting.manager(config)["tracing"] = {}

    with envoy(stack, traced) as running:
        assert examined(stack, running.admin_url, **env) == []

    def unsampled(config):
        traced(config)
        misfitting.ext_proc(config)["emit_client_span"] = False

    with envoy(stack, unsampled) as running:
        assert examined(stack, running.admin_url, **env) == ["no-trace-parent"]


def test_refused_headers_are_counted_by_envoy_and_told(stack):
    with envoy(stack, misfitting.forbid_mutations) as running:
        ask(running, "/", **{"x-user-id": "u1"})
        found = examined(stack, running.admin_url)
        assert found == ["mutations-forbidden", "mutations-rejected"]


def test_statistics_that_are_not_kept_are_missed(stack):
    def hide(config):
        patterns = [{"contains": "ext_proc"}]
        config["stats_config"] = {"stats_matcher": {"exclusion_list": {"patterns": patterns}}}

    with envoy(stack, hide) as running:
        assert examined(stack, running.admin_url) == ["stats-hidden"]


def sidecar_cluster(config):
    return config["static_resources"]["clusters"][0]


def test_a_cluster_without_endpoints_is_told(stack):
    def empty(config):
        sidecar_cluster(config)["load_assignment"]["endpoints"] = []

    with envoy(stack, empty) as running:
        assert examined(stack, running.admin_url) == ["no-sidecar-endpoint"]


# --- a processor that is not the sidecar --------------------------------------------------------


async def close(_, requests, context):
    async for _ in requests:
        return
        yield


async def clear_without_a_mutation(_, requests, context):
    async for _ in requests:
        common = ext_proc.CommonResponse(clear_route_cache=True)
        headers = ext_proc.HeadersResponse(response=common)
        yield bytes(ext_proc.ProcessingResponse(request_headers=headers))


async def fail(_, requests, context):
    async for _ in requests:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield


@contextlib.contextmanager
def impostor(behaviour):
    """Serve ext_proc in a thread of its own; yields the port."""
    ports, stop = [], threading.Event()

    async def serve():
        server = grpc.aio.server()
        method = grpc.stream_stream_rpc_method_handler(functools.partial(behaviour, None))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Process": method}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ports.append(port)
        await asyncio.to_thread(stop.wait)
        await server.stop(0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        wait_until("an impostor", lambda: ports)
        yield ports[0]
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (close, ["silent-failures"]),
        (clear_without_a_mutation, ["route-clear-ignored"]),
        (fail, ["decisions-failed"]),
    ],
)
def test_what_another_processor_does_is_told_by_envoys_counters(stack, behaviour, expected):
    def divert(config):
        socket = {"address": "127.0.0.1", "port_value": port}
        endpoint = {"endpoint": {"address": {"socket_address": socket}}}
        sidecar_cluster(config)["load_assignment"]["endpoints"] = [{"lb_endpoints": [endpoint]}]
        misfitting.leave_clearing_to_the_answer(config)

    with impostor(behaviour) as port, envoy(stack, divert) as running:
        for _ in range(3):
            assert ask(running, "/").status == 200
        found = examined(stack, running.admin_url)
        assert sorted(found) == sorted([*expected, "sidecar-elsewhere"])


# --- a mesh's Envoy: everything by discovery ----------------------------------------------------


def istio():
    return test_istio_traffic.running("doctor-istio", test_istio_traffic.manifests())


@contextlib.contextmanager
def envoy_gateway():
    running = Stack(Plan(name="doctor-gateway", adjust=test_envoy_gateway_traffic.gatewayed))
    with running:
        yield running
    running.remove()


def test_an_envoy_that_discovers_everything_is_read_and_its_refusals_are_told(stack, tmp_path):
    config = copy.deepcopy(stack.envoy.config)
    resources = config.pop("static_resources")
    routes = misfitting.manager({"static_resources": resources}).pop("route_config")
    files = {name: tmp_path / f"{name}.yaml" for name in ("lds", "cds", "rds")}

    def source(name):
        path = {"path_config_source": {"path": str(files[name])}}
        return {**path, "resource_api_version": "V3"}

    def write(name, kind, *items, version="1"):
        types = "type.googleapis.com/envoy.config"
        typed = [{"@type": f"{types}.{kind}", **one} for one in items]
        draft = files[name].with_suffix(".draft")
        draft.write_text(yaml.safe_dump({"version_info": version, "resources": typed}))
        draft.replace(files[name])

    rds = {"config_source": source("rds"), "route_config_name": "80"}
    misfitting.manager({"static_resources": resources})["rds"] = rds
    [listener] = resources["listeners"]
    write("rds", "route.v3.RouteConfiguration", {**routes, "name": "80"})
    write("cds", "cluster.v3.Cluster", *resources["clusters"])
    write("lds", "listener.v3.Listener", listener)
    config["static_resources"] = {"listeners": []}
    config["dynamic_resources"] = {"lds_config": source("lds"), "cds_config": source("cds")}
    with Envoy(config, stack.work) as running:
        assert ask(running, "/", **{"x-user-id": "u1"}).status == 200
        assert examined(stack, running.admin_url) == []

        write("rds", "route.v3.RouteConfiguration", {**routes, "name": "80", "virtual_hosts": []})
        wait_until("routes gone", lambda: examined(stack, running.admin_url) == ["no-route"])

        # Each may be, both together may not: what Envoy finds out only when it makes the filter.
        misfitting.ext_proc({"static_resources": resources})["disable_clear_route_cache"] = True
        write("lds", "listener.v3.Listener", listener, version="2")
        wait_until(
            "a rejected listener",
            lambda: sorted(examined(stack, running.admin_url)) == ["config-rejected", "no-route"],
        )


@pytest.mark.parametrize(("mesh", "ids"), [(istio, []), (envoy_gateway, ["outcomes-late"])])
def test_what_deploy_gives_a_mesh_has_no_findings_but_what_it_cannot_say(mesh, ids):
    with mesh() as running:
        assert examined(running, running.envoy.admin_url) == ids


# --- the processes ------------------------------------------------------------------------------


def test_nobody_there_is_told_of_each(tmp_path):
    class Nowhere:
        work = tmp_path

    found = examined(Nowhere, "127.0.0.1:1")
    assert found == ["sidecar-unreachable", "admin-unreachable", "controller-unreachable"]
