"""What of a change in a document's rules moves people: said, and never more than said."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.rollout import Rollout, Source, moves, read
from sidecar.routing import route_of, twin

OTHERS = [
    {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "unit": [{"header": "x-user-id"}],
            "variants": [{"name": "stable", "weight": 1}, {"name": "canary", "weight": 1}],
        },
    }
    for name in ("api", "web")
]
STAFF = {"name": "staff", "when": [{"header": "x-mail", "suffix": "@x"}], "variant": "canary"}
EU = {
    "name": "eu",
    "when": [{"header": "x-country", "in": ["de", "fr"]}, {"header": "x-beta", "present": True}],
    "weights": {"canary": 10},
}
RULES = {
    "holdout": {"name": "global", "percent": 5},
    "exclude": ["u1", "u2"],
    "requires": [{"rollout": "api", "variants": ["canary"]}],
    "overrides": [{"variant": "canary", "units": ["u3", "u4"]}],
    "layer": {"name": "checkout", "to": 30},
    "segments": [STAFF, EU],
}


def rollout(**rules) -> Rollout:
    chat = copy.deepcopy(OTHERS[0])
    chat["metadata"]["name"] = "chat"
    chat["spec"] |= rules
    texts = [json.dumps(one).encode() for one in (*OTHERS, chat)]
    reading = read([Source(f"{n}.yaml", text) for n, text in enumerate(texts)])
    assert reading.mistakes == ()
    return next(one.rollout for one in reading.declared if one.rollout.name == "chat")


def said(**changes) -> list[str]:
    return list(moves(rollout(**RULES), rollout(**RULES | changes)))


SAME = {
    "another spelling of numbers": {"holdout": {"name": "global", "percent": 5.0}},
    "a spelled-out default": {"layer": {"name": "checkout", "from": 0, "to": 30}},
    "another order of units": {"exclude": ["u2", "u1"]},
    "a list in two": {
        "overrides": [{"variant": "canary", "units": [unit]} for unit in ("u4", "u3")]
    },
    "another order of conditions": {"segments": [STAFF, EU | {"when": EU["when"][::-1]}]},
    "another order of values": {
        "segments": [
            STAFF, EU | {"when": [{"header": "X-Country", "in": ["fr", "de"]}, EU["when"][1]]}
        ]
    },
    "the baseline's rest": {"segments": [STAFF, EU | {"weights": {"stable": 90, "canary": 10}}]},
    "another total": {"segments": [STAFF, EU | {"weights": {"stable": 9, "canary": 1}}]},
    "another name of a segment": {"segments": [STAFF | {"name": "employees"}, EU]},
}  # fmt: skip


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_what_is_only_spelled_otherwise_moves_nobody(changes):
    assert said(**changes) == []


MOVED = {
    "holdout": ({"holdout": {"name": "global", "percent": 6}},
                ("holdout 'global' 5 % becomes 'global' 6 %: whoever is in one of them alone"
                " comes back or is held out")),
    "no holdout": ({"holdout": None}, ("holdout 'global' 5 % becomes none: whoever is in one of"
                   " them alone comes back or is held out")),
    "exclude": ({"exclude": ["u1"]}, "exclude no longer lists u2: they move"),
    "many units": ({"exclude": ["u1", "u2", *(f"v{n}" for n in range(2000))]},
                   "exclude lists v0, v1, v10 and 1,997 more: they move"),
    "requires": ({"requires": [{"rollout": "web", "variants": ["canary"]}]},
                 "requires changes: whoever the other rollouts answer differently moves"),
    "overrides": ({"overrides": [{"variant": "stable", "units": ["u3", "u4"]}]},
                  "overrides of 'canary' no longer lists u3, u4: they move"),
    "layer": ({"layer": {"name": "checkout", "from": 30, "to": 60}},
              ("layer 'checkout' 0 to 30 % becomes 'checkout' 30 to 60 %: whoever is in one of them"
              " alone goes to the baseline or is drawn")),
    "a new segment": ({"segments": [STAFF, EU, EU | {"name": "all"}]},
                      "segment 'all' is new: whoever it fits leaves what stands below it"),
    "a dropped segment": ({"segments": [EU]},
                          ("segment 'staff' is dropped: whoever it fits falls to what stands"
                          " below it")),
    "other places": ({"segments": [EU, STAFF]},
                     "segments change places: whoever several of them fit may get another one"),
    "other conditions": ({"segments": [STAFF, EU | {"when": EU["when"][:1]}]},
                         "segment 'eu' has other conditions: whoever fits on one side alone moves"),
    "a salt": ({"segments": [STAFF, EU | {"salt": "own"}]},
               "segment 'eu': salt the rollout's becomes 'own': its people are drawn anew"),
    "weights": ({"segments": [STAFF, EU | {"weights": {"canary": 20}}]},
                ("segment 'eu' gave canary to 10 %, stable to 90 %, and gives canary to 20 %,"
                " stable to 80 %: the difference moves")),
    "weights for a variant": ({"segments": [{k: v for k, v in STAFF.items() if k != "variant"}
                                            | {"weights": {"canary": 100}}, EU]},
                              ("segment 'staff' gave canary outright, and gives canary to all: the"
                              " difference moves")),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), MOVED.values(), ids=MOVED)
def test_what_moves_people_by_rules_is_said(changes, sentence):
    old = rollout(**RULES)
    new = rollout(**{key: value for key, value in (RULES | changes).items() if value is not None})
    assert sentence in moves(old, new)


CONDITIONS = st.sampled_from([
    {"header": "x-country", "in": ["de", "fr"]}, {"header": "x-country", "in": ["fr", "de"]},
    {"header": "x-country", "exact": "de"}, {"header": "x-mail", "suffix": "@x"},
    {"not": {"header": "x-mail", "suffix": "@x"}},
    {"anyOf": [{"header": "x-country", "exact": "de"}, {"header": "x-mail", "suffix": "@x"}]},
    {"anyOf": [{"header": "x-mail", "suffix": "@x"}, {"header": "x-country", "exact": "de"}]},
])  # fmt: skip
GIVES = st.sampled_from([
    {"variant": "canary"}, {"variant": "stable"}, {"weights": {"canary": 10}},
    {"weights": {"stable": 9, "canary": 1}}, {"weights": {"canary": 100}},
    {"weights": {"canary": 10}, "salt": "own"}, {"weights": {"canary": 90}},
])  # fmt: skip
SEGMENTS = st.lists(
    st.builds(
        lambda name, when, gives: {"name": name, "when": when, **gives},
        st.sampled_from(["a", "b", "c"]), st.lists(CONDITIONS, min_size=1, max_size=2), GIVES,
    ),
    max_size=3, unique_by=lambda one: one["name"],
)  # fmt: skip
UNITS = st.lists(st.sampled_from([f"u{n}" for n in range(4)]), max_size=2, unique=True)
DOCUMENTS = st.fixed_dictionaries({}, optional={
    "holdout": st.builds(lambda p: {"name": "h", "percent": p}, st.sampled_from([5, 50])),
    "layer": st.sampled_from([{"name": "l", "to": 50}, {"name": "l", "from": 50, "to": 100}]),
    "exclude": UNITS, "segments": SEGMENTS,
    "requires": st.just([{"rollout": "api", "variants": ["canary"]}]),
})  # fmt: skip
REQUESTS = [
    twin.Request(headers=(("x-user-id", unit), ("x-country", country), ("x-mail", mail)))
    for unit in (b"", *(b"u%d" % n for n in range(12)))
    for country in (b"", b"de", b"fr")
    for mail in (b"", b"a@x")
]


def nearly(document):
    """The same, or with its segments in another order, or with one rule of another document."""
    segments = document.get("segments", [])
    return st.one_of(
        st.permutations(segments).map(lambda order: document | {"segments": order}),
        DOCUMENTS.map(lambda other: document | dict(list(other.items())[:1])),
        DOCUMENTS,
    )


@given(DOCUMENTS.flatmap(lambda one: st.tuples(st.just(one), nearly(one))))
def test_nobody_moves_unsaid(documents):
    old, new = (rollout(**one) for one in documents)
    if moves(old, new):
        return
    sides = [route_of(one, {v.name: v.weight for v in one.variants}) for one in (old, new)]
    for request in REQUESTS:
        one, two = (twin.decide_one(side, request).variant for side in sides)
        assert one == two
