"""Spans over the wire: Envoy's call in, an engine, the SDK, OTLP, an official receiver."""

import asyncio
import contextlib
import time
from contextvars import ContextVar

import grpc
import pytest
from control_lab import short_dir, until
from messages import request_headers
from telemetry_lab import UNSAMPLED, collector, traceparent

from sidecar import telemetry
from sidecar.extproc import SERVICE, create
from sidecar.routing import Route, Table, UnitSource, Variant, compile_table

USER = (UnitSource("header", "x-user-id"),)
MESSAGE = request_headers([(":path", b"/"), ("x-user-id", b"u1")])
NO_UNIT = request_headers([(":path", b"/")])
SERVER_KIND = 2
KIND = ContextVar("engine")


@pytest.fixture(autouse=True, params=["native", "grpcio"])
def engine_kind(request):
    token = KIND.set(request.param)
    yield request.param
    KIND.reset(token)


def table(*names, version="v7"):
    routes = [Route(name, USER, b"s", (Variant("stable", 1),)) for name in names or ["chat"]]
    return Table(compile_table(routes, version))


@pytest.fixture
def env(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    return monkeypatch


@contextlib.asynccontextmanager
async def watched(env, received, *names, **variables):
    """An engine whose spans go to `received`; yields what asks it."""
    for name, value in {**received.env, "OTEL_METRICS_EXPORTER": "none", **variables}.items():
        env.setenv(name, value)
    onlooker = telemetry.start("canary-sidecar", "node-1")
    with short_dir() as folder:
        engine = create(KIND.get(), f"unix://{folder}/x.sock")
        engine.observer = onlooker.observer
        await engine.start()
        engine.swap(table(*names))
        async with grpc.aio.insecure_channel(f"unix:{folder}/x.sock") as channel:
            try:
                yield lambda *said: ask(channel, *said)
            finally:
                await engine.drain(0)
                await asyncio.to_thread(onlooker.stop)


async def ask(channel, parent=None, message=MESSAGE):
    metadata = [("traceparent", parent), ("tracestate", "a=b")] if parent else []
    call = channel.stream_stream(f"/{SERVICE}/Process")(timeout=10, metadata=metadata)
    await call.write(message)
    assert await call.read() == table().answer(message)
    call.cancel()


def test_a_sampled_call_gives_one_span_below_it_that_says_what_was_decided(env):
    async def scenario():
        with collector() as received:
            async with watched(env, received) as said:
                before_ns = time.time_ns()
                await said(traceparent(7, 9))
                await until(lambda: received.spans, "the span")
        [span] = received.spans
        assert (span.trace, span.parent, span.kind) == (7, 9, SERVER_KIND)
        assert span.name == "decide chat"
        assert before_ns < span.start_ns < span.end_ns < time.time_ns()
        [(_, _, _, _, pseudonym)] = table().decide(MESSAGE)
        assert span.attributes == {
            "feature_flag.key": "chat",
            "feature_flag.provider.name": "canary",
            "feature_flag.result.variant": "stable",
            "feature_flag.result.reason": "split",
            "feature_flag.version": "v7",
            "feature_flag.context.id": f"{pseudonym:016x}",
            "canary.rollout": "chat",
            "canary.variant": "stable",
            "canary.reason": "weight",
            "canary.version": "v7",
        }
        [resource] = received.resources
        assert resource["service.name"] == "canary-sidecar"
        assert resource["service.instance.id"] == "node-1"

    asyncio.run(scenario())


def test_a_call_that_is_not_sampled_gives_none_and_the_unit_never_leaves(env):
    async def scenario():
        with collector() as received:
            async with watched(env, received) as said:
                await said(traceparent(1, 1, UNSAMPLED))
                await said(traceparent(2, 2), NO_UNIT)
                await until(lambda: received.spans, "the span")
        [span] = received.spans
        assert span.trace == 2
        assert span.attributes["feature_flag.result.reason"] == "default"
        assert "feature_flag.context.id" not in span.attributes

    asyncio.run(scenario())


def test_the_environment_names_the_process_and_the_sampler(env):
    async def scenario():
        with collector() as received:
            variables = {
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0",
                "OTEL_SERVICE_NAME": "edge",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            }
            async with watched(env, received, **variables) as said:
                for _ in range(20):
                    await said()
                await said(traceparent(3, 3))
                await until(lambda: received.spans, "the span")
        assert [span.trace for span in received.spans] == [3]
        [resource] = received.resources
        assert resource["service.name"] == "edge"
        assert resource["deployment.environment.name"] == "test"

    asyncio.run(scenario())


def test_a_stop_exports_what_is_left(env):
    async def scenario():
        with collector() as received:
            async with watched(env, received, OTEL_BSP_SCHEDULE_DELAY="60000") as said:
                await said(traceparent(4, 4))
        assert [span.trace for span in received.spans] == [4]

    asyncio.run(scenario())
