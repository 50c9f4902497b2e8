"""A table is new whenever any rollout was edited; odds are new only where they are others."""

from dataclasses import replace

import pytest
from test_route import GOOD

from sidecar.routing import HardLimit, Variant
from sidecar.routing.odds import same, spread
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
def test_what_is_edited_about_a_rollout_gives_it_other_odds(edit):
    assert not same(CHAT, replace(CHAT, **edit))


@pytest.mark.parametrize("edit", NOTHING.values(), ids=NOTHING)
def test_what_has_nothing_to_do_with_odds_changes_none(edit):
    assert same(CHAT, replace(CHAT, **edit))


def test_who_requires_a_rollout_meets_other_people_when_that_one_changes():
    assert spread({"chat"}, [SHOP, DEEP, HELP]) == {"chat", "help", "deep"}
    assert spread({"shop"}, [HELP, DEEP]) == {"shop"}
    assert spread((), [HELP, DEEP]) == set()
