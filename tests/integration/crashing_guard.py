"""Guarded launches in processes that kill themselves: at every commit of both stores, at every
emitted weight, and around each acknowledgement.

A life is a real controller's keeper, stores, jury and driver, under a clock that goes ten seconds
a tick. The sidecar lives on beside it: what was not acknowledged it sends again. Usage:
`crashing_guard.py FOLDER well|harm FIRST EVERY`; what came out of it all is printed as JSON.
"""

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from launch_lab import START, text
from mortal import Fate, lives, note, noted

from sidecar.analysis import cells
from sidecar.control import codec, documents, judging, keeper
from sidecar.control.driving import Driver
from sidecar.control.judging import Jury
from sidecar.control.keeper import Keeper
from sidecar.delivery import OVER
from sidecar.store import Outcomes, Store

TICK_S = 10
STEPS = "[{weight: 5, hold: 10s, minSamples: 60}, {weight: 50, hold: 10s}, {weight: 100}]"
GUARDRAILS = "guardrails: [{metric: error_rate, maxIncrease: 0.5pp}]"
ARMS = {"stable": 950, "canary": 60}
HARM_FROM = 4
MOST_POINTS = 200


def row(tick: int, arm: int, *, risen: bool, harm: bool) -> tuple[str | int | bytes, ...]:
    """A row of the sidecar: half of a second's answers come a tick later, and raise it."""
    variant, started = list(ARMS.items())[arm]
    answered = started if risen else started // 2
    errors = answered // 4 if harm and arm and tick >= HARM_FROM else 0
    counts = {cells.STARTED: started, cells.COMPLETED: answered, cells.ERRORS: errors}
    counts |= {cells.UNITS: answered, cells.UNIT_ERRORS: errors}
    second = int(START.timestamp()) + tick * TICK_S - 2
    number, sequence = 2 * tick + arm + 1, 4 * (tick + risen) + 2 * risen + arm + 1
    names = ("chat", variant, "v1", "weight")
    return ("n1", "e1", number, sequence, second, *names, cells.pack(counts))


def sent(tick: int, *, harm: bool) -> list[tuple[str | int | bytes, ...]]:
    """All rows of a sidecar as they stand at a tick, by sequence."""
    rows = [row(at, arm, risen=at < tick, harm=harm) for at in range(1, tick + 1) for arm in (0, 1)]
    return sorted(rows, key=lambda one: one[3])


class Life:
    """One controller's."""

    def __init__(self, root: Path, fate: Fate, *, harm: bool) -> None:
        self.root, self.fate, self.harm = root, fate, harm

    async def live(self) -> None:
        self.fate.rules_every_commit()
        at = len(noted(self.root / "ticks"))
        keeper._now = lambda: START + timedelta(seconds=at * TICK_S)
        judging._REMEMBER_S = judging._REMEMBER_REST = 0.0
        store = Store(self.root / "db.sqlite")
        outcomes = Outcomes(self.root / "outcomes.sqlite")
        kept = Keeper(store, self.emit, at_once)
        jury = Jury(kept, outcomes, at_once, self.act, now_s(lambda: at))
        self.driver = Driver(kept, jury.judge, no_gate, keeper._now)
        await kept.adopt(documents.scan(self.root / "rollouts"))
        while kept.states["chat"].progress.phase not in OVER:
            note(self.root / "ticks", ".")
            at += 1
            self.receive(outcomes, at)
            await self.driver.tick(keeper._now(), float(at * TICK_S))
        store.close()
        outcomes.close()

    async def act(self, words) -> None:
        await self.driver.hear(words)

    def receive(self, outcomes: Outcomes, at: int) -> None:
        """Take what the sidecar was not told to be on disk, and tell it."""
        acknowledged = int(noted(self.root / "acknowledged").split()[-1:][0] or 0)
        rows = [one for one in sent(at, harm=self.harm) if int(one[3]) > acknowledged]
        outcomes.add(rows)
        self.fate.point()
        note(self.root / "acknowledged", f" {rows[-1][3]}")
        self.fate.point()

    def emit(self, snapshot) -> None:
        self.fate.point()
        route = codec.decode("chat", snapshot.resources["chat"].data)
        weights = {one.name: one.weight for one in route.variants}
        note(self.root / "emitted", f"{weights['canary'] * 100 / sum(weights.values()):g}\n")
        self.fate.point()


def now_s(tick):
    return lambda: START.timestamp() + tick() * TICK_S


async def at_once(call):
    return call()


async def no_gate(url, timeout_s, body):
    raise AssertionError(url)


def outcome(root: Path, *, killed: bool, harm: bool) -> dict[str, object]:
    store, outcomes = Store(root / "db.sqlite"), Outcomes(root / "outcomes.sqlite")
    events, state = store.events("chat"), store.states()["chat"]
    rows = outcomes.seconds("chat", 0, 1 << 40)
    ticks = len(noted(root / "ticks"))
    expected = {(one[1], one[2]): one[-1] for one in sent(ticks, harm=harm)}
    evidence = json.loads(events[-1].evidence) if events[-1].evidence else None
    store.close()
    outcomes.close()
    return {
        "killed": killed,
        "emitted": [float(line) for line in noted(root / "emitted").split()],
        "events": [(one.kind, one.step, one.revision) for one in events],
        "in_force": float(state.in_force["canary"]),
        "rows_are_the_sidecars": {(r.epoch, r.number): r.counts for r in rows} == expected,
        "judged": evidence and evidence["evidence"]["requests"],
        "answered": evidence and evidence["evidence"]["answered"],
        "started": started(evidence, ticks) if evidence else None,
    }


def started(evidence, ticks: int) -> list[int]:
    """What the sidecar started from the watch's beginning to the decision."""
    first = evidence["evidence"]["watchedSince"]
    seconds = [int(START.timestamp()) + tick * TICK_S - 2 for tick in range(1, ticks + 1)]
    return [sum(count for one in seconds if one > first) for count in ARMS.values()]


def main(root: Path, *, harm: bool, first: int, every: int) -> None:
    """Die at a point, then at a later one, ... until a process no longer comes that far."""
    made = []
    for fatal in range(first, MOST_POINTS, every):
        place = root / str(fatal)
        (place / "rollouts").mkdir(parents=True)
        (place / "rollouts/chat.yaml").write_text(text("chat", STEPS, GUARDRAILS))
        note(place / "acknowledged", "0")

        def live(fate: Fate, place: Path = place) -> None:
            asyncio.run(Life(place, fate, harm=harm).live())

        made.append(outcome(place, killed=lives(live, fatal), harm=harm))
        if not made[-1]["killed"]:
            break
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(
        Path(sys.argv[1]),
        harm=sys.argv[2] == "harm",
        first=int(sys.argv[3]),
        every=int(sys.argv[4]),
    )
