"""What the controller designed: the candidate's share in each table that it sent.

A row names the table since which its rollout has had its odds in that sidecar: any table that was
sent while they were in force, hours ago perhaps. So tables are numbered, and of a rollout only the
tables that changed its share are kept.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import islice

# Ten a second for almost two hours; a watch keeps the shares of the rows that it has seen.
MOST_TABLES = 1 << 16


class Designs:
    """Shares by rollout and table version, of the launches that are under way."""

    def __init__(self, most_tables: int = MOST_TABLES) -> None:
        self._most_tables = most_tables
        self._number = 0
        self._tables: dict[str, int] = {}
        # By rollout: the numbers of the tables that changed its share, and the shares.
        self._shares: dict[str, tuple[list[int], list[float | None]]] = {}

    def published(self, version: str, shares: Mapping[str, float | None]) -> None:
        """Take note of a table, with the shares of all launches under way; None: unknown."""
        self._number += 1
        # Put last: the oldest ones come first.
        self._tables.pop(version, None)
        self._tables[version] = self._number
        if len(self._tables) > self._most_tables:
            self._forget()
        self._shares = {name: self._shares.get(name, ([], [])) for name in shares}
        for name, share in shares.items():
            numbers, known = self._shares[name]
            if not known or known[-1] != share:
                numbers.append(self._number)
                known.append(share)

    def of(self, rollout: str, versions: Iterable[str]) -> dict[str, float]:
        """Return the share of each of these tables in which it is known."""
        numbers, known = self._shares.get(rollout, ([], []))
        found: dict[str, float] = {}
        for version in versions:
            at = bisect_right(numbers, self._tables.get(version, 0))
            share = known[at - 1] if at else None
            if share is not None:
                found[version] = share
        return found

    def _forget(self) -> None:
        """Forget the older half of the tables, and the shares that only they had."""
        for version in list(islice(self._tables, self._most_tables // 2)):
            del self._tables[version]
        oldest = next(iter(self._tables.values()))
        for numbers, known in self._shares.values():
            over = max(0, bisect_right(numbers, oldest) - 1)
            del numbers[:over], known[:over]
