"""A sidecar takes a candidate out by itself, alone if need be, and obeys the controller after."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from control_lab import Sidecar, route, serving, short_dir, snapshot, until
from messages import request_headers
from outcome_lab import on_a_loop

from sidecar.control.guarding import Guard
from sidecar.delivery.breaker import Seen
from sidecar.routing import HardLimit

LIMIT = HardLimit("error_rate", 0.1, window_s=30, min_count=20)


def launch(canary=50, revision=1, **fields):
    made = route(stable=100 - canary, canary=canary)
    return replace(made, revision=revision, limits=(LIMIT,), **fields)


class House:
    """A sidecar with its guard, before the answers that the test makes up."""

    def __init__(self, root):
        self.root, self.address = root, f"unix://{root}/control.sock"
        self.reports = 0
        self.bad = True
        self.begin()

    def begin(self):
        self.sidecar = Sidecar(self.address, self.root / "sidecar.resources")
        self.guard = Guard(self.sidecar.client, self._seen, self._tripped)

    def _tripped(self):
        self.reports += 1

    def _seen(self, rollout, variant, limit):
        second = int(self.sidecar.client.routes[rollout][1]) + 1
        return [Seen(second, 100, 100, 90 if self.bad and variant == "canary" else 0, 0)]

    async def judge(self):
        # Requests must have started since the decision in force.
        await asyncio.sleep(1.05)
        await self.guard.judge()

    def variants(self):
        """Who gets what by the table in force, of a hundred people."""
        table = self.sidecar.tables[-1]
        ask = partial(table.decide)
        found = set()
        for number in range(100):
            [(_, variant, *_)] = ask(_request(f"u{number}"))
            found.add(variant)
        return found


def _request(user):
    return request_headers([(":path", b"/"), ("x-user-id", user.encode())])


@asynccontextmanager
async def controller(house, *routes):
    async with serving(house.address, snapshot(*routes)) as server, house.sidecar.following():
        await until(lambda: house.sidecar.client.link.connected and house.sidecar.tables)
        yield server


@on_a_loop
async def test_what_breaks_a_limit_goes_out_and_the_controller_hears_of_it():
    with short_dir() as root:
        house = House(root)
        async with controller(house, launch()):
            assert house.variants() == {"stable", "canary"}
            await house.judge()
            assert house.variants() == {"stable"}
            assert house.reports == 1
            [told] = house.guard.trips()
            assert (told.rollout, told.variant, told.revision) == ("chat", "canary", 1)
            assert "90 of 100 requests" in told.reason


@on_a_loop
async def test_it_stays_out_without_a_controller_across_a_restart_and_when_the_same_word_returns():
    with short_dir() as root:
        house = House(root)
        async with controller(house, launch()):
            await house.judge()
            await until((root / "sidecar.trips").exists)
        house.bad = False
        house.begin()
        assert await house.sidecar.client.start_from_disk()
        assert house.variants() == {"stable"}
        async with controller(house, launch()):
            await until(lambda: house.sidecar.client.source == "control stream")
            assert house.variants() == {"stable"}


@on_a_loop
async def test_a_later_decision_of_the_controller_wins_and_an_older_one_does_not():
    with short_dir() as root:
        house = House(root)
        async with controller(house, launch(revision=5)) as server:
            await house.judge()
            house.bad = False
            server.publish(snapshot(launch(canary=40, revision=4)))
            await until(lambda: house.sidecar.shares()["canary"] == 40)
            assert house.variants() == {"stable"}
            server.publish(snapshot(launch(canary=50, revision=6)))
            await until(lambda: house.sidecar.shares()["canary"] == 50)
            assert house.variants() == {"stable", "canary"}
            assert house.guard.trips() == []
            await until(lambda: not (root / "sidecar.trips").exists())


@on_a_loop
async def test_a_sidecar_alone_trips_from_the_table_on_its_disk():
    with short_dir() as root:
        house = House(root)
        async with controller(house, launch()):
            await until((root / "sidecar.resources").exists)
        house.begin()
        assert await house.sidecar.client.start_from_disk()
        assert house.variants() == {"stable", "canary"}
        await house.judge()
        assert house.variants() == {"stable"}


TRIP = {"rollout": "chat", "variant": "canary", "revision": 1, "resource": "r", "reason": "why"}


@pytest.mark.parametrize(
    "damaged",
    [
        [{"rollout": 1}],
        [{**TRIP, "at_s": float("nan")}],
        [{**TRIP, "at_s": 1e308}],
        [{**TRIP, "at_s": 5, "revision": -1}],
        {"no": "list"},
    ],
)
@on_a_loop
async def test_damaged_trips_on_disk_are_said_and_the_table_stands(caplog, damaged):
    with short_dir() as root:
        house = House(root)
        async with controller(house, launch()):
            await until((root / "sidecar.resources").exists)
        (root / "sidecar.trips").write_text(json.dumps(damaged))
        house.begin()
        assert await house.sidecar.client.start_from_disk()
        assert house.variants() == {"stable", "canary"}
        assert "trips on disk ignored" in caplog.text
