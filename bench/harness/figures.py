"""From cells to the figures that are printed: one series per metric, a value per round.

Added latency and Envoy's own extra CPU are round by round against Envoy alone in the same round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.harness.cell import Cell
from bench.harness.ratios import Interval, ratio
from bench.harness.rounds import AGAIN, Row, Run

Read = Callable[[Cell], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure; `added` ones are the difference to Envoy alone."""

    key: str
    title: str
    of: Read
    added: bool = False
    digits: int = 0


def _phase(name: str, field: str) -> Read:
    return lambda cell: float(getattr(cell.phases[name], field))


METRICS = (
    Metric("handler_us", "handler CPU µs/req, half load", _phase("paced", "handler_us"), digits=1),
    Metric(
        "envoy_us", "Envoy CPU µs/req added, half load", _phase("paced", "envoy_us"), added=True
    ),
    Metric(
        "full_handler_us", "handler CPU µs/req, saturated", _phase("full", "handler_us"), digits=1
    ),
    Metric(
        "full_envoy_us", "Envoy CPU µs/req added, saturated", _phase("full", "envoy_us"), added=True
    ),
    Metric("rps", "requests/s, saturated", _phase("full", "rps")),
    Metric("wakeup", "requests/wake-up, half load", _phase("paced", "per_wakeup"), digits=2),
    Metric("full_wakeup", "requests/wake-up, saturated", _phase("full", "per_wakeup"), digits=2),
    Metric("one_p50_us", "p50 added µs, one connection", _phase("one", "p50_us"), added=True),
    Metric("one_p99_us", "p99 added µs, one connection", _phase("one", "p99_us"), added=True),
    Metric("half_p50_us", "p50 added µs, half load", _phase("paced", "p50_us"), added=True),
    Metric("half_p99_us", "p99 added µs, half load", _phase("paced", "p99_us"), added=True),
    Metric("rss_mb", "peak resident MB", lambda cell: cell.peak_rss_mb, digits=1),
)
BY_KEY = {metric.key: metric for metric in METRICS}


class Figures:
    """The series and ratios of one run, over the rows that count."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._alone = next((row for row in run.rows if not row.contender.decides), None)

    def counts(self, name: str) -> bool:
        """Whether a row was measured and counts."""
        return any(row.counting for row in self._run.rows if row.name == name)

    def spoilt(self, name: str) -> bool:
        """Whether a row took part, and does not count."""
        return any(not (row.counting or row.missing) for row in self._run.rows if row.name == name)

    def series(self, row: Row, metric: Metric) -> list[float]:
        """One value a round; empty where the row, or what it is compared with, does not count."""
        if not row.counting:
            return []
        values = [metric.of(cell) for cell in row.cells]
        if not metric.added or row is self._alone:
            return values
        base = self.series(self._alone, metric) if self._alone else []
        return [one - under for one, under in zip(values, base, strict=True)] if base else []

    def median(self, row: Row, metric: Metric) -> float | None:
        """The median over rounds, if there is one."""
        values = self.series(row, metric)
        return median(values) if values else None

    def ratio(self, metric: Metric, over: str, under: str) -> Interval | None:
        """Return the ratio of two rows by name; None if either has no figure."""
        rows = {row.name: row for row in self._run.rows}
        if over not in rows or under not in rows:
            return None
        above, below = (self.series(rows[name], metric) for name in (over, under))
        return ratio(above, below, self._run.plan.seed) if above and below else None

    def noise(self, metric: Metric) -> Interval | None:
        """Return the reference against itself."""
        name = self._run.reference
        return self.ratio(metric, name + AGAIN, name)

    def cheapest(self, metric: Metric, names: Sequence[str]) -> str | None:
        """Return whose median is the least, of those that have one."""
        rows = [row for row in self._run.rows if row.name in names]
        found = [(value, row.name) for row in rows if (value := self.median(row, metric))]
        return min(found)[1] if found else None
