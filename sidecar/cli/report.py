"""How the state of running processes looks on a terminal, or to a program (JSON)."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

WITHDRAWS_NOTHING = (
    "since the controller's start some file was always faulty, and may be the one that declares "
    "what else the sidecars hold; mend the files"
)
# Columns where nobody has a terminal: a pipe, a log.
_WIDTH = 132


def as_json(side: Message | CanaryError) -> dict[str, Any]:
    """Return one side as JSON values, or the reason why it is missing."""
    if isinstance(side, CanaryError):
        return {"unreachable": str(side)}
    return MessageToDict(side, always_print_fields_with_no_presence=True)


def both_as_json(
    controller: Message | CanaryError, sidecar: Message | CanaryError
) -> dict[str, Any]:
    """Return both sides as JSON values."""
    return {"controller": as_json(controller), "sidecar": as_json(sidecar)}


def change(reply: pb.SetWeightsResponse) -> str:
    """Say what a change of weights did."""
    rollout = reply.rollout
    if not reply.changed:
        return (
            f"{rollout.name}: unchanged, {shares(rollout.in_force)} (revision {rollout.revision})"
        )
    before, after = shares(reply.before), shares(rollout.in_force)
    return f"{rollout.name}: {before}  ->  {after}  (revision {rollout.revision})"


def show(
    controller: pb.ControllerStatus | CanaryError,
    sidecar: pb.SidecarStatus | CanaryError,
    console: Console | None = None,
) -> None:
    """Print both sides."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    for title, side in (("controller", controller), ("sidecar", sidecar)):
        if isinstance(side, CanaryError):
            console.print(
                f"[bold]{title}[/]  [red]unreachable[/]: {escape(str(side))}", soft_wrap=True
            )
        elif isinstance(side, pb.ControllerStatus):
            _controller(console, side)
        else:
            _sidecar(console, side)


def _controller(console: Console, status: pb.ControllerStatus) -> None:
    console.print(f"[bold]controller[/]  table {status.version}")
    table = _table(
        "rollout", "in force", "launch", "declared", "revision", "generation", "last change"
    )
    for one in status.rollouts:
        table.add_row(
            one.name,
            in_force(one),
            _launch(one),
            shares(one.declared),
            str(one.revision),
            one.generation,
            _last_change(one),
        )
    console.print(table)
    for mistake in status.mistakes:
        console.print(f"[red]refused[/] {escape(mistake.message)}", soft_wrap=True)
    if status.withdraws_nothing:
        console.print(f"[yellow]nothing is withdrawn[/]: {WITHDRAWS_NOTHING}", soft_wrap=True)
    _connections(console, status)


def _launch(one: pb.RolloutStatus) -> str:
    """Say how far its launch is; where there is none, weights move by hand."""
    if not one.HasField("progress"):
        return "by hand"
    return f"{one.progress.phase} {one.progress.step}/{one.progress.steps}"


def _connections(console: Console, status: pb.ControllerStatus) -> None:
    if not status.sidecars:
        console.print("no sidecar connected")
        return
    table = _table("connected sidecar", "since", "acked table", "acked")
    for one in status.sidecars:
        acked = one.acked_version or "-"
        if acked != status.version:
            acked += "  [yellow](behind)[/]"
        if one.kept:
            acked += f"  [yellow](keeps {one.kept} more)[/]"
        when = ago(one.acked_at) if one.acked_version else ""
        who = f"{one.node} ({one.identity})" if one.identity else one.node
        table.add_row(escape(who), ago(one.connected_since), acked, when)
    console.print(table)
    for one in status.sidecars:
        if one.HasField("last_nack"):
            _nack(console, f"{one.node} refused", one.last_nack)


def _sidecar(console: Console, status: pb.SidecarStatus) -> None:
    ready = "ready" if status.ready else "[red]not ready[/]"
    console.print(f"\n[bold]sidecar[/] {escape(status.node)}  {ready}, engine {status.engine}")
    table = status.table
    if status.HasField("table"):
        console.print(f"table {table.version} since {ago(table.since)}, from {table.source}")
    stream = status.control_stream
    state = "connected" if stream.connected else "[red]disconnected[/]"
    console.print(f"control stream {state} since {ago(stream.since)}, {escape(stream.address)}")
    if not stream.connected:
        console.print(
            f"  {stream.retries} retries, last error: {escape(stream.last_error)}", soft_wrap=True
        )
    if status.HasField("last_nack"):
        _nack(console, "refused", status.last_nack)
    _forwarding(console, status.forwarding)
    rollouts = _table("rollout", "in force", "resource", "decided since the start")
    for one in table.rollouts:
        rollouts.add_row(one.name, _percents(one.weights), one.version, _decided(one.decided))
    console.print(rollouts)
    # What never happened is left to --json: some thirty zeros hide the one figure that matters.
    counts = ", ".join(
        f"{name} {count}" for name, count in sorted(status.counters.items()) if count
    )
    console.print(f"counted: {counts or 'nothing yet'}")


def _forwarding(console: Console, forwarding: pb.Forwarding) -> None:
    for one in forwarding.unseen:
        more = f" (and {one.rollouts - 1} more)" if one.rollouts > 1 else ""
        text = f"[red]Envoy does not forward {escape(one.what)}[/]: {one.rollout}{more} looks there"
        console.print(text, soft_wrap=True)
    if forwarding.silent:
        console.print("Envoy does not say what it forwards (its access log's log_name)")
    elif forwarding.said and not forwarding.unseen:
        console.print("Envoy forwards all that the rollouts look at")


def _nack(console: Console, who: str, nack: pb.Refusal) -> None:
    text = f"[red]{escape(who)}[/] table {nack.version}, {ago(nack.at)}: {escape(nack.reason)}"
    console.print(text, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _last_change(rollout: pb.RolloutStatus) -> str:
    event = rollout.last_event
    why = f": {event.why}" if event.why else ""
    return escape(f"{ago(event.at)}, {event.kind} by {event.who}{why}")


def in_force(one: Any) -> str:
    """Show what a rollout gives now, marked up."""
    if one.retired:
        return "[red]retired: baseline for all[/]"
    return (
        f"[red]killed: baseline for all[/] ({shares(one.in_force)})"
        if one.killed
        else shares(one.in_force)
    )


def shares(weights: Any) -> str:
    """Show weights with their percentages, the same figure only once."""
    shares = _fractions(weights)
    return ", ".join(
        f"{w.variant} {share}" if share == f"{w.weight} %" else f"{w.variant} {w.weight} ({share})"
        for w, share in zip(weights, shares.values(), strict=True)
    )


def _decided(counts: Any) -> str:
    return ", ".join(
        f"{one.variant} {one.count}" + ("" if one.reason == "weight" else f" ({one.reason})")
        for one in counts
    )


def _percents(weights: Any) -> str:
    return ", ".join(f"{name} {share}" for name, share in _fractions(weights).items())


def _fractions(weights: Any) -> dict[str, str]:
    total = sum((Decimal(w.weight) for w in weights), Decimal(0)) or Decimal(1)
    return {w.variant: f"{float(Decimal(w.weight) * 100 / total):.6g} %" for w in weights}


def ago(stamp: Timestamp) -> str:
    """Say how long a moment is gone."""
    seconds = (datetime.now(UTC) - stamp.ToDatetime(UTC)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0.0, seconds):.1f} s ago"
