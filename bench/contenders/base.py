"""What every contender is, and the one decision that all of them make.

The decision is docs/assignment.md for one rollout with one candidate; what an answer carries is
what `canary sidecar` sends: the header, the dynamic metadata, the route cache cleared.
"""

import socket as sockets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.lab.process import Child, wait_until


@dataclass(frozen=True, slots=True)
class Task:
    """One rollout: `header` names the unit, `percent` is the candidate's share."""

    rollout: str = "chat-model"
    header: str = "x-user-id"
    baseline: str = "stable"
    candidate: str = "canary"
    percent: int = 50

    @property
    def salt(self) -> str:
        """The rollout's name, as it is where a document gives no other."""
        return self.rollout

    def document(self) -> str:
        """Return it as a Rollout document."""
        return f"""\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {{name: {self.rollout}}}
spec:
  unit: [{{header: {self.header}}}]
  variants:
    - {{name: {self.baseline}, weight: {100 - self.percent}}}
    - {{name: {self.candidate}, weight: {self.percent}}}
"""

    def words(self) -> list[str]:
        """Return it as options, for contenders that read no documents."""
        return [
            *["--rollout", self.rollout, "--salt", self.salt, "--header", self.header],
            *["--baseline", self.baseline, "--candidate", self.candidate],
            *["--percent", str(self.percent)],
        ]


TASK = Task()
# What one exchange needs of Envoy's messages, for whoever compiles them.
MESSAGES = Path(__file__).parent / "ext_proc.proto"


class Missing(Exception):  # noqa: N818 - a state of the machine, not of the program
    """A contender cannot take part here; the text says what to install."""


class Contender(ABC):
    """Starts and stops one server of ext_proc. Used for one cell after another, never for two."""

    name: str
    decides: ClassVar[bool] = True
    # Whose answer everybody gets from a contender that answers without deciding.
    answers_as: ClassVar[str | None] = None

    def prepare(self) -> None:  # noqa: B027 - most have nothing to build
        """Build it, once. Raises Missing where the tools for that are not there."""

    @abstractmethod
    def start(self, socket: Path) -> Sequence[int]:
        """Serve ext_proc on `socket`; return the ids of the processes that handle requests.

        Logs and state go to the socket's folder. Ready for the first request when it returns;
        raises LabError if it does not become so.
        """

    @abstractmethod
    def stop(self) -> None:
        """End every process; also after a `start` that failed."""


class Program(Contender):
    """A contender that is one command, told its socket and the task."""

    env: Mapping[str, str] = {}
    task: Task = TASK
    _child: Child | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the first words; `--socket PATH` and `words` are added."""

    def words(self, work: Path) -> Sequence[str]:
        """Return what it must be told: the task. What it writes goes into `work`."""
        del work
        return self.task.words()

    def start(self, socket: Path) -> Sequence[int]:
        """Start it and wait until it takes connections."""
        argv = [*self.command(), "--socket", str(socket), *self.words(socket.parent)]
        self._child = Child(self.name, argv, socket.parent, env=self.env)
        wait_until(f"{self.name} listens", lambda: _listens(socket), alive=[self._child])
        return [self._child.pid]

    def stop(self) -> None:
        """End it."""
        if self._child:
            self._child.stop()


def _listens(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False
