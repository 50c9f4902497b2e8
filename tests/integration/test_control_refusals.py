"""A bad update: refused by name, the old weights in force, and `canary status` says so."""

import asyncio

import pytest
from app_lab import House
from control_lab import Controller, Sidecar, document, raw_controller, route, short_dir, until

from sidecar.control import calls, envelopes


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        yield made


def test_a_sidecar_process_keeps_its_table_and_status_names_the_bad_resource(house):
    async def dialogue():
        (house.root / "r").mkdir()
        async with raw_controller(house.settings.control) as raw:
            sidecar = house.start("sidecar", "--node", "edge")
            assert (await raw.hear()).node == "edge"
            raw.tell(route(), nonce="1")
            assert (await raw.hear()).refusal is None
            before = await asyncio.to_thread(house.answers)
            bad = envelopes.pack_resource("shop", "1", b"\xff")
            raw.tell_bytes(bad + envelopes.pack_head("2", "", ()))
            assert "'shop'" in (await raw.hear()).refusal
            assert await asyncio.to_thread(house.answers) == before
            status, said = await asyncio.to_thread(house.run, "status")
            assert status == 1
            assert "resource 'shop': not a canary.v1.Rollout" in said
            assert "stable 95 %, canary 5 %" in said
            assert "update refused" in sidecar.log.read_text()

    asyncio.run(dialogue())


def test_a_response_that_is_none_ends_the_stream_and_another_is_begun(house):
    async def dialogue():
        (house.root / "r").mkdir()
        sidecar = Sidecar(house.settings.control, house.root / "kept")
        async with raw_controller(house.settings.control) as raw, sidecar.following():
            await raw.hear()
            raw.tell_bytes(b"\xff\xff\xff")
            assert (await raw.hear()).nonce == ""
            assert "not a DeltaDiscoveryResponse" in sidecar.client.link.last_error
            raw.tell(route())
            assert (await raw.hear()).refusal is None

    asyncio.run(dialogue())


def test_the_controllers_status_shows_who_refused_what_and_why(house):
    async def dialogue():
        controller = Controller(house.root)
        controller.write("chat.yaml", document())
        sidecar = Sidecar(controller.address, house.root / "kept", node="edge-7")
        async with controller.running(), sidecar.following():
            await until(lambda: sidecar.tables)
            first = sidecar.version
            sidecar.refuse = ValueError("no room for this table")
            await controller.set(canary=50)
            refused = controller.keeper.snapshot.version
            await until(lambda: controller.server.sidecars[0].last_nack)
            status = await asyncio.to_thread(calls.controller_status, controller.address)
            [connected] = status.sidecars
            assert (connected.node, connected.acked_version) == ("edge-7", first)
            assert connected.last_nack.version == refused
            _, said = await asyncio.to_thread(house.run, "status", "--control", controller.address)
            assert f"edge-7 refused table {refused}" in said
            assert "no room for this table" in said
            assert "(behind)" in said

    asyncio.run(dialogue())
