"""What a file may look like, and what is made of it."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from sidecar.rollout import Reading, Rollout, Source, read

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/rollouts/chat-model.yaml"

CHAT = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat, labels: {team: chat}}
spec:
  match: {hosts: [Chat.Example.com, "*.example.org"], pathPrefix: /v1/chat/}
  unit: [{header: X-User-ID}, {cookie: session}, {query: user}, {clientAddress: true}]
  variants: [{name: stable, weight: 99.5}, {name: canary, weight: 0.5, cluster: chat-v2}]
"""


def reading(*texts: str | bytes, name: str = "file{}.yaml") -> Reading:
    return read(
        Source(name.format(index), text.encode() if isinstance(text, str) else text)
        for index, text in enumerate(texts)
    )


def only(text: str | bytes, name: str = "a.yaml") -> Rollout:
    found = reading(text, name=name)
    assert found.mistakes == ()
    assert len(found.declared) == 1
    return found.declared[0].rollout


def named(name: str) -> str:
    return CHAT.replace("name: chat,", f"name: {name},")


def test_texts_are_normalised_and_what_is_left_out_is_filled_in():
    chat = only(CHAT)
    assert chat.name == "chat"
    assert chat.salt == "chat"
    assert chat.assignment == "v1"
    assert chat.hosts == ("chat.example.com", "*.example.org")
    assert chat.path_prefix == "/v1/chat"
    assert [(source.kind, source.name) for source in chat.unit] == [
        ("header", "x-user-id"),
        ("cookie", "session"),
        ("query", "user"),
        ("client_address", ""),
    ]
    assert [(v.name, v.weight, v.cluster) for v in chat.variants] == [
        ("stable", Decimal("99.5"), "chat-stable"),
        ("canary", Decimal("0.5"), "chat-v2"),
    ]


@pytest.mark.parametrize("written", ["", "  match: {}\n", "  match: {pathPrefix: /}\n"])
def test_no_match_and_the_root_path_mean_every_request(written):
    head, _, tail = CHAT.partition("  match: {")
    chat = only(head + written + tail.partition("\n")[2])
    assert (chat.hosts, chat.path_prefix) == ((), "")


def test_the_example_reads():
    chat = only(EXAMPLE.read_bytes())
    assert chat.name == "chat-model"
    assert [(v.name, v.weight) for v in chat.variants] == [("stable", 95), ("canary", 5)]


def test_a_rollout_cannot_be_changed():
    chat = only(CHAT)
    with pytest.raises(ValueError, match="frozen"):
        chat.metadata.name = "other"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0.1", "0.1"),
        ("5", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("+5", "5"),
        ("-0", "0"),
        ("1e3", "1000"),
        ("0x1F", "31"),
        ("0o17", "15"),
        ("017", "17"),
        ("1000000000", "1000000000"),
        ("0.000000001", "0.000000001"),
        ("2.50000000000000000000000000000000000000000000000000", "2.5"),
        ("123456789.123456789", "123456789.123456789"),
    ],
)
def test_weights_are_exact(written, value):
    chat = only(CHAT.replace("weight: 0.5", f"weight: {written}"))
    assert str(f"{chat.variants[1].weight:f}") == value


@pytest.mark.parametrize("word", ["no", "off", "y", "1_000", "2026-11-23", "1:30", "=", "~x"])
def test_words_that_older_yaml_took_for_something_else_are_text(word):
    assert only(CHAT + f"  salt: {word}\n").salt == word


def test_documents_of_a_stream_are_declared_with_their_lines():
    found = reading(f"# two\n---\n{named('a')}---\n{named('b')}---\n")
    assert found.mistakes == ()
    assert [(one.rollout.name, one.file, one.line) for one in found.declared] == [
        ("a", "file0.yaml", 3),
        ("b", "file0.yaml", 11),
    ]


def test_a_list_of_documents_is_as_good_as_a_stream():
    indented = "\n".join(f"- {named(name)}".replace("\n", "\n  ").rstrip() for name in "ab")
    found = reading(indented)
    assert found.mistakes == ()
    assert [one.rollout.name for one in found.declared] == ["a", "b"]


def test_several_files_make_one_set():
    found = reading(named("a"), named("b"))
    assert found.mistakes == ()
    assert [(one.rollout.name, one.file) for one in found.declared] == [
        ("a", "file0.yaml"),
        ("b", "file1.yaml"),
    ]


def test_anchors_and_the_text_tag_are_understood():
    chat = only(
        CHAT.replace("metadata: {name: chat,", "metadata: {name: &n chat,") + "  salt: *n\n"
    )
    assert chat.salt == "chat"
    assert only(CHAT + "  salt: !!str 5\n").salt == "5"


def test_an_alias_may_stand_for_a_whole_list():
    text = """\
- {apiVersion: canary.dev/v1, kind: Rollout, metadata: {name: a}, spec: &s
    {unit: [{cookie: c}], variants: [{name: v, weight: 1}]}}
- {apiVersion: canary.dev/v1, kind: Rollout, metadata: {name: b}, spec: *s}
"""
    found = reading(text)
    assert found.mistakes == ()
    assert [one.rollout.unit[0].name for one in found.declared] == ["c", "c"]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_byte_order_mark_and_windows_lines_are_harmless(bom, newline):
    found = reading(bom + CHAT.encode().replace(b"\n", newline) + b"  slat: x")
    assert [(one.line, one.column) for one in found.mistakes] == [(8, 3)]


def as_json(name: str, **more: object) -> dict[str, object]:
    spec = {"unit": [{"cookie": "c"}], "variants": [{"name": "v", "weight": 1.5}], **more}
    return {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_reads_under_either_name(name, indent):
    chat = only(json.dumps(as_json("a", salt="\U0001f600 / \u2028"), indent=indent), name)
    assert chat.salt == "\U0001f600 / \u2028"
    assert chat.variants[0].weight == Decimal("1.5")


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps([as_json("a"), as_json("b")]),
        json.dumps(as_json("a")) + "\n" + json.dumps(as_json("b")),
    ],
)
def test_json_holds_many_as_an_array_or_one_after_the_other(text, name):
    found = reading(text, name=name)
    assert found.mistakes == ()
    assert [one.rollout.name for one in found.declared] == ["a", "b"]


def test_json_may_break_lines_where_yaml_may_not():
    text = json.dumps(as_json("a"), indent=1).replace('":', '"\n:\n')
    assert only(text, "a.json").name == "a"


def test_flow_yaml_is_not_taken_for_broken_json():
    text = "{apiVersion: canary.dev/v1, kind: Rollout, metadata: {name: a}, spec: # yaml\n"
    assert only(text + "  {unit: [cookie: c], variants: [{name: v, weight: 1}]}}").name == "a"
