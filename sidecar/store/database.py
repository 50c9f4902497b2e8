"""The controller's SQLite file: states, and append-only events.

Invariant: a state and the event that made it are written in one transaction, and a commit that
returned is on disk (WAL, synchronous=FULL). One process owns the file: the lock is held while
it is open, because a second controller would answer from its own memory of the states.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sidecar.delivery import Change, Event, State
from sidecar.errors import CanaryError
from sidecar.store import rows
from sidecar.transactions import transaction

_T = TypeVar("_T")

# "CNRY": how `file` and we tell this database from any other.
APPLICATION_ID = 0x434E5259
SCHEMA_VERSION = 4

_SCHEMA = """
CREATE TABLE states (
    rollout TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    generation TEXT NOT NULL,
    file TEXT NOT NULL,
    in_force TEXT NOT NULL,
    revision INTEGER NOT NULL,
    retired INTEGER NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout TEXT NOT NULL,
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    generation TEXT NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    UNIQUE (rollout, revision)
) STRICT;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""
# What leads from each schema to the next one. A release reads every older file.
_MIGRATIONS = {
    1: """
ALTER TABLE states ADD COLUMN progress TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN phase TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN launch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN evidence TEXT NOT NULL DEFAULT '';
""",
    2: "ALTER TABLE states ADD COLUMN killed INTEGER NOT NULL DEFAULT 0;",
    3: """
CREATE TABLE told (rollout TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
INSERT INTO told SELECT rollout, revision FROM states;
""",
}
_SET_STATE = """
INSERT INTO states (rollout, document, generation, file, in_force, revision, retired, changed_at,
    progress, killed)
VALUES (:rollout, :document, :generation, :file, :in_force, :revision, :retired, :changed_at,
    :progress, :killed)
ON CONFLICT (rollout) DO UPDATE SET document = :document, generation = :generation,
    file = :file, in_force = :in_force, revision = :revision, retired = :retired,
    changed_at = :changed_at, progress = :progress, killed = :killed
"""
_ADD_EVENT = """
INSERT INTO events (rollout, revision, kind, generation, at, who, why, before, after, phase,
    launch, step, evidence)
VALUES (:rollout, :revision, :kind, :generation, :at, :who, :why, :before, :after, :phase,
    :launch, :step, :evidence)
"""
_UNTOLD = """
SELECT events.* FROM events LEFT JOIN told USING (rollout)
WHERE events.revision > coalesce(told.revision, 0) AND events.at >= ?
ORDER BY seq
"""
_TOLD = """
INSERT INTO told VALUES (?, ?)
ON CONFLICT (rollout) DO UPDATE SET revision = max(revision, excluded.revision)
"""


class StoreError(CanaryError):
    """The database cannot be used; the message names its file."""


class Store:
    """An open database. Every method blocks, and raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The one worker thread that uses it need not be the one that closes it.
            self._db = sqlite3.connect(
                path, timeout=0.5, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def states(self) -> dict[str, State]:
        """Every rollout's state by name, the retired ones included."""
        with self._errors():
            found = self._select("SELECT * FROM states ORDER BY rollout", rows.state)
            return {state.name: state for state in found}

    def commit(self, changes: Iterable[Change]) -> None:
        """Write the changes, all or none; when this returns they are on disk."""
        with self._errors(), transaction(self._db):
            for change in changes:
                self._db.execute(_SET_STATE, rows.of_state(change.state))
                self._db.execute(_ADD_EVENT, rows.of_event(change.event))

    def events(self, rollout: str, newest: int = -1) -> list[Event]:
        """Read the trail of one rollout, oldest first; only the `newest` ones if that is given."""
        query = "SELECT * FROM events WHERE rollout = ? ORDER BY seq DESC LIMIT ?"
        with self._errors():
            return list(self._select(query, rows.event, rollout, newest))[::-1]

    def last_events(self) -> dict[str, Event]:
        """Read the newest event of every rollout."""
        query = "SELECT * FROM events WHERE seq IN (SELECT max(seq) FROM events GROUP BY rollout)"
        with self._errors():
            return {event.rollout: event for event in self._select(query, rows.event)}

    def untold(self, since: datetime) -> list[Event]:
        """Read the events since then that nobody has been told of, oldest first."""
        with self._errors():
            return list(self._select(_UNTOLD, rows.event, since.astimezone(UTC).isoformat()))

    def mark_told(self, rollout: str, revision: int) -> None:
        """Note that people were told of a rollout's events up to this revision."""
        with self._errors(), transaction(self._db):
            self._db.execute(_TOLD, (rollout, revision))

    def close(self) -> None:
        """Give the file up. Nothing is lost without it."""
        with self._errors():
            self._db.close()

    def _select(
        self, query: str, make: Callable[[sqlite3.Row], _T], *values: str | int
    ) -> Iterator[_T]:
        with closing(self._db.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            yield from map(make, cursor.execute(query, values))

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        with transaction(self._db):
            self._check_ours()
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with transaction(self._db):
            self._bring_up_to_date()

    def _check_ours(self) -> None:
        ours = self._number("application_id") == APPLICATION_ID
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and not ours:
            raise StoreError(
                f"{self._path} is a database, but not one of canary's",
                remedy="move it away, or choose another directory with --state-dir",
            )
        version = self._number("user_version")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} was written by a newer release "
                f"(schema {version}, this one knows {SCHEMA_VERSION})",
                remedy="run that release, or choose another directory with --state-dir",
            )

    def _bring_up_to_date(self) -> None:
        version = self._number("user_version")
        if version == 0:
            self._run(_SCHEMA)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            version = 1
        for known in range(version, SCHEMA_VERSION):
            self._run(_MIGRATIONS[known])
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _run(self, script: str) -> None:
        for statement in _statements(script):
            self._db.execute(statement)

    def _number(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, ArithmeticError) as error:
            raise _explained(self._path, error) from error


def _statements(script: str) -> Iterator[str]:
    """Split a script, because sqlite3's executescript would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _explained(path: Path, error: Exception) -> StoreError:
    text = str(error)
    if "locked" in text:
        return StoreError(
            f"{path} is locked: another controller is using it",
            remedy="stop that one, or choose another directory with --state-dir",
        )
    if isinstance(error, sqlite3.OperationalError | OSError):
        return StoreError(
            f"{path} cannot be used: {text}", remedy="check its permissions and the disk's space"
        )
    return StoreError(
        f"{path} is damaged or no database of canary's: {text}",
        remedy="move it away (weights then start from the documents) or restore a copy",
    )
