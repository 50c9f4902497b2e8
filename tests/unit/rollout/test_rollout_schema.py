"""The published schema says what reading says, as far as a schema can."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sidecar.rollout import Source, read, schema

EXAMPLES = sorted((Path(__file__).parents[3] / "deploy/examples/rollouts").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(schema())

GOOD: dict[str, Any] = {
    "apiVersion": "canary.dev/v1",
    "kind": "Rollout",
    "metadata": {"name": "chat"},
    "spec": {
        "match": {"hosts": ["A.example.com"], "pathPrefix": "/v1/"},
        "unit": [{"header": "X-User-Id"}, {"clientAddress": True}],
        "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 0.5}],
    },
}

WRONG = [
    (("apiVersion",), "canary.dev/v2"),
    (("kind",), "Secret"),
    (("extra",), 1),
    (("metadata", "name"), "Chat"),
    (("metadata", "name"), "shadow-chat"),
    (("metadata", "name"), 5),
    (("metadata", "labels"), {"a": 1}),
    (("metadata",), None),
    (("spec", "assignment"), "v2"),
    (("spec", "match", "hosts"), ["a:80"]),
    (("spec", "match", "hosts"), "a"),
    (("spec", "match", "pathPrefix"), "v1"),
    (("spec", "match", "pathPrefix"), "/v1//"),
    (("spec", "match", "path"), "/v1"),
    (("spec", "unit"), []),
    (("spec", "unit"), [{"query": f"q{index}"} for index in range(17)]),
    (("spec", "unit"), [{}]),
    (("spec", "unit"), [{"header": "a", "cookie": "b"}]),
    (("spec", "unit"), [{"header": "host"}]),
    (("spec", "unit"), [{"header": "X-Canary-A"}]),
    (("spec", "unit"), [{"clientAddress": False}]),
    (("spec", "salt"), ""),
    (("spec", "salt"), "a\tb"),
    (("spec", "variants"), []),
    (("spec", "variants"), [{"name": "a"}]),
    (("spec", "variants"), [{"name": "a", "weight": -1}]),
    (("spec", "variants"), [{"name": "a", "weight": "1"}]),
    (("spec", "variants"), [{"name": "a", "weight": 1e10}]),
    (("spec", "variants"), [{"name": "a", "weight": True}]),
    (("spec", "variants"), [{"name": "a", "weight": 1, "cluster": "a b"}]),
]


def changed(loc: tuple[str, ...], value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    place = document
    for step in loc[:-1]:
        place = place[step]
    place[loc[-1]] = value
    return document


def reads(document: Any) -> bool:
    return not read([Source("a.json", json.dumps(document).encode())]).mistakes


def parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from parts(value)
    if isinstance(node, list):
        for value in node:
            yield from parts(value)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_schema_and_reading_accept_the_same_document():
    VALIDATOR.validate(GOOD)
    assert reads(GOOD)


@pytest.mark.parametrize(("loc", "value"), WRONG, ids=str)
def test_schema_and_reading_refuse_the_same_mistake(loc, value):
    document = changed(loc, value)
    assert not VALIDATOR.is_valid(document)
    assert not reads(document)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_shipped_examples_fit_the_schema(path):
    for document in yaml.safe_load_all(path.read_text()):
        VALIDATOR.validate(document)


def test_every_field_has_an_example_that_reads():
    for loc in (("spec", "match"), ("spec", "unit"), ("spec", "salt"), ("spec", "variants")):
        node = schema()
        for step in loc:
            node = node["properties"][step]
        for example in node["examples"]:
            assert reads(changed(loc, example))


def test_a_crd_could_carry_it():
    for node in parts(schema()):
        assert not {"$ref", "$defs", "oneOf", "const", "uniqueItems", "default"} & node.keys()


def test_every_mapping_is_closed_and_every_field_has_a_type():
    for node in parts(schema()):
        if node.get("type") == "object" and "properties" in node:
            assert node["additionalProperties"] is False
            assert all("type" in field for field in node["properties"].values())


def test_each_caller_has_a_schema_of_its_own():
    schema()["properties"].clear()
    assert schema()["properties"]
