"""A table made from the one before is, byte for byte, the table made of everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routing import Draft, Route, RouteError, Table, UnitSource, Variant, compile_table
from sidecar.routing.rules import Layer, Prerequisite
from sidecar.routing.together import is_tied

NAMES = st.sampled_from("abcdefgh")


@st.composite
def routes(draw):
    """Some rollouts by name; a later name may require earlier ones, so there are ranks."""
    made = {}
    for name in draw(st.sets(NAMES)):
        others = [other for other in "abcdefgh" if other < name]
        required = (
            draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else ()
        )
        made[name] = Route(
            name=name,
            unit=draw(
                st.lists(
                    st.sampled_from([UnitSource("header", "x-a"), UnitSource("client_address")]),
                    min_size=1,
                    max_size=3,
                ).map(tuple)
            ),
            salt=draw(st.binary(max_size=5).filter(lambda salt: b"\0" not in salt)),
            variants=tuple(
                Variant(f"v{i}", weight)
                for i, weight in enumerate(
                    draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
                )
            ),
            hosts=tuple(draw(st.sets(st.sampled_from(["a.b", "*.b", "c.d"])))),
            path_prefix=draw(st.sampled_from(["", "/v1", "/v1/x"])),
            requires=tuple(Prerequisite(other, ("v0",)) for other in required),
        )
    return made


def drafted(before, old, new):
    draft = Draft(before)
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            draft.drop(name)
        elif new[name] != old.get(name):
            draft.put(new[name])
    return draft.finish("v2", (), filter(is_tied, new.values()))


@given(routes(), routes())
def test_a_change_gives_the_bytes_of_the_whole(old, new):
    before = Table(compile_table(old.values(), "v1"))
    assert drafted(before, old, new) == compile_table(new.values(), "v2")


@given(routes())
def test_a_table_lists_every_variant_it_can_answer(made):
    table = Table(compile_table(made.values(), "v"))
    ordered = sorted(made.items())
    assert list(table.variants()) == [(name, v.name) for name, one in ordered for v in one.variants]
    some = [name for name, _ in ordered[::2]]
    assert list(table.variants([*some, "zz"])) == [
        (name, v.name) for name in some for v in made[name].variants
    ]


def plain(name, **more):
    unit = (UnitSource("header", "x-a"),)
    return Route(name=name, unit=unit, salt=b"s", variants=(Variant("stable", 1),), **more)


def test_a_change_that_closes_a_circle_with_what_stays_is_refused():
    old = {"a": plain("a", requires=(Prerequisite("b", ("stable",)),)), "b": plain("b")}
    before = Table(compile_table(old.values(), "v1"))
    with pytest.raises(RouteError, match="circle"):
        drafted(before, old, {**old, "b": plain("b", requires=(Prerequisite("a", ("stable",)),))})


def test_a_change_that_overlaps_what_stays_in_its_layer_is_refused():
    old = {"a": plain("a", layer=Layer("l", 0, 50, 100)), "b": plain("b")}
    before = Table(compile_table(old.values(), "v1"))
    with pytest.raises(RouteError, match="overlaps"):
        drafted(before, old, {**old, "b": plain("b", layer=Layer("l", 49, 60, 100))})


def test_what_stands_in_the_body_is_not_read_beyond_its_end():
    table = Table(compile_table([plain("a")], "v"))
    assert len(table.body(0, table.body_len)) == table.body_len
    with pytest.raises(IndexError):
        table.body(0, table.body_len + 1)
