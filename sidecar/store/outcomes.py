"""The controller's outcome rows: SQLite in a file of its own: counting never delays weights.

Invariant: a row is known by its epoch and number, and of two states the one with the higher
sequence is true; writing one twice changes nothing. `seen` numbers the changes in the order they
came, so that whoever reads can go on where it stopped. Rows that are `compact`ed become sums by
hour; one that comes again after that is known by its sequence, because each sidecar sends its rows
in that order.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sidecar.analysis import cells
from sidecar.errors import CanaryError
from sidecar.transactions import transaction

# "CNOC"
APPLICATION_ID = 0x434E4F43
SCHEMA_VERSION = 1
_HOUR_S = 3_600
# A sidecar that was away for longer and comes back with rows of then may count some twice.
_EPOCH_S = 7 * 86_400
_SCHEMA = (
    """CREATE TABLE rows (
    epoch TEXT NOT NULL,
    number INTEGER NOT NULL,
    node TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    second INTEGER NOT NULL,
    rollout TEXT NOT NULL,
    variant TEXT NOT NULL,
    version TEXT NOT NULL,
    segment TEXT NOT NULL,
    counts BLOB NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (epoch, number)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX rows_by_news ON rows (rollout, seen)",
    "CREATE INDEX rows_by_second ON rows (second)",
    """CREATE TABLE hours (
    hour INTEGER NOT NULL,
    rollout TEXT NOT NULL,
    variant TEXT NOT NULL,
    version TEXT NOT NULL,
    segment TEXT NOT NULL,
    counts BLOB NOT NULL,
    PRIMARY KEY (rollout, hour, variant, version, segment)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE compacted (
    epoch TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at INTEGER NOT NULL
) STRICT""",
    "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
    "CREATE TABLE memories (rollout TEXT PRIMARY KEY, memory TEXT NOT NULL) STRICT",
)
_UPSERT = """
INSERT INTO rows (node, epoch, number, sequence, second, rollout, variant, version, segment, counts,
    seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (epoch, number) DO UPDATE SET sequence = excluded.sequence, counts = excluded.counts,
    seen = excluded.seen
WHERE excluded.sequence > sequence
"""
_REMEMBER = """
INSERT INTO compacted SELECT epoch, max(sequence), ? FROM rows WHERE second < ? GROUP BY epoch
ON CONFLICT (epoch) DO UPDATE SET sequence = max(sequence, excluded.sequence), at = excluded.at
"""
_NEWS = """SELECT node, epoch, number, sequence, second, rollout, variant, version, segment, counts,
seen FROM rows WHERE rollout = ? AND seen > ? ORDER BY seen LIMIT ?"""
_SECONDS = """SELECT node, epoch, number, sequence, second, rollout, variant, version, segment,
counts, seen FROM rows WHERE second BETWEEN ? AND ? AND rollout = ?"""


class OutcomesError(CanaryError):
    """The file cannot be used; the message names it."""


class OutcomeRow(NamedTuple):
    """A row as it stands; `counts` are packed as in `analysis.cells`."""

    node: str
    epoch: str
    number: int
    sequence: int
    second: int
    rollout: str
    variant: str
    version: str
    segment: str
    counts: bytes
    seen: int


class Outcomes:
    """The open file. Every method blocks, and raises OutcomesError; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=0.5, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._prepare()

    def add(self, rows: Iterable[Sequence[str | int | bytes]]) -> None:
        """Keep rows in the order of OutcomeRow, without `seen`; when this returns, on disk."""
        with self._errors(), transaction(self._db):
            seen, over = self._seen(), self._compacted()
            fresh = (row for row in rows if int(row[3]) > over.get(str(row[1]), 0))
            numbered = [(*row, seen + at) for at, row in enumerate(fresh, 1)]
            self._db.executemany(_UPSERT, numbered)
            self._set_seen(seen + len(numbered))

    def news(self, rollout: str, after: int = 0, most: int = 10_000) -> list[OutcomeRow]:
        """Return rows of a rollout that came or rose after `after` (a `seen`), in that order."""
        with self._errors():
            found = self._db.execute(_NEWS, (rollout, after, most))
            return [OutcomeRow(*row) for row in found]

    def newest(self) -> int:
        """Return the `seen` of the newest row; 0 before the first."""
        with self._errors():
            return self._seen()

    def memories(self) -> dict[str, str]:
        """Return what `remember` wrote, by rollout."""
        with self._errors():
            return dict(self._db.execute("SELECT rollout, memory FROM memories").fetchall())

    def remember(self, memories: Mapping[str, str], forget: Iterable[str] = ()) -> None:
        """Keep what whoever reads rows must not forget, in the place of what it said before."""
        with self._errors(), transaction(self._db):
            self._db.executemany("DELETE FROM memories WHERE rollout = ?", [(n,) for n in forget])
            self._db.executemany("INSERT OR REPLACE INTO memories VALUES (?, ?)", memories.items())

    def seconds(self, rollout: str, first: int, last: int) -> list[OutcomeRow]:
        """Return all rows of a rollout whose requests started in these seconds, both included."""
        with self._errors():
            return [OutcomeRow(*row) for row in self._db.execute(_SECONDS, (first, last, rollout))]

    def compact(self, before: int) -> int:
        """Sum rows of seconds before `before` up by the hour; return how many there were.

        Sidecars let no row rise for longer than `outcomes.spool.OPEN_S`: choose `before` so that
        none does, whatever their clocks say.
        """
        query = """SELECT second, rollout, variant, version, segment, counts FROM rows
        WHERE second < ?"""
        with self._errors(), transaction(self._db):
            sums: dict[tuple[str | int, ...], dict[int, int]] = {}
            count = 0
            for second, *names, counts in self._db.execute(query, (before,)):
                key = (second // _HOUR_S * _HOUR_S, *names)
                sums[key] = cells.add(sums.get(key, {}), cells.unpack(counts))
                count += 1
            for key, counts in sums.items():
                known = cells.add(counts, self._hour(key))
                self._db.execute(
                    "INSERT OR REPLACE INTO hours VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, cells.pack(known)),
                )
            self._db.execute(_REMEMBER, (before, before))
            self._db.execute("DELETE FROM compacted WHERE at < ?", (before - _EPOCH_S,))
            self._db.execute("DELETE FROM rows WHERE second < ?", (before,))
            return count

    def hours(self, rollout: str) -> list[tuple[int, str, str, str, dict[int, int]]]:
        """Return (hour, variant, version, segment, counts) of what was compacted, by hour."""
        query = """SELECT hour, variant, version, segment, counts FROM hours
        WHERE rollout = ? ORDER BY hour"""
        with self._errors():
            found = self._db.execute(query, (rollout,))
            return [(*key, cells.unpack(counts)) for *key, counts in found]

    def close(self) -> None:
        """Give the file up. Nothing is lost without it."""
        with self._errors():
            self._db.close()

    def _hour(self, key: tuple[str | int, ...]) -> dict[int, int]:
        query = """SELECT counts FROM hours WHERE hour = ? AND rollout = ? AND variant = ?
        AND version = ? AND segment = ?"""
        found = self._db.execute(query, key).fetchone()
        return cells.unpack(found[0]) if found else {}

    def _compacted(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT epoch, sequence FROM compacted").fetchall())

    def _seen(self) -> int:
        found = self._db.execute("SELECT value FROM numbers WHERE name = 'seen'").fetchone()
        return int(found[0]) if found else 0

    def _set_seen(self, seen: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO numbers VALUES ('seen', ?)", (seen,))

    def _prepare(self) -> None:
        with transaction(self._db):
            version = self._pragma("user_version")
            if version == SCHEMA_VERSION and self._pragma("application_id") == APPLICATION_ID:
                return
            if version or self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                raise OutcomesError(
                    f"{self._path} holds no outcomes of this release",
                    remedy="move it away, or choose another directory with --state-dir",
                )
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise OutcomesError(
                f"{self._path} cannot be used: {error}",
                remedy="check its permissions and the disk's space, and that no other controller"
                " uses it; if it is damaged, move it away (outcomes so far are lost with it)",
            ) from error
