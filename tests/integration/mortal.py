"""Lives that end at their nth point: before or after a commit to any SQLite file, or wherever told.

A program forks a child per point; SIGKILL ends it there, and its successor opens the same files and
goes on. Loaded once, so a life takes tenths of a second.
"""

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

_connect = sqlite3.connect


class Fate:
    """Ends the process at the `fatal`th point, 0 being none."""

    def __init__(self, fatal: int) -> None:
        self._fatal, self._passed = fatal, 0

    def point(self) -> None:
        self._passed += 1
        if self._passed == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def rules_every_commit(self) -> None:
        """From now on, in this process, a commit has a point before it and one after it."""
        fate = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *parameters):
                commits = sql == "COMMIT"
                if commits:
                    fate.point()
                done = super().execute(sql, *parameters)
                if commits:
                    fate.point()
                return done

        sqlite3.connect = lambda *args, **kwargs: _connect(*args, factory=Connection, **kwargs)


def lives(live: Callable[[Fate], None], fatal: int) -> bool:
    """Let a process die at a point and others finish; say whether it came that far."""
    ends: list[int] = []
    while not ends or ends[-1]:
        child = os.fork()
        if not child:
            live(Fate(0 if ends else fatal))
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert ends[-1] in (0, -signal.SIGKILL), ends
    return len(ends) > 1


def note(file: Path, what: str) -> None:
    """Write something down beyond the process."""
    with file.open("a") as out:
        out.write(what)


def noted(file: Path) -> str:
    """Read what was written down."""
    return file.read_text() if file.exists() else ""
