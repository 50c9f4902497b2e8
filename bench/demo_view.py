"""How the demo looks: one live line in a terminal, a line per second elsewhere, then a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from bench.demo_watch import Change, Phase, Split, canary_requests


@dataclass(frozen=True)
class Tick:
    """One moment of the traffic. `canary_share` and `rate` are Envoy's, `split` the upstreams'."""

    seconds: float
    asked: str
    split: Split
    rate: float
    canary_share: float
    failures: int

    def __str__(self) -> str:
        return (
            f"{int(self.seconds):4d} s   asked {self.asked:>4}   observed {self.split} "
            f"of {self.split.users:,} users   {self.rate:4.0f} requests/s, "
            f"{self.canary_share:5.1%} to canary   failures {self.failures}"
        )


class View:
    """Prints as things happen; `with` it, so that the terminal is always given back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._last_second = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print one line that stays."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, tick: Tick) -> None:
        """Show a moment: in place in a terminal, else once a second."""
        if self._console.is_terminal:
            self._live.update(_panel(tick))
        elif int(tick.seconds) != self._last_second:
            self._last_second = int(tick.seconds)
            self.say(str(tick))


def _panel(tick: Tick) -> Table:
    share = tick.split.canary / max(tick.split.users, 1)
    table = Table.grid(padding=(0, 2))
    table.add_row("asked", tick.asked, ProgressBar(100, float(tick.asked.split()[0]), width=50))
    table.add_row("observed", str(tick.split), ProgressBar(100, 100 * share, width=50))
    table.add_row("users seen", f"{tick.split.users:,}", "")
    table.add_row("Envoy", f"{tick.rate:.0f} requests/s, {tick.canary_share:.1%} to canary", "")
    table.add_row("failures", str(tick.failures), f"{tick.seconds:.0f} s")
    return table


def change_lines(change: Change) -> str:
    """Say in words what one command did."""
    late = change.last_old_after_reply_ms
    when = f"{abs(late):.0f} ms {'after' if late > 0 else 'before'} the command's reply"
    return (
        f"{change.before} -> {change.after}: the last request on the old weights came {when}; "
        f"{change.had_to:,} users had to move, {change.moved:,} moved"
    )


def summary(phases: Sequence[Phase], clusters: Mapping[str, str]) -> str:
    """Return the final tables; milliseconds count from the moment the command was started."""
    splits = [("asked", "users in the canary [95 % interval]", "requests to the canary (Envoy)")]
    changes = [phase.change for phase in phases if phase.change]
    for phase in phases:
        canary, total = canary_requests(phase.stats_before, phase.stats_after, clusters)
        users = f"{phase.split()} of {phase.split().users:,}"
        splits.append((phase.label, users, f"{canary / max(total, 1):6.2%} of {total:,}"))
    rows = {
        "first request on the new weights": [f"{c.first_new_ms:.0f} ms" for c in changes],
        "last request on the old weights": [f"{c.last_old_ms:.0f} ms" for c in changes],
        "  the same, counted from the reply": [
            f"{c.last_old_after_reply_ms:+.0f} ms" for c in changes
        ],
        "the command had its reply": [f"{c.command_ms:.0f} ms" for c in changes],
        "both weights answered side by side": [f"{c.overlap_ms:.0f} ms" for c in changes],
        "users who had to move": [f"{c.had_to:,}" for c in changes],
        "users who moved": [f"{c.moved:,}" for c in changes],
    }
    head = ("from the start of `canary weights`", *(f"{c.before} -> {c.after}" for c in changes))
    return f"{_aligned(splits)}\n\n{_aligned([head, *((k, *v) for k, v in rows.items())])}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
