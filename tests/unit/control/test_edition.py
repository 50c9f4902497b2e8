"""What is in force, and how the next edition is made of it."""

import dataclasses

import pytest

from sidecar.control import codec, edition, following
from sidecar.control.codec import ResourceError
from sidecar.control.rule_codec import Known
from sidecar.delivery.breaker import Trip
from sidecar.routing import HardLimit, Route, RouteError, UnitSource, Variant, compile_table
from sidecar.routing.rules import Check, Input, Layer, Prerequisite, Segment

LIMIT = HardLimit("error_rate", 0.5, 10, 5)


def route(name, canary=5, **more):
    variants = (Variant("stable", 95), Variant("canary", canary))
    return Route(
        name=name, unit=(UnitSource("header", "x-user-id"),), salt=b"s", variants=variants, **more
    )


def holdings(*routes, before=following.NOTHING):
    """Hold these; what `before` held with the same bytes stays the very same."""
    made = following.restore(
        (one.name, codec.version_of_bytes(codec.encode(one)), codec.encode(one)) for one in routes
    )
    kept = {
        name: old if (old := before.resources.get(name)) == one else one
        for name, one in made.resources.items()
    }
    return following.Holdings(kept, made.version)


def bytes_of(made):
    """The body of its table, which says all but the version."""
    return made.table.body(0, made.table.body_len)


def whole(*routes):
    return bytes_of(edition.after(None, holdings(*routes), {}, ()))


def test_only_what_changed_is_read_again(monkeypatch):
    chat, shop = route("chat"), route("shop")
    first = edition.after(None, holdings(chat, shop), {}, ())
    read = []
    decode = codec.decode
    monkeypatch.setattr(
        codec, "decode", lambda name, *rest: read.append(name) or decode(name, *rest)
    )
    wider = route("chat", 50)
    second = edition.after(first, holdings(wider, shop, before=first.holdings), {}, ())
    # As it was and as it is: whether its odds are others.
    assert (set(read), list(second.changed)) == ({"chat"}, ["chat"])
    assert bytes_of(second) == whole(wider, shop)
    assert second.table.version == second.holdings.version


def test_odds_are_others_where_a_rollout_or_what_it_requires_was_edited_and_nowhere_else():
    chat, shop, deep = route("chat", limits=(LIMIT,)), route("shop"), route("deep")
    asks = dataclasses.replace(deep, requires=(Prerequisite("chat", ("canary",)),))
    first = edition.after(None, holdings(chat, shop, asks), {}, ())

    def edited(*routes):
        return edition.after(first, holdings(*routes, before=first.holdings), {}, ())

    higher = dataclasses.replace(chat, revision=7, limits=())
    for routes, odds in (
        ((chat, shop, asks), set()),
        ((higher, shop, asks), set()),
        ((chat, route("shop", 50), asks), {"shop"}),
        ((dataclasses.replace(chat, salt=b"t"), shop, asks), {"chat", "deep"}),
        ((chat, asks, route("new")), {"shop", "new"}),
    ):
        assert edited(*routes).odds == odds
    held = first.holdings
    trips = {"chat": (Trip("chat", "canary", 0, held.resources["chat"].version, 1.0, "errors"),)}
    tripped = edition.after(first, held, trips, ())
    assert tripped.odds == {"chat", "deep"}
    # Held out as before: nobody's odds change.
    assert edition.after(tripped, held, trips, ()).odds == set()


def test_what_is_gone_is_out_of_the_table():
    first = edition.after(None, holdings(route("a"), route("b"), route("c")), {}, ())
    second = edition.after(first, holdings(route("c"), before=first.holdings), {}, ())
    assert list(second.table.variants()) == [("c", "stable"), ("c", "canary")]
    assert list(second.changed) == ["a", "b"]


def test_a_trip_changes_its_rollout_alone_and_its_end_gives_it_back():
    held = holdings(route("chat", limits=(LIMIT,)), route("shop"))
    first = edition.after(None, held, {}, ())
    trips = {"chat": (Trip("chat", "canary", 0, held.resources["chat"].version, 1.0, "errors"),)}
    tripped = edition.after(first, held, trips, ())
    without = (Variant("stable", 100), Variant("canary", 0))
    out = dataclasses.replace(route("chat", limits=(LIMIT,)), variants=without)
    assert bytes_of(tripped) == whole(out, route("shop"))
    assert [v.weight for v in tripped.noted["chat"].variants] == [100, 0]
    assert tripped.table.version != first.table.version
    assert bytes_of(edition.after(tripped, held, {}, ())) == bytes_of(first)


def test_a_resource_that_cannot_be_read_leaves_the_edition_before_as_it_was():
    first = edition.after(None, holdings(route("chat")), {}, ())
    before = bytes_of(first)
    bad = following.restore([("chat", "2", b"\xff")])
    with pytest.raises(ResourceError, match="'chat'"):
        edition.after(first, bad, {}, ())
    assert bytes_of(first) == before


def test_rollouts_that_others_depend_on_are_checked_against_those_that_stay():
    shop = route("shop", layer=Layer("l", 50, 100, 100))
    first = edition.after(None, holdings(route("chat", layer=Layer("l", 0, 50, 100)), shop), {}, ())
    assert sorted(first.noted) == ["chat", "shop"]
    moved = route("chat", layer=Layer("l", 0, 51, 100))
    with pytest.raises(RouteError, match="overlaps"):
        edition.after(first, holdings(moved, shop, before=first.holdings), {}, ())
    free = edition.after(first, holdings(route("chat"), shop, before=first.holdings), {}, ())
    assert sorted(free.noted) == ["shop"]


def test_segments_that_rollouts_share_say_in_each_what_they_say_there():
    """Read and written once for all that have them; another order of variants is another slot."""
    staff = Segment("staff", (Check(Input("header", ("x-a",)), "present"),), variant="canary")
    variants = (Variant("canary", 1), Variant("stable", 1))
    routes = [
        route("a", segments=(staff,)),
        route("b", segments=(staff,)),
        dataclasses.replace(route("c", segments=(staff,)), variants=variants),
        route("d", segments=(staff,), killed=True),
        route("e", segments=(staff,), excluded=(b"u1",)),
    ]
    apart = b"".join(whole(one) for one in routes)
    assert whole(*routes) == apart
    [one, other] = [holdings(*routes).route("a", known) for known in [Known()] * 2]
    assert one.segments[0] is other.segments[0]


def test_the_table_is_that_of_all_rollouts_at_once():
    routes = [route("chat"), route("shop", 20), route("zoo", limits=(LIMIT,))]
    made = edition.after(None, holdings(*routes), {}, ())
    assert compile_table(routes, made.table.version).endswith(bytes_of(made))
