"""The specification of native/sc_odds.c: since which table a rollout has had its odds.

A table that comes into force changes few of its rollouts. What is counted of the others goes on, in
the rows and with the units of the table that gave them their odds: an edit of one rollout means
nothing to its neighbours, and people count once until *their* odds change.
"""

from collections.abc import Iterable

_EARLIER = 1


class Odds:
    """Which tables are known, and which of them changed a rollout."""

    def __init__(self, room: int = 1 << 16) -> None:
        self._room = room
        self._tables: dict[str, int] = {}
        # By rollout: (number, version) of the tables that changed it, in their order.
        self._changes: dict[str, list[tuple[int, str]]] = {}
        self._number = _EARLIER
        self._in_force = self._first = ""

    def know(self, version: str) -> None:
        """Know a table of an earlier life, of which nothing else is known: its odds are its own."""
        self._tables.setdefault(version, _EARLIER)

    def begin(self, version: str, changed: Iterable[str]) -> None:
        """Take note that a table comes into force; of the first, what changed is not asked."""
        if version != self._in_force:
            self._first = self._first or version
            if len(self._tables) >= 2 * self._room:
                self._forget(max(_EARLIER + 1, self._number + 1 - self._room))
            self._number += 1
            self._tables[version] = self._number
            self._in_force = version
        for rollout in changed if self._number > _EARLIER + 1 else ():
            known = self._changes.setdefault(rollout, [])
            if not known or known[-1][0] < self._number:
                known.append((self._number, version))

    def since(self, version: str, rollout: str) -> str:
        """Return the table since which a rollout had its odds of `version`; empty if unknown."""
        number = self._tables.get(version)
        if number is None or number == _EARLIER:
            return version if number else ""
        before = [since for came, since in self._changes.get(rollout, ()) if came <= number]
        return before[-1] if before else self._first

    def _forget(self, oldest: int) -> None:
        self._tables = {one: at for one, at in self._tables.items() if at >= oldest}
