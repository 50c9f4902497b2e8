"""A document's guardrails as the judge takes them."""

import pytest

from sidecar import analysis, rollout
from sidecar.analysis import Absolute, Limit, Relative

HEAD = (
    "apiVersion: canary.dev/v1\nkind: Rollout\nmetadata: {name: chat}\nspec:\n"
    "  unit: [{header: x-user-id}]\n"
    "  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]\n"
    "  steps: [{weight: 5, hold: 10m}, {weight: 100}]\n"
)


def declared(guardrail):
    text = f"{HEAD}  guardrails: [{guardrail}]\n"
    reading = rollout.read([rollout.Source("chat.yaml", text.encode())])
    assert not reading.mistakes
    return analysis.declared(reading.declared[0].rollout.spec.guardrails[0])


@pytest.mark.parametrize(
    ("guardrail", "margin", "limit"),
    [
        ("{metric: error_rate, maxIncrease: 0.5pp}", Absolute(0.005), None),
        ("{metric: error_rate, maxIncrease: 20%, limit: 5%}", Relative(0.2), Limit(0.05)),
        ("{metric: latency_p99, maxIncrease: 50ms, limit: 2s}", Absolute(0.05), Limit(2.0)),
        ("{metric: latency_p999, limit: 500ms}", None, Limit(0.5)),
        ("{metric: latency, maxIncrease: 10%}", Relative(0.1), None),
    ],
)
def test_units_become_fractions_and_seconds(guardrail, margin, limit):
    found = declared(guardrail)
    assert (found.margin, found.limit) == (margin, limit)


def test_weight_and_minimum_are_carried_over():
    found = declared("{metric: error_rate, maxIncrease: 1pp, weight: 3, minSamples: 200}")
    assert (found.weight, found.minimum) == (3.0, 200)
