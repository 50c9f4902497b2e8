"""Which rollouts are the same, and what of a change moves people."""

import json

import pytest
import yaml

from sidecar.rollout import Rollout, Source, generation, moves, read

TEXT = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  match: {hosts: [a.example.com, b.example.com], pathPrefix: /v1}
  unit: [{header: x-user-id}, {cookie: session}, {clientAddress: true}]
  variants: [{name: stable, weight: 90}, {name: canary, weight: 5}, {name: third, weight: 5}]
"""


def rollout(text: str = TEXT) -> Rollout:
    reading = read([Source("a.yaml", text.encode())])
    assert reading.mistakes == ()
    return reading.declared[0].rollout


def changed(*pairs: tuple[str, str]) -> Rollout:
    text = TEXT
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return rollout(text)


def test_the_generation_is_a_frozen_hash_of_the_content():
    assert generation(rollout()) == "039172a473348d2b"


@pytest.mark.parametrize(
    "pair",
    [
        ("weight: 90", "weight: 90.000"),
        ("weight: 90", "weight: 9e1"),
        ("weight: 90", "weight: 0x5a"),
        ("[a.example.com, b.example.com]", "[B.EXAMPLE.COM, a.example.com]"),
        ("pathPrefix: /v1", "pathPrefix: /v1/"),
        ("x-user-id", "X-User-Id"),
        ("spec:", "spec:\n  salt: chat\n  assignment: v1"),
        ("{name: canary,", "{cluster: chat-canary, name: canary,"),
        ("{name: chat}", "{name: chat, labels: {a: b}, annotations: {c: d}}"),
        ("kind: Rollout\n", "# a word\nkind:   'Rollout'\n\n"),
    ],
    ids=str,
)
def test_the_generation_knows_no_formatting_and_no_spelled_out_default(pair):
    assert generation(changed(pair)) == generation(rollout())


def test_the_generation_knows_neither_field_order_nor_language():
    document = yaml.safe_load(TEXT)
    turned = {key: document[key] for key in reversed(document)}
    turned["spec"] = {key: document["spec"][key] for key in reversed(document["spec"])}
    assert generation(rollout(json.dumps(turned, indent=2))) == generation(rollout())


@pytest.mark.parametrize(
    "pair",
    [
        ("weight: 90", "weight: 90.1"),
        ("a.example.com", "c.example.com"),
        ("pathPrefix: /v1", "pathPrefix: /v2"),
        ("x-user-id", "x-account-id"),
        ("{header: x-user-id}, {cookie: session}", "{cookie: session}, {header: x-user-id}"),
        ("spec:", "spec:\n  salt: other"),
        ("{name: canary,", "{cluster: other, name: canary,"),
        ("{name: chat}", "{name: other}"),
        ("name: canary", "name: next"),
    ],
    ids=str,
)
def test_the_generation_changes_with_the_content(pair):
    assert generation(changed(pair)) != generation(rollout())


@pytest.mark.parametrize(
    "pairs",
    [
        [("weight: 90", "weight: 1")],
        [("a.example.com", "c.example.com")],
        [("spec:", "spec:\n  salt: chat")],
        [("{name: third, weight: 5}]", "{name: third, weight: 5}, {name: fourth, weight: 0}]")],
        [("{name: canary,", "{cluster: other, name: canary,")],
    ],
    ids=str,
)
def test_weights_match_clusters_and_new_variants_at_the_end_move_nobody_by_themselves(pairs):
    assert moves(rollout(), changed(*pairs)) == ()


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("spec:", "spec:\n  salt: new"),
         ["salt 'chat' becomes 'new': everybody is assigned anew"]),
        (("{header: x-user-id}, {cookie: session}", "{query: user}"),
         [("unit header x-user-id then cookie session then client address becomes query user then"
          " client address: whoever has another unit by that is assigned anew")]),
        ((", {name: third, weight: 5}]", "]"),
         ["variant 'third' is dropped: whoever it serves moves (keep it, at weight 0)"]),
        (("{name: canary, weight: 5}, ", ""),
         ["variant 'canary' is dropped: whoever it serves moves (keep it, at weight 0)",
          ("variant 'third' goes from place 3 to 2: its users change (keep the order, add new"
          " variants at the end)")]),
        (("[{name: stable, weight: 90}, {name: canary, weight: 5}",
          "[{name: canary, weight: 5}, {name: stable, weight: 90}"),
         [("variant 'stable' goes from place 1 to 2: its users change (keep the order, add new"
          " variants at the end)"),
          ("variant 'canary' goes from place 2 to 1: its users change (keep the order, add new"
          " variants at the end)")]),
        (("name: third", "name: renamed"),
         ["variant 'third' is dropped: whoever it serves moves (keep it, at weight 0)"]),
    ],
    ids=["salt", "unit", "dropped", "dropped between", "reordered", "renamed"],
)  # fmt: skip
def test_what_moves_people_is_said(pair, said):
    assert list(moves(rollout(), changed(pair))) == said


def test_everything_that_moves_people_is_said_at_once():
    new = changed(
        ("spec:", "spec:\n  salt: new"), ("x-user-id", "x-id"), ("name: third", "name: x")
    )
    assert [one.split()[0] for one in moves(rollout(), new)] == ["salt", "unit", "variant"]


def test_another_assignment_version_moves_everybody():
    old = rollout()
    spec = old.spec.model_copy(update={"assignment": "v2"})
    new = old.model_copy(update={"spec": spec})
    assert moves(old, new) == ("assignment v1 becomes v2: everybody is assigned anew",)
