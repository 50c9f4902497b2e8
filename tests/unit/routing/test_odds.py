"""A table is new whenever any rollout was edited; odds are new only where they are others."""

from dataclasses import replace

import pytest
from test_route import GOOD

from sidecar.routing import HardLimit, Variant
from sidecar.routing.odds import changed
from sidecar.routing.rules import Holdout, Prerequisite

CHAT = replace(GOOD, revision=3)
SHOP = replace(GOOD, name="shop")
# Only those who have chat's canary come to help.
HELP = replace(GOOD, name="help", requires=(Prerequisite("chat", ("canary",)),))
DEEP = replace(GOOD, name="deep", requires=(Prerequisite("help", ("canary",)),))

OWN = {
    "weights": {"variants": (Variant("stable", 90), Variant("canary", 10))},
    "salt": {"salt": b"chat#2"},
    "killed": {"killed": True},
    "a rule": {"holdout": Holdout("h", 1, 100)},
    "who it speaks for": {"path_prefix": "/v2"},
}
NOTHING = {
    "the revision": {"revision": 4},
    "a hard limit": {"limits": (HardLimit("error_rate", 0.05, 30, 100),)},
    "nothing": {},
}


@pytest.mark.parametrize("edit", OWN.values(), ids=OWN)
def test_what_is_edited_about_the_odds_is_this_rollouts_alone(edit):
    assert changed([CHAT, SHOP], [replace(CHAT, **edit), replace(SHOP)]) == {"chat"}


@pytest.mark.parametrize("edit", NOTHING.values(), ids=NOTHING)
def test_what_has_nothing_to_do_with_odds_changes_none(edit):
    assert changed([CHAT, SHOP], [replace(CHAT, **edit), SHOP]) == set()


def test_who_requires_a_rollout_meets_other_people_when_that_one_changes():
    other = replace(CHAT, **OWN["weights"])
    assert changed([CHAT, SHOP, HELP, DEEP], [other, SHOP, HELP, DEEP]) == {"chat", "help", "deep"}
    assert changed([CHAT, HELP], [HELP]) == {"chat", "help"}


def test_what_comes_and_what_goes_is_changed():
    assert changed([], [CHAT]) == changed([CHAT], []) == {"chat"}
