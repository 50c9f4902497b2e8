"""The decision core, timed by pytest-benchmark (`make bench`).

`answer` is a whole exchange: ProcessingRequest bytes in, ProcessingResponse bytes out, the call
from Python included. Beside it stand its specification in Python and the least anybody could do:
mmh3 and a modulo, without reading or writing a message.
"""

from dataclasses import replace
from typing import Any

import mmh3
import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, twin, twin_codec
from sidecar.routing.rules import (
    AnyOf,
    Check,
    Holdout,
    Input,
    Layer,
    Operator,
    Override,
    Segment,
)

UNIT = (UnitSource("header", "x-user-id"),)
TWO = (Variant("stable", 95), Variant("canary", 5))


def routes(count: int) -> list[Route]:
    """One rollout that speaks for the request, and others that do not."""
    others = [Route(f"r-{i}", UNIT, b"s", TWO, (f"h{i}.example",)) for i in range(count - 1)]
    return [Route("chat", UNIT, b"chat", TWO, ("chat.example",), "/v1"), *others]


def message(headers: int = 5) -> bytes:
    """A request of so many headers, the unit last."""
    sent = [(":path", b"/v1/chat"), (":authority", b"chat.example")]
    sent += [(f"x-header-{i}", b"some value of a header") for i in range(headers - 3)]
    sent += [("x-user-id", b"user-00042")]
    values = [core.HeaderValue(key=key, raw_value=value) for key, value in sent]
    headers_message = ext_proc.HttpHeaders(headers=core.HeaderMap(headers=values))
    return bytes(ext_proc.ProcessingRequest(request_headers=headers_message))


@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_answer_by_rollouts(benchmark: Any, count: int) -> None:
    """The number of rollouts should not matter."""
    benchmark.group = "answer, by rollouts in the table"
    benchmark(Table(compile_table(routes(count), "v")).answer, message())


@pytest.mark.parametrize("headers", [5, 20, 60])
def test_answer_by_headers(benchmark: Any, headers: int) -> None:
    """What a longer request costs."""
    benchmark.group = "answer, by headers in the request"
    benchmark(Table(compile_table(routes(1), "v")).answer, message(headers))


@pytest.mark.parametrize("candidates", [1, 2, 3, 7])
def test_slot_by_candidates(benchmark: Any, candidates: int) -> None:
    """The rendezvous begins at three candidates; the worst case is a point of the middle."""
    benchmark.group = "decision alone, by candidates"
    variants = (Variant("stable", 50), *(Variant(f"v{i}", 1) for i in range(candidates)))
    table = Table(compile_table([Route("chat", UNIT, b"s", variants)], "v"))
    benchmark(table.slot_at, 0, 1 << 63, 12345)


def test_twin_answer(benchmark: Any) -> None:
    """The specification, through envoy-data-plane's messages."""
    benchmark.group = "the same exchange elsewhere"
    benchmark(twin_codec.answer, routes(1), "v", message())


def test_twin_decision(benchmark: Any) -> None:
    """The specification's decision alone."""
    benchmark.group = "the same exchange elsewhere"
    request = twin.Request([(":path", b"/v1/chat"), (":authority", b"chat.example"),
                            ("x-user-id", b"user-00042")])  # fmt: skip
    benchmark(twin.decide, routes(1), request)


def test_mmh3_modulo(benchmark: Any) -> None:
    """A hash and a modulo in Python, no message read or written."""
    benchmark.group = "the same exchange elsewhere"
    benchmark(lambda unit: mmh3.hash64(unit, 0, True, False)[0] % 100 < 5, b"chat\0user-00042")


def test_native_answer(benchmark: Any) -> None:
    """Ours, for comparison within the group."""
    benchmark.group = "the same exchange elsewhere"
    benchmark(Table(compile_table(routes(1), "v")).answer, message())


# ---- rules: the decision alone, read once, of a request with 20 headers --------------------------

OFTEN = 1_000


def decide(benchmark: Any, route: Route) -> None:
    """Time OFTEN decisions for one rollout, in C alone."""
    benchmark.group = f"{OFTEN:,} decisions of a request with 20 headers, by rules"
    table = Table(compile_table([route], "v"))
    benchmark(table.decide_often, message(20), OFTEN)


def ruled(*segments: Segment, **rules: Any) -> Route:
    """Return the rollout that speaks for the request, with these rules."""
    [plain] = routes(1)
    return replace(plain, segments=segments, **rules)


def missing(number: int, *operators: Operator) -> Segment:
    """Return a segment of one condition per operator, of which none matches; all are looked at."""
    checks = tuple(
        Check(Input("header", (f"x-header-{(3 * number + at) % 17}",)), operator, (b"another",))
        for at, operator in enumerate(operators)
    )
    return Segment(f"s{number}", (AnyOf(checks),), weights=(1, 1))


def test_decide_plain(benchmark: Any) -> None:
    """The peer of those below."""
    decide(benchmark, ruled())


def test_decide_ten_segments(benchmark: Any) -> None:
    """Ten segments of three conditions, none of which matches: at most 6 times plain, 500 ns."""
    texts: tuple[Operator, ...] = ("exact", "prefix", "contains")
    decide(benchmark, ruled(*(missing(number, *texts) for number in range(10))))


def test_decide_ten_segments_of_regexes(benchmark: Any) -> None:
    """The same with RE2, for what it costs."""
    decide(benchmark, ruled(*(missing(number, "regex", "regex", "regex") for number in range(10))))


def test_decide_override_list(benchmark: Any) -> None:
    """100,000 units listed, this one too: at most twice plain."""
    units = (b"user-00042", *(b"unit-%08d" % number for number in range(100_000 - 1)))
    decide(benchmark, ruled(overrides=(Override("canary", units),)))


def test_decide_holdout_and_layer(benchmark: Any) -> None:
    """A holdout and a layer: a hash of the unit each."""
    held, slice_ = Holdout("global", 1, 1 << 40), Layer("layer", 0, 1, 1)
    decide(benchmark, ruled(holdout=held, layer=slice_))


def test_decide_in_ten_thousand_values(benchmark: Any) -> None:
    """One condition on 10,000 values."""
    values = tuple(b"value-%d" % number for number in range(10_000))
    check = Check(Input("header", ("x-header-1",)), "in", values)
    decide(benchmark, ruled(Segment("s", (check,), weights=(1, 1))))


def many_ruled(count: int) -> list[Route]:
    """Return so many rollouts of five segments each."""
    segments = tuple(missing(number, "exact", "prefix", "regex") for number in range(5))
    return [replace(route, segments=segments) for route in routes(count)]


def test_load_ten_thousand_ruled(benchmark: Any) -> None:
    """A table of 10,000 rollouts of five segments: at most a second."""
    benchmark.group = "10,000 rollouts of five segments"
    benchmark.pedantic(Table, (compile_table(many_ruled(10_000), "v"),), rounds=5)


def test_compile_ten_thousand_ruled(benchmark: Any) -> None:
    """Making its bytes for the first time; after a change only what changed is made anew."""
    benchmark.group = "10,000 rollouts of five segments"
    benchmark.pedantic(compile_table, setup=lambda: ((many_ruled(10_000), "v"), {}), rounds=3)


def test_compile_ten_thousand_ruled_again(benchmark: Any) -> None:
    """After a change of one."""
    benchmark.group = "10,000 rollouts of five segments"
    routes_ = many_ruled(10_000)
    compile_table(routes_, "v")

    def changed() -> tuple[tuple[list[Route], str], dict[str, Any]]:
        routes_[0] = replace(routes_[0], salt=b"another")
        return (routes_, "v"), {}

    benchmark.pedantic(compile_table, setup=changed, rounds=5)
