"""What moves launches on: once a second, every rollout that is under way hears the time.

The machine decides (`delivery`); here are its senses: the clock, the guard's judgements, the
gates. None of them may hold up another rollout: the guard has a deadline, gates are asked beside
the clock, and what goes wrong is said and tried again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sidecar import delivery
from sidecar.control.keeper import Keeper
from sidecar.delivery import (
    UNDER_WAY,
    ClockJumped,
    GateAnswered,
    Judgement,
    Origin,
    State,
    Tick,
    Verdict,
)
from sidecar.errors import CanaryError
from sidecar.rollout.measures import duration

# The guard's word on each rollout that it has one on, by name.
Judge = Callable[[datetime], Awaitable[Mapping[str, Judgement]]]
# Ask an address, with a deadline in seconds and a JSON body: whether it says yes, and its words.
AskGate = Callable[[str, float, Mapping[str, Any]], Awaitable[tuple[bool, str]]]

TICK_S = 1.0
# A wall clock that goes this much further than time does was set, not read late.
JUMP_S = 2.0
JUDGE_S = 5.0
ASK_AGAIN_S = 10.0
WHO = "controller"
_log = logging.getLogger(__name__)


async def no_judgements(now: datetime) -> Mapping[str, Judgement]:
    """The guard of a controller that has none: nothing is measured."""
    del now
    return {}


def _now() -> datetime:
    return datetime.now(UTC)


class Driver:
    """Drives the launches of one keeper.

    `now` is the clock by which gates answer; `heard` is told every look of the guard.
    """

    def __init__(
        self,
        keeper: Keeper,
        judge: Judge,
        ask_gate: AskGate,
        now: Callable[[], datetime] = _now,
        heard: Callable[[Mapping[str, Judgement]], None] = lambda _: None,
    ) -> None:
        self._keeper = keeper
        self._judge = judge
        self._ask_gate = ask_gate
        self._now = now
        self._heard = heard
        self._before: tuple[datetime, float] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._not_before_s: dict[str, float] = {}
        self._complaint = ""

    async def run(self) -> None:
        """Tick until cancelled, whatever happens."""
        try:
            while True:
                began_s = time.monotonic()
                try:
                    await self.tick(self._now(), began_s)
                except CanaryError as error:
                    _log.warning("launches not driven", extra={"error": error})
                await asyncio.sleep(max(0.0, began_s + TICK_S - time.monotonic()))
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let go of the gates that have not answered."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def tick(self, now: datetime, monotonic_s: float) -> None:
        """Tell every launch under way the time. Raises CanaryError if that cannot be kept."""
        origin = Origin(now, WHO)
        if by := self._jump(now, monotonic_s):
            _log.warning("the clock jumped", extra={"by_s": by.total_seconds()})
            await self._keeper.drive({s.name: ClockJumped(by) for s in self._under_way()}, origin)
        if not self._under_way():
            return
        found = await self._judged(now)
        # Harm may have ended some of them meanwhile: their last word was said then.
        launches = self._under_way()
        judgements = _completed(found, launches, now)
        self._keeper.judgements = {**self._last_words(launches), **judgements}
        self._heard(judgements)
        ticks = {state.name: Tick(judgements.get(state.name)) for state in launches}
        await self._keeper.drive(ticks, origin)
        for state in self._under_way():
            self._ask(state, now, monotonic_s)

    async def hear(self, words: Mapping[str, Judgement]) -> None:
        """Act on the guard's words now, not at the next tick.

        Raises CanaryError if that cannot be kept; the next tick says them again.
        """
        self._keeper.judgements = {**self._keeper.judgements, **words}
        ticks = {name: Tick(word) for name, word in words.items()}
        await self._keeper.drive(ticks, Origin(self._now(), WHO))

    async def idle(self) -> None:
        """Wait until no gate is being asked."""
        while self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _under_way(self) -> list[State]:
        return [
            state
            for state in self._keeper.states.values()
            if state.progress and state.progress.phase in UNDER_WAY and not state.retired
        ]

    def _last_words(self, launches: list[State]) -> Mapping[str, Judgement]:
        """Return what was said of launches that are over."""
        going = {state.name for state in launches}
        return {n: word for n, word in self._keeper.judgements.items() if n not in going}

    def _jump(self, now: datetime, monotonic_s: float) -> timedelta | None:
        before, self._before = self._before, (now, monotonic_s)
        if before is None:
            return None
        by = (now - before[0]) - timedelta(seconds=monotonic_s - before[1])
        return by if abs(by.total_seconds()) > JUMP_S else None

    async def _judged(self, now: datetime) -> Mapping[str, Judgement]:
        """Hear the guard; one that fails or hangs has measured nothing, and that is said once."""
        try:
            async with asyncio.timeout(JUDGE_S):
                judgements = await self._judge(now)
        except Exception as error:  # noqa: BLE001 - law 9: a failing guard touches nothing else
            complaint = f"{type(error).__name__}: {error}"
            if complaint != self._complaint:
                _log.warning("the guard could not judge", extra={"error": complaint})
            self._complaint = complaint
            return {}
        self._complaint = ""
        return judgements

    def _ask(self, state: State, now: datetime, monotonic_s: float) -> None:
        name = state.name
        if name in self._asking or monotonic_s < self._not_before_s.get(name, monotonic_s):
            return
        if not delivery.gate_wanted(state, self._keeper.judgements.get(name), now):
            return
        task = asyncio.create_task(self._pass_gate(state))
        self._asking[name] = task
        task.add_done_callback(lambda _: self._asking.pop(name, None))

    async def _pass_gate(self, state: State) -> None:
        progress, plan = state.progress, state.document.rollout.plan
        assert progress
        assert plan
        number = progress.step + 1
        step = plan.steps[progress.step]
        body = {
            "rollout": state.name,
            "generation": state.document.generation,
            "launch": progress.launch,
            "step": number,
            "weight": float(step.weight),
        }
        timeout_s = duration(step.gate.timeout).total_seconds()
        try:
            async with asyncio.timeout(timeout_s):
                passed, said = await self._ask_gate(step.gate.url, timeout_s, body)
        except TimeoutError:
            passed, said = False, f"no answer within {step.gate.timeout}"
        except Exception as error:  # noqa: BLE001 - a gate that breaks says no
            passed, said = False, f"it could not be asked ({type(error).__name__})"
        self._not_before_s[state.name] = time.monotonic() + ASK_AGAIN_S
        word = self._keeper.judgements.get(state.name)
        answer = GateAnswered(progress.launch, number, passed, said, word)
        try:
            await self._keeper.drive({state.name: answer}, Origin(self._now(), WHO))
        except CanaryError as error:
            _log.warning("a gate's answer was not kept", extra={"error": error})


def _completed(
    judgements: Mapping[str, Judgement], launches: list[State], now: datetime
) -> Mapping[str, Judgement]:
    """Say of every guarded launch that the guard is silent about that it is not measured."""
    silent = {
        state.name: Judgement(
            Verdict.NOT_MEASURED,
            state.progress.launch,
            state.progress.step,
            now,
            sentence="the guard has nothing to say about it",
        )
        for state in launches
        if state.progress and state.name not in judgements and _guarded(state)
    }
    return {**judgements, **silent}


def _guarded(state: State) -> bool:
    plan = state.document.rollout.plan
    return plan is not None and plan.guarded
