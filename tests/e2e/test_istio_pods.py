"""What the pods of deploy/kubernetes run, run here: their own words, environments and probes.

Only places are changed: each pod's folders lie below a folder of this test, ports are free ones,
and the controller's name leads to this machine (its certificate still has to bear it).
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import security_lab
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unit.deploy import kustomize

from bench.lab.process import Child, wait_until
from bench.lab.stack import ROOT, installed_canary

NAME = "canary-controller.canary-system.svc"
BASE = "kubernetes/base"
OVERLAYS = {"loopback": "istio", "unix-socket": "istio-unix-socket"}
SECRETS = "/etc/canary/tls"
ROLLOUTS = "/etc/canary/rollouts"


def container(folder, deployment, kind):
    [one] = [
        each
        for each in kustomize.build(ROOT / "deploy" / folder)
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", deployment)
    ]
    return one["spec"]["template"]["spec"][kind][0]


def free_ports(count):
    with contextlib.ExitStack() as probes:
        found = [probes.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in found]


class Pod:
    """One container with its volumes below `folder`."""

    def __init__(self, told, folder, places):
        self._told = told
        self.folder = folder
        mounts = [each["mountPath"] for each in told["volumeMounts"]]
        self._places = {mount: str(folder / mount.strip("/")) for mount in mounts} | places
        for mount in mounts:
            (folder / mount.strip("/")).mkdir(parents=True)
        named = {one["name"]: one.get("value", "pod-1") for one in told["env"]}
        self.env = {name: self.here(value) for name, value in named.items()}

    def here(self, text):
        """The same text with this machine's places."""
        for was, now in self._places.items():
            text = text.replace(was, now)
        return text

    def start(self):
        argv = [*installed_canary(), *map(self.here, self._told["args"])]
        return Child("pod", argv, self.folder, env=self.env)

    def run(self, *argv):
        """What `kubectl exec` and the kubelet do."""
        return subprocess.run(
            argv,
            env={"PATH": os.environ["PATH"], **self.env},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def started(self):
        """Whether the startup probe passes."""
        _, *words = self._told["startupProbe"]["exec"]["command"]
        return self.run(sys.executable, *map(self.here, words)).returncode == 0


@pytest.fixture
def folder():
    # Short, for the sockets.
    made = Path(tempfile.mkdtemp(prefix="cn"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def ports():
    return dict(zip(("18000", "18001", "18002", "metrics"), free_ports(4), strict=True))


@pytest.fixture
def authority():
    return security_lab.Authority()


def secret(pod, authority, *names):
    """A Secret as cert-manager writes it."""
    told = Path(pod.here(SECRETS))
    pair = authority.signs(*names)
    for name, data in (("tls.crt", pair.cert), ("tls.key", pair.key), ("ca.crt", authority.pem)):
        security_lab.put(told / name, data, 0o644)


@pytest.fixture
def controller(folder, ports, authority):
    told = container(BASE, "canary-controller", "containers")
    places = {f":{port}": f":{ports[port]}" for port in ("18000", "18002")}
    pod = Pod(told, folder / "c", places)
    secret(pod, authority, NAME)
    shutil.copy(ROOT / "deploy" / BASE / "rollouts" / "chat-model.yaml", pod.here(ROLLOUTS))
    with pod.start() as child:
        pod.child = child
        yield pod


@pytest.fixture(params=OVERLAYS)
def sidecar(request, folder, ports, authority):
    told = container(f"kubernetes/overlays/{OVERLAYS[request.param]}", "web", "initContainers")
    places = {
        f"{NAME}:18000": f"127.0.0.1:{ports['18000']}",
        "18001": ports["18001"],
        "18002": ports["metrics"],
    }
    pod = Pod(told, folder / "s", places)
    pod.env["CANARY_CONTROL_NAME"] = NAME
    secret(pod, authority)
    with pod.start() as child:
        pod.child = child
        yield pod


def serving(sidecar):
    with grpc.insecure_channel(sidecar.env["CANARY_LISTEN"]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_sidecar_starts_without_a_controller(sidecar):
    wait_until("the startup probe", sidecar.started, alive=[sidecar.child])
    assert not serving(sidecar)
    assert sidecar.child.stop() == 0


def test_the_pods_reach_each_other_and_are_reached(sidecar, controller):
    both = [sidecar.child, controller.child]
    wait_until("a table over mutual TLS", lambda: serving(sidecar), alive=both)
    assert sidecar.started()
    changed = controller.run(*installed_canary(), "weights", "chat-model", "canary=50")
    assert "->  stable 50 %, canary 50 %" in changed.stdout, changed.stderr
    seen = sidecar.run(*installed_canary(), "status")
    assert (seen.returncode, "stable 50 %" in seen.stdout) == (0, True), seen.stdout + seen.stderr
    for pod in (sidecar, controller):
        with urlopen(f"http://{pod.env['CANARY_METRICS']}/metrics", timeout=5) as answer:
            assert b"canary_" in answer.read()
    assert [child.stop() for child in both] == [0, 0]


def test_istio_proxy_may_connect_to_the_socket(sidecar):
    wait_until("the startup probe", sidecar.started, alive=[sidecar.child])
    path = Path(sidecar.here("/run/canary/ext_proc.sock"))
    if path.exists():
        assert path.stat().st_mode & 0o777 == 0o666
    else:
        assert sidecar.env["CANARY_LISTEN"].startswith("127.0.0.1:")


def test_a_stranger_gets_nothing_from_the_controller(controller, ports):
    stranger = security_lab.Authority("another")
    wait_until(
        "the controller listens", lambda: reachable(ports["18000"]), alive=[controller.child]
    )
    cert = stranger.signs().put(controller.folder, "stranger")
    options = {"control": f"127.0.0.1:{ports['18000']}", "control_name": NAME, **cert}
    words = security_lab.flags(**options, tls_ca=controller.here(f"{SECRETS}/ca.crt"))
    done = controller.run(*installed_canary(), "weights", "chat-model", "canary=50", *words)
    assert done.returncode == 1
    assert "->" not in done.stdout


def reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0
