"""The last seconds of the rollouts that have hard limits, from the sidecar's own rows."""

from collections.abc import Container, Iterable, Iterator

from sidecar.analysis import cells, edges
from sidecar.delivery.breaker import Seen
from sidecar.outcomes.spool import Row
from sidecar.routing import HardLimit

# No limit may look back further: what is older is forgotten.
LONGEST_S = 3_600


class Windows:
    """Rows by (rollout, variant) and their number: a row that rises replaces itself."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[int, tuple[int, dict[int, int]]]] = {}

    def see(self, rows: Iterable[Row], watched: Container[str]) -> None:
        """Take rows as they stand now, of the rollouts that are watched."""
        for row in rows:
            key = row.key
            if key.rollout in watched:
                kept = self._rows.setdefault((key.rollout, key.variant), {})
                kept[row.number] = (key.second, cells.unpack(row.counts))

    def seen(self, rollout: str, variant: str, limit: HardLimit) -> Iterator[Seen]:
        """Yield what is known, in the light of a limit."""
        first_slow = edges.first_from(limit.slower_than_us / 1e6)
        for second, counts in self._rows.get((rollout, variant), {}).values():
            yield Seen(
                second,
                counts.get(cells.STARTED, 0),
                counts.get(cells.COMPLETED, 0),
                counts.get(cells.ERRORS, 0),
                sum(cells.histogram(counts)[first_slow:]) if limit.metric == "latency" else 0,
            )

    def forget(self, before_s: float) -> None:
        """Drop what started earlier."""
        for key, kept in list(self._rows.items()):
            left = {number: one for number, one in kept.items() if one[0] >= before_s}
            if left:
                self._rows[key] = left
            else:
                del self._rows[key]
