"""The guard's loop: rows come in, judges look, harm is acted on at once.

It looks when rows arrive, at those rollouts alone, and once a second at all of them when the driver
asks. Rows are read where they are kept, judges work in a thread of their own, and a round with much
to do leaves the others time: the next one takes whatever has come by then. What goes wrong with one
rollout is said and leaves the rest alone; nothing here holds up a request or a weight.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from sidecar.control import watching
from sidecar.control.cohorts import Row
from sidecar.control.designs import Designs
from sidecar.control.keeper import Keeper
from sidecar.control.trips import Trip
from sidecar.control.watching import Watch
from sidecar.delivery import UNDER_WAY, Judgement, State, Verdict
from sidecar.errors import CanaryError

_T = TypeVar("_T")
# Rollouts looked at before what was found is acted on.
_AT_ONCE = 16
# Rows of one rollout read at a time.
_MOST_ROWS = 5_000
# The guard's share of the time while there is always news.
_REST = 1.0
# A memory is written this often at most, and writing takes a hundredth of the time at most.
_REMEMBER_S = 2.0
_REMEMBER_REST = 100.0
# A word that nothing new was heard for is said again for this long before it is thought over.
_REPEAT_S = 3.0
_log = logging.getLogger(__name__)


class Source(Protocol):
    """The controller's outcomes. Blocking: used where `counting` runs it."""

    def news(self, rollout: str, after: int = 0, most: int = 0) -> Sequence[Row]:
        """Return rows of a rollout that came or rose after `after`, in that order."""

    def newest(self) -> int:
        """Return the `seen` of the newest row."""

    def memories(self) -> dict[str, str]:
        """Return what the guard wrote down, by rollout."""

    def remember(self, memories: Mapping[str, str], forget: Iterable[str]) -> None:
        """Write down what the guard must not forget, and forget what is over."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at one launch takes. `thorough`: it is put into words whatever it finds.

    `unjudged` is where it counts what was not taken.
    """

    state: State
    watch: Watch
    rows: Sequence[Row]
    shares: Mapping[str, float]
    trip: Trip | None
    thorough: bool
    unjudged: Counter[tuple[str, str, str]]


class Jury:
    """The judges of all launches under way.

    `source` and `counting` (which runs a call of it in its thread) are the outcomes' store;
    `act` is told of harm, at once.
    """

    def __init__(
        self,
        keeper: Keeper,
        source: Source,
        counting: Callable[[Callable[[], object]], Awaitable[object]],
        act: Callable[[Mapping[str, Judgement]], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keeper = keeper
        self._source = source
        self._counting = counting
        self._act = act
        self._clock = clock
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guard")
        self._round = asyncio.Lock()
        self._bell = asyncio.Event()
        self._fresh: set[str] = set()
        self._watches: dict[str, Watch] = {}
        self._words: dict[str, Judgement] = {}
        self._memories: dict[str, str] | None = None
        self._trips: dict[str, Trip] = {}
        self._complaints: dict[str, str] = {}
        self._designs = Designs()
        # By rollout, sidecar and kind, since the start: seconds that were not taken.
        self.unjudged: Counter[tuple[str, str, str]] = Counter()
        self._written: set[str] = set()
        self._remember_at_s = 0.0

    # What it hears.

    def arrived(self, rollouts: frozenset[str]) -> None:
        """Hear that rows of these came."""
        self._fresh |= rollouts
        self._bell.set()

    def tripped(self, trip: Trip) -> None:
        """Hear that a sidecar took a variant out."""
        self._trips[trip.rollout] = trip
        self.arrived(frozenset([trip.rollout]))

    def published(self, version: str) -> None:
        """Hear that a table with the weights of this moment goes to the sidecars."""
        states = filter(_under_way, self._keeper.states.values())
        self._designs.published(version, {state.name: _designed(state) for state in states})

    # What it does.

    async def run(self) -> None:
        """Look whenever rows came, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            began_s = time.monotonic()
            names, self._fresh = self._fresh, set()
            try:
                await self._look(names, thorough=False)
            except Exception as error:  # noqa: BLE001 - law 9: it is beside everything else
                self._complain("", f"{type(error).__name__}: {error}")
            took_s = time.monotonic() - began_s
            await asyncio.sleep(min(1.0, took_s * _REST))

    async def judge(self, now: datetime) -> Mapping[str, Judgement]:
        """Return the word on every launch under way: what the driver asks each second."""
        del now  # the judges go by one clock, rows and all
        await self._look(None, thorough=True)
        await self._remember()
        return dict(self._words)

    async def close(self) -> None:
        """Write down everything."""
        self._remember_at_s = 0.0
        try:
            await self._remember()
        except CanaryError as error:
            _log.warning("evidence not kept", extra={"error": error})
        self._worker.shutdown()

    async def _look(self, names: Iterable[str] | None, *, thorough: bool) -> None:
        """Look at launches (None: all), and act on the harm that is found."""
        async with self._round:
            under_way = {s.name: s for s in self._keeper.states.values() if _under_way(s)}
            for gone in self._watches.keys() - under_way.keys():
                del self._watches[gone]
            for gone in (self._words.keys() | self._trips.keys()) - under_way.keys():
                self._words.pop(gone, None)
                self._trips.pop(gone, None)
            states = [
                under_way[n] for n in (under_way if names is None else names) if n in under_way
            ]
            for at in range(0, len(states), _AT_ONCE):
                await self._look_at(states[at : at + _AT_ONCE], thorough=thorough)

    async def _look_at(self, states: list[State], *, thorough: bool) -> None:
        asked = await self._prepared(states)
        news = await self._read(asked)
        looks = [
            Look(
                state,
                watch,
                news[state.name],
                self._designs.of(state.name, {row.version for row in news[state.name]}),
                self._standing_trip(state, watch),
                thorough,
                self.unjudged,
            )
            for state, watch in asked
        ]
        before, now_s = dict(self._words), self._clock()
        found = await asyncio.get_running_loop().run_in_executor(
            self._worker,
            lambda: [_judged(look, before.get(look.state.name), now_s) for look in looks],
        )
        self._hear(looks, found)
        harm = {
            look.state.name: word
            for look, word in zip(looks, found, strict=True)
            if isinstance(word, Judgement) and word.verdict is Verdict.HARMFUL
        }
        if harm:
            await self._act(harm)

    def _hear(self, looks: Sequence["Look"], found: Sequence[Judgement | Exception | None]) -> None:
        for look, word in zip(looks, found, strict=True):
            name = look.state.name
            if isinstance(word, Exception):
                self._complain(name, f"{type(word).__name__}: {word}")
                self._words.pop(name, None)
                continue
            self._complaints.pop(name, None)
            if word:
                self._words[name] = word

    async def _prepared(self, states: list[State]) -> list[tuple[State, Watch]]:
        """Give each launch its watch: the one at hand, the one remembered, or a new one."""
        if self._memories is None:
            self._memories = await self._counted(self._source.memories)
            self._written = set(self._memories)
        ready = []
        for state in states:
            watch = self._watches.get(state.name)
            if watch is None or not watch.fits(state):
                watch = await self._begun(state)
            watch.begin_step(state)
            ready.append((state, watch))
        return ready

    async def _begun(self, state: State) -> Watch:
        assert self._memories is not None
        now_s = self._clock()
        watch = None
        if text := self._memories.pop(state.name, ""):
            try:
                watch = Watch.recalled(text, state, now_s)
            except watching.UNREADABLE as error:
                said = {"rollout": state.name, "error": f"{type(error).__name__}: {error}"}
                _log.warning("evidence not read: the launch is watched afresh", extra=said)
        if watch is None:
            watch = Watch(state, await self._counted(self._source.newest), now_s)
        self._watches[state.name] = watch
        self._words.pop(state.name, None)
        return watch

    async def _read(self, asked: list[tuple[State, Watch]]) -> dict[str, Sequence[Row]]:
        wanted = [(watch.name, watch.seen) for _, watch in asked]

        def read() -> dict[str, Sequence[Row]]:
            return {name: self._source.news(name, seen, _MOST_ROWS) for name, seen in wanted}

        news = await self._counted(read)
        # Whoever has more waiting is looked at again right away.
        more = frozenset(name for name, rows in news.items() if len(rows) >= _MOST_ROWS)
        if more:
            self.arrived(more)
        return news

    def _standing_trip(self, state: State, watch: Watch) -> Trip | None:
        plan, trip = state.document.rollout.plan, self._trips.get(state.name)
        about = plan and trip and trip.variant == plan.candidate
        return trip if about and trip and trip.revision >= watch.revision else None

    def _complain(self, name: str, complaint: str) -> None:
        if self._complaints.get(name) != complaint:
            _log.warning("launch not judged", extra={"rollout": name, "error": complaint})
        self._complaints[name] = complaint

    async def _remember(self) -> None:
        """Write down what changed, seldom enough."""
        began_s = time.monotonic()
        if began_s < self._remember_at_s or self._memories is None:
            return
        async with self._round:
            changed = [watch for watch in self._watches.values() if watch.changed]
            texts = await asyncio.get_running_loop().run_in_executor(
                self._worker, lambda: {w.name: w.remember() for w in changed}
            )
            over = self._written - self._watches.keys()
            await self._counted(lambda: self._source.remember(texts, over))
            self._written = self._written - over | texts.keys()
        took_s = time.monotonic() - began_s
        self._remember_at_s = time.monotonic() + max(_REMEMBER_S, took_s * _REMEMBER_REST)

    async def _counted(self, call: Callable[[], _T]) -> _T:
        return await self._counting(call)  # type: ignore[return-value]


def _under_way(state: State) -> bool:
    return bool(state.progress and state.progress.phase in UNDER_WAY and not state.retired)


def _designed(state: State) -> float | None:
    """Return the candidate's share of those between whom chance decides; None if unknown.

    A prerequisite may stand on the same hash line, and then chooses with it.
    """
    plan, weights = state.document.rollout.plan, state.in_force
    if plan is None or state.document.rollout.spec.requires:
        return None
    both = weights[plan.baseline] + weights[plan.candidate]
    return float(weights[plan.candidate] / both) if both else None


def _judged(look: Look, before: Judgement | None, now_s: float) -> Judgement | Exception | None:
    """Look, in the guard's thread; return the word if there is a new one, or what went wrong."""
    try:
        return _looked(look, before, now_s)
    except Exception as error:  # noqa: BLE001 - law 9: one that fails touches no other
        return error


def _looked(look: Look, before: Judgement | None, now_s: float) -> Judgement | None:
    watch, trip = look.watch, look.trip
    known = watch.harmful
    if look.rows or look.thorough:
        refused = watch.take(look.rows, look.shares, now_s)
        look.unjudged.update({(watch.name, *key): count for key, count in refused.items()})
    # A verdict costs more than a look: between the seconds only harm is put into words.
    if not (look.thorough or trip or (watch.harmful and not known)):
        return None
    if before and not (look.rows or trip) and _repeats(before, watch, now_s):
        return None
    word = watch.word(now_s)
    return watching.taken_out(word, trip.node, trip.variant, trip.reason) if trip else word


def _repeats(before: Judgement, watch: Watch, now_s: float) -> bool:
    """Whether the last word still does: of this very step, and of seconds ago."""
    said_s = before.at.timestamp()
    same = (before.launch, before.step) == (watch.launch, watch.answers.step)
    return same and watch.answers.since_s <= said_s <= now_s < said_s + _REPEAT_S
