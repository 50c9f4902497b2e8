"""Every malformed rule: its line and column, its path, what is wrong, and the words that help."""

import pytest

from sidecar import routing
from sidecar.rollout import Mistake, Source, generation, read, rules
from sidecar.rollout.trust import is_verified

# Each case changes one line of this.
GOOD = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]
  holdout: {name: global, percent: 5}
  exclude: [big]
  requires: [{rollout: api, variants: [canary]}]
  overrides: [{variant: canary, units: [u1, u2]}]
  layer: {name: shop, from: 0, to: 30}
  segments:
    - name: staff
      when:
        - {header: x-email, suffix: "@a.example"}
        - {clientAddress: true, cidr: [10.0.0.0/8]}
      variant: canary
    - name: eu
      when:
        - {anyOf: [{header: x-country, in: [de, fr]}, {not: {cookie: c, present: true}}]}
        - {header: x-app, semver: {atLeast: 1.0.0, below: 2.0.0}}
      weights: {canary: 10}
---
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: api}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 1}, {name: canary, weight: 0}]
"""
EMAIL = '{header: x-email, suffix: "@a.example"}'
APP = "{header: x-app, semver: {atLeast: 1.0.0, below: 2.0.0}}"
ANY = "{anyOf: [{header: x-country, in: [de, fr]}, {not: {cookie: c, present: true}}]}"
WHEN = "spec.segments[0].when[0]"
WHERE = "spec.segments[1].when[1]"


def mistakes(text: str) -> tuple[Mistake, ...]:
    return read([Source("a.yaml", text.encode())]).mistakes


def test_the_good_document_is_good_and_makes_a_route():
    reading = read([Source("a.yaml", GOOD.encode())])
    assert not reading.mistakes
    chat = next(one.rollout for one in reading.declared if one.rollout.name == "chat")
    route = routing.route_of(chat, {v.name: v.weight for v in chat.variants})
    assert [one.name for one in route.segments] == ["staff", "eu"]
    assert route.segments[1].weights == (9, 1)


RULES = [
    # what stands there, what is written instead; line, path; message, a part of the remedy
    ("percent: 5", "percent: 0", 7, "spec.holdout.percent", "is 0: nobody", "above 0"),
    ("percent: 5", "percent: 101", 7, "spec.holdout.percent", "not a share", "0 to 100"),
    ("percent: 5", "percent: .nan", 7, "spec.holdout.percent", "nan", "0 to 100"),
    ("name: global", "name: Global", 7, "spec.holdout.name", "not a DNS label", "'global'"),
    ("{name: global, percent: 5}", "", 7, "spec.holdout", "is empty", "give it a value"),
    ("exclude: [big]", "exclude: [big, big]", 8, "spec.exclude[1]", "already in line 8", "keep"),
    ("exclude: [big]", "exclude: [u1]", 10, "spec.overrides[0].units[0]", "already", "keep one"),
    ("exclude: [big]", "exclude: [7]", 8, "spec.exclude[0]", "not text", "quotes"),
    ("exclude: [big]", 'exclude: [""]', 8, "spec.exclude[0]", "is empty", "present: false"),
    ("rollout: api", "rollout: chat", 9, "spec.requires[0].rollout", "itself", "another"),
    ("rollout: api", "rollout: apis", 9, "spec.requires[0].rollout", "nowhere", "mean 'api'"),
    ("variants: [canary]}]", "variants: [x]}]", 9, "spec.requires[0].variants", "no variant 'x'",
     "stable, canary"),
    ("variants: [canary]}]", "variants: []}]", 9, "spec.requires[0].variants", "empty list",
     "write one"),
    ("{variant: canary, units", "{variant: canry, units", 10, "spec.overrides[0].variant",
     "no variant 'canry'", "mean 'canary'"),
    ("units: [u1, u2]", "units: []", 10, "spec.overrides[0].units", "empty list", "write one"),
    ("from: 0, to: 30", "from: 30, to: 30", 11, "spec.layer", "before it begins", "swap"),
    ("from: 0, to: 30", "from: 0, to: .nan", 11, "spec.layer.to", "nan", "0 to 100"),
    ("from: 0, to: 30", "from: -1, to: 30", 11, "spec.layer.from", "not a share", "0 to 100"),
    ("name: staff", "name: Staff", 13, "spec.segments[0].name", "not a DNS label", "'staff'"),
    ("name: staff", "name: eu", 18, "spec.segments[1].name", "already in line 13", "own"),
    ("      variant: canary\n", "", 13, "spec.segments[0]", "neither", "variant: canary"),
    ("variant: canary\n    - name: eu", "variant: x\n    - name: eu", 17,
     "spec.segments[0].variant", "no variant 'x'", "stable, canary"),
    ("weights: {canary: 10}", "weights: {canry: 10}", 22, "spec.segments[1].weights.canry",
     "no variant 'canry'", "mean 'canary'"),
    ("weights: {canary: 10}", "weights: {canary: 101}", 22, "spec.segments[1].weights",
     "sums up to 101", "'stable' too"),
    ("weights: {canary: 10}", "weights: {stable: 0}", 22, "spec.segments[1].weights",
     "every weight is zero", "above zero"),
    ("weights: {canary: 10}", "weights: {}", 22, "spec.segments[1].weights", "no variant", "10"),
    ("weights: {canary: 10}", "weights: {canary: 10}\n      variant: canary", 18,
     "spec.segments[1]", "both", "variant: canary"),
    ("      variant: canary\n", "      variant: canary\n      salt: s\n", 18,
     "spec.segments[0].salt", "no effect", "remove"),
    (EMAIL, "{header: x-email}", 15, WHEN, "says nothing about it", "exact, in"),
    (EMAIL, "{suffix: a}", 15, WHEN, "looks at nothing", "header, cookie"),
    (EMAIL, "{header: a, cookie: b, exact: c}", 15, WHEN, "header and cookie at once", "one of"),
    (EMAIL, "{header: a, exact: b, prefix: c}", 15, WHEN, "exact and prefix at once", "two cond"),
    (EMAIL, "{header: a, not: {cookie: b, exact: c}}", 15, WHEN, "not and header", "one in each"),
    (EMAIL, "{header: x-canary-chat, exact: canary}", 15, f"{WHEN}.header", "reserved", "outside"),
    (EMAIL, "{header: a, exact: 5}", 15, f"{WHEN}.exact", "not text", "quotes"),
    (EMAIL, '{header: a, exact: ""}', 15, f"{WHEN}.exact", "is empty", "present: false"),
    (EMAIL, '{header: a, regex: "a("}', 15, f"{WHEN}.regex", "missing )", "re2/wiki"),
    (EMAIL, r'{header: a, regex: "(a)\\1"}', 15, f"{WHEN}.regex", "expression of RE2", "look-aro"),
    (EMAIL, "{header: a, in: []}", 15, f"{WHEN}.in", "empty list", "write one"),
    (EMAIL, "{header: a, in: [b, b]}", 15, f"{WHEN}.in[1]", "already", "keep one"),
    (EMAIL, "{header: a, sufix: b}", 15, f"{WHEN}.sufix", "not a field", "'suffix'"),
    (EMAIL, "{header: a, cidr: [10.0.0.1/8]}", 15, f"{WHEN}.cidr[0]", "not a network", "are 0"),
    (EMAIL, "{header: a, cidr: [a.example]}", 15, f"{WHEN}.cidr[0]", "not a network", "10.0.0.0/8"),
    (EMAIL, "{header: a, number: {}}", 15, f"{WHEN}.number", "without an end", "atLeast"),
    (EMAIL, "{header: a, number: {above: 2, below: 2}}", 15, f"{WHEN}.number", "nothing", "swap"),
    (EMAIL, "{header: a, number: {above: 1, atLeast: 2}}", 15, f"{WHEN}.number", "at once", "keep"),
    (EMAIL, "{header: a, number: {above: 1.0123456789}}", 15, f"{WHEN}.number.above",
     "more digits", "9 behind"),
    (EMAIL, '{header: a, number: {above: "1"}}', 15, f"{WHEN}.number.above", "not a number",
     "without quotes"),
    (EMAIL, '{header: a, date: {after: "2026-01-01"}}', 15, f"{WHEN}.date.after", "RFC 3339",
     "2026-11-01T00:00:00Z"),
    (EMAIL, '{header: a, date: {after: "2026-02-30T00:00:00Z"}}', 15, f"{WHEN}.date.after",
     "RFC 3339", "offset"),
    (EMAIL, "{metadata: {filter: jwt, path: []}, exact: a}", 15, f"{WHEN}.metadata.path",
     "empty list", "write one"),
    (EMAIL, "{metadata: {filter: jwt}, exact: a}", 15, f"{WHEN}.metadata.path", "is missing",
     "add it"),
    (EMAIL, "{attribute: Bad Name, exact: a}", 15, f"{WHEN}.attribute", "not an attribute",
     "connection.mtls"),
    (EMAIL, "{path: false, exact: a}", 15, f"{WHEN}.path", "is false", "remove"),
    (APP, '{header: a, semver: {below: "2.0"}}', 21, f"{WHERE}.semver.below", "not a semantic",
     "three numbers"),
    (APP, "{header: a, semver: {atLeast: 2.0.0, atMost: 2.0.0-rc.1}}", 21, f"{WHERE}.semver",
     "nothing", "swap"),
    (APP, "{anyOf: []}", 21, f"{WHERE}.anyOf", "empty list", "one condition"),
    (APP, "{not: {not: {not: {not: {header: a, exact: b}}}}}", 21,
     f"{WHERE}.not.not.not.not", "nested too deep", "at most 4"),
    (APP, "{not: {header: a}}", 21, f"{WHERE}.not", "says nothing", "exact"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "path", "message", "remedy"), RULES)
def test_a_malformed_rule_is_named_with_its_remedy(  # noqa: PLR0917 - one case
    old, new, line, path, message, remedy
):
    assert GOOD.count(old) == 1
    found = mistakes(GOOD.replace(old, new))
    assert [(one.line, one.path) for one in found] == [(line, path)], found
    assert message in found[0].message
    assert remedy in found[0].remedy


def test_an_empty_list_of_conditions_is_refused():
    text = GOOD.replace(f"        - {ANY}\n        - {APP}\n", "").replace(
        "when:\n      weights", "when: []\n      weights"
    )
    [found] = mistakes(text)
    assert (found.path, found.message) == ("spec.segments[1].when", "is an empty list")


# ---- several documents -----------------------------------------------------------------------


def rollout(name: str, *fields: str, unit: str = "x-user-id") -> str:
    lines = [
        "apiVersion: canary.dev/v1", "kind: Rollout", f"metadata: {{name: {name}}}", "spec:",
        f"  unit: [{{header: {unit}}}]",
        "  variants: [{name: stable, weight: 1}, {name: canary, weight: 1}]",
    ]  # fmt: skip
    return "\n".join([*lines, *(f"  {field}" for field in fields)]) + "\n"


def layer(begin: int, end: int) -> str:
    return f"layer: {{name: shop, from: {begin}, to: {end}}}"


def requires(*others: str) -> str:
    return "requires: [" + ", ".join(f"{{rollout: {o}, variants: [canary]}}" for o in others) + "]"


def together(*texts: str) -> list[tuple[str, int, str, str]]:
    reading = read(Source(f"{index}.yaml", text.encode()) for index, text in enumerate(texts))
    return [(one.file, one.line, one.path, one.message) for one in reading.mistakes]


def test_slices_that_overlap_are_blamed_on_both():
    found = together(rollout("a", layer(0, 30)), rollout("b", layer(29, 60)))
    assert [one[:3] for one in found] == [
        ("0.yaml", 7, "spec.layer"), ("1.yaml", 7, "spec.layer"),
    ]  # fmt: skip
    assert "overlaps that of rollout 'b' (29 to 60 %)" in found[0][3]
    assert not together(rollout("a", layer(0, 30)), rollout("b", layer(30, 60)))


def test_a_layer_or_holdout_with_two_units_is_refused():
    for field in (("layer: {name: l, to: 10}", "layer: {name: l, from: 10, to: 20}"),
                  ("holdout: {name: l, percent: 5}",) * 2):  # fmt: skip
        found = together(rollout("a", field[0]), rollout("b", field[1], unit="x-other"))
        assert len(found) == 2
        assert all("another unit" in one[3] for one in found)


def test_a_holdout_of_two_sizes_is_refused():
    one, other = ("holdout: {name: h, percent: 5}", "holdout: {name: h, percent: 6}")
    found = together(rollout("a", one), rollout("b", other))
    assert "5 % here and 6 % in rollout 'b'" in found[0][3]
    assert len(found) == 2


def test_prerequisites_in_a_circle_are_blamed_on_those_in_it_alone():
    found = together(
        rollout("a", requires("b")), rollout("b", requires("a")), rollout("c", requires("a"))
    )
    assert [one[0] for one in found] == ["0.yaml", "1.yaml"]
    assert all("by way of others" in one[3] for one in found)


def test_a_prerequisite_with_a_mistake_of_its_own_is_there_all_the_same():
    found = together(rollout("a", requires("b")), rollout("b", "layer: {name: L, to: 1}"))
    assert [one[2] for one in found] == ["spec.layer.name"]


# ---- what a document means ---------------------------------------------------------------------


def declared(text: str):
    [one] = read([Source("a.yaml", text.encode())]).declared
    return one.rollout


def test_a_document_without_rules_keeps_its_generation_and_rules_change_it():
    plain = generation(declared(rollout("a")))
    assert generation(declared(rollout("a", "exclude: []"))) == plain
    assert generation(declared(rollout("a", "exclude: [u]"))) != plain


def test_a_stored_document_with_rules_is_read_back_as_it_was():
    reading = read([Source("a.yaml", GOOD.encode())])
    for one in (found.rollout for found in reading.declared):
        kept = one.model_dump_json(by_alias=True, exclude_defaults=True)
        again = type(one).model_validate_json(kept)
        weights = {v.name: v.weight for v in one.variants}
        assert routing.route_of(again, weights) == routing.route_of(one, weights)
        assert generation(again) == generation(one)


# ---- trust -------------------------------------------------------------------------------------

CLAIM = "{metadata: {filter: envoy.filters.http.jwt_authn, path: [p, tier]}, exact: staff}"
COPIED = "{metadata: {filter: envoy.filters.http.header_to_metadata, path: [tier]}, exact: staff}"
TRUST = [
    ("[{header: x-staff, exact: yes}]", "variant: canary", True),
    ("[{cookie: staff, present: true}]", "weights: {canary: 100}", True),
    ("[{header: x-staff, exact: yes}]", "weights: {stable: 0, canary: 1}", True),
    (f"[{COPIED}]", "variant: canary", True),
    (f"[{{anyOf: [{CLAIM}, {{header: a, exact: b}}]}}]", "variant: canary", True),
    (f"[{{header: a, exact: b}}, {{not: {CLAIM}}}]", "variant: canary", True),
    ("[{header: x-staff, exact: yes}]", "weights: {canary: 99}", False),
    ("[{header: x-staff, exact: yes}]", "variant: stable", False),
    (f"[{CLAIM}]", "variant: canary", False),
    (f"[{{header: a, exact: b}}, {CLAIM}]", "variant: canary", False),
    ("[{clientAddress: true, cidr: [10.0.0.0/8]}]", "variant: canary", False),
    ("[{header: x-forwarded-client-cert, contains: qa}]", "variant: canary", False),
]


@pytest.mark.parametrize(("when", "gives", "warned"), TRUST)
def test_a_grant_by_client_input_alone_is_warned_about(when, gives, warned):
    text = rollout("a", f"segments: [{{name: s, when: {when}, {gives}}}]")
    reading = read([Source("a.yaml", text.encode())])
    assert not reading.mistakes
    assert [(one.line, one.path) for one in reading.warnings] == (
        [(7, "spec.segments[0]")] if warned else []
    )


def test_that_something_verified_is_absent_vouches_for_nobody():
    said = {"metadata": {"filter": "f", "path": ("k",)}, "present": False}
    assert not is_verified(rules.Condition.model_validate(said))
