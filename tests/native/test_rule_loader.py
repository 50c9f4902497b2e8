"""The loader trusts no rule either: whatever cannot be is refused with the reason, or answers."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruled import KEYS, NOW_S, ruled_requests, ruled_tables

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table
from sidecar.routing.rules import (
    AllOf,
    AnyOf,
    Bound,
    Check,
    Holdout,
    Input,
    Layer,
    Not,
    Override,
    Prerequisite,
    Segment,
)

UNIT = (UnitSource("header", "x-user-id"),)
PLAIN = Route("chat", UNIT, b"s", (Variant("stable", 1), Variant("canary", 1)))


def block(*checks: Check, **rules) -> bytes:
    segments = (Segment("qa", checks, "canary"),) if checks else ()
    return compile_table([replace(PLAIN, segments=segments, **rules)], "v")


def on(operator, *texts: bytes, **bounds) -> Check:
    return Check(Input("header", ("x-a",)), operator, texts, **bounds)


NETWORK = on("cidr", b"10.0.0.0/8", b"12.0.0.0/8")
RANGE = on("semver", low=Bound("1.2.3", inclusive=True))
DAMAGE = {
    "flag": (block(killed=True), -13, b"\x09", "unknown flag"),
    "slice": (block(holdout=Holdout("h", 1, 1)), b"holdout:h", b"\x00" * 9, None),
    "segment's name": (block(on("present")), b"segment:qa", b"sigment:qa", "without its name"),
    "segment's variant": (block(on("present")), b"qa\x02\x01", b"qa\x02\x02", "variant does not"),
    "segment's kind": (block(on("present")), b"qa\x02", b"qa\x03", "kind of segment"),
    "input's kind": (block(on("present")), b"\x01\x01\x03\x00x-a", b"\x09\x01\x03\x00x-a", "input"),
    "input's number": (block(on("present")), b"\x01\x00\x00\x00\x00\x00",
                       b"\x01\x00\x00\x05\x00\x00", "not there"),
    "too few tests": (block(on("present")), b"\x01\x01\x00\x00\x00\x0a\x00segment",
                      b"\x01\x02\x00\x00\x00\x0a\x00segment", "fewer tests"),
    "too many tests": (block(on("present"), on("present")),
                       b"\x01\x02\x00\x00\x00\x0a\x00segment",
                       b"\x01\x01\x00\x00\x00\x0a\x00segment", "more tests"),
    "empty group": (block(AnyOf((on("present"),))), b"\x03\x01\x00", b"\x03\x00\x00",
                    "group without"),
    "operator": (block(on("exact", b"val")), b"\x01\x03\x00val", b"\x0b\x03\x00val", "operator"),
    "empty text": (block(on("exact", b"val")), b"\x01\x03\x00val", b"\x01\x00\x00", "empty text"),
    "value twice": (block(on("in", b"va", b"vb")), b"vb", b"va", "twice"),
    "regex": (block(on("regex", b"a.b")), b"a.b", b"a(b", "RE2"),
    "version": (block(RANGE), b"1.2.3", b"1.2.x", "not a version"),
    "network's family": (block(NETWORK), b"\x04\x00\x00\x00\x0a",
                         b"\x05\x00\x00\x00\x0a", "address"),
    "network's order": (block(NETWORK), b"\x00\x00\x00\x0c", b"\x00\x00\x00\x02", "out of order"),
    "unit's slot": (block(overrides=(Override("canary", (b"u1",)),)), b"\x01\x02\x00u1",
                    b"\x02\x02\x00u1", "variant does not"),
    "unit twice": (block(overrides=(Override("canary", (b"u1", b"u2")),)), b"u2", b"u1", "twice"),
    "empty unit": (block(excluded=(b"u1",)), b"\xff\x02\x00u1", b"\xff\x00\x00", "empty"),
}  # fmt: skip


@pytest.mark.parametrize(("good", "old", "new", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_rule_is_refused_with_the_reason(good, old, new, reason):
    Table(good)
    if isinstance(old, int):
        bad = good[:old] + new + good[old + 1 :] if old + 1 else good[:old] + new
    else:
        assert good.count(old) == 1
        bad = good.replace(old, new)
    if reason is None:
        Table(bad)  # a salt may be anything
        return
    with pytest.raises(ValueError, match=reason):
        Table(bad)


def test_conditions_that_nest_too_deep_are_refused():
    deep = on("present")
    for _ in range(7):
        deep = Not(deep)
    good = block(deep)
    Table(good)
    with pytest.raises(ValueError, match="too deep"):
        Table(good.replace(b"\x01" * 7, b"\x01" * 8))


def test_prerequisites_that_do_not_descend_are_refused():
    first = replace(PLAIN, name="a")
    second = replace(PLAIN, name="b", requires=(Prerequisite("a", ("canary",)),))
    good = compile_table([first, second], "v")
    assert good.count(b"\x00\x00\x01\x01\x00a") == 1
    with pytest.raises(ValueError, match="circle"):
        Table(good.replace(b"\x00\x00\x01\x01\x00a", b"\x00\x00\x00\x01\x00a"))
    with pytest.raises(ValueError, match="in a row"):
        Table(good.replace(b"\x00\x00\x01\x01\x00a", b"\x00\x00\x11\x01\x00a"))


@pytest.mark.parametrize("kind", ["conditions", "values", "units"])
def test_counts_that_promise_more_than_there_are_bytes_are_refused(kind):
    good = {
        "conditions": block(AllOf((on("exact", b"aa"), on("exact", b"bb")))),
        "values": block(on("in", b"aa", b"bb")),
        "units": block(excluded=(b"aa", b"bb")),
    }[kind]
    count = {"conditions": b"\x02\x02\x00", "values": b"\x02\x02\x00\x00\x00",
             "units": b"\x02\x00\x00\x00\xff"}[kind]  # fmt: skip
    assert good.count(count) == 1
    swollen = count.replace(b"\x02\x00", b"\xff\xff", 1)
    with pytest.raises(ValueError, match=r"announced|early"):
        Table(good.replace(count, swollen))


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_a_fuzzed_table_with_rules_loads_or_is_refused_and_then_answers(data):
    table = data.draw(ruled_tables())
    damaged = bytearray(compile_table(table, "v", KEYS))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        native = Table(bytes(damaged))
    except ValueError:
        return
    native.answer(data.draw(ruled_requests(table)), NOW_S)
    native.tally()


def test_a_rollout_may_have_every_rule_at_once():
    everything = replace(
        PLAIN,
        killed=False,
        holdout=Holdout("h", 1, 2),
        layer=Layer("l", 0, 1, 2),
        excluded=(b"x",),
        overrides=(Override("canary", (b"y",)),),
        requires=(Prerequisite("other", ("a",)),),
        segments=tuple(Segment(f"s{n}", (NETWORK, RANGE), weights=(1, n)) for n in range(100)),
    )
    assert len(Table(compile_table([everything], "v"))) == 1
