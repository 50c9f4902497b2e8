"""The guard's loop: it looks when rows come, acts at once, and one that fails hurts no other."""

import asyncio
import functools
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from launch_lab import START, declared
from test_watching import BEGAN_S, STEPS, TERMS, second

from sidecar.control.judging import Jury
from sidecar.control.trips import Trip
from sidecar.delivery import Phase, Verdict
from sidecar.errors import CanaryError


class Keeper:
    """States by name, in their first step."""

    def __init__(self, *names):
        self.states = {}
        for name in names:
            state = declared(name, STEPS, TERMS)
            self.states[name] = replace(
                state, progress=replace(state.progress, step=1, phase=Phase.RUNNING)
            )

    def end(self, name):
        state = self.states[name]
        self.states[name] = replace(
            state, progress=replace(state.progress, phase=Phase.ROLLED_BACK)
        )


class Outcomes:
    """Rows and memories in memory, in the order they came."""

    def __init__(self):
        self.rows, self.kept, self.seen, self.failing = {}, {}, 0, False

    def add(self, name, rows):
        for row in rows:
            self.seen += 1
            row.seen = self.seen
            self.rows.setdefault(name, []).append(row)

    def news(self, name, after=0, most=10_000):
        if self.failing:
            raise CanaryError("the disk is full")
        return [row for row in self.rows.get(name, []) if row.seen > after][:most]

    def newest(self):
        return self.seen

    def memories(self):
        return dict(self.kept)

    def remember(self, memories, forget):
        self.kept.update(memories)
        for name in forget:
            self.kept.pop(name, None)


class Bench:
    """A jury with everything around it; the clock stands where it is put."""

    def __init__(self, *names, outcomes=None):
        self.keeper, self.outcomes = Keeper(*names), outcomes or Outcomes()
        self.acted, self.now_s = [], BEGAN_S
        self.jury = Jury(self.keeper, self.outcomes, self.counting, self.act, lambda: self.now_s)

    async def counting(self, call):
        return call()

    async def act(self, words):
        self.acted.append(dict(words))

    async def live(self, name, seconds, errors=0):
        for number in seconds:
            self.outcomes.add(name, second(number, errors))
            self.now_s = BEGAN_S + number + 1
            self.jury.arrived(frozenset([name]))
            await self.turn()

    async def turn(self):
        """Let the loop look once at what rang."""
        names, self.jury._fresh = self.jury._fresh, set()
        await self.jury._look(names, thorough=False)

    async def words(self):
        return await self.jury.judge(datetime.fromtimestamp(self.now_s, UTC))


def on_a_loop(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


@on_a_loop
async def test_harm_is_acted_on_when_its_rows_come_not_at_the_next_second():
    bench = Bench("chat")
    await bench.words()
    await bench.live("chat", range(1, 4), errors=5)
    assert bench.acted
    assert bench.acted[0]["chat"].verdict is Verdict.HARMFUL


@on_a_loop
async def test_rows_of_a_running_loop_ring_the_bell():
    bench = Bench("chat")
    await bench.words()
    for number in range(1, 4):
        bench.outcomes.add("chat", second(number, errors=5))
    bench.now_s = BEGAN_S + 5
    running = asyncio.create_task(bench.jury.run())
    bench.jury.arrived(frozenset(["chat"]))
    async with asyncio.timeout(10):
        while not bench.acted:
            await asyncio.sleep(0)
    running.cancel()


@on_a_loop
async def test_a_healthy_launch_is_put_into_words_once_a_second_only():
    bench = Bench("chat")
    await bench.words()
    await bench.live("chat", range(1, 10))
    assert bench.acted == []
    assert (await bench.words())["chat"].verdict is Verdict.HEALTHY


@on_a_loop
async def test_rows_of_rollouts_that_nobody_knows_are_nobodys_business():
    bench = Bench("chat")
    await bench.words()
    bench.outcomes.add("ghost", second(1, errors=20))
    bench.jury.arrived(frozenset(["ghost"]))
    await bench.turn()
    assert set(await bench.words()) == {"chat"}
    assert bench.acted == []


@on_a_loop
async def test_one_launch_that_cannot_be_judged_leaves_the_others_alone(caplog):
    bench = Bench("bad", "chat")
    await bench.words()
    [broken] = [second(1)[0]]
    broken.counts = b"\xff"
    bench.outcomes.add("bad", [broken])
    await bench.live("chat", range(1, 4), errors=5)
    bench.jury.arrived(frozenset(["bad"]))
    await bench.turn()
    words = await bench.words()
    assert bench.acted[0].keys() == {"chat"}
    assert words["chat"].verdict is Verdict.HARMFUL
    assert words.get("bad") is None or words["bad"].verdict is Verdict.NOT_MEASURED
    assert sum("launch not judged" in one.message for one in caplog.records) == 1


@on_a_loop
async def test_a_store_that_fails_is_heard_of_and_judged_again_later():
    bench = Bench("chat")
    await bench.words()
    bench.outcomes.failing = True
    with pytest.raises(CanaryError):
        await bench.words()
    bench.outcomes.failing = False
    await bench.live("chat", range(1, 4), errors=5)
    assert bench.acted


@on_a_loop
async def test_a_restart_goes_on_with_the_evidence_and_counts_no_row_twice():
    bench = Bench("chat")
    await bench.words()
    await bench.live("chat", range(1, 6))
    await bench.words()
    await bench.jury.close()
    # Rows that come while nobody is there wait in the store.
    bench.outcomes.add("chat", second(6, errors=1))
    again = Bench("chat", outcomes=bench.outcomes)
    again.now_s = BEGAN_S + 8
    word = (await again.words())["chat"]
    assert word.evidence["requests"] == [6 * 380, 6 * 20]
    assert word.evidence["watchedSince"] == BEGAN_S


@on_a_loop
async def test_a_memory_that_cannot_be_read_begins_afresh_and_says_so(caplog):
    outcomes = Outcomes()
    outcomes.kept["chat"] = json.dumps({"format": 1, "seen": 0})
    bench = Bench("chat", outcomes=outcomes)
    assert (await bench.words())["chat"].verdict is Verdict.NOT_MEASURED
    assert "evidence not read" in caplog.text


@on_a_loop
async def test_what_could_not_be_judged_is_counted_as_long_as_the_process_lives():
    bench = Bench("chat")
    await bench.words()
    await bench.live("chat", [1])
    [stable, canary] = second(-2_000)
    bench.now_s = BEGAN_S - 2_100
    for one in (stable, canary):
        one.second = int(BEGAN_S) + 5_000
    bench.outcomes.add("chat", [stable, canary])
    await bench.words()
    assert bench.jury.unjudged == {("chat", "n1", "future"): 1}
    bench.keeper.end("chat")
    await bench.words()
    assert bench.jury.unjudged == {("chat", "n1", "future"): 1}


@on_a_loop
async def test_what_is_over_is_forgotten():
    bench = Bench("chat", "other")
    await bench.words()
    assert set(bench.outcomes.kept) == {"chat", "other"}
    bench.keeper.end("chat")
    assert set(await bench.words()) == {"other"}
    await bench.jury.close()
    assert set(bench.outcomes.kept) == {"other"}


@on_a_loop
async def test_tables_that_neighbours_brought_leave_the_designed_share_and_the_stratum():
    """A row names the table since which its rollout has its odds, hundreds of tables ago."""
    bench = Bench("chat")
    five = {"stable": Decimal(95), "canary": Decimal(5)}
    bench.keeper.states["chat"] = replace(bench.keeper.states["chat"], in_force=five)
    bench.jury.published("v1")
    for number in range(1000):
        bench.jury.published(f"neighbour-{number}")
    await bench.words()
    await bench.live("chat", range(1, 6))
    judge = bench.jury._watches["chat"].judge
    assert {s for row in judge.ledger.open.values() for s in row} == {("e1", "v1", "weight")}
    assert {block.share for row in judge.ledger.open.values() for block in row.values()} == {0.05}


@pytest.mark.parametrize(
    ("variant", "revision", "acts"),
    [("canary", 1, True), ("canary", 0, False), ("stable", 1, False)],
)
def test_a_trip_rolls_back_the_launch_that_it_is_about(variant, revision, acts):
    """Not one of an earlier launch, nor of a variant that this launch does not bring in."""

    @on_a_loop
    async def scene():
        bench = Bench("chat")
        await bench.words()
        bench.jury.tripped(Trip("n1", "chat", variant, revision, 0, "it broke"))
        await bench.turn()
        assert bool(bench.acted) is acts
        if acts:
            assert "sidecar n1 took canary out by itself" in bench.acted[0]["chat"].sentence

    scene()


@on_a_loop
async def test_hundreds_of_launches_are_looked_at_in_a_round():
    names = [f"r{number}" for number in range(300)]
    bench = Bench(*names)
    words = await bench.words()
    assert len(words) == 300
    assert START.timestamp() == BEGAN_S
