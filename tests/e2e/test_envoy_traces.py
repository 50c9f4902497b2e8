"""One request, seen from everywhere: Envoy's spans, the sidecar's below them, the access log."""

import contextlib
import json
from urllib.request import Request, urlopen

import pytest
from telemetry_lab import UNSAMPLED, collector, traceparent

from bench.lab import oracle
from bench.lab.load import user
from bench.lab.process import wait_until
from bench.lab.stack import Plan, Stack

USERS = set(map(user, range(50)))
COHORT = oracle.cohort("chat-model", USERS, oracle.share(50, 100))
IN_AT_50, OUT_AT_50 = min(COHORT), min(USERS - COHORT)
VARIANT = {IN_AT_50: "canary", OUT_AT_50: "stable"}
TAG = "canary.variant.chat-model"
ASYNC = "async envoy.service.ext_proc.v3.ExternalProcessor.Process egress"


@contextlib.contextmanager
def running(name, percent=100.0, change=lambda config: config):
    def changed(config):
        at_once = {"tracing.opentelemetry.flush_interval_ms": 50}
        layers = [{"name": "test", "static_layer": at_once}]
        return change({**config, "layered_runtime": {"layers": layers}})

    with collector() as received:
        observed = {
            "otlp": f"127.0.0.1:{received.port}",
            "access_log": "access.log",
            "trace_percent": percent,
        }
        env = {**received.env, "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRICS_EXPORTER": "none"}
        with Stack(Plan(name=name, env=env, observed=observed, adjust=changed)) as stack:
            stack.canary("weights", "chat-model", "canary=50")
            wait_until("the weights", lambda: get(stack, IN_AT_50, not_sampled()) == "canary")
            yield stack, received
        stack.remove()


@pytest.fixture(scope="module")
def lab():
    with running("traces") as started:
        yield started


def not_sampled(trace=99):
    return {"traceparent": traceparent(trace, 1, UNSAMPLED)}


def access_log(stack, path):
    """The line of the access log about the one request to this path, once Envoy wrote it."""

    def found():
        lines = map(json.loads, (stack.work / "access.log").read_text().splitlines())
        return next((line for line in lines if line["path"] == path), None)

    return wait_until(f"the access log of {path}", found)


def get(stack, who, headers=None, path="/"):
    request = Request(stack.envoy.url + path, headers={"x-user-id": who, **(headers or {})})
    with urlopen(request, timeout=10) as answer:
        return answer.headers["x-answered-by"]


def spans_of(received, trace):
    """The spans of one trace by name, once Envoy and the sidecar have exported theirs."""

    def found():
        spans = {span.name: span for span in received.spans if span.trace == trace}
        return spans if {ASYNC, "decide chat-model"} <= spans.keys() and len(spans) >= 4 else None

    return wait_until(f"trace {trace}", found)


@pytest.mark.parametrize("who", [IN_AT_50, OUT_AT_50])
def test_the_sidecars_span_stands_below_envoys_own_span_of_the_call(lab, who):
    stack, received = lab
    trace = 100 + len(received.spans)
    assert get(stack, who, {"traceparent": traceparent(trace, 7)}) == VARIANT[who]
    spans = spans_of(received, trace)
    [ingress] = [span for span in spans.values() if span.parent == 7]
    assert spans[ASYNC].parent == ingress.id
    decision = spans["decide chat-model"]
    assert (decision.service, decision.parent) == ("canary-sidecar", spans[ASYNC].id)
    assert decision.attributes["canary.variant"] == VARIANT[who]
    assert ingress.service == "envoy"
    assert ingress.attributes[TAG] == VARIANT[who]
    assert ingress.start_ns <= decision.start_ns < decision.end_ns <= ingress.end_ns


def test_what_is_not_sampled_gives_no_span_and_is_named_in_the_access_log_all_the_same(lab):
    stack, received = lab
    assert get(stack, IN_AT_50, not_sampled(50), "/unsampled") == "canary"
    assert get(stack, OUT_AT_50, {"traceparent": traceparent(51, 1)}, "/sampled") == "stable"
    spans_of(received, 51)
    assert not [span for span in received.spans if span.trace == 50]
    line = access_log(stack, "/unsampled")
    assert (line[TAG], line["upstream_cluster"]) == ("canary", "chat-model-canary")
    assert line["trace_id"] == f"{50:032x}"
    assert line["response_code"] == 200
    assert access_log(stack, "/sampled")[TAG] == "stable"


def test_envoys_share_holds_for_the_sidecar_and_for_what_clients_want_sampled():
    with running("untraced", percent=0.0) as (stack, received):
        for who in (IN_AT_50, OUT_AT_50):
            assert get(stack, who) == VARIANT[who]
            assert get(stack, who, {"traceparent": traceparent(7, 1)}) == VARIANT[who]
        assert stack.children["canary"].stop() == 0
        assert not received.spans


def without_client_span(config):
    [listener] = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["emit_client_span"] = False
    return config


def test_without_envoys_client_span_envoys_own_is_tagged_and_the_sidecar_makes_none():
    with running("no-client-span", change=without_client_span) as (stack, received):
        assert get(stack, IN_AT_50, {"traceparent": traceparent(8, 1)}) == "canary"

        def ingress():
            return [span for span in received.of("envoy") if span.parent == 1]

        [span] = wait_until("Envoy's span", ingress)
        assert span.attributes[TAG] == "canary"
        assert stack.children["canary"].stop() == 0
        assert not received.of("canary-sidecar")
