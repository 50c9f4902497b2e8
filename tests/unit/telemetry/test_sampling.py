import pytest
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import given
from hypothesis import strategies as st
from messages import header_map, request_headers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from telemetry_lab import UNSAMPLED, traceparent

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table
from sidecar.telemetry.spans import Decided, encode, request
from sidecar.telemetry.tracing import Tracing

USER = (UnitSource("header", "x-user-id"),)
MESSAGE = request_headers([(":path", b"/"), ("x-user-id", b"u1")])
ON, OFF = sampling.ALWAYS_ON, sampling.ALWAYS_OFF


def table(*names):
    routes = [Route(name, USER, b"s", (Variant("stable", 1),)) for name in names or ["chat"]]
    return Table(compile_table(routes, "v"))


def official(batch):
    """Read a batch as a collector would, by the published messages."""
    sent = ExportTraceServiceRequest.FromString(request(batch, Resource({"service.name": "s"})))
    [resource] = sent.resource_spans
    [scope] = resource.scope_spans
    assert [one.key for one in resource.resource.attributes] == ["service.name"]
    assert scope.scope.name == "canary"
    return scope.spans


class Watched:
    """A tracing with this sampler, and the spans it made."""

    def __init__(self, sampler):
        self.kept = []
        self.tracing = Tracing(sampler, self.kept.extend)

    @property
    def spans(self):
        return official(self.kept)

    def ask(self, parent=None, *, table=table(), message=MESSAGE, others=()):  # noqa: B008
        metadata = [("user-agent", "envoy"), *others]
        if parent:
            metadata.append(("traceparent", parent))
        if watch := self.tracing.watch(tuple(metadata)):
            watch(table, message, 1000)
        return self


SAMPLED = traceparent(5, 6)
NOT = traceparent(5, 6, UNSAMPLED)


@pytest.mark.parametrize(
    ("sampler", "below_sampled", "below_unsampled", "without"),
    [
        (sampling.ParentBased(ON), 1, 0, 1),
        (sampling.ParentBased(OFF), 1, 0, 0),
        (sampling.ParentBasedTraceIdRatio(0), 1, 0, 0),
        (sampling.ParentBasedTraceIdRatio(1), 1, 0, 1),
        (sampling.TraceIdRatioBased(1), 1, 1, 1),
        (sampling.TraceIdRatioBased(0), 0, 0, 0),
        (ON, 1, 1, 1),
        (OFF, 0, 0, 0),
    ],
    ids=lambda value: value.get_description()[:40] if isinstance(value, sampling.Sampler) else "",
)
def test_the_sampler_decides_as_it_would_for_any_span(
    sampler, below_sampled, below_unsampled, without
):
    assert len(Watched(sampler).ask(SAMPLED).spans) == below_sampled
    assert len(Watched(sampler).ask(NOT).spans) == below_unsampled
    assert len(Watched(sampler).ask().spans) == without


def test_a_ratio_samples_that_share_of_calls_without_a_parent():
    watched = Watched(sampling.ParentBasedTraceIdRatio(0.3))
    for _ in range(2000):
        watched.ask()
    assert 500 < len(watched.spans) < 700
    assert len({span.trace_id for span in watched.spans}) == len(watched.spans)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        SAMPLED[:-3],
        "é" * 55,
        "ff" + SAMPLED[2:],
    ],
)
def test_a_parent_that_is_none_begins_a_trace(parent):
    [span] = Watched(sampling.ParentBased(ON)).ask(parent).spans
    assert span.parent_span_id == b""


def test_a_later_version_of_the_parents_format_is_followed():
    [span] = Watched(sampling.ParentBased(ON)).ask("01" + SAMPLED[2:] + "-more").spans
    assert int.from_bytes(span.parent_span_id) == 6
    assert not Watched(sampling.ParentBased(ON)).ask("01" + NOT[2:] + "-more").spans


TEXT = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True),
)


@given(parent=TEXT, state=st.text(max_size=40), more=st.binary(max_size=5))
def test_no_metadata_whatever_breaks_a_decision(parent, state, more):
    for sampler in (sampling.ParentBased(ON), sampling.TraceIdRatioBased(0.5)):
        others = [("tracestate", state), ("x-bin", more)]
        Watched(sampler).ask(parent, others=others)


def test_binary_metadata_is_no_obstacle():
    others = [("x-bin", b"\x00\xff")]
    [span] = Watched(sampling.ParentBased(ON)).ask(SAMPLED, others=others).spans
    assert [int.from_bytes(one) for one in (span.trace_id, span.parent_span_id)] == [5, 6]


def test_every_rollout_that_spoke_gets_its_span_in_one_trace():
    both = table("a", "b")
    for parent in (SAMPLED, None):
        sent = Watched(ON).ask(parent, table=both).spans
        assert [span.name for span in sent] == ["decide a", "decide b"]
        assert len({span.trace_id for span in sent}) == 1
        assert len({span.span_id for span in sent}) == 2


def test_what_decides_nothing_gives_no_span():
    message = bytes(ext_proc.ProcessingRequest(response_headers=header_map([(":status", b"200")])))
    assert not Watched(ON).ask(SAMPLED, message=message).spans


def test_a_reason_the_conventions_do_not_know_is_unknown_to_them():
    class Killed:
        version = "v"

        @staticmethod
        def decide(_message, _now_s):
            return [("chat", "stable", "killed", 1, 2)]

    [sent] = Watched(ON).ask(SAMPLED, table=Killed()).spans
    said = {one.key: one.value.string_value for one in sent.attributes}
    assert said["feature_flag.result.reason"] == "unknown"
    assert said["canary.reason"] == "killed"


DECIDED = st.builds(
    Decided,
    rollout=st.sampled_from(["chat", "search"]),
    variant=st.sampled_from(["stable", "canary"]),
    reason=st.sampled_from(["weight", "no_unit"]),
    version=st.text("0123456789abcdef", min_size=12, max_size=12),
    second=st.integers(0, 2**64 - 1),
    trace_id=st.integers(1, 2**128 - 1),
    parent=st.integers(0, 2**64 - 1),
    tracestate=st.text("abc=,", max_size=300),
    end_ns=st.integers(2**40, 2**62),
    took_ns=st.integers(0, 2**40),
)


@given(batch=st.lists(DECIDED, max_size=5))
def test_what_is_written_by_hand_is_what_the_official_messages_would_say(batch):
    sent = official([encode(one, number) for number, one in enumerate(batch, 1)])
    for number, (one, span) in enumerate(zip(batch, sent, strict=True), 1):
        assert int.from_bytes(span.trace_id) == one.trace_id
        assert int.from_bytes(span.span_id) == number
        assert int.from_bytes(span.parent_span_id or b"\0") == one.parent
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert span.trace_state == (one.tracestate if one.parent else "")
        assert span.flags == (0x300 if one.parent else 0x100)
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
            one.end_ns - one.took_ns,
            one.end_ns,
        )
        units = [a.value.string_value for a in span.attributes if "context.id" in a.key]
        assert units == ([] if one.reason == "no_unit" else [f"{one.second:016x}"])
        assert len(span.attributes) == 9 + len(units)
