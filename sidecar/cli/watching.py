"""`canary status --watch`: a live view on a terminal, elsewhere one line per change.

The lines come from facts: a subject that stays ("controller, rollout chat") and a text that
changes. Counters and ages, which always change, are in none.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from sidecar.cli import report
from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

Sides = tuple[pb.ControllerStatus | CanaryError, pb.SidecarStatus | CanaryError]
Facts = Mapping[str, str]


def watch(ask: Callable[[], Sides], interval_s: float, *, as_json: bool) -> None:
    """Ask every `interval_s` seconds and show it, until Ctrl-C."""
    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        if console.is_terminal and not as_json:
            _live(console, ask, interval_s)
        else:
            _lines(ask, interval_s, as_json=as_json)


def facts(sides: Sides, before: Facts) -> dict[str, str]:
    """Say how everything stands; of a side that does not answer, what it said before."""
    said: dict[str, str] = {}
    for title, side in zip(("controller", "sidecar"), sides, strict=True):
        if isinstance(side, CanaryError):
            last = {subject: text for subject, text in before.items() if subject.startswith(title)}
            said |= last | {title: "unreachable"}
        elif isinstance(side, pb.ControllerStatus):
            said |= _controller(side)
        else:
            said |= _sidecar(side)
    return said


def changes(before: Facts, after: Facts) -> Iterator[str]:
    """Write one line per fact that came, changed or went."""
    for subject, text in after.items():
        if subject not in before:
            yield f"{subject}: {text}"
        elif before[subject] != text:
            yield f"{subject}: {before[subject]}  ->  {text}"
    yield from (f"{subject}: gone" for subject in before if subject not in after)


def _controller(status: pb.ControllerStatus) -> Iterator[tuple[str, str]]:
    yield "controller", f"table {status.version}"
    for one in status.rollouts:
        state = "retired, baseline for all" if one.retired else report.shares(one.in_force)
        if one.killed and not one.retired:
            state = "killed, baseline for all"
        yield f"controller, rollout {one.name}", f"{state} (revision {one.revision})"
    for mistake in status.mistakes:
        yield f"controller, refused {mistake.file}", " ".join(mistake.message.split())
    if status.withdraws_nothing:
        yield "controller, nothing is withdrawn", report.WITHDRAWS_NOTHING
    for sidecar in status.sidecars:
        acked = sidecar.acked_version or "nothing yet"
        yield f"controller, connected {sidecar.node}", f"acked {acked}"


def _sidecar(status: pb.SidecarStatus) -> Iterator[tuple[str, str]]:
    yield "sidecar", f"{status.node} {'ready' if status.ready else 'not ready'}"
    if status.HasField("table"):
        yield "sidecar, table", f"{status.table.version} from {status.table.source}"
    stream = status.control_stream
    connected = "connected" if stream.connected else "disconnected"
    yield "sidecar, control stream", f"{connected} {stream.address}"
    if status.HasField("last_nack"):
        nack = status.last_nack
        yield "sidecar, last refused", f"table {nack.version}: {' '.join(nack.reason.split())}"


def _lines(ask: Callable[[], Sides], interval_s: float, *, as_json: bool) -> None:
    before: Facts = {}
    while True:
        sides = ask()
        after = facts(sides, before)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if as_json and after != before:
            click.echo(json.dumps({"at": now, **report.both_as_json(*sides)}))
        elif not as_json:
            for line in changes(before, after):
                click.echo(f"{now} {line}")
        before = after
        time.sleep(interval_s)


def _live(console: Console, ask: Callable[[], Sides], interval_s: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_screen(console, ask(), interval_s), refresh=True)
            time.sleep(interval_s)


def _screen(console: Console, sides: Sides, interval_s: float) -> Text:
    paper = Console(highlight=False, width=console.width, force_terminal=True)
    with paper.capture() as captured:
        report.show(*sides, console=paper)
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    footer = Text(f"\n{now}, every {interval_s:g} s; Ctrl-C ends", "dim")
    return Text.from_ansi(captured.get()).append(footer)
