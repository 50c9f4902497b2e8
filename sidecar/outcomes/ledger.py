"""From what Envoy and the router counted to the spool, ten times a second.

Blocking, one thread. The order makes it safe to be killed anywhere: a half of the journal is
released only once its counts are in the spool, and the spool refuses a half that it has.
"""

import logging
import secrets
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sidecar.analysis import cells
from sidecar.outcomes import journal
from sidecar.outcomes.journal import Journal, JournalError
from sidecar.outcomes.spool import Key, Row, Spool, SpoolError
from sidecar.routing import Rows

# By (rollout, variant, reason), since the start: what an engine's `decisions` gives.
Decisions: TypeAlias = Mapping[tuple[str, str, str], int]
# (rollout, variant), as often as one asks: those of ten thousand rollouts are nobody's list.
Names: TypeAlias = Iterable[tuple[str, str]]
TICK_S = 0.1
_TIDY_EVERY_S = 30
_REMEMBER_EVERY_S = 3_600
_log = logging.getLogger(__name__)


class Table(NamedTuple):
    """A table that comes into force: all its names, and those of them that may be new.

    `odds` names the rollouts that have others than before; of the first table nobody asks.
    """

    version: str
    names: Names
    changed: Names
    odds: Collection[str] = ()


class Ledger:
    """Opens the spool and a new epoch, and takes over what earlier lives left.

    Raises CanaryError (SpoolError, JournalError) if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / "outcomes.sqlite")
        for old in journal.inherited(folder):
            self._inherit(old)
        self.epoch = secrets.token_hex(8)
        self._journal = journal.create(folder, self.epoch)
        self._table: Table | None = None
        # Since which table a rollout has its odds; what is not here, since the first.
        self._first = ""
        self._since: dict[str, str] = {}
        self._remembered_s = 0
        self.decided: dict[tuple[str, str, str], int] = {}
        self._started: dict[Key, int] = {}
        self._tidied_s = 0
        versions, names = self.spool.known()
        for version in versions:
            self.rows.know(version, names)
            names = []

    @property
    def rows(self) -> Rows:
        """What engines hand Envoy's access log to."""
        return self._journal.rows

    def announce(self, table: Table) -> None:
        """Let outcomes of a table come, before it is in force: then none is unknown. Any thread."""
        self.rows.begin(table.version, table.changed, table.odds)

    def begin(self, table: Table, decided: Decisions, now_s: float) -> None:
        """Take note that a table is in force; `decided` are what earlier tables decided up to now.

        Raises SpoolError; then the next tick remembers all of it.
        """
        self.count_started(decided, now_s)
        if not self._table:
            self._first, self._remembered_s = table.version, int(now_s)
        elif table.version != self._table.version:
            self._since |= dict.fromkeys(table.odds, table.version)
        self._table = table
        try:
            self.spool.know(table.version, table.changed, int(now_s))
        except SpoolError:
            self._remembered_s = 0
            raise

    def count_started(self, decided: Decisions, now_s: float) -> None:
        """Count the decisions since the last call as started in this second, by the last table.

        They count for the table since which each rollout has had its odds, as outcomes do.
        """
        for decision, count in decided.items():
            if more := count - self.decided.get(decision, 0):
                rollout, variant, reason = decision
                since = self._since.get(rollout, self._first)
                key = Key(int(now_s), rollout, variant, since, reason)
                self._started[key] = self._started.get(key, 0) + more
        self.decided = dict(decided)

    def tick(self, now_s: float) -> list[Row]:
        """Bring what came to disk; return the rows that rose. Raises SpoolError: then all waits."""
        half = self.rows.turn()
        started, self._started = self._started, {}
        counted = [(key, {cells.STARTED: count}) for key, count in started.items()]
        if not half and not counted:
            return self._tidy(now_s)
        try:
            rows = self.spool.add(self.epoch, half, [*counted, *_folded(self.rows, half)], now_s)
        except BaseException:
            self._started = _joined(started, self._started)
            raise
        if half:
            self.rows.release(half)
        self._tidy(now_s)
        return rows

    def close(self) -> None:
        """End the epoch: what came is in the spool."""
        while self.tick(self._tidied_s):
            pass
        self._journal.remove()
        self.spool.close()

    def _remember(self, now_s: float) -> None:
        assert self._table
        self.spool.know(self._table.version, self._table.names, int(now_s))
        self._remembered_s = int(now_s)

    def _tidy(self, now_s: float) -> list[Row]:
        if self._table and now_s >= self._remembered_s + _REMEMBER_EVERY_S:
            self._remember(now_s)
        if now_s >= self._tidied_s + _TIDY_EVERY_S:
            self._tidied_s = int(now_s)
            if lost := self.spool.tidy(int(now_s)):
                _log.warning("outcomes lost", extra={"rows": lost, "because": "the spool is full"})
        return []

    def _inherit(self, old: Journal | JournalError) -> None:
        if isinstance(old, JournalError):
            _log.warning("journal not read", extra={"error": old})
            return
        rows = 0
        while half := old.rows.turn():
            rows += len(self.spool.add(old.epoch, half, _folded(old.rows, half)))
            old.rows.release(half)
        if old.rows.damaged:
            _log.warning("journal damaged", extra={"file": str(old.path)})
        _log.info("outcomes taken over", extra={"epoch": old.epoch, "rows": rows})
        old.remove()


def _folded(rows: Rows, half: int) -> list[tuple[Key, Mapping[int, int]]]:
    if not half:
        return []
    return [(Key(*row[:5]), row[5]) for row in rows.fold(half)]


def _joined(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}
