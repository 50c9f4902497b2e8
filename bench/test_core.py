"""The decision core, timed by pytest-benchmark (`make bench`).

`answer` is a whole exchange: ProcessingRequest bytes in, ProcessingResponse bytes out, the call
from Python included. Beside it stand its specification in Python and the least anybody could do:
mmh3 and a modulo, without reading or writing a message.
"""

from typing import Any

import mmh3
import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc

from sidecar.routing import Route, Table, UnitSource, Variant, compile_table, twin, twin_codec

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
