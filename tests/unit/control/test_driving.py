"""The driver's senses: the clock, the guard, the gates. None of them holds up another launch."""

import asyncio
from datetime import timedelta

import pytest
from launch_lab import GUARDED, START, text

from sidecar.control import codec, documents, driving, keeper
from sidecar.control.driving import Driver, no_judgements
from sidecar.control.keeper import Keeper
from sidecar.delivery import Command, Judgement, Kind, Origin, Verdict
from sidecar.errors import CanaryError
from sidecar.store import Store

GATED = "[{weight: 5}, {weight: 100, gate: {url: 'http://gate/x', timeout: 20ms}}]"


async def no_gate(url, timeout_s, body):
    raise AssertionError(url)


class House:
    """A keeper with a real store and a driver whose clocks the test moves."""

    def __init__(self, folder, judge=no_judgements, ask_gate=no_gate) -> None:
        self.folder = folder
        self.published, self.observed = [], []
        self.store = Store(folder / "db.sqlite")
        self.keeper = Keeper(
            self.store,
            self.published.append,
            self.at_once,
            lambda *seen: self.observed.append(seen),
        )
        self.driver = Driver(self.keeper, judge, ask_gate, now=lambda: START)

    @staticmethod
    async def at_once(call):
        return call()

    async def declare(self, *texts):
        for number, one in enumerate(texts):
            (self.folder / f"{number}.yaml").write_text(one)
        await self.keeper.adopt(documents.scan(self.folder))

    async def tick(self, seconds, jump_s=0.0):
        await self.driver.tick(START + timedelta(seconds=seconds + jump_s), 1000.0 + seconds)

    def stands(self, name="chat"):
        progress = self.keeper.states[name].progress
        return progress.phase.value, progress.step


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "_now", lambda: START)

    def run_(scenario, **parts):
        async def whole():
            house = House(tmp_path, **parts)
            try:
                return await scenario(house)
            finally:
                await house.driver.stop()
                house.store.close()

        return asyncio.run(whole())

    return run_


def healthy(now, step):
    return Judgement(Verdict.HEALTHY, 1, step, now, samples=10**6)


def test_launches_that_move_in_one_tick_are_one_commit_and_one_snapshot(run):
    async def scenario(house):
        await house.declare(*(text(f"r{number}") for number in range(300)))
        before = len(house.published)
        await house.tick(0)
        assert {house.stands(f"r{number}") for number in range(300)} == {("Running", 1)}
        assert len(house.published) == before + 1
        assert len(house.observed) == 600

    run(scenario)


def test_a_guard_that_fails_or_hangs_has_measured_nothing_and_is_said_once(
    run, caplog, monkeypatch
):
    monkeypatch.setattr(driving, "JUDGE_S", 0.01)
    asked = []

    async def judge(now):
        asked.append(now)
        if len(asked) > 2:
            await asyncio.Event().wait()
        raise ZeroDivisionError("no rows")

    async def scenario(house):
        await house.declare(text(*GUARDED))
        for seconds in (0, 1, 2, 3):
            await house.tick(seconds)
        assert house.stands() == ("Running", 1)

    run(scenario, judge=judge)
    said = [r.error for r in caplog.records if r.message == "the guard could not judge"]
    assert said == ["ZeroDivisionError: no rows", "TimeoutError: "]


def test_a_clock_that_jumps_hours_ahead_promotes_nobody(run):
    async def judge(now):
        return {"chat": healthy(now, 1)}

    async def scenario(house):
        await house.declare(text(*GUARDED))
        await house.tick(0)
        await house.tick(1, jump_s=36_000)
        assert house.stands() == ("Running", 1)
        await house.tick(2)
        await house.tick(599)
        assert house.stands() == ("Running", 1)
        await house.tick(600)
        assert house.stands() == ("Running", 2)
        kinds = [event.kind for event in house.store.events("chat")]
        assert kinds.count(Kind.CLOCK_JUMPED) == 2
        assert kinds.count(Kind.STEP_BEGUN) == 2

    run(scenario, judge=judge)


def test_a_launch_that_harm_ended_while_the_guard_was_asked_keeps_its_last_word(run):
    harmed = []

    async def judge(now):
        """As the jury does: harm is acted on first, and of what is over nothing is said."""
        for house in harmed[:1]:
            harm = Judgement(Verdict.HARMFUL, 1, 1, now, sentence="as told")
            await house.driver.hear({"chat": harm} if house.stands()[0] == "Running" else {})
        names = ("other",) if harmed else ("chat", "other")
        return {name: healthy(now, 1) for name in names}

    async def scenario(house):
        await house.declare(text(*GUARDED), text("other", *GUARDED[1:]))
        await house.tick(0)
        harmed.append(house)
        await house.tick(1)
        await house.tick(2)
        assert house.stands() == ("RolledBack", 1)
        assert house.keeper.judgements["chat"].sentence == "as told"
        assert house.keeper.judgements["other"].verdict is Verdict.HEALTHY

    run(scenario, judge=judge)


def test_a_gate_that_hangs_holds_up_nothing_else_and_counts_as_a_told_no(run):
    asked = []

    async def hang(url, timeout_s, body):
        asked.append((url, body))
        await asyncio.Event().wait()

    async def scenario(house):
        await house.declare(text("chat", GATED), text("shop"))
        await house.tick(0)
        await house.tick(1)
        # The gate has not answered yet, and the other launch is where it should be.
        assert house.stands("shop") == ("Running", 1)
        await house.driver.idle()
        assert house.stands("chat") == ("Running", 1)
        last = house.store.events("chat")[-1]
        assert last.kind is Kind.GATE_REFUSED
        assert "no answer within 20ms" in last.origin.why
        for seconds in (2, 3, 4):
            await house.tick(seconds)
        return asked

    [(url, body)] = run(scenario, ask_gate=hang)
    assert url == "http://gate/x"
    assert {name: body[name] for name in ("rollout", "launch", "step", "weight")} == {
        "rollout": "chat",
        "launch": 1,
        "step": 2,
        "weight": 100.0,
    }


def test_a_gates_yes_begins_the_step(run):
    async def say_yes(url, timeout_s, body):
        return True, "ok"

    async def scenario(house):
        await house.declare(text("chat", GATED))
        await house.tick(0)
        await house.driver.idle()
        assert house.stands() == ("Promoted", 2)

    run(scenario, ask_gate=say_yes)


def test_a_store_that_cannot_be_written_leaves_the_launch_where_it_was(run, monkeypatch):
    async def scenario(house):
        await house.declare(text("chat"))

        def full(changes):
            raise CanaryError("disk full")

        monkeypatch.setattr(house.store, "commit", full)
        before = len(house.published)
        with pytest.raises(CanaryError, match="disk full"):
            await house.tick(0)
        assert house.stands() == ("Pending", 0)
        assert len(house.published) == before
        monkeypatch.undo()
        await house.tick(1)
        assert house.stands() == ("Running", 1)

    run(scenario)


def test_a_command_with_a_stale_revision_is_refused(run):
    async def scenario(house):
        await house.declare(text("chat"))
        origin = Origin(START, "ann", "")
        with pytest.raises(CanaryError, match="revision 1, not 7"):
            await house.keeper.act("chat", Command.PAUSE, origin, 7)
        accepted = await house.keeper.act("chat", Command.PAUSE, origin, 1)
        assert accepted.after is not accepted.before
        again = await house.keeper.act("chat", Command.PAUSE, origin, 2)
        assert again.after is again.before

    run(scenario)


@pytest.mark.parametrize(
    "rule",
    [
        "segments: [{name: staff, when: [{header: x-staff, in: ['yes']}], variant: canary}]",
        "overrides: [{variant: canary, units: [ann]}]",
    ],
)
def test_after_a_rollback_no_rule_gives_the_candidate_and_in_the_next_launch_it_does_again(
    run, rule
):
    async def scenario(house):
        await house.declare(text("chat", "[{weight: 5}]", rule))
        killed = []
        for command in (Command.PAUSE, Command.ABORT, Command.LAUNCH):
            await house.keeper.act("chat", command, Origin(START, "ann", ""))
            data = house.keeper.snapshot.resources["chat"].data
            killed.append(codec.decode("chat", data).killed)
        return killed

    assert run(scenario) == [False, True, False]


def test_a_launch_that_refreshes_its_cohort_has_a_salt_of_its_own_in_the_resource(run):
    async def scenario(house):
        await house.declare(text("chat", "[{weight: 5}]", "relaunch: refresh"))
        first = house.keeper.snapshot.resources["chat"].data
        for command in (Command.ABORT, Command.LAUNCH):
            await house.keeper.act("chat", command, Origin(START, "ann", ""))
        second = house.keeper.snapshot.resources["chat"].data
        assert b"chat#2" in second
        assert b"chat#" not in first

    run(scenario)


def test_harm_that_is_heard_is_acted_on_at_once_though_a_gate_hangs(run):
    never = asyncio.Event()
    asked = []

    async def hangs(url, timeout_s, body):
        asked.append(url)
        await never.wait()

    async def scenario(house):
        gated = "[{weight: 5}, {weight: 100, gate: {url: 'http://gate/x', timeout: 1m}}]"
        await house.declare(text("chat", gated))
        await house.tick(0)
        await house.tick(1)
        await asyncio.sleep(0)
        assert asked
        word = Judgement(Verdict.HARMFUL, 1, 1, START, sentence="it fails")
        await house.driver.hear({"chat": word})
        assert house.stands() == ("RolledBack", 1)
        [event] = house.store.events("chat", 1)
        assert (event.kind, event.origin.why) == (Kind.ROLLED_BACK, "it fails")
        assert '"verdict": "harmful"' in event.evidence
        assert house.keeper.judgements["chat"] is word

    run(scenario, ask_gate=hangs)


def test_harm_heard_of_an_earlier_launch_or_of_nobody_changes_nothing(run):
    async def scenario(house):
        await house.declare(text(*GUARDED))
        await house.tick(0)
        before = house.stands()
        for launch, name in ((0, "chat"), (1, "ghost")):
            await house.driver.hear({name: Judgement(Verdict.HARMFUL, launch, 1, START)})
        assert house.stands() == before

    run(scenario)
