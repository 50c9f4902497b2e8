"""Child processes that never outlive whoever started them.

Each child leads its own session (Ctrl-C in a terminal reaches the starter alone, which then
stops the children in order) and asks the kernel to be ended when the starter dies, even by
SIGKILL. Start children from the main thread only: the kernel watches the starting thread.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self, TypeVar

# Longer than the ten seconds that a draining sidecar takes at most.
STOP_S = 15.0
POLL_S = 0.01
Found = TypeVar("Found")


class LabError(Exception):
    """The lab could not be set up or a part of it failed; the text says which and where to look."""


class Child:
    """One process; its output goes to `<work>/<name>.log`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        work: Path,
        *,
        env: Mapping[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = work / f"{name}.log"
        self._stop_signal = stop_signal
        self._over = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                cwd=work,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; setpriv replaces itself by the program."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise LabError with the end of its log if it is not running."""
        status = self.exit_status()
        if status is not None:
            raise LabError(f"{self.name} ended with status {status}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait(self, timeout_s: float) -> int:
        """Wait for its own end and return its exit status. Raises LabError if it takes longer."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout_s:g} s") from None

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to the process and whatever it started."""
        if self._over:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    def stop(self, timeout_s: float = STOP_S) -> int:
        """End it in order, by force after `timeout_s`; return its exit status."""
        if self.exit_status() is None:
            self.kill(self._stop_signal)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.kill()
        # From here on the number may belong to somebody else.
        self._over = True
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_until(
    what: str,
    probe: Callable[[], Found | None],
    timeout_s: float = 60.0,
    alive: Sequence[Child] = (),
) -> Found:
    """Poll until `probe` gives something true and return it; every process in `alive` must live.

    Raises LabError that names `what` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if found := probe():
            return found
        for child in alive:
            child.check()
        if time.monotonic() > deadline:
            tails = "".join(f"\n--- {child.log}\n{child.log_tail()}" for child in alive)
            raise LabError(f"{what}: not within {timeout_s:g} s{tails}")
        time.sleep(POLL_S)


class Interrupted(BaseException):
    """A signal, turned into an exception so that `with` blocks clean up."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


@contextmanager
def signals_unwind() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP end the program by unwinding: the first of them, once.

    More of them (an impatient second Ctrl-C) do not cut the cleaning up short.
    """
    heard: list[int] = []

    def unwind(signum: int, _frame: FrameType | None) -> None:
        heard.append(signum)
        if len(heard) == 1:
            raise Interrupted(signum)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def as_command() -> Iterator[None]:
    """Make a benchmark's program clean up on signals, and end on LabError with its text."""
    with signals_unwind():
        try:
            yield
        except LabError as error:
            sys.exit(f"bench: {error}")
        except Interrupted as interrupted:
            sys.exit(interrupted.status)
