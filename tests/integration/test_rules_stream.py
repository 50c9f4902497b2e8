"""Rules on the control stream: what cannot be is NACKed, the last good table stays; keys rotate."""

import asyncio
from dataclasses import replace

import pytest
from control_lab import Sidecar, raw_controller, route, serving, short_dir, snapshot, until

from sidecar.control import client as clients
from sidecar.control import codec, envelopes
from sidecar.control.force_keys import ForceKeys
from sidecar.control.pb import rollout_pb2 as pb
from sidecar.errors import CanaryError
from sidecar.routing import twin, twin_codec
from sidecar.routing.force import Key, sign
from sidecar.routing.rules import Check, Input, Layer, Prerequisite, Segment

HEADER = pb.Input(header="x-a")
GOOD = pb.Check(input=HEADER, exact=b"1")


@pytest.fixture
def root():
    with short_dir() as path:
        yield path


@pytest.fixture
def address(root):
    return f"unix://{root / 'control.sock'}"


def resource(*conditions: pb.Condition, **changes) -> bytes:
    message = pb.Rollout.FromString(codec.encode(route("shop")))
    if conditions:
        message.segments.append(pb.Segment(name="s", variant="canary", when=conditions))
    message.MergeFrom(pb.Rollout(**changes))
    return message.SerializeToString()


def checked(**operator) -> pb.Condition:
    return pb.Condition(check=pb.Check(input=HEADER, **operator))


def deep(levels: int) -> pb.Condition:
    condition = pb.Condition(check=GOOD)
    for _ in range(levels):
        condition = pb.Condition(all_of=pb.Conditions(conditions=[condition]))
    return condition


FAULTS = {
    "condition unset": resource(pb.Condition()),
    "operator unset": resource(checked()),
    "input unset": resource(pb.Condition(check=pb.Check(exact=b"1"))),
    "segment gives nothing": resource(
        segments=[pb.Segment(name="s", when=[pb.Condition(check=GOOD)])]
    ),
    "segment of an unknown variant": resource(
        segments=[pb.Segment(name="s", variant="x", when=[pb.Condition(check=GOOD)])]
    ),
    "segment with a weight too few": resource(
        segments=[pb.Segment(name="s", draw=pb.Draw(weights=[1]), when=[pb.Condition(check=GOOD)])]
    ),
    "segment without a condition": resource(segments=[pb.Segment(name="s", variant="canary")]),
    "nested too deep": resource(deep(9)),
    "regex": resource(checked(regex=b"a(")),
    "regex too long": resource(checked(regex=b"a" * 1025)),
    "version": resource(checked(semver=pb.Range(low=pb.Bound(text="1.2")))),
    "range without an end": resource(checked(number=pb.Range())),
    "date": resource(checked(date=pb.Range(high=pb.Bound(text="2026-01-01")))),
    "network": resource(checked(cidr=pb.Texts(texts=[b"10.0.0.1/8"]))),
    "value twice": resource(checked(**{"in": pb.Texts(texts=[b"a", b"a"])})),
    "reserved header": resource(
        pb.Condition(check=pb.Check(input=pb.Input(header="x-canary-shop"), exact=b"canary"))
    ),
    "metadata without a key": resource(
        pb.Condition(check=pb.Check(input=pb.Input(metadata=pb.Metadata(filter="f")), exact=b"1"))
    ),
    "holdout of nobody": resource(holdout=pb.Holdout(name="h", part=0, whole=100)),
    "holdout of nothing": resource(holdout=pb.Holdout(name="h", part=1, whole=0)),
    "layer that ends before it begins": resource(
        layer=pb.Layer(name="l", start=2, end=1, whole=100)
    ),
    "unit listed twice": resource(
        excluded=[b"u"], overrides=[pb.Override(variant="canary", units=[b"u"])]
    ),
    "override of an unknown variant": resource(overrides=[pb.Override(variant="x", units=[b"u"])]),
    "prerequisite of itself": resource(
        requires=[pb.Prerequisite(rollout="shop", variants=["canary"])]
    ),
    "prerequisite of no variant": resource(requires=[pb.Prerequisite(rollout="chat")]),
}


@pytest.mark.parametrize("data", FAULTS.values(), ids=FAULTS)
def test_a_rule_that_cannot_be_is_refused_by_the_name_of_its_resource(data):
    with pytest.raises(CanaryError, match="'shop'") as refused:
        codec.decode("shop", data)
    assert refused.value.remedy


def circle(name: str, other: str):
    return replace(route(name), requires=(Prerequisite(other, ("canary",)),))


def sliced(name: str, start: int, end: int):
    return replace(route(name), layer=Layer("l", start, end, 100))


TOGETHER = {
    "circle": ([circle("chat", "shop"), circle("shop", "chat")], "circle"),
    "overlap": ([sliced("chat", 0, 30), sliced("shop", 29, 60)], "overlaps"),
}


@pytest.mark.parametrize(("routes", "why"), TOGETHER.values(), ids=TOGETHER)
def test_what_cannot_stand_together_is_nacked_and_the_last_good_table_stays(
    root, address, routes, why
):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        first, bad, good = snapshot(route()), snapshot(*routes), snapshot(route(canary=7))
        async with serving(address, first) as server, sidecar.following():
            await until(lambda: sidecar.tables)
            server.publish(bad)
            await until(lambda: server.sidecars[0].last_nack)
            assert why in server.sidecars[0].last_nack.reason
            assert sidecar.version == first.version
            server.publish(good)
            await until(lambda: sidecar.version == good.version)

    asyncio.run(dialogue())


def test_a_malformed_rule_is_nacked_and_the_last_good_table_stays(root, address):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        async with raw_controller(address) as raw, sidecar.following():
            await raw.hear()
            raw.tell(route(), nonce="1")
            assert (await raw.hear()).refusal is None
            piece = envelopes.pack_resource("shop", "1", FAULTS["regex"])
            raw.tell_bytes(piece + envelopes.pack_head("2", "", ()))
            assert "'shop'" in (await raw.hear()).refusal
            assert [len(table) for table in sidecar.tables] == [1]

    asyncio.run(dialogue())


def test_a_kill_is_in_force_and_the_revived_table_is_the_one_of_before(root, address):
    async def dialogue():
        sidecar = Sidecar(address, root / "kept")
        staff = Segment("staff", (Check(Input("header", ("x-user-id",)), "present"),), "canary")
        alive = replace(route(), segments=(staff,))
        message = twin_codec.write(twin.Request([("x-user-id", b"u1")]))
        async with serving(address, snapshot(alive)) as server, sidecar.following():
            await until(lambda: sidecar.tables)
            server.publish(snapshot(replace(alive, killed=True)))
            await until(lambda: len(sidecar.tables) == 2)
            server.publish(snapshot(alive))
            await until(lambda: len(sidecar.tables) == 3)
        decided = [table.decide(message)[0] for table in sidecar.tables]
        assert [one[1:3] for one in decided[:2]] == [
            ("canary", "segment:staff"), ("stable", "killed"),
        ]  # fmt: skip
        assert decided[0] == decided[2]
        assert sidecar.tables[0].version == sidecar.tables[2].version

    asyncio.run(dialogue())


def test_keys_change_under_a_running_sidecar_and_a_bad_edit_changes_nothing(
    root, address, monkeypatch, caplog
):
    monkeypatch.setattr(clients, "_KEYS_EVERY_S", 0.01)
    file = root / "keys"
    old, new = (Key(name, name.encode() * 16) for name in ("old", "new"))

    def write(*keys: Key) -> None:
        file.write_text("".join(f"{key.id} {key.secret.decode()}\n" for key in keys))

    def forced(table, key: Key) -> str:
        token = sign(key, {"chat": "canary"}, 2_000_000_000)
        message = twin_codec.write(twin.Request([("canary-force", token.encode())]))
        return table.decide(message, 1_900_000_000)[0][2]

    async def dialogue():
        write(old)
        sidecar = Sidecar(address, root / "kept")
        sidecar.client._force_keys = ForceKeys(file)
        await sidecar.client.start_from_disk()
        async with serving(address, snapshot(route())), sidecar.following():
            await until(lambda: sidecar.tables)
            assert forced(sidecar.tables[-1], old) == "forced"
            write(new, old)
            await until(lambda: forced(sidecar.tables[-1], new) == "forced")
            assert forced(sidecar.tables[-1], old) == "forced"
            file.write_text("new short\n")
            await until(lambda: "files not taken" in caplog.text)
            assert forced(sidecar.tables[-1], new) == "forced"
            write(new)
            await until(lambda: forced(sidecar.tables[-1], old) == "no_unit")
            assert sidecar.version == snapshot(route()).version

    asyncio.run(dialogue())


def test_a_sidecar_whose_keys_cannot_be_read_does_not_start(root, address):
    (root / "keys").write_text("qa short\n")
    sidecar = Sidecar(address, root / "kept")
    sidecar.client._force_keys = ForceKeys(root / "keys")
    with pytest.raises(CanaryError, match=r"keys: line 1 is not a key"):
        asyncio.run(sidecar.client.start_from_disk())
