"""The kill switch: everybody to the baseline at once, and back to exactly where they were.

Killing is no step of a launch. Weights, salt and document stay as they are, so whoever had a
variant has it again after `revive`. A launch that is under way is paused, because nothing can be
measured while nobody has the candidate; people resume it when they have seen that all is well.
"""

from dataclasses import replace
from enum import StrEnum

from sidecar.delivery.machine import RefusedError, handle
from sidecar.delivery.progress import MOVING, Command, Progress
from sidecar.delivery.state import Change, Kind, Origin, State, moved
from sidecar.delivery.transitions import RetiredError


class Switch(StrEnum):
    """What people do to the kill switch."""

    KILL = "kill"
    REVIVE = "revive"


def switch(state: State, way: Switch, origin: Origin) -> Change | None:
    """Kill or revive; None if it is so already. Raises RetiredError if the document is gone."""
    if state.retired:
        raise RetiredError(
            f"rollout {state.name} is retired: everybody gets the baseline already",
            remedy=f"put its document back (it was in {state.document.file})",
        )
    killed = way is Switch.KILL
    if state.killed == killed:
        return None
    fresh = replace(
        state,
        killed=killed,
        revision=state.revision + 1,
        changed_at=origin.at,
        progress=_paused(state, origin) if killed else state.progress,
    )
    return moved(Kind.KILLED if killed else Kind.REVIVED, state, fresh, origin, "")


def _paused(state: State, origin: Origin) -> Progress | None:
    if state.progress is None or state.progress.phase not in MOVING:
        return state.progress
    change = handle(state, Command.PAUSE, origin)
    return change.state.progress if change else state.progress


def act(state: State, command: Command | Switch, origin: Origin) -> Change | None:
    """Do what somebody asks, of the launch or of the switch.

    Raises what both raise, and RefusedError on a launch that would go on while it is killed.
    """
    if isinstance(command, Switch):
        return switch(state, command, origin)
    if state.killed and command in {Command.RESUME, Command.LAUNCH}:
        raise RefusedError(
            f"rollout {state.name} is killed: everybody gets the baseline",
            remedy=f"`canary revive {state.name}` first",
        )
    return handle(state, command, origin)
