"""The controller's memory: the state of every rollout, and what the sidecars should have of it.

Invariant: memory, store and snapshot agree. A change is computed, written to the store, and only
then takes effect and is published; if it cannot be written, nothing happened. One change at a
time: whoever comes second sees what the first did.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar

from sidecar import delivery
from sidecar.control.documents import FileMistake, Scan
from sidecar.control.offload import MANY, off_loop_if
from sidecar.control.snapshot import Resource, Snapshot
from sidecar.control.trips import Trip
from sidecar.delivery import (
    UNDER_WAY,
    Change,
    Command,
    Event,
    Input,
    Judgement,
    Origin,
    State,
    Switch,
)
from sidecar.errors import CanaryError
from sidecar.rollout import moves
from sidecar.routing import Route, route_of

_T = TypeVar("_T")
# So many rollouts are looked at before somebody else may have the event loop.
_AT_ONCE = 200
_UNDER_WAY: set[asyncio.Task[Any]] = set()
_log = logging.getLogger(__name__)


class Store(Protocol):
    """Where states survive. Blocking: used in a thread of its own."""

    def states(self) -> dict[str, State]:
        """Read every rollout's state by name."""

    def last_events(self) -> dict[str, Event]:
        """Read the newest event of every rollout."""

    def commit(self, changes: Iterable[Change]) -> None:
        """Write the changes, all or none."""


class UnknownRolloutError(CanaryError):
    """No such rollout."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change that is on disk; `after is before` if there was nothing to change."""

    before: State
    after: State
    at_unix_ns: int


class Keeper:
    """Holds the states; tells `publish` about every new snapshot.

    `blocking` runs a call of the store off the event loop. `observe` hears of every change (and
    the state before it) once it is kept and on its way; it must not block. `judgements` are the
    guard's newest words, `trips` the variants that sidecars hold out by themselves, by node.
    """

    def __init__(
        self,
        store: Store,
        publish: Callable[[Snapshot], None],
        blocking: Callable[[Callable[[], None]], Awaitable[None]],
        observe: Callable[[State | None, Change], None] = lambda _before, _change: None,
    ) -> None:
        self.states: dict[str, State] = store.states()
        self.last_events: dict[str, Event] = store.last_events()
        self.mistakes: tuple[FileMistake, ...] = ()
        self.judgements: Mapping[str, Judgement] = {}
        self.trips: Mapping[str, Sequence[Trip]] = {}
        self.snapshot: Snapshot | None = None
        self.seen_faultless = False
        self._resources: dict[str, Resource] = {}
        self._store = store
        self._publish = publish
        self._blocking = blocking
        self._observe = observe
        self._one_at_a_time = asyncio.Lock()

    def state(self, name: str) -> State:
        """Return one rollout's state. Raises UnknownRolloutError."""
        found = self.states.get(name)
        if found is None:
            raise unknown(name, self.states)
        return found

    def trips_of(self, name: str) -> list[Trip]:
        """Return who holds out which of its variants by itself."""
        return [trip for some in self.trips.values() for trip in some if trip.rollout == name]

    def judging(self) -> bool:
        """Whether a launch is under way whose outcomes are wanted at once."""
        return any(
            state.progress and state.progress.phase in UNDER_WAY and not state.retired
            for state in self.states.values()
        )

    async def adopt(self, scan: Scan) -> None:
        """Take the folder as it was read. Raises CanaryError if that cannot be kept."""
        await _to_its_end(self._adopt(scan))

    async def _adopt(self, scan: Scan) -> None:
        async with self._one_at_a_time:
            self._note_mistakes(scan.mistakes)
            origin = Origin(_now(), "folder")
            changes = delivery.reconcile(self.states, scan.declared, origin)
            if self.snapshot is None:
                known = list(self.states.values())
                self._take(await off_loop_if(len(known) > MANY, _resources, known))
            if changes:
                await self._keep(changes)
            self._note_faultless(scan)
            if changes or self._outdated:
                await self._announce()

    async def set_weights(
        self,
        name: str,
        weights: Mapping[str, Decimal],
        origin: Origin,
        expected_revision: int | None,
    ) -> Accepted:
        """Change the weights in force.

        Raises CanaryError (UnknownRolloutError, and what `delivery.set_weights` raises) if the
        change is refused or cannot be kept: then nothing happened.
        """
        return await _to_its_end(self._set_weights(name, weights, origin, expected_revision))

    async def _set_weights(
        self,
        name: str,
        weights: Mapping[str, Decimal],
        origin: Origin,
        expected_revision: int | None,
    ) -> Accepted:
        async with self._one_at_a_time:
            before = self.state(name)
            change = delivery.set_weights(
                before, weights, origin, expected_revision=expected_revision
            )
            if change is None:
                return Accepted(before, before, time.time_ns())
            return Accepted(before, change.state, await self._apply([change]))

    async def act(
        self,
        name: str,
        command: Command | Switch,
        origin: Origin,
        expected_revision: int | None = None,
    ) -> Accepted:
        """Do what somebody asks of a launch.

        Raises CanaryError (UnknownRolloutError, and what `delivery.act` raises) if it is refused
        or cannot be kept: then nothing happened.
        """
        return await _to_its_end(self._act(name, command, origin, expected_revision))

    async def _act(
        self, name: str, command: Command | Switch, origin: Origin, expected_revision: int | None
    ) -> Accepted:
        async with self._one_at_a_time:
            before = self.state(name)
            delivery.check_revision(before, expected_revision)
            change = delivery.act(before, command, origin)
            if change is None:
                return Accepted(before, before, time.time_ns())
            return Accepted(before, change.state, await self._apply([change]))

    async def drive(self, inputs: Mapping[str, Input], origin: Origin) -> None:
        """Let the machines of several rollouts take their inputs; what changes is kept as one.

        Raises CanaryError if it cannot be kept: then nothing happened.
        """
        await _to_its_end(self._drive(inputs, origin))

    async def _drive(self, inputs: Mapping[str, Input], origin: Origin) -> None:
        async with self._one_at_a_time:
            changes = []
            for number, (name, given) in enumerate(inputs.items(), 1):
                if state := self.states.get(name):
                    changes.append(delivery.handle(state, given, origin))
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            made = [change for change in changes if change]
            if made:
                await self._apply(made)

    async def _apply(self, changes: list[Change]) -> int:
        """Keep the changes and tell the sidecars; return when they were kept (Unix, ns)."""
        kept_at_unix_ns = await self._keep(changes)
        await self._announce()
        return kept_at_unix_ns

    async def _keep(self, changes: list[Change]) -> int:
        """Keep the changes, then let them take effect; return when they were kept (Unix, ns)."""
        # Before the store: a state that cannot be a route is refused, not kept.
        states = [change.state for change in changes]
        made = await off_loop_if(len(states) > MANY, _resources, states)
        await self._blocking(lambda: self._store.commit(changes))
        kept_at_unix_ns = time.time_ns()
        before = {state.name: self.states.get(state.name) for state in states}
        for change in changes:
            _warn_who_moves(self.states.get(change.state.name), change.state)
            self.states[change.state.name] = change.state
            self.last_events[change.state.name] = change.event
            _log_change(change)
        self._take(made)
        for change in changes:
            self._observe(before[change.state.name], change)
        return kept_at_unix_ns

    def _take(self, made: Mapping[str, Resource | None]) -> None:
        for name, resource in made.items():
            if resource is None:
                self._resources.pop(name, None)
            else:
                self._resources[name] = resource

    async def _announce(self) -> None:
        resources = list(self._resources.values())
        surely_gone = None if self.seen_faultless else self._retired()
        self.snapshot = await off_loop_if(len(resources) > MANY, Snapshot, resources, surely_gone)
        self._publish(self.snapshot)

    def _retired(self) -> frozenset[str]:
        return frozenset(name for name, state in self.states.items() if state.retired)

    @property
    def _outdated(self) -> bool:
        """Whether what was announced is not all that is known now."""
        if self.snapshot is None:
            return True
        return self.seen_faultless and self.snapshot.withdrawn is not None

    def _note_faultless(self, scan: Scan) -> None:
        """Whoever never saw a faultless folder cannot tell what is gone from what is faulty."""
        self.seen_faultless = self.seen_faultless or not scan.mistakes
        if self.snapshot is None and not self.seen_faultless:
            until = "every file is in order: what else they hold, they keep"
            _log.warning("nothing is withdrawn from sidecars", extra={"until": until})

    def _note_mistakes(self, mistakes: tuple[FileMistake, ...]) -> None:
        for mistake in mistakes:
            if mistake not in self.mistakes:
                _log.warning("file refused", extra={"error": mistake.message})
        if self.mistakes and not mistakes:
            _log.info("files are in order again")
        self.mistakes = mistakes


def _resources(states: Iterable[State]) -> dict[str, Resource | None]:
    """Encode each state's resource; a retired rollout has none."""
    return {state.name: None if state.retired else Resource.of(_route(state)) for state in states}


def _route(state: State) -> Route:
    """Make the route; a launch that refreshes its cohort has a salt of its own."""
    out = state.baseline_for_all
    route = route_of(state.document.rollout, state.in_force, state.revision, killed=out)
    salt = state.salt.encode()
    return route if salt == route.salt else replace(route, salt=salt)


async def _to_its_end(change: Coroutine[Any, Any, _T]) -> _T:
    """Finish a change that began, whoever stops waiting for it.

    A caller's deadline cancels its handler. Between the store's commit and memory that would leave
    the two apart for good.
    """
    task = asyncio.create_task(change)
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)
    return await asyncio.shield(task)


def unknown(name: str, known: Iterable[str]) -> UnknownRolloutError:
    """Say that there is no rollout of this name, and which one may be meant."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UnknownRolloutError(
        f"there is no rollout {name!r}", remedy=f"{hint}`canary status` lists them"
    )


def _warn_who_moves(before: State | None, after: State) -> None:
    """Say what else than weights moves people: it is allowed, but never silent."""
    if before is None or before.retired or after.retired:
        return
    for sentence in moves(before.document.rollout, after.document.rollout):
        _log.warning("people move", extra={"rollout": after.name, "because": sentence})


def _log_change(change: Change) -> None:
    event = change.event
    _log.info(
        event.kind.value,
        extra={
            "rollout": event.rollout,
            "revision": event.revision,
            "generation": event.generation,
            "before": _listed(event.before),
            "after": _listed(event.after),
            "who": event.origin.who,
            "why": event.origin.why,
            **({"phase": event.phase.value, "step": event.step} if event.phase else {}),
        },
    )


def _listed(weights: delivery.Weights) -> str:
    return ",".join(f"{name}={delivery.plain(weight)}" for name, weight in weights.items())


def _now() -> datetime:
    return datetime.now(UTC)
