"""An explanation says what the decision says, and its steps lead there."""

from fractions import Fraction

from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import REQUESTS, TABLES, routes
from ruled import KEYS, NOW_S, ruled_requests, ruled_tables

from sidecar.routing import Route, UnitSource, Variant, twin, twin_codec
from sidecar.routing.explaining import explain, explain_one


def read(message):
    return twin_codec.read(ext_proc.ProcessingRequest.parse(message))


@settings(max_examples=200)
@given(TABLES, REQUESTS.map(read))
def test_every_rollout_is_explained_and_those_that_speak_as_they_decide(table, request):
    explained = explain(table, request)
    assert [one.route.name for one in explained] == sorted(route.name for route in table)
    spoke = tuple(one.decision for one in explained if one.decision)
    assert spoke == twin.decide(table, request)
    assert all(bool(one.silence) != bool(one.decision) for one in explained)


@settings(max_examples=200)
@given(routes(), REQUESTS.map(read))
def test_the_steps_lead_to_the_variant(route, request):
    one = explain_one(route, request)
    if one.decision is None:
        return
    assert one.unit == twin.find_unit(route, request)
    assert [looked.source for looked in one.looked] == list(route.unit[: len(one.looked)])
    assert not any(looked.value for looked in one.looked[:-1])
    if one.decision.reason == "no_unit":
        assert not one.clocks
        return
    here = {s.variant for s in one.stretches if s.low <= one.decision.position < s.high}
    assert one.decision.variant in here
    assert {clock.variant for clock in one.clocks} == (here if len(here) > 1 else set())
    if one.clocks:
        first = min(one.clocks, key=lambda clock: Fraction(clock.time, clock.threshold))
        assert first.variant == one.decision.variant


@settings(max_examples=200)
@given(routes(), st.integers(0, twin.LINE - 1), st.integers(0, twin.LINE - 1))
def test_the_stretches_are_where_the_twin_puts_people(route, position, second):
    stretches = explain_one(route, twin.Request([])).stretches
    edges = {e for s in stretches for edge in (s.low, s.high) for e in (edge - 1, edge)}
    for point in [position, *(edge for edge in edges if 0 <= edge < twin.LINE)]:
        chosen = stretches[twin.slot_at(route, point, second)]
        assert chosen.low <= point < chosen.high


ROUTE = Route(
    name="chat",
    unit=(UnitSource("header", "x-user-id"), UnitSource("cookie", "sid")),
    salt=b"chat",
    variants=(Variant("stable", 95), Variant("canary", 5)),
    hosts=("chat.example.com",),
    path_prefix="/v1",
)


def asked(host=b"chat.example.com", path=b"/v1", **headers):
    sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return explain_one(ROUTE, twin.Request([(":authority", host), (":path", path), *sent]))


ROWS = {row: place for place, row in enumerate(twin.PRECEDENCE)}


@settings(max_examples=200, suppress_health_check=[HealthCheck.data_too_large])
@given(st.data())
def test_the_first_rule_that_applies_is_the_one_that_decides(data):
    table = data.draw(ruled_tables())
    request = read(data.draw(ruled_requests(table)))
    keys = data.draw(st.sampled_from([KEYS, ()]))
    decisions = {d.rollout: d for d in twin.decide(table, request, now_s=NOW_S, keys=keys)}
    for one in explain(table, request, now_s=NOW_S, keys=keys):
        assert one.decision == decisions.get(one.route.name)
        if one.decision is None:
            assert one.silence
            continue
        rows = [ROWS[rule.row] for rule in one.rules]
        assert rows == sorted(rows)
        first = next(rule for rule in one.rules if rule.applies)
        reason = f"segment:{first.name}" if first.row == "segment" else first.row
        if one.decision.reason == "no_unit":
            assert first.row in {"layer", "segment", "weight"}
            assert not one.unit
        else:
            assert one.decision.reason == reason
        if one.drawn and one.decision.has_unit:
            assert one.drawn[0] == one.decision.position
            here = {s.variant for s in one.stretches if s.low <= one.drawn[0] < s.high}
            assert one.decision.variant in here


def test_who_does_not_speak_says_why():
    assert asked(host=b"other").silence == ("host",)
    assert asked(path=b"/v10").silence == ("path",)
    assert asked(host=b"other", path=b"/").silence == ("host", "path")
    assert asked().silence == ()


def test_the_sources_looked_at_end_with_the_one_that_gave_the_unit():
    one = asked(cookie=b"a=b; sid=7")
    assert [looked.value for looked in one.looked] == [b"", b"7"]
    assert (one.unit, one.decision.reason) == (b"7", "weight")
    assert [looked.value for looked in asked(x_user_id=b"u", cookie=b"sid=7").looked] == [b"u"]
    assert (asked().unit, asked().decision.reason) == (b"", "no_unit")


def test_the_line_is_shared_out_in_exact_points():
    edge = 5 * twin.LINE // 100
    stable, canary = asked().stretches
    assert (canary.low, canary.high) == (0, edge)
    assert (stable.low, stable.high) == (edge, twin.LINE)


@given(REQUESTS)
def test_a_request_written_as_a_message_reads_back(message):
    request = read(message)
    assert read(twin_codec.write(request)) == request
