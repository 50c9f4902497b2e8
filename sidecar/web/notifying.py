"""Telling people: one line per change of phase to every webhook the document names.

Each address has a queue and a worker of its own, so one that hangs holds up no other, and its
lines arrive in order. A line is tried a few times, then given up with a word in the log; a queue
that is full loses its oldest. What was told (or given up) is marked, so that whoever starts after a
crash tells the rest: better twice than never.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.delivery import Change, Event, Kind, Phase, State, plain
from sidecar.errors import CanaryError
from sidecar.rollout import Notification
from sidecar.web.webhooks import pause

Post = Callable[[str, float, Mapping[str, Any]], Awaitable[tuple[bool, str]]]

TIMEOUT_S = 5.0
DELAYS_S = (1.0, 5.0, 25.0)
MOST_WAITING = 1000
_MAX_FILE_BYTES = 4096
_TOLD = {Kind.STEP_BEGUN, Kind.GATE_REFUSED, Kind.LAUNCHED}
_log = logging.getLogger(__name__)


async def forget(rollout: str, revision: int) -> None:
    """Mark nothing."""
    del rollout, revision


@dataclass(eq=False)
class _Line:
    """One line on its way; `owed` counts the addresses that have not had it."""

    rollout: str
    revision: int
    text: str
    owed: int


class Notifier:
    """Tells of changes.

    `post` sends one line, `mark` notes that a rollout's events are told up to a revision, `rest`
    waits between two attempts.
    """

    def __init__(
        self,
        post: Post,
        mark: Callable[[str, int], Awaitable[None]] = forget,
        rest: Callable[[float], Awaitable[None]] = pause,
    ) -> None:
        self._post = post
        self._mark = mark
        self._rest = rest
        self._waiting: dict[Notification, deque[_Line]] = {}
        self._workers: dict[Notification, asyncio.Task[None]] = {}

    def tell(self, before: State | None, change: Change) -> None:
        """Tell whoever the document names; returns at once."""
        was = before.progress.phase if before and before.progress else None
        if not change.state.retired:
            self._tell(was, change.event, change.state.document.rollout.spec.notifications)

    def catch_up(self, untold: Iterable[Event], states: Mapping[str, State]) -> None:
        """Tell what a controller before this one did not come to tell, oldest first."""
        phases: dict[str, Phase | None] = {}
        for event in untold:
            state, was = states.get(event.rollout), phases.get(event.rollout)
            phases[event.rollout] = event.phase
            if state and not state.retired:
                self._tell(was, event, state.document.rollout.spec.notifications)

    def _tell(self, was: Phase | None, event: Event, targets: Sequence[Notification]) -> None:
        if not targets or not worth_telling(was, event):
            return
        made = _Line(event.rollout, event.revision, line(was, event), len(targets))
        for target in targets:
            queue = self._waiting.setdefault(target, deque())
            if len(queue) >= MOST_WAITING:
                queue.popleft().owed -= 1
                _log.warning("notification dropped", extra={"rollout": event.rollout})
            queue.append(made)
            if target not in self._workers:
                self._workers[target] = asyncio.create_task(self._work(target))

    async def idle(self) -> None:
        """Wait until everything is told or given up."""
        while self._workers:
            await asyncio.gather(*self._workers.values(), return_exceptions=True)

    async def close(self) -> None:
        """Give up what waits."""
        for task in self._workers.values():
            task.cancel()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)

    async def _work(self, target: Notification) -> None:
        queue = self._waiting[target]
        try:
            while queue:
                sending = queue.popleft()
                await self._send(target, sending.text)
                sending.owed -= 1
                if sending.owed <= 0:
                    await self._note(sending)
        finally:
            del self._waiting[target]
            del self._workers[target]

    async def _note(self, sent: _Line) -> None:
        try:
            await self._mark(sent.rollout, sent.revision)
        except CanaryError as error:
            _log.warning("notification not marked", extra={"error": error})

    async def _send(self, target: Notification, text: str) -> None:
        said = ""
        for delay_s in (0.0, *DELAYS_S):
            if delay_s:
                await self._rest(delay_s)
            try:
                url = await asyncio.to_thread(address, target)
                done, said = await self._post(url, TIMEOUT_S, {"text": text})
            except (OSError, ValueError) as error:
                done, said = False, f"{target.webhook_file}: {_why(error)}"
            if done:
                return
        _log.warning("notification given up", extra={"error": said})


def worth_telling(was: Phase | None, event: Event) -> bool:
    """Whether people should hear of it: a new phase, a step, a gate that says no."""
    return event.phase is not None and (event.phase is not was or event.kind in _TOLD)


def line(was: Phase | None, event: Event) -> str:
    """Say it in one line."""
    now = f"{was} -> {event.phase}" if was and was is not event.phase else f"{event.phase}"
    shares = ", ".join(f"{name} {plain(weight)}" for name, weight in event.after.items())
    why = f": {event.origin.why}" if event.origin.why else ""
    return f"{event.rollout}: {now} ({shares}), {event.kind} by {event.origin.who}{why}"


def address(target: Notification) -> str:
    """Return where to send. Raises OSError or ValueError if a file does not say it."""
    if target.webhook:
        return target.webhook
    with Path(target.webhook_file).open("rb") as file:
        url = file.read(_MAX_FILE_BYTES).decode().strip()
    # The same rules as for one in the document, without showing it.
    return Notification.model_validate({"webhook": url}).webhook


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "does not hold a web address"
