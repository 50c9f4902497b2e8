"""Real canary processes with a folder of rollouts, and what can be asked of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import grpc
from control_lab import document
from messages import request_headers

from bench.lab.process import Child, wait_until
from sidecar import config
from sidecar.control import calls
from sidecar.control.calls import UnreachableError
from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

CANARY = [sys.executable, "-c", "from sidecar.cli import main; main()"]
USERS = [f"user-{number}".encode() for number in range(200)]


class House:
    """Directories of one machine, and the processes started in it; they end with the `with`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "rollouts"
        self.folder.mkdir()
        self.settings = config.settings(run_dir=str(root / "r"), state_dir=str(root / "s"))
        self.env = {"CANARY_RUN_DIR": str(root / "r"), "CANARY_STATE_DIR": str(root / "s")}
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.stop()

    def write(self, file: str = "chat.yaml", text: str | None = None) -> None:
        (self.folder / file).write_text(document() if text is None else text)

    def start(self, *args: object, name: str = "") -> Child:
        argv = [*CANARY, *map(str, args)]
        child = Child(name or f"{args[0]}-{len(self._children)}", argv, self.root, env=self.env)
        self._children.append(child)
        return child

    def up(self) -> Child:
        child = self.start("up", self.folder)
        self.until_ready(child)
        return child

    def run(self, *args: object) -> tuple[int, str]:
        """Run a command to its end; its exit status and everything it said."""
        child = self.start(*args)
        status = child.wait(30)
        return status, child.log.read_text()

    def controller(self) -> pb.ControllerStatus:
        return calls.controller_status(self.settings.control)

    def sidecar(self) -> pb.SidecarStatus:
        return calls.sidecar_status(self.settings.admin)

    def rollout(self, name: str = "chat") -> pb.RolloutStatus | None:
        return next((one for one in self.controller().rollouts if one.name == name), None)

    def until_ready(self, *alive: Child) -> None:
        self.until("ready", lambda: self.sidecar().ready, *alive)

    def until_agreed(self, *alive: Child) -> None:
        """Wait until the sidecar has confirmed the table the controller wants."""

        def agreed() -> bool:
            status = self.controller()
            return [one.acked_version for one in status.sidecars] == [status.version]

        self.until("the sidecar has the controller's table", agreed, *alive)

    def until(self, what: str, condition: Callable[[], object], *alive: Child) -> None:
        def probe() -> object:
            try:
                return condition()
            except UnreachableError:
                return None

        wait_until(what, probe, alive=alive)

    def answers(self) -> list[bytes]:
        """Ask ext_proc for every user, as Envoy would."""
        path = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
        with grpc.insecure_channel(self.settings.listen) as channel:
            call = channel.stream_stream(path)
            messages = [request_headers([(":path", b"/"), ("x-user-id", u)]) for u in USERS]
            return list(call(iter(messages), timeout=20))


def weights(messages: list[pb.Weight]) -> dict[str, str]:
    return {one.variant: one.weight for one in messages}


def refused(ask: Callable[[], object]) -> str:
    try:
        ask()
    except CanaryError as error:
        return str(error)
    raise AssertionError("it was not refused")
