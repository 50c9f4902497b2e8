"""Any bytes give rollouts or mistakes, and any rollout gives a route."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sidecar import routing
from sidecar.rollout import Rollout, Source, generation, names, read, schema

SCHEMA = jsonschema.Draft202012Validator(schema())

FULL = {
    "apiVersion": "canary.dev/v1",
    "kind": "Rollout",
    "metadata": {"name": "chat", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {
        "assignment": "v1",
        "match": {"hosts": ["a.example.com"], "pathPrefix": "/v1"},
        "unit": [{"header": "x"}, {"cookie": "c"}, {"query": "q"}, {"clientAddress": True}],
        "salt": "s",
        "variants": [{"name": "a", "weight": 1, "cluster": "c"}, {"name": "b", "weight": 0}],
    },
}

labels = st.from_regex(names.DNS_LABEL, fullmatch=True).map(lambda text: text[:63].rstrip("-"))
odd = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5)
header_names = st.from_regex(r":?[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
tokens = st.from_regex(r"[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
hosts = st.from_regex(r"(\*\.)?[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,20}[a-zA-Z0-9_])?", fullmatch=True)
paths = st.from_regex(r"(/[^/?#\x00-\x20\x7f\ud800-\udfff]{1,8}){0,4}/", fullmatch=True)
salts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300)
weights = (
    st.decimals(0, 10**9, places=9)
    | st.decimals(0, 10**9, places=2)
    | st.integers(0, 10**9).map(Decimal)
)
sources = st.one_of(
    st.builds(lambda name: {"header": name}, header_names),
    st.builds(lambda name: {"cookie": name}, tokens),
    st.builds(lambda name: {"query": name}, tokens),
    st.just({"clientAddress": True}),
)
variants = st.fixed_dictionaries(
    {"name": labels, "weight": weights},
    optional={"cluster": st.from_regex(r"[!-~]{1,20}", fullmatch=True)},
)
specs = st.fixed_dictionaries(
    {
        "unit": st.lists(sources, min_size=1, max_size=3) | st.lists(sources, max_size=16),
        "variants": st.lists(variants, min_size=1, max_size=9, unique_by=lambda one: one["name"])
        | st.lists(variants, min_size=1, max_size=64),
    },
    optional={
        "assignment": st.just("v1"),
        "match": st.fixed_dictionaries(
            {}, optional={"hosts": st.lists(hosts, max_size=9), "pathPrefix": paths}
        ),
        "salt": salts,
    },
)
rollouts = st.fixed_dictionaries(
    {
        "apiVersion": st.just("canary.dev/v1"),
        "kind": st.just("Rollout"),
        "metadata": st.fixed_dictionaries(
            {"name": labels}, optional={"labels": st.dictionaries(st.text("ab"), st.text("ab"))}
        ),
        "spec": specs,
    }
)


def dumped(value: Any) -> str:
    """JSON with decimals as they are."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)}: {dumped(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(dumped, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def check(name: str, data: bytes) -> None:
    reading = read([Source(name, data)])
    says_none = b"[" in data and b"]" in data
    assert reading.declared or reading.mistakes or says_none
    lines = len(data.decode(errors="replace").splitlines()) + 1
    for mistake in reading.mistakes:
        assert mistake.file == name
        assert 1 <= mistake.line <= lines
        assert mistake.column >= 1
        assert mistake.message
        assert mistake.remedy
        assert mistake.message.isprintable()
        assert mistake.path.isprintable()
    for declared in reading.declared:
        routing.route_of(declared.rollout, {v.name: v.weight for v in declared.rollout.variants})


@given(st.binary(max_size=300), st.sampled_from(["a.yaml", "a.json"]))
@example(b'"\\ud83d\\ude00"', "a.yaml")
@example(b"a: 1e99999999999999999999", "a.yaml")
@example(b"\xef\xbb\xbf", "a.yaml")
@example(b"%TAG ! !\n--- !a b", "a.yaml")
@example(b"\xc2\x85\xe2\x80\xa8: ]", "a.yaml")
def test_any_bytes_give_rollouts_or_mistakes(data, name):
    check(name, data)


@given(
    st.text(st.sampled_from("{}[]:,-?&*!|>'\"%@` \n\t#ab01.~<="), max_size=80),
    st.sampled_from(["a.yaml", "a.json"]),
)
def test_any_punctuation_gives_rollouts_or_mistakes(text, name):
    check(name, text.encode())


@given(rollouts, st.data())
def test_a_broken_copy_of_a_rollout_gives_rollouts_or_mistakes(document, data):
    text = dumped(document).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    put = data.draw(
        st.sampled_from([b"", b" ", b"[", b"}", b'"', b"null", b"-1", b"\n", b"&a ", b"\xff"])
    )
    check("a.json", text[:start] + put + text[end:])
    check("a.yaml", text[:start] + put + text[end:])


ODD = [None, True, False, 0, -1, 1.5, 1e300, "", "x", [], [None], [[]], ["x"], {}, {"x": {}}]


def everywhere(value: Any, put: Any) -> Iterator[Any]:
    """Copies of `value`, with `put` in place of each of its parts in turn."""
    yield put
    if isinstance(value, dict):
        for key, one in value.items():
            yield from ({**value, key: copy} for copy in everywhere(one, put))
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from (
                [*value[:index], copy, *value[index + 1 :]] for copy in everywhere(one, put)
            )


@pytest.mark.parametrize("put", ODD, ids=repr)
def test_an_odd_value_in_every_place_is_named(put):
    for document in everywhere(FULL, put):
        check("a.json", json.dumps(document).encode())
        check("a.yaml", yaml.safe_dump(document).encode())


def odd_somewhere(draw: Any, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: odd_somewhere(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], odd_somewhere(draw, value[index]), *value[index + 1 :]]
    return draw(odd | st.lists(odd, max_size=2) | st.dictionaries(st.text("abc"), odd, max_size=2))


@given(rollouts, st.data())
def test_an_odd_value_anywhere_is_named_and_the_schema_accepts_what_reads(document, data):
    broken = odd_somewhere(data.draw, document)
    text = dumped(broken)
    check("a.json", text.encode())
    reading = read([Source("a.json", text.encode())])
    if reading.declared and not isinstance(broken, list):
        SCHEMA.validate(json.loads(text, parse_float=Decimal))


@given(rollouts)
def test_a_document_is_refused_only_for_what_no_schema_can_say(document):
    text = dumped(document)
    assume(document["spec"]["unit"])
    SCHEMA.validate(json.loads(text, parse_float=Decimal))
    for mistake in read([Source("a.json", text.encode())]).mistakes:
        assert re.search(
            r"stands already|every weight is zero|reserved|':authority'|bytes", mistake.message
        )


@given(rollouts)
def test_a_rollout_that_reads_becomes_a_route_with_its_exact_shares(document):
    reading = read([Source("a.json", dumped(document).encode())])
    assume(reading.declared)
    rollout = reading.declared[0].rollout
    assert rollout.name == document["metadata"]["name"]
    assert [v.weight for v in rollout.variants] == [
        v["weight"] for v in document["spec"]["variants"]
    ]
    route = routing.route_of(rollout, {v.name: v.weight for v in rollout.variants})
    ratios = [Fraction(variant.weight) for variant in rollout.variants]
    assert route.thresholds == tuple(int(one * 2**64 / sum(ratios)) for one in ratios)
    assert [source.kind for source in route.unit] == [
        next(iter(one)).replace("clientAddress", "client_address")
        for one in document["spec"]["unit"]
    ]
    again = Rollout.model_validate_json(
        rollout.model_dump_json(by_alias=True, exclude_defaults=True)
    )
    assert again == rollout
    assert generation(again) == generation(rollout)
