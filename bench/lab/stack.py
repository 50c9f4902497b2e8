"""Everything at once: upstreams, canary and Envoy in a work folder under build/, and their end.

The demo and the end-to-end tests differ in what they pass as `Plan`; what is started, waited for
and torn down is the same.
"""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.lab.envoy import Envoy
from bench.lab.process import Child, LabError, wait_until
from bench.lab.upstream import Reader
from sidecar import rollout
from sidecar.extproc import bootstrap

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples" / "rollouts"
# sun_path holds 108 bytes; below the run directory come names like .ext_proc.sock.1234567.
LONGEST_RUN_DIR = 80
COMMAND_TIMEOUT_S = 60.0

Json = dict[str, Any]


def _as_it_is(config: Json) -> Json:
    return config


def installed_canary() -> tuple[str, ...]:
    """Return the ordinary command of the environment this runs in."""
    return (str(Path(sys.executable).with_name("canary")),)


@dataclass(frozen=True)
class Plan:
    """What to run. `canary` is the command's first words; `adjust` may change Envoy's bootstrap.

    `apart` runs controller and sidecar as two processes instead of `canary up`. `http2` names the
    clusters whose upstream is a gRPC one. `observed` holds further options of the bootstrap.
    """

    rollouts: Path = EXAMPLES / "chat-model.yaml"
    canary: tuple[str, ...] = field(default_factory=installed_canary)
    adjust: Callable[[Json], Json] = _as_it_is
    apart: bool = False
    concurrency: int = 1
    http2: frozenset[str] = frozenset()
    name: str = "lab"
    env: Mapping[str, str] = field(default_factory=dict)
    observed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ran:
    """One finished canary command: its output, and the wall clock at its start and its end."""

    output: str
    started_ns: int
    ended_ns: int

    @property
    def took_ms(self) -> float:
        """How long the command took, its interpreter's start included."""
        return (self.ended_ns - self.started_ns) / 1e6


class Stack:
    """Starts in `__enter__`; whatever was started has ended when `__exit__` returns.

    `work` stays for whoever wants to read the logs, until `remove()`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.work = ROOT / "build" / "lab" / f"{plan.name}-{secrets.token_hex(3)}"
        self.children: dict[str, Child] = {}
        self.logs: dict[str, Reader] = {}
        self._running = ExitStack()
        self._upstreams: dict[str, bootstrap.Upstream] = {}
        self._envoy: Envoy | None = None

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start_upstreams()
            self.start_canary()
            self.start_envoy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    # What is asked of it.

    @property
    def envoy(self) -> Envoy:
        """The Envoy. Raises LabError before it was started."""
        if self._envoy is None:
            raise LabError("the stack's Envoy was not started")
        return self._envoy

    @property
    def run_dir(self) -> str:
        """The run directory, as processes in the work folder name it."""
        path = str(self.work / "run")
        # Every process of the stack runs in the work folder, so this is short wherever that is.
        return path if len(os.fsencode(path)) <= LONGEST_RUN_DIR else "/proc/self/cwd/run"

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes `canary` mean this stack (in the work folder)."""
        places = {"CANARY_RUN_DIR": self.run_dir, "CANARY_STATE_DIR": str(self.work / "state")}
        return {**places, "PYTHONPATH": str(ROOT), **self.plan.env}

    def rollouts(self) -> list[rollout.Rollout]:
        """Read what is declared. Raises LabError on a mistake."""
        paths = sorted((self.work / "rollouts").iterdir())
        reading = rollout.read(rollout.Source(p.name, p.read_bytes()) for p in paths)
        if reading.mistakes:
            raise LabError("\n".join(map(str, reading.mistakes)))
        return [declared.rollout for declared in reading.declared]

    def canary(self, *words: str) -> Ran:
        """Run one canary command to its end. Raises LabError if it fails."""
        command = [*installed_canary(), *words]
        started_ns = time.time_ns()
        done = subprocess.run(
            command,
            cwd=self.work,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            start_new_session=True,
        )
        ended_ns = time.time_ns()
        if done.returncode != 0:
            raise LabError(f"canary {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return Ran(done.stdout, started_ns, ended_ns)

    def identities(self) -> dict[str, tuple[int, str]]:
        """Each process by its id and the moment it was started, by the kernel's own record."""
        return {name: (child.pid, _start_time(child.pid)) for name, child in self.children.items()}

    def check(self) -> None:
        """Raise LabError if any process has ended."""
        for child in self.children.values():
            child.check()

    def remove(self) -> None:
        """Remove the work folder, and build/lab when nothing else is in it."""
        shutil.rmtree(self.work, ignore_errors=True)
        with suppress(OSError):
            self.work.parent.rmdir()

    # Its parts, for tests that start and stop them alone.

    def start_upstreams(self) -> None:
        """Start one upstream per cluster of the rollouts."""
        names = bootstrap.clusters_of(self.rollouts())
        for cluster in names:
            self._start_upstream(cluster, http2=cluster in self.plan.http2)
        for cluster in names:
            self._upstreams[cluster] = self._upstream_address(cluster)

    def start_canary(self) -> None:
        """Start `canary up`, or controller and sidecar apart, and wait until it has a table."""
        if self.plan.apart:
            self.start("controller", *self.plan.canary, "controller", str(self.work / "rollouts"))
            self.start_sidecar()
        else:
            self.start("canary", *self.plan.canary, "up", str(self.work / "rollouts"))
            self.wait_ready("canary")

    def start_sidecar(self) -> None:
        """Start the sidecar alone and wait until it has a table."""
        self.start("sidecar", *self.plan.canary, "sidecar")
        self.wait_ready("sidecar")

    def wait_ready(self, name: str) -> None:
        """Wait until a process serves ext_proc with a table, by its own health service."""
        child = self.children[name]
        # The lab's own working directory is another: reach the socket through the child's.
        socket = f"unix:/proc/{child.pid}/cwd/run/ext_proc.sock"
        with grpc.insecure_channel(socket) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            wait_until(f"{name} ready", lambda: _serving(stub), alive=[child])

    def start_envoy(self) -> None:
        """Start the Envoy that fits the rollouts."""
        socket = f"unix://{self.run_dir}/ext_proc.sock"
        options = bootstrap.Options(
            ext_proc=socket, upstreams=self._upstreams, **self.plan.observed
        )
        config = self.plan.adjust(bootstrap.bootstrap(self.rollouts(), options))
        self._envoy = Envoy(config, self.work, concurrency=self.plan.concurrency)
        self._running.callback(self._envoy.stop)
        self._envoy.start()
        self.children["envoy"] = self._envoy.child

    def start(self, name: str, *argv: str) -> Child:
        """Start one process of the stack."""
        child = Child(name, argv, self.work, env=self.env)
        self._running.callback(child.stop)
        self.children[name] = child
        return child

    def _prepare(self) -> None:
        for folder in ("run", "state", "rollouts"):
            (self.work / folder).mkdir(parents=True)
        declared = self.plan.rollouts
        files = sorted(declared.iterdir()) if declared.is_dir() else [declared]
        for path in files:
            shutil.copy(path, self.work / "rollouts")

    def _start_upstream(self, cluster: str, *, http2: bool) -> None:
        module = "bench.lab.grpc_upstream" if http2 else "bench.lab.upstream"
        variant = next(v.name for r in self.rollouts() for v in r.variants if v.cluster == cluster)
        log = self.work / f"{cluster}.requests"
        self.start(
            cluster,
            *[sys.executable, "-m", module, "--variant", variant],
            *["--log", str(log), "--port-file", str(self.work / f"{cluster}.port")],
        )
        self.logs[cluster] = Reader(log)

    def _upstream_address(self, cluster: str) -> bootstrap.Upstream:
        path = self.work / f"{cluster}.port"
        port = wait_until(
            f"upstream {cluster}",
            lambda: path.read_text() if path.exists() else None,
            alive=[self.children[cluster]],
        )
        return bootstrap.Upstream(f"127.0.0.1:{port}", http2=cluster in self.plan.http2)


def _serving(stub: Any) -> bool:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: clock ticks from boot to the process's start."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "gone"
    return text.rpartition(")")[2].split()[19]
