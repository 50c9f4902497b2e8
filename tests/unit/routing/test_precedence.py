"""Who decides is one table in docs/assignment.md, and every row stands where it says."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, twin, twin_codec
from sidecar.routing.force import Key, sign
from sidecar.routing.rules import Check, Holdout, Input, Layer, Override, Prerequisite, Segment

PAGE = (Path(__file__).parents[3] / "docs/assignment.md").read_text()
KEY = Key("qa", b"k" * 32)
NOW_S = 1_800_000_000
UNIT = (UnitSource("header", "x-user-id"),)
VARIANTS = (Variant("stable", 0), Variant("drawn", 1), Variant("forced", 0), Variant("listed", 0),
            Variant("segmented", 0))  # fmt: skip
PLAIN = Route("chat", UNIT, b"s", VARIANTS)
TOKEN = sign(KEY, {"chat": "forced"}, NOW_S + 1)
HEADERS = [(":path", b"/"), (":authority", b"a"), ("x-user-id", b"u1"), ("x-seg", b"1")]

# What makes each row apply to the request above, all at once if need be.
ROWS = {
    "killed": {"killed": True},
    "holdout": {"holdout": Holdout("h", 1, 1)},
    "excluded": {"excluded": (b"u1",)},
    "prerequisite": {"requires": (Prerequisite("absent", ("a",)),)},
    "forced": {},
    "override": {"overrides": (Override("listed", (b"u1",)),)},
    "layer": {"layer": Layer("l", 0, 1, 1 << 50)},
    "segment": {
        "segments": (Segment("s", (Check(Input("header", ("x-seg",)), "present"),), "segmented"),)
    },
    "weight": {},
}
GIVES = {"forced": "forced", "override": "listed", "segment": "segmented", "weight": "drawn"}
NEEDS_NO_UNIT = {"killed", "prerequisite", "forced", "segment"}


def documented() -> list[str]:
    table = PAGE.split("## Who decides")[1].split("\n## ")[0]
    return re.findall(r"^\| ([a-z]+) \| (?!applies)", table, re.MULTILINE)


def decide(rows, *, unit=True):
    """Decide where these rows apply, by both, and return variant and reason."""
    rules = {}
    # A unit listed for both is refused, so those two never meet.
    for row in [row for row in rows if row != "override" or "excluded" not in rows]:
        rules |= ROWS[row]
    route = replace(PLAIN, **rules)
    headers = [pair for pair in HEADERS if unit or pair[0] != "x-user-id"]
    if "forced" in rows:
        headers.append(("canary-force", TOKEN.encode()))
    request = twin.Request(headers)
    [plain] = twin.decide([route], request, now_s=NOW_S, keys=[KEY])
    table = Table(compile_table([route], "v", [KEY]))
    [native] = table.decide(twin_codec.write(request), NOW_S)
    assert native[1:3] == (plain.variant, plain.reason)
    return plain.variant, plain.reason.partition(":")[0]


def test_the_page_has_the_rows_in_the_order_of_the_twin():
    assert tuple(documented()) == twin.PRECEDENCE == tuple(ROWS)


@pytest.mark.parametrize(("upper", "lower"), [*combinations(ROWS, 2)])
def test_of_two_rows_that_apply_the_upper_one_decides(upper, lower):
    assert decide([upper, lower]) == (GIVES.get(upper, "stable"), upper)


def test_where_all_apply_each_decides_once_those_above_are_gone():
    for index, row in enumerate(ROWS):
        assert decide(list(ROWS)[index:]) == (GIVES.get(row, "stable"), row)


@pytest.mark.parametrize("row", ROWS)
def test_without_a_unit_only_what_needs_none_decides(row):
    expected = (GIVES.get(row, "stable"), row) if row in NEEDS_NO_UNIT else ("stable", "no_unit")
    assert decide([row], unit=False) == expected


def test_a_rollout_in_a_layer_gives_nothing_without_a_unit_not_even_by_a_segment():
    assert decide(["layer", "segment"], unit=False) == ("stable", "no_unit")


def test_a_killed_prerequisite_is_met_only_by_its_baseline():
    first = replace(PLAIN, name="api", killed=True)
    message = twin_codec.write(twin.Request(HEADERS))
    for wanted, reason in (("stable", "weight"), ("drawn", "prerequisite")):
        second = replace(PLAIN, requires=(Prerequisite("api", (wanted,)),))
        decisions = Table(compile_table([first, second], "v")).decide(message)
        assert [(d[0], d[2]) for d in decisions] == [("api", "killed"), ("chat", reason)]


def test_who_does_not_say_what_time_it_is_forces_nothing():
    table = Table(compile_table([PLAIN], "v", [KEY]))
    message = twin_codec.write(twin.Request([*HEADERS, ("canary-force", TOKEN.encode())]))
    assert [table.decide(message)[0][2], table.decide(message, NOW_S)[0][2]] == ["weight", "forced"]
    table.answer(message)
    assert table.force_refused()["expired"] == 1
