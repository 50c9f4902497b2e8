"""What an Envoy says that it forwards, against what a table looks at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruled import ruled_tables

from sidecar.extproc import declaring, forwarding
from sidecar.extproc.declaring import Forwards, Unseen
from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, needs
from sidecar.routing.rules import Check, Input, Segment

NAMES = st.frozensets(st.text(min_size=1, max_size=20), max_size=5)
CHAT = Route("chat", (UnitSource("header", "x-user-id"),), b"s", (Variant("stable", 1),))


@given(NAMES, NAMES, NAMES)
def test_what_is_said_is_read_as_it_was_meant(headers, attributes, namespaces):
    said = Forwards(headers, attributes, namespaces)
    assert Forwards.read(said.log_name()) == said


@pytest.mark.parametrize("name", ["canary", "", "audit", "audit?header=a", "Canary?header=a"])
def test_another_name_says_nothing(name):
    assert Forwards.read(name) is None


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (Input("header", ("x-a",)), "header 'x-a'"),
        (Input("cookie", ("tier",)), "header 'cookie'"),
        (Input("query", ("q",)), "header ':path'"),
        (Input("path"), "header ':path'"),
        (Input("host"), "header ':authority'"),
        (Input("client_address"), "attribute 'source.address'"),
        (Input("attribute", ("connection.mtls",)), "attribute 'connection.mtls'"),
        (Input("metadata", ("jwt", "payload", "tier")), "metadata of 'jwt'"),
    ],
    ids=str,
)
def test_what_is_not_forwarded_hides_what_stands_in_it(asked, what):
    assert Forwards(frozenset()).hides(asked) == what
    everything = Forwards(
        frozenset({"*"}), frozenset({"source.address", "connection.mtls"}), frozenset({"jwt"})
    )
    assert everything.hides(asked) == ""


@given(ruled_tables())
def test_a_loaded_table_looks_where_its_rollouts_do(routes):
    looks = Table(compile_table(routes, "v")).looks()
    expected = {
        (one.kind, one.name): (who[0], len(who)) for one, who in needs.needs(routes).items()
    }
    assert looks == expected
    assert list(looks) == sorted(looks)


@given(ruled_tables())
def test_what_is_made_for_the_rollouts_hides_nothing_from_them(routes):
    looks = Table(compile_table(routes, "v")).looks()
    assert declaring.unseen([forwarding.declared(routes)], looks) == []


def test_a_lack_is_named_once_with_its_first_rollout_and_how_many_there_are():
    when = (Check(Input("cookie", ("tier",)), "present"), Check(Input("cookie", ("b",)), "present"))
    ruled = Route("b", CHAT.unit, b"s", CHAT.variants, segments=(Segment("s", when, "stable"),))
    looks = Table(
        compile_table([CHAT, ruled, Route("a", CHAT.unit, b"s", CHAT.variants)], "v")
    ).looks()
    one, other = Forwards(frozenset({"cookie"})), Forwards(frozenset({"x-user-id"}))
    assert set(declaring.unseen([one, other], looks)) == {
        Unseen("header 'x-user-id'", "a", 3),
        Unseen("header 'cookie'", "b", 1),
    }
    assert declaring.unseen([], looks) == []
