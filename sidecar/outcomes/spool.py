"""The sidecar's rows on disk until the controller has them: SQLite in one file, blocking.

Invariant: what a half of the journal counted is in the rows exactly once, because rows and the mark
"this half is in" are written in one transaction. A row keeps its number for life; each change gives
it a new sequence, and what the controller acknowledges is a sequence. Bounded: beyond `most_rows`
the oldest rows go, and are counted.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sidecar.analysis import cells
from sidecar.errors import CanaryError
from sidecar.transactions import transaction

# So long after its second a row may still rise; a later outcome makes a row of its own, so that
# whoever sums old rows up need not fear that they change.
OPEN_S = 1_200
# An entry older than a day is refused, so a version older than this is never asked for.
_VERSIONS_S = 2 * 86_400
_MOST_VERSIONS = 1 << 16
MOST_ROWS = 100_000
# "CNRO"
_APPLICATION_ID = 0x434E524F
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    second INTEGER NOT NULL,
    rollout TEXT NOT NULL,
    variant TEXT NOT NULL,
    version TEXT NOT NULL,
    segment TEXT NOT NULL,
    counts BLOB NOT NULL,
    sequence INTEGER NOT NULL UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS rows_by_key
    ON rows (second, epoch, rollout, variant, version, segment);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS marks (epoch TEXT PRIMARY KEY, half INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS versions (version TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS names (
    rollout TEXT NOT NULL, variant TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (rollout, variant)
) STRICT;
"""
_FIND = """SELECT number, counts FROM rows WHERE second = ? AND epoch = ? AND rollout = ?
AND variant = ? AND version = ? AND segment = ? ORDER BY number LIMIT 1"""

_KNOWN = """SELECT version FROM (SELECT version, since FROM versions ORDER BY since DESC LIMIT ?)
ORDER BY since"""


class SpoolError(CanaryError):
    """The file cannot be used; the message names it."""


class Key(NamedTuple):
    """What makes a row within an epoch: the second in which its requests started, the decision."""

    second: int
    rollout: str
    variant: str
    version: str
    segment: str


class Row(NamedTuple):
    """A row as it stands: `counts` are packed as in `analysis.cells`."""

    epoch: str
    number: int
    sequence: int
    key: Key
    counts: bytes


class Spool:
    """An open spool. Every method blocks, and raises SpoolError; one thread at a time."""

    def __init__(self, path: Path, most_rows: int = MOST_ROWS) -> None:
        self._path = path
        self._most_rows = most_rows
        with self._errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing so; one without power may lose seconds.
            self._db.execute("PRAGMA synchronous = NORMAL")
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def close(self) -> None:
        """Give the file up. Nothing is lost without it."""
        with self._errors():
            self._db.close()

    # What came.

    def add(
        self,
        epoch: str,
        half: int,
        counted: Iterable[tuple[Key, Mapping[int, int]]],
        now_s: float = 0,
    ) -> list[Row]:
        """Add counts to their rows and mark the half of the journal as taken; return the rows.

        `half` is 0 where counts came from elsewhere. A half that is marked already adds nothing.
        """
        with self._errors(), transaction(self._db):
            if half and half <= self._mark(epoch):
                return []
            sequence = self._number("sequence")
            rows = []
            for key, counts in _summed(counted).items():
                sequence += 1
                late = key.second < now_s - OPEN_S
                known = None if late else self._find(epoch, key)
                rows.append(self._raise(epoch, key, counts, sequence, known))
            self._set_number("sequence", sequence)
            if half:
                self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (epoch, half))
            return rows

    def _find(self, epoch: str, key: Key) -> tuple[int, bytes] | None:
        second, *names = key
        found: tuple[int, bytes] | None
        found = self._db.execute(_FIND, (second, epoch, *names)).fetchone()
        return found

    def _raise(
        self,
        epoch: str,
        key: Key,
        counts: Mapping[int, int],
        sequence: int,
        known: tuple[int, bytes] | None,
    ) -> Row:
        if known is None:
            packed, number = cells.pack(counts), sequence
            self._db.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, epoch, *key, packed, sequence),
            )
        else:
            number = known[0]
            packed = cells.pack(cells.add(cells.unpack(known[1]), counts))
            self._db.execute(
                "UPDATE rows SET counts = ?, sequence = ? WHERE number = ?",
                (packed, sequence, number),
            )
        return Row(epoch, number, sequence, key, packed)

    def _mark(self, epoch: str) -> int:
        found = self._db.execute("SELECT half FROM marks WHERE epoch = ?", (epoch,)).fetchone()
        return int(found[0]) if found else 0

    # What goes.

    def pending(self, after: int = 0, most: int = 500) -> list[Row]:
        """Return rows that were not acknowledged as they stand, by sequence, from after `after`."""
        query = "SELECT * FROM rows WHERE sequence > max(?, ?) ORDER BY sequence LIMIT ?"
        with self._errors():
            acknowledged = self._number("acknowledged")
            found = self._db.execute(query, (after, acknowledged, most)).fetchall()
            return [Row(r[1], r[0], r[8], Key(*r[2:7]), r[7]) for r in found]

    def acknowledge(self, sequence: int) -> None:
        """Take note that the controller has everything up to `sequence` for good."""
        with self._errors(), transaction(self._db):
            if sequence > self._number("acknowledged"):
                self._set_number("acknowledged", min(sequence, self._number("sequence")))

    def tidy(self, now_s: int) -> int:
        """Forget what nobody needs any more; return how many rows had to go before their time."""
        with self._errors(), transaction(self._db):
            self._db.execute(
                "DELETE FROM rows WHERE second < ? AND sequence <= ?",
                (now_s - OPEN_S, self._number("acknowledged")),
            )
            for table in ("versions", "names"):
                self._db.execute(f"DELETE FROM {table} WHERE since < ?", (now_s - _VERSIONS_S,))  # noqa: S608
            count = int(self._db.execute("SELECT count(*) FROM rows").fetchone()[0])
            excess = max(0, count - self._most_rows)
            if excess:
                self._db.execute(
                    "DELETE FROM rows WHERE number IN"
                    " (SELECT number FROM rows ORDER BY second LIMIT ?)",
                    (excess,),
                )
                self._set_number("lost", self._number("lost") + excess)
            return excess

    def standing(self) -> tuple[int, int]:
        """Return how many rows wait for the controller, and how many went before it had them."""
        query = "SELECT count(*) FROM rows WHERE sequence > ?"
        with self._errors():
            waiting = self._db.execute(query, (self._number("acknowledged"),)).fetchone()
            return int(waiting[0]), self._number("lost")

    # What may be named.

    def know(self, version: str, names: Iterable[tuple[str, str]], now_s: int) -> None:
        """Remember a table that is in force now: outcomes of its decisions come for a day."""
        with self._errors(), transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (version, now_s))
            self._db.executemany(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?)", ((*one, now_s) for one in names)
            )
        # Thousands of names pass through, and no page of them is asked for again.
        with self._errors():
            self._db.execute("PRAGMA shrink_memory")

    def known(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the versions and the (rollout, variant) that are remembered."""
        with self._errors():
            versions = self._db.execute(_KNOWN, (_MOST_VERSIONS,)).fetchall()
            names = self._db.execute("SELECT rollout, variant FROM names").fetchall()
            return [version for (version,) in versions], names

    # SQLite.

    def _number(self, name: str) -> int:
        found = self._db.execute("SELECT value FROM numbers WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _set_number(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (name, value))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise SpoolError(
                f"{self._path} cannot be used: {error}",
                remedy="check its permissions and the disk's space; if it is damaged, move it away"
                " (outcomes that were not yet reported are lost with it)",
            ) from error


def _summed(counted: Iterable[tuple[Key, Mapping[int, int]]]) -> dict[Key, Mapping[int, int]]:
    sums: dict[Key, Mapping[int, int]] = {}
    for key, counts in counted:
        sums[key] = cells.add(sums[key], counts) if key in sums else counts
    return sums
