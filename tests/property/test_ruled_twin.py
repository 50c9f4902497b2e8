"""With rules of every kind, the native core and its twin give the same bytes to the same bytes."""

import os

from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruled import KEYS, NOW_S, TESTS, VALUES, ruled_requests, ruled_tables

from sidecar.routing import (
    Route,
    Table,
    UnitSource,
    Variant,
    compile_table,
    force,
    twin,
    twin_codec,
)
from sidecar.routing.rules import Check, Input, Segment
from sidecar.routing.twin_rules import fits

EXAMPLES = int(os.environ.get("CANARY_EXAMPLES", "250"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def twin_refusals(message: bytes) -> str:
    request = twin_codec.read(ext_proc.ProcessingRequest.parse(message))
    return force.read(request.first("canary-force"), KEYS, NOW_S).refusal


@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(st.data())
def test_same_answers_bit_for_bit(data):
    table = data.draw(ruled_tables())
    native = Table(compile_table(table, "v-1", KEYS))
    refused = dict.fromkeys(native.force_refused(), 0)
    for message in data.draw(st.lists(ruled_requests(table), min_size=1, max_size=4)):
        expected = twin_codec.answer(table, "v-1", message, now_s=NOW_S, keys=KEYS)
        assert native.answer(message, NOW_S) == expected
        if why := twin_refusals(message):
            refused[why] += 1
    assert native.force_refused() == refused


@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(st.data())
def test_same_positions_reasons_and_counts(data):
    table = data.draw(ruled_tables())
    message = data.draw(ruled_requests(table))
    request = twin_codec.read(ext_proc.ProcessingRequest.parse(message))
    decided = twin.decide(table, request, now_s=NOW_S, keys=KEYS)
    native = Table(compile_table(table, "v", KEYS))
    assert native.decide(message, NOW_S) == [
        (d.rollout, d.variant, d.reason, d.position, d.second) for d in decided
    ]
    native.answer(message, NOW_S)
    assert native.tally() == {(d.rollout, d.variant, d.reason): 1 for d in decided}


@settings(max_examples=2 * EXAMPLES)
@given(TESTS, VALUES)
def test_every_operator_says_the_same_of_every_value(test, value):
    on_header = Check(Input("header", ("x-v",)), test.operator, test.texts, test.low, test.high)
    route = Route(
        "r",
        (UnitSource("header", "x-user-id"),),
        b"s",
        (Variant("a", 1), Variant("b", 0)),
        segments=(Segment("s", (on_header,), variant="b"),),
    )
    message = twin_codec.write(twin.Request([("x-v", value)]))
    [(_, variant, *_)] = Table(compile_table([route], "v")).decide(message)
    assert (variant == "b") == fits(on_header, value)
