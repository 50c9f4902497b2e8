"""Ours: `canary sidecar` with one of its engines, fed by a real controller.

The controller is a process of its own (one per fleet, not on the request path); it is not counted.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.contenders.base import TASK, Contender, Missing
from bench.lab.process import Child, wait_until
from bench.lab.stack import installed_canary
from sidecar import extproc
from sidecar.errors import CanaryError

# Ten thousand documents take the controller its time to read and store.
READY_S = 120.0


class Canary(Contender):
    """`rollouts` above one adds others, for hosts that no request names."""

    def __init__(self, engine: str, rollouts: int = 1) -> None:
        self.name = f"canary-{engine}" if rollouts == 1 else f"canary-{engine}-{rollouts}"
        self._engine = engine
        self._others = rollouts - 1
        self._children: list[Child] = []

    def prepare(self) -> None:
        """Raise Missing if this installation has not got the engine."""
        try:
            extproc.create(self._engine, "127.0.0.1:0")
        except CanaryError as error:
            raise Missing(str(error)) from error

    def start(self, socket: Path) -> Sequence[int]:
        """Start both; return when the sidecar says that it serves."""
        work = socket.parent
        folder = work / "rollouts"
        folder.mkdir()
        (folder / "task.yaml").write_text(TASK.document())
        if self._others:
            (folder / "others.yaml").write_text("---\n".join(map(_other, range(self._others))))
        self._children = []
        places = {"CANARY_RUN_DIR": str(work), "CANARY_STATE_DIR": str(work / "state")}
        env = {**places, **self._observing(work)}
        words = {
            "controller": ["controller", str(folder)],
            "sidecar": ["sidecar", "--listen", f"unix://{socket}", "--engine", self._engine],
        }
        for name, argv in words.items():
            command = [*installed_canary(), *argv]
            self._children.append(Child(name, command, work, env=env))
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            wait_until(f"{self.name} serves", lambda: _serving(stub), READY_S, self._children)
        return [self._children[-1].pid]

    def _observing(self, work: Path) -> Mapping[str, str]:
        """Start what the sidecar is to tell; return the environment that makes it do so."""
        del work
        return {}

    def stop(self) -> None:
        """End the sidecar, then its controller."""
        for child in reversed(self._children):
            child.stop()


class Observed(Canary):
    """Ours with everything on: metrics every second, a tenth of the decisions as spans, by OTLP."""

    env: ClassVar[Mapping[str, str]] = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        # So that what a load makes is also sent while it lasts.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.name += "-observed"

    def _observing(self, work: Path) -> Mapping[str, str]:
        path = work / "collector.port"
        argv = [sys.executable, str(Path(__file__).with_name("collector.py"))]
        collector = Child("collector", [*argv, "--port-file", str(path)], work)
        self._children.append(collector)
        port = wait_until(
            "the collector", lambda: path.read_text() if path.exists() else None, alive=[collector]
        )
        return {**self.env, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}


def _other(number: int) -> str:
    document = TASK.document().replace(TASK.rollout, f"other-{number}", 1)
    return document.replace("spec:\n", f"spec:\n  match: {{hosts: [h{number}.example]}}\n", 1)


def _serving(stub: Any) -> bool:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
