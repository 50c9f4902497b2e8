"""When decisions are counted: never to a second before the one in which they were made."""

import asyncio

import pytest

from sidecar.analysis import cells
from sidecar.outcomes.ledger import Table
from sidecar.outcomes.recording import Recorder

CANARY = ("chat", "canary", "weight")
SECOND = 1_800_000_000


class Scene:
    """A recorder under a clock that tests move."""

    def __init__(self, folder):
        self.now_s, self.made = SECOND + 0.5, {}
        self.recorder = Recorder(
            folder, self.decisions, lambda rows: None, clock=lambda: self.now_s
        )
        names = [("chat", "canary")]
        self.recorder.begin_version(Table("v1", names, names))

    def decisions(self):
        return self.made

    async def ticked(self):
        """Tick, and return what is counted as started, by second."""
        ends = self.recorder._ends_second(self.now_s)
        rows = await self.recorder._tick(ends=ends)
        return {row.key.second - SECOND: cells.unpack(row.counts)[cells.STARTED] for row in rows}


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    asyncio.run(made.recorder.stop())


def test_a_tick_that_comes_late_counts_to_the_second_that_has_begun(scene):
    scene.made, scene.now_s = {CANARY: 3}, SECOND + 1.04
    assert asyncio.run(scene.ticked()) == {1: 3}


def test_what_is_decided_while_it_counts_is_not_counted_to_the_second_before(scene):
    def decisions():
        scene.now_s = SECOND + 1.001
        return {CANARY: 2}

    scene.now_s = SECOND + 0.998
    scene.recorder._decisions = decisions
    assert asyncio.run(scene.ticked()) == {1: 2}


@pytest.mark.parametrize(
    ("ticks", "ends"),
    [
        ([0.798, 0.898, 0.998, 1.098, 1.998], [False, False, True, False, True]),
        ([0.998, 1.95, 2.01, 2.2], [True, True, False, False]),
        ([0.998, 2.2, 2.3, 2.95], [True, True, False, True]),
    ],
)
def test_a_second_ends_once_and_one_that_nobody_ended_ends_with_the_next_tick(scene, ticks, ends):
    scene.recorder._ended = SECOND - 1
    assert [scene.recorder._ends_second(SECOND + at) for at in ticks] == ends
