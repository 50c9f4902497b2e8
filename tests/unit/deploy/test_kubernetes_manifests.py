"""What runs in the cluster: valid for every supported Kubernetes, least privilege, and it fits."""

import copy
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from socket import AF_INET, AF_UNIX, socket

import click
import kubernetes_validate
import pytest
from unit.deploy import kustomize

from sidecar import config, rollout
from sidecar.cli import canary

DEPLOY = Path(__file__).parents[3] / "deploy"
FOLDERS = (
    "kubernetes/base",
    "kubernetes/overlays/istio",
    "kubernetes/overlays/istio-unix-socket",
    "envoy-gateway",
)
# 1.29 is the first with native sidecars switched on.
VERSIONS = ("1.29.0", "1.37.0")


def objects(folder):
    return kustomize.build(DEPLOY / folder)


def one(folder, kind, name):
    [found] = [
        each for each in objects(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


def native(each):
    """Whether Kubernetes itself defines the kind."""
    group, _, version = each["apiVersion"].rpartition("/")
    return group in {"", "apps", "networking.k8s.io"} and version == "v1"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_fits_the_published_schema_field_by_field(folder, version):
    checked = [
        kubernetes_validate.validate(each, version, strict=True)
        for each in objects(folder)
        if native(each)
    ]
    assert len(checked) >= 2


def test_a_misspelt_field_would_not_fit():
    broken = copy.deepcopy(one("kubernetes/overlays/istio", "Deployment", "web"))
    [sidecar] = broken["spec"]["template"]["spec"]["initContainers"]
    sidecar["restartpolicy"] = sidecar.pop("restartPolicy")
    with pytest.raises(kubernetes_validate.ValidationError, match="restartpolicy"):
        kubernetes_validate.validate(broken, "1.37.0", strict=True)


def pods():
    """Per place: the pod that runs our image, and our container in it."""
    controller = one("kubernetes/base", "Deployment", "canary-controller")["spec"]["template"]
    tcp, unix = (
        one(f"kubernetes/overlays/{name}", "Deployment", "web")["spec"]["template"]
        for name in ("istio", "istio-unix-socket")
    )
    proxy = one("envoy-gateway", "EnvoyProxy", "canary")["spec"]["provider"]["kubernetes"]
    deployment = proxy["envoyDeployment"]
    gateway = {
        "metadata": {"labels": deployment["pod"]["labels"]},
        "spec": {
            "volumes": deployment["pod"]["volumes"],
            "initContainers": deployment["initContainers"],
        },
    }
    return {
        "controller": (controller, controller["spec"]["containers"][0]),
        **{
            name: (pod, pod["spec"]["initContainers"][0])
            for name, pod in (("loopback", tcp), ("unix-socket", unix), ("gateway", gateway))
        },
    }


PLACES = ("controller", "loopback", "unix-socket", "gateway")
SIDECARS = PLACES[1:]


def environment(container):
    return {each["name"]: each.get("value", "pod-1") for each in container["env"]}


def flags(container):
    return dict(word.split("=", 1) for word in container["args"] if word.startswith("--"))


@pytest.mark.parametrize("place", PLACES)
def test_our_containers_have_no_privilege_they_do_not_need(place):
    pod, container = pods()[place]
    context = {**pod["spec"].get("securityContext", {}), **container["securityContext"]}
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["limits"]["memory"]
    assert container["image"].partition(":")[2] not in {"", "latest"}


def test_the_controller_has_no_token_and_one_writer():
    deployment = one("kubernetes/base", "Deployment", "canary-controller")["spec"]
    account = one("kubernetes/base", "ServiceAccount", "canary-controller")
    assert account["automountServiceAccountToken"] is False
    assert deployment["template"]["spec"]["automountServiceAccountToken"] is False
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("place", PLACES)
def test_the_command_line_is_one_that_the_product_takes(place, monkeypatch):
    _, container = pods()[place]
    name, *words = container["args"]
    for variable, text in environment(container).items():
        monkeypatch.setenv(variable, text)
    command = canary.get_command(click.Context(canary), name)
    known = {each.envvar for each in command.params if getattr(each, "envvar", None)}
    assert environment(container).keys() <= known
    command.make_context(name, words)


@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_written_lies_in_a_volume(place):
    pod, container = pods()[place]
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    told = environment(container)
    for folder in (told["CANARY_RUN_DIR"], told["CANARY_STATE_DIR"]):
        assert not mounts[folder].get("readOnly")
        assert volumes[mounts[folder]["name"]].keys() & {"emptyDir", "persistentVolumeClaim"}
    assert {each["name"] for each in mounts.values()} <= volumes.keys()


def test_the_controller_survives_its_pod_and_reads_the_rollouts_from_the_config_map():
    pod, container = pods()["controller"]
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    claim = volumes[mounts["/var/lib/canary"]]["persistentVolumeClaim"]["claimName"]
    one("kubernetes/base", "PersistentVolumeClaim", claim)
    rollouts = one("kubernetes/base", "ConfigMap", "canary-rollouts")
    folder = container["args"][1]
    assert volumes[mounts[folder]] == {"name": "rollouts", "configMap": {"name": "canary-rollouts"}}
    # A subPath mount would never see a change of the ConfigMap.
    assert not any("subPath" in each for each in container["volumeMounts"])
    sources = [rollout.Source(name, text.encode()) for name, text in rollouts["data"].items()]
    assert rollout.read(sources).mistakes == ()
    assert rollouts["data"] == {
        path.name: path.read_text() for path in (DEPLOY / "examples" / "rollouts").iterdir()
    }


@pytest.mark.parametrize("place", SIDECARS)
def test_the_sidecar_is_a_native_one_and_reaches_the_controller(place):
    pod, container = pods()[place]
    assert container["restartPolicy"] == "Always"
    assert "startupProbe" in container
    service = one("kubernetes/base", "Service", "canary-controller")
    meta, [port] = service["metadata"], service["spec"]["ports"]
    address = f"{meta['name']}.{meta['namespace']}.svc:{port['port']}"
    assert environment(container)["CANARY_CONTROL"] == address
    policy = one("kubernetes/base", "NetworkPolicy", "canary-controller")["spec"]
    [source] = policy["ingress"][0]["from"]
    allowed = source["podSelector"]["matchLabels"]
    assert allowed.items() <= pod["metadata"]["labels"].items()


def test_service_and_policy_reach_the_controllers_port():
    pod, container = pods()["controller"]
    port, metrics = container["ports"]
    service = one("kubernetes/base", "Service", "canary-controller")["spec"]
    policy = one("kubernetes/base", "NetworkPolicy", "canary-controller")["spec"]
    deployment = one("kubernetes/base", "Deployment", "canary-controller")["spec"]
    labels = pod["metadata"]["labels"]
    assert service["ports"][0]["targetPort"] == port["name"]
    assert [each["ports"] for each in policy["ingress"]] == [
        [{"port": port["name"]}],
        [{"port": metrics["name"]}],
    ]
    for selector in (
        service["selector"],
        policy["podSelector"]["matchLabels"],
        deployment["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    listens = flags(container)["--control"].rpartition(":")[2]
    assert int(listens) == port["containerPort"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["tcpSocket"] == {"port": port["name"]}


@pytest.mark.parametrize("place", PLACES)
def test_the_control_stream_is_mutual_tls_from_a_secret(place):
    pod, container = pods()[place]
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    words = {name.strip("-"): path for name, path in flags(container).items()}
    variables = {
        name.removeprefix("CANARY_").lower().replace("_", "-"): path
        for name, path in environment(container).items()
    }
    told = {name: path for name, path in (words | variables).items() if name.startswith("tls")}
    assert told == {
        "tls-cert": "/etc/canary/tls/tls.crt",
        "tls-key": "/etc/canary/tls/tls.key",
        "tls-client-ca" if place == "controller" else "tls-ca": "/etc/canary/tls/ca.crt",
    }
    mount = mounts["/etc/canary/tls"]
    secret = f"canary-{'controller' if place == 'controller' else 'sidecar'}-tls"
    assert volumes[mount["name"]]["secret"] == {"secretName": secret}
    # A subPath mount would never see a rotated certificate.
    assert mount.keys() == {"name", "mountPath", "readOnly"}


@pytest.mark.parametrize("place", PLACES)
def test_metrics_are_where_the_port_says(place):
    _, container = pods()[place]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    [port] = [number for name, number in ports.items() if name.endswith("metrics")]
    assert config.host_and_port(environment(container)["CANARY_METRICS"]) == ("0.0.0.0", port)


@pytest.mark.parametrize("folder", ["istio", "istio-unix-socket"])
def test_istios_envoy_asks_where_the_sidecar_listens(folder):
    place = {"istio": "loopback", "istio-unix-socket": "unix-socket"}[folder]
    pod, container = pods()[place]
    spec = one(f"kubernetes/overlays/{folder}", "EnvoyFilter", "canary")["spec"]
    selector = spec["workloadSelector"]["labels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    [cluster] = [
        each["patch"]["value"] for each in spec["configPatches"] if each["applyTo"] == "CLUSTER"
    ]
    groups = cluster["load_assignment"]["endpoints"]
    address = groups[0]["lb_endpoints"][0]["endpoint"]["address"]
    assert told(address) == environment(container)["CANARY_LISTEN"]


def told(address):
    if "pipe" in address:
        return f"unix://{address['pipe']['path']}"
    return "{address}:{port_value}".format(**address["socket_address"])


def test_istio_proxy_mounts_the_volume_of_the_socket():
    pod, container = pods()["unix-socket"]
    annotation = pod["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"]
    socket_path = config.socket_path(environment(container)["CANARY_LISTEN"])
    assert annotation == '{"canary-run":{"mountPath":"/run/canary","readOnly":true}}'
    assert str(socket_path.parent) == "/run/canary"
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "canary-run"]
    assert mount["mountPath"] == "/run/canary"
    assert environment(container)["CANARY_SOCKET_MODE"] == "0666"


def test_the_gateways_sidecar_is_the_same_but_for_its_socket():
    _, plain = pods()["loopback"]
    _, gateway = pods()["gateway"]
    _, unix = pods()["unix-socket"]
    same = copy.deepcopy(plain)
    same["startupProbe"] = unix["startupProbe"]
    [listen] = [each for each in same["env"] if each["name"] == "CANARY_LISTEN"]
    listen["value"] = environment(unix)["CANARY_LISTEN"]
    assert gateway == same


def probe(container, was, now):
    """Run the exec probe as the kubelet would, at another address; whether it passes."""
    program, *words = container["startupProbe"]["exec"]["command"]
    assert program == "python3"
    assert was in words[-1]
    words[-1] = words[-1].replace(was, now)
    done = subprocess.run(
        [sys.executable, *words], env={"PATH": os.environ["PATH"]}, capture_output=True, check=False
    )
    return done.returncode == 0


def test_the_startup_probe_passes_once_the_sidecar_listens(tmp_path):
    _, loopback = pods()["loopback"]
    with closing(socket(AF_INET)) as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
        assert not probe(loopback, "18001", port)
        server.listen()
        assert probe(loopback, "18001", port)
    _, unix = pods()["unix-socket"]
    path = str(tmp_path / "s")
    with closing(socket(AF_UNIX)) as server:
        assert not probe(unix, "/run/canary/ext_proc.sock", path)
        server.bind(path)
        server.listen()
        assert probe(unix, "/run/canary/ext_proc.sock", path)
