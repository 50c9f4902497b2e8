"""Launches in processes that kill themselves: at every commit and every emitted weight, in turn.

A life is a real controller's keeper, store and driver under a clock that goes a minute per tick.
What came out of them all is printed as JSON.
"""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

from launch_lab import START, text
from mortal import Fate, lives, note, noted

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
    """One controller's."""

    def __init__(self, root: Path, fate: Fate, *, harm: bool) -> None:
        self.root, self.fate, self.harm = root, fate, harm

    async def live(self) -> None:
        self.fate.rules_every_commit()
        at_min = len(noted(self.root / "ticks"))
        keeper._now = lambda: START + timedelta(minutes=at_min)
        store = Store(self.root / "db.sqlite")
        self.kept = Keeper(store, self.emit, at_once)
        driver = Driver(self.kept, self.judge, no_gate)
        await self.kept.adopt(documents.scan(self.root / "rollouts"))
        while self.kept.states["chat"].progress.phase not in OVER:
            note(self.root / "ticks", ".")
            at_min += 1
            await driver.tick(START + timedelta(minutes=at_min), at_min * 60.0)
        store.close()

    async def judge(self, now):
        step = self.kept.states["chat"].progress.step
        verdict = Verdict.HARMFUL if self.harm and step == HARMFUL_STEP else Verdict.HEALTHY
        return {"chat": Judgement(verdict, 1, step, now, samples=10, sentence="as told")}

    def emit(self, snapshot) -> None:
        self.fate.point()
        route = codec.decode("chat", snapshot.resources["chat"].data)
        weights = {one.name: one.weight for one in route.variants}
        note(self.root / "emitted", f"{weights['canary'] * 100 / sum(weights.values()):g}\n")
        self.fate.point()


async def at_once(call):
    return call()


async def no_gate(url, timeout_s, body):
    raise AssertionError(url)


def outcome(root: Path, *, killed: bool) -> dict[str, object]:
    store = Store(root / "db.sqlite")
    events, state = store.events("chat"), store.states()["chat"]
    store.close()
    return {
        "killed": killed,
        "emitted": [float(line) for line in noted(root / "emitted").split()],
        "events": [(one.kind, one.step, one.revision) for one in events],
        "in_force": float(state.in_force["canary"]),
    }


def main(root: Path, *, harm: bool) -> None:
    """Die at the first point, then at the second, ... until a process no longer comes that far."""
    made = []
    for fatal in range(1, MOST_POINTS):
        place = root / str(fatal)
        (place / "rollouts").mkdir(parents=True)
        (place / "rollouts/chat.yaml").write_text(text("chat", STEPS, GUARDRAILS))

        def live(fate: Fate, place: Path = place) -> None:
            asyncio.run(Life(place, fate, harm=harm).live())

        made.append(outcome(place, killed=lives(live, fatal)))
        if not made[-1]["killed"]:
            break
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), harm=sys.argv[2] == "harm")
