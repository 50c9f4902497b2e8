"""Launches in processes that kill themselves: at every commit and every emitted weight, in turn.

Run as a program: it loads everything once, then forks a child per point. A child is a real
controller's keeper, store and driver under a clock that goes a minute per tick; SIGKILL ends it
just before or after a commit or an emission, and its successor opens the same file and goes on.
What came out of them all is printed as JSON.
"""

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from launch_lab import START, text

from sidecar.control import codec, documents, keeper
from sidecar.control.driving import Driver
from sidecar.control.keeper import Keeper
from sidecar.delivery import OVER, Judgement, Verdict
from sidecar.store import Store

STEPS = "[{weight: 1, hold: 3m}, {weight: 5, hold: 3m, minSamples: 9}, {weight: 25}, {weight: 100}]"
GUARDRAILS = "guardrails: [{metric: error_rate, maxIncrease: 0.5pp}]"
HARMFUL_STEP = 2
MOST_POINTS = 60


class Life:
    """One process's life: it ends at its `fatal`th point, 0 being none."""

    def __init__(self, root: Path, fatal: int, *, harm: bool) -> None:
        self.root, self.fatal, self.harm, self.passed = root, fatal, harm, 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    async def live(self) -> None:
        ticks = self.root / "ticks"
        at_min = len(ticks.read_text()) if ticks.exists() else 0
        keeper._now = lambda: START + timedelta(minutes=at_min)
        store = Mortal(self.root / "db.sqlite", self)
        self.kept = Keeper(store, self.emit, at_once)
        driver = Driver(self.kept, self.judge, no_gate)
        await self.kept.adopt(documents.scan(self.root / "rollouts"))
        while self.kept.states["chat"].progress.phase not in OVER:
            note(ticks, ".")
            at_min += 1
            await driver.tick(START + timedelta(minutes=at_min), at_min * 60.0)
        store.close()

    async def judge(self, now):
        step = self.kept.states["chat"].progress.step
        verdict = Verdict.HARMFUL if self.harm and step == HARMFUL_STEP else Verdict.HEALTHY
        return {"chat": Judgement(verdict, 1, step, now, samples=10, sentence="as told")}

    def emit(self, snapshot) -> None:
        self.point()
        route = codec.decode("chat", snapshot.resources["chat"].data)
        weights = {one.name: one.weight for one in route.variants}
        note(self.root / "emitted", f"{weights['canary'] * 100 / sum(weights.values()):g}\n")
        self.point()


class Mortal(Store):
    """A store whose process may die just before and just after a commit."""

    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._life = life

    def commit(self, changes) -> None:
        self._life.point()
        super().commit(changes)
        self._life.point()


def note(file: Path, what: str) -> None:
    with file.open("a") as out:
        out.write(what)


async def at_once(call):
    return call()


async def no_gate(url, timeout_s, body):
    raise AssertionError(url)


def lives(root: Path, fatal: int, *, harm: bool) -> list[int]:
    """Let a process die at a point and another one finish; how each of them ended."""
    (root / "rollouts").mkdir(parents=True)
    (root / "rollouts/chat.yaml").write_text(text("chat", STEPS, GUARDRAILS))
    ends = []
    while not ends or ends[-1]:
        child = os.fork()
        if not child:
            asyncio.run(Life(root, 0 if ends else fatal, harm=harm).live())
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert ends[-1] in (0, -signal.SIGKILL), ends
    return ends


def outcome(root: Path, ends: list[int]) -> dict[str, object]:
    store = Store(root / "db.sqlite")
    events, state = store.events("chat"), store.states()["chat"]
    store.close()
    return {
        "killed": len(ends) > 1,
        "emitted": [float(line) for line in (root / "emitted").read_text().split()],
        "events": [(one.kind, one.step, one.revision) for one in events],
        "in_force": float(state.in_force["canary"]),
    }


def main(root: Path, *, harm: bool) -> None:
    """Die at the first point, then at the second, ... until a process no longer comes that far."""
    made = []
    for fatal in range(1, MOST_POINTS):
        place = root / str(fatal)
        made.append(outcome(place, lives(place, fatal, harm=harm)))
        if not made[-1]["killed"]:
            break
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), harm=sys.argv[2] == "harm")
