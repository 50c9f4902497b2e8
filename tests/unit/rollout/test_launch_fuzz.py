"""Any launch that reads fits the schema and survives the store; any other is named."""

import json
from datetime import UTC, datetime

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_rollout_fuzz import ODD, check, everywhere

from sidecar import delivery
from sidecar.delivery import Document, Origin, Tick
from sidecar.rollout import Rollout, Source, generation, is_open, read, schema

SCHEMA = jsonschema.Draft202012Validator(schema())
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
FULL = {
    "strategy": "canary",
    "candidate": "b",
    "steps": [
        {"weight": 5, "hold": "2h", "minSamples": 100, "approval": True},
        {
            "weight": 100,
            "gate": {"url": "http://gate/x", "timeout": "5s"},
            "window": {"days": ["mon"], "from": "09:00", "to": "12:00", "timeZone": "UTC"},
        },
    ],
    "guardrails": [
        {"metric": "error_rate", "maxIncrease": "0.5pp", "limit": "5%", "weight": 2},
        {"metric": "latency_p99", "maxIncrease": "20%", "minSamples": 10},
    ],
    "onNotMeasured": "hold",
    "relaunch": "refresh",
    "notifications": [{"webhook": "https://hook/x"}, {"webhookFile": "/etc/hook"}],
}

durations = st.lists(
    st.tuples(st.integers(0, 99), st.sampled_from(["ms", "s", "m", "h"])), min_size=1, max_size=3
).map(lambda parts: "".join(f"{number}{unit}" for number, unit in parts))
clocks = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda t: f"{t[0]:02}:{t[1]:02}")
windows = st.fixed_dictionaries(
    {},
    optional={
        "days": st.lists(st.sampled_from(["mon", "tue", "sat", "sun"]), min_size=1, unique=True),
        "from": clocks,
        "to": clocks | st.just("24:00"),
        "timeZone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia"]),
    },
)
steps = st.fixed_dictionaries(
    {"weight": st.integers(0, 101) | st.floats(0.001, 100).map(lambda weight: round(weight, 3))},
    optional={
        "hold": durations,
        "minSamples": st.integers(0, 10**6),
        "approval": st.booleans(),
        "gate": st.just({"url": "http://gate/x"}),
        "window": windows,
    },
)
margins = st.tuples(
    st.integers(-1, 99), st.sampled_from(["pp", "%", "ms", "s", "us", "", "x"])
).map(lambda pair: f"{pair[0]}{pair[1]}")
guardrails = st.fixed_dictionaries(
    {"metric": st.sampled_from(["error_rate", "latency", "latency_p99", "latency_p999"])},
    optional={"maxIncrease": margins, "limit": margins, "weight": st.integers(0, 3)},
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["canary", "blueGreen"]),
        "candidate": st.sampled_from(["a", "b", "c"]),
        "steps": st.lists(steps, max_size=4),
        "guardrails": st.lists(guardrails, max_size=3),
        "onNotMeasured": st.sampled_from(["hold", "proceed", "rollback"]),
        "relaunch": st.sampled_from(["reuse", "refresh"]),
    },
)
SORTED_STEPS = st.lists(steps, min_size=1, max_size=4, unique_by=lambda one: one["weight"]).map(
    lambda made: sorted(made, key=lambda one: one["weight"])
)


def document(spec):
    return {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": "chat"},
        "spec": {
            "unit": [{"cookie": "c"}],
            "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 0}],
            **spec,
        },
    }


def begun(whole):
    """Read a document; where it is faultless, hold it to what every later reader relies on."""
    text = json.dumps(whole).encode()
    check("a.json", text)
    for one in read([Source("a.json", text)]).declared:
        SCHEMA.validate(whole)
        rollout = one.rollout
        kept = rollout.model_dump_json(by_alias=True, exclude_defaults=True)
        again = Rollout.model_validate_json(kept)
        assert (again, generation(again)) == (rollout, generation(rollout))
        assert again.plan == rollout.plan
        origin = Origin(NOW, "folder")
        first = delivery.adopt(None, Document(rollout, generation(rollout), "a.json"), origin)
        assert (first.state.progress is None) == (rollout.plan is None)
        delivery.handle(first.state, Tick(), Origin(NOW, "controller"))
        for step in rollout.spec.steps:
            assert is_open(step.window, NOW) in (True, False)


def test_the_full_launch_is_faultless():
    assert read([Source("a.json", json.dumps(document(FULL)).encode())]).mistakes == ()
    begun(document(FULL))


@pytest.mark.parametrize("put", ODD, ids=repr)
def test_an_odd_value_in_every_place_of_a_launch_is_named(put):
    for spec in everywhere(FULL, put):
        if isinstance(spec, dict):
            begun(document(spec))
            check("a.yaml", yaml.safe_dump(document(spec)).encode())


@given(specs)
def test_any_launch_that_reads_fits_the_schema_and_survives_the_store(spec):
    begun(document(spec))


@given(SORTED_STEPS, st.sampled_from(["reuse", "refresh"]))
def test_growing_steps_are_refused_for_their_windows_at_most(made, relaunch):
    text = json.dumps(document({"steps": made, "relaunch": relaunch})).encode()
    begun(document({"steps": made, "relaunch": relaunch}))
    for mistake in read([Source("a.json", text)]).mistakes:
        known = ("never open", "always ends outside", "more than 100", "is 0: nobody")
        assert any(word in mistake.message for word in known), mistake
