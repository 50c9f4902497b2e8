"""The control stream between real ends: what a sidecar is told, and what it makes of it."""

import asyncio
import logging

import grpc
import pytest
from control_lab import (
    Controller,
    Cutter,
    Sidecar,
    document,
    raw_controller,
    raw_sidecar,
    route,
    serving,
    short_dir,
    snapshot,
    until,
)

from sidecar.control import client, envelopes
from sidecar.control.codec import TYPE_URL
from sidecar.control.following import NOTHING
from sidecar.control.pb import rollout_pb2 as pb
from sidecar.control.snapshot import Resource
from sidecar.delivery import ConflictError


@pytest.fixture
def root():
    with short_dir() as path:
        yield path


@pytest.fixture
def address(root):
    return f"unix://{root / 'control.sock'}"


def test_a_sidecar_takes_the_table_and_every_change_of_weights(root):
    async def dialogue():
        controller = Controller(root)
        controller.write("chat.yaml", document())
        sidecar = Sidecar(controller.address, root / "kept")
        async with controller.running(), sidecar.following():
            await until(lambda: sidecar.tables)
            assert sidecar.shares() == {"stable": 19, "canary": 1}
            await controller.set(canary=50)
            await until(lambda: sidecar.version == controller.keeper.snapshot.version)
            assert sidecar.shares() == {"stable": 1, "canary": 1}
            connected = controller.server.sidecars[0]
            await until(lambda: connected.acked_version == sidecar.version)
            assert connected.node == "edge"

    asyncio.run(dialogue())


def test_a_connection_cut_between_response_and_ack_resumes_without_sending_again(root, address):
    async def dialogue():
        proxy = Cutter(root / "proxy.sock", root / "control.sock")
        sidecar = Sidecar(proxy.address, root / "kept")
        first, second = snapshot(route()), snapshot(route(stable=1, canary=1))
        async with serving(address, first) as server, proxy.running(), sidecar.following():
            await until(lambda: server.sidecars and server.sidecars[0].acked_version)
            proxy.mute_client = True
            server.publish(second)
            await until(lambda: sidecar.version == second.version)
            assert server.sidecars[0].acked_version == first.version
            proxy.cut()
            proxy.mute_client = False
            await until(lambda: proxy.connections == 2)
            await until(lambda: [s.acked_version for s in server.sidecars] == [second.version])
            assert [table.version for table in sidecar.tables] == [first.version, second.version]

    asyncio.run(dialogue())


def test_a_response_cut_in_half_leaves_the_old_table_until_it_came_whole(root, address):
    async def dialogue():
        proxy = Cutter(root / "proxy.sock", root / "control.sock")
        sidecar = Sidecar(proxy.address, root / "kept")
        first = snapshot(route())
        second = snapshot(*(route(f"chat-{i}", hosts=[f"{i}.example.com"]) for i in range(3000)))
        async with serving(address, first) as server, proxy.running(), sidecar.following():
            await until(lambda: sidecar.tables)
            proxy.cut_after_bytes_down = proxy.bytes_down + 100_000
            server.publish(second)
            await until(lambda: proxy.connections == 2)
            await until(lambda: sidecar.version == second.version)
            assert [table.version for table in sidecar.tables] == [first.version, second.version]

    asyncio.run(dialogue())


def test_ten_thousand_rollouts_over_4_mb_travel_and_swap_as_one(root, address):
    hosts = [f"{'h' * 60}-{i}.{'example' * 8}.com" for i in range(5)]
    many = snapshot(*(route(f"rollout-{i}", hosts=hosts) for i in range(10_000)))
    assert sum(len(resource.data) for resource in many.resources.values()) > 4 << 20

    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with serving(address, many) as server, sidecar.following():
            await until(lambda: sidecar.tables)
            assert len(sidecar.tables[0]) == 10_000
            assert sidecar.version == many.version
            await until(lambda: server.sidecars[0].acked_version == many.version)
            assert (await sidecar_from_disk(root)).version == many.version

    asyncio.run(dialogue())


def test_what_could_not_be_written_is_tried_again_without_a_further_change(root, address, caplog):
    async def dialogue():
        (root / "state").write_text("in the way")
        sidecar = Sidecar(address, root / "state" / "kept")
        async with serving(address, snapshot(route())), sidecar.following():
            await until(lambda: "resources not kept" in caplog.messages)
            (root / "state").unlink()
            await until((root / "state" / "kept").exists)
            await until(lambda: "resources kept again" in caplog.messages)

    caplog.set_level(logging.INFO)
    asyncio.run(dialogue())
    assert caplog.messages.count("resources not kept") == 1


def test_what_is_not_yet_written_is_written_at_the_end(root, address, caplog, monkeypatch):
    monkeypatch.setattr(client, "_RESAVE_FIRST_S", client._RESAVE_LIMIT_S)

    async def dialogue():
        (root / "state").write_text("in the way")
        sidecar = Sidecar(address, root / "state" / "kept")
        async with serving(address, snapshot(route())), sidecar.following():
            await until(lambda: "resources not kept" in caplog.messages)
            (root / "state").unlink()
        assert (root / "state" / "kept").exists()

    asyncio.run(dialogue())


def test_an_answer_of_the_controller_ends_the_growing_waits(root, address):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with sidecar.following():
            await until(lambda: sidecar.client.backoff.retries > 3)
            async with serving(address, snapshot(route())):
                await until(lambda: sidecar.tables)
                assert sidecar.client.backoff.retries == 0

    asyncio.run(dialogue())


async def sidecar_from_disk(root):
    again = Sidecar("unix:///nowhere.sock", root / "kept")
    await until((root / "kept").exists)
    assert await again.client.start_from_disk()
    return again


def test_resuming_sends_no_resource_when_nothing_changed(root, address):
    same = snapshot(route(), route("shop"))

    async def dialogue():
        async with serving(address, same), raw_sidecar(address) as raw:
            await raw.say(node="edge", held=dict(same.versions))
            greeting = await raw.hear()
            assert not tuple(greeting.resources)
            assert greeting.removed == ()
            assert greeting.table_version == same.version

    asyncio.run(dialogue())


def test_resuming_sends_what_changed_and_names_what_is_gone(root, address):
    before, now = (
        snapshot(route(), route("shop"), route("old")),
        snapshot(route(), route("shop", 1, 1)),
    )

    async def dialogue():
        async with serving(address, now), raw_sidecar(address) as raw:
            await raw.say(node="edge", held=dict(before.versions))
            response = await raw.hear()
            assert [name for name, *_ in response.resources] == ["shop"]
            assert response.removed == ("old",)

    asyncio.run(dialogue())


def test_a_controller_that_lost_everything_takes_back_what_it_does_not_know(root, address):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with sidecar.following():
            async with serving(address, snapshot(route())):
                await until(lambda: sidecar.tables)
            async with serving(address, snapshot()):
                await until(lambda: sidecar.version == NOTHING.version)

    asyncio.run(dialogue())


def test_a_stale_or_repeated_nonce_is_ignored(root, address):
    async def dialogue():
        async with serving(address, snapshot(route())) as server, raw_sidecar(address) as raw:
            await raw.say(node="edge")
            first = await raw.hear()
            await raw.say(nonce=first.nonce)
            await raw.say(nonce=first.nonce)
            await raw.say(nonce=first.nonce, refusal="too late")
            await raw.say(nonce="never-sent", refusal="never was")
            second = snapshot(route(stable=1))
            server.publish(second)
            response = await raw.hear()
            await raw.say(nonce=response.nonce)
            await until(lambda: server.sidecars[0].acked_version == second.version)
            assert server.sidecars[0].last_nack is None

    asyncio.run(dialogue())


def test_a_resource_removed_and_added_back_is_told_as_both(root, address):
    both, one = snapshot(route(), route("shop")), snapshot(route())

    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with serving(address, both) as server, sidecar.following():
            for version in (one, both):
                await until(lambda: server.sidecars and server.sidecars[0].acked_version)
                server.publish(version)
                await until(lambda v=version: sidecar.version == v.version)
        sizes = [len(table) for table in sidecar.tables]
        assert sizes == [2, 1, 2]
        assert sidecar.tables[0].version == sidecar.tables[2].version

    asyncio.run(dialogue())


def test_a_refused_update_keeps_the_table_and_both_sides_say_why(root, address):
    first, bad, good = (snapshot(route(canary=c)) for c in (5, 6, 7))

    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with serving(address, first) as server, sidecar.following():
            await until(lambda: sidecar.tables)
            sidecar.refuse = ValueError("no room for this table")
            server.publish(bad)
            await until(lambda: server.sidecars[0].last_nack)
            assert server.sidecars[0].last_nack.reason == "no room for this table"
            assert server.sidecars[0].last_nack.version == bad.version
            assert sidecar.client.last_nack.reason == "no room for this table"
            assert sidecar.client.nacks == 1
            assert server.sidecars[0].acked_version == first.version
            assert sidecar.version == sidecar.client.holdings.version == first.version
            sidecar.refuse = None
            server.publish(good)
            await until(lambda: server.sidecars[0].acked_version == good.version)
            assert [table.version for table in sidecar.tables] == [first.version, good.version]

    asyncio.run(dialogue())


def test_refused_content_is_not_sent_again_before_it_changes(root, address):
    bad, good = snapshot(route(canary=6)), snapshot(route(canary=7))

    async def dialogue():
        async with serving(address, bad) as server, raw_sidecar(address) as raw:
            await raw.say(node="edge")
            response = await raw.hear()
            await raw.say(nonce=response.nonce, refusal="no")
            await until(lambda: server.sidecars[0].last_nack)
            server.publish(bad)
            server.publish(good)
            assert (await raw.hear()).table_version == good.version

    asyncio.run(dialogue())


@pytest.mark.parametrize("fault", ["unspecified", "garbage", "misnamed", "foreign"])
def test_a_resource_that_cannot_be_is_named_in_the_nack(root, address, fault):
    shop = route("shop")
    data = {
        "unspecified": pb.Rollout(name="shop").SerializeToString(),
        "garbage": b"\xff\xff\xff",
        "misnamed": pb.Rollout(name="other", assignment=1).SerializeToString(),
        "foreign": b"",
    }[fault]

    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with raw_controller(address) as raw, sidecar.following():
            await raw.hear()
            raw.tell(route(), nonce="1")
            assert (await raw.hear()).refusal is None
            piece = envelopes.pack_resource("shop", "1", data)
            if fault == "foreign":
                piece = piece.replace(TYPE_URL.encode(), b"x" * len(TYPE_URL))
            raw.tell_bytes(piece + envelopes.pack_head("2", "", ()))
            nack = await raw.hear()
            assert nack.nonce == "2"
            assert "'shop'" in nack.refusal
            assert len(sidecar.tables) == 1
            assert list(sidecar.client.holdings.resources) == ["chat"]
            raw.tell(shop, nonce="3")
            assert (await raw.hear()).refusal is None
            assert sorted(sidecar.client.holdings.resources) == ["chat", "shop"]

    asyncio.run(dialogue())


def test_a_step_built_on_a_refused_one_is_refused_too(root, address):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        held = snapshot(route())
        both = snapshot(route(canary=9), route("shop"))
        async with raw_controller(address) as raw, sidecar.following():
            await raw.hear()
            raw.tell(route(), nonce="1", version=held.version)
            await raw.hear()
            sidecar.refuse = ValueError("first reason")
            raw.tell(route(canary=9), nonce="2", version="refused")
            assert (await raw.hear()).refusal is not None
            sidecar.refuse = None
            raw.tell(route("shop"), nonce="3", version=both.version)
            assert both.version in (await raw.hear()).refusal
            assert len(sidecar.tables) == 1
            raw.tell(route(canary=9), route("shop"), nonce="4", version=both.version)
            assert (await raw.hear()).refusal is None
            assert sidecar.version == both.version

    asyncio.run(dialogue())


def test_a_foreign_control_plane_may_call_its_versions_what_it_likes(root, address):
    head = envelopes.pack_head("1", "42", ()).replace(b"\n\x06canary", b"\n\x06others")

    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with raw_controller(address) as raw, sidecar.following():
            hello = await raw.hear()
            assert hello.subscribe == ("*",)
            raw.tell_bytes(Resource.of(route()).piece + head)
            assert (await raw.hear()).refusal is None
            assert len(sidecar.tables) == 1

    asyncio.run(dialogue())


def test_a_stream_for_something_else_is_refused_by_name(root, address):
    async def dialogue():
        async with serving(address, snapshot(route())):
            for request in ({"type_url": "type.googleapis.com/other"}, {"subscribe": ("chat",)}):
                async with raw_sidecar(address) as raw:
                    await raw.say(**request)
                    assert await raw.status() == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(dialogue())


def test_a_burst_is_told_as_its_last_state(root, address):
    async def dialogue():
        async with serving(address, snapshot(route())) as server, raw_sidecar(address) as raw:
            await raw.say(node="edge")
            heard = [await raw.hear()]
            for canary in range(6, 106):
                server.publish(snapshot(route(canary=canary)))
                await asyncio.sleep(0)
            last = snapshot(route(canary=105)).version
            while heard[-1].table_version != last:
                await raw.say(nonce=heard[-1].nonce)
                heard.append(await raw.hear())
            assert len(heard) <= 4

    asyncio.run(dialogue())


def test_a_second_writer_with_an_old_revision_gets_a_conflict(root):
    async def dialogue():
        controller = Controller(root)
        controller.write("chat.yaml", document())
        async with controller.running():
            results = await asyncio.gather(
                controller.set(revision=1, canary=10),
                controller.set(revision=1, canary=20),
                return_exceptions=True,
            )
            assert results[0].after.revision == 2
            assert isinstance(results[1], ConflictError)
            assert controller.keeper.states["chat"].in_force["canary"] == 10

    asyncio.run(dialogue())
