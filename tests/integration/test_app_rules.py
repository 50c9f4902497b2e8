"""Rules through real processes: the document, the kill switch, force tokens and their keys."""

import json
from collections import Counter

import grpc
import pytest
from app_lab import House
from control_lab import short_dir
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc

from sidecar.routing import twin, twin_codec

TEXT = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]
  exclude: [big]
  segments:
    - {name: staff, when: [{header: x-email, suffix: "@a.example"}], weights: {canary: 100}}
"""
PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        yield made


def given(house: House, *requests: list[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Ask ext_proc, and return variant and reason of each answer."""
    messages = [twin_codec.write(twin.Request([(":path", b"/"), *sent])) for sent in requests]
    with grpc.insecure_channel(house.settings.listen) as channel:
        answers = list(channel.stream_stream(PATH)(iter(messages), timeout=20))
    said = []
    for answer in answers:
        metadata = ext_proc.ProcessingResponse.parse(answer).dynamic_metadata
        chat = metadata.fields["canary"].struct_value.fields["chat"].struct_value.fields
        said.append((chat["variant"].string_value, chat["reason"].string_value))
    return said


def users(*more: tuple[str, bytes]) -> list[list[tuple[str, bytes]]]:
    return [[("x-user-id", b"u%d" % number), *more] for number in range(100)]


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_the_kill_switch_takes_everybody_out_and_brings_back_the_same_people(house, engine):
    house.write(text=TEXT)
    child = house.start("up", house.folder, "--engine", engine)
    house.until_ready(child)
    staff = users(("x-email", b"ann@a.example"))
    before = given(house, *users(), *staff)
    assert Counter(before[100:]) == {("canary", "segment:staff"): 100}
    status, said = house.run("kill", "chat", "--why", "it burns")
    assert (status, "killed, baseline for all" in said) == (0, True), said
    house.until_agreed(child)
    assert set(given(house, *users(), *staff)) == {("stable", "killed")}
    assert "killed: baseline for all" in house.run("status")[1]
    status, said = house.run("revive", "chat")
    assert status == 0, said
    house.until_agreed(child)
    assert given(house, *users(), *staff) == before
    assert json.loads(house.run("status", "--json")[1])


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_a_token_reaches_the_variant_and_others_are_ignored_and_counted(house, engine):
    house.write(text=TEXT)
    keys = house.root / "keys"
    keys.write_text(f"qa {'k' * 32}\n")
    keys.chmod(0o600)
    child = house.start("up", house.folder, "--engine", engine, "--force-keys", keys)
    house.until_ready(child)
    status, token = house.run("token", "chat=canary", "--key-file", keys, "--expires", "1h")
    assert status == 0, token
    good, forged = token.strip().encode(), token.strip().replace("=canary", "=stable").encode()
    said = given(
        house,
        [("canary-force", good)],
        [("x-user-id", b"big"), ("canary-force", good)],
        [("canary-force", forged)],
        [("canary-force", b"canary")],
    )
    assert said == [("canary", "forced"), ("stable", "excluded"), ("stable", "no_unit"),
                    ("stable", "no_unit")]  # fmt: skip
    counters = house.sidecar().counters
    assert (counters["force_bad_signature"], counters["force_malformed"]) == (1, 1)
