"""What watching costs: CPU of one ext_proc exchange in the sidecar, by what is watched.

    python -m bench.observing [--engine native] [--exchanges 200000] [--rate 0] [--rounds 5]

The same `canary up` several times over, each asked by h2load over its own Unix socket, in
interleaved rounds; CPU is the kernel's, all threads included (export too). Metrics are scraped once
a second while it lasts. `aside` is the part of it that was used by other threads than the native
engine's own: who collects, encodes and exports. `spans` is how many came to the collector for every
exchange: what was dropped cost nothing, and a row that drops says less than it seems to. `of off` is
the median of the rounds' own ratios, with the quarter below and the quarter above; `off, again` is
`off` under another name: what it shows is noise. A second table times the parts by themselves.
"""

import argparse
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import grpc
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from bench.harness.meter import usage
from bench.lab.process import Child, wait_until
from bench.lab.stack import EXAMPLES, installed_canary
from sidecar.extproc import SERVICE
from sidecar.extproc.engine import BOUNDS_NS
from sidecar.telemetry.tracing import Tracing

AT_ONCE = 16
# What was sampled has been exported by then.
EXPORTED_S = 0.5
SCRAPED_EVERY_S = 1.0
REPEATS = 20_000
NOT_SAMPLED, SAMPLED = "00", "01"


@dataclass
class Row:
    """One way to watch; `sampled` of the calls, none of which has a parent; None: no traces."""

    name: str
    sampled: float | None = None
    metrics: bool = False
    socket: Path = Path()
    port: int = 0
    child: Child | None = None
    us: list[float] = field(default_factory=list)
    aside_us: list[float] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)


ROWS: tuple[tuple[str, float | None, bool], ...] = (
    ("off", None, False),
    ("off, again", None, False),
    ("metrics", None, True),
    ("traces, none sampled", 0.0, False),
    ("traces, 10 % sampled", 0.1, False),
    ("traces, all sampled", 1.0, False),
    ("metrics, traces, 10 % sampled", 0.1, True),
)


class Collector(grpc.GenericRpcHandler):
    """Says yes to whatever it is sent, and keeps it: it is read when nobody is measured."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self.port = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        del context
        self._kept.append(request)
        return b""

    def spans(self) -> int:
        """Return how many came since the last time."""
        kept, self._kept = self._kept, []
        return sum(
            len(scope.spans)
            for request in map(ExportTraceServiceRequest.FromString, kept)
            for resource in request.resource_spans
            for scope in resource.scope_spans
        )


@contextmanager
def collector() -> Iterator[Collector]:
    """Serve OTLP."""
    one = Collector()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[one])
    one.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield one
    finally:
        server.stop(0).wait()


def start(row: Row, work: Path, collected_at: int, engine: str) -> Child:
    """Start the row's `canary up` and wait until it answers."""
    run, words = work / "r", []
    work.mkdir()
    row.socket = run / "ext_proc.sock"
    env = {"CANARY_RUN_DIR": str(run), "CANARY_STATE_DIR": str(work / "s")}
    env |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}
    env |= {"OTEL_BSP_SCHEDULE_DELAY": "200"}
    if row.sampled is not None:
        endpoint = f"http://127.0.0.1:{collected_at}"
        env |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        env |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        env |= {"OTEL_TRACES_SAMPLER_ARG": str(row.sampled)}
    if row.metrics:
        row.port = _free_port()
        words = ["--metrics", f"127.0.0.1:{row.port}"]
    argv = [*installed_canary(), "up", str(EXAMPLES / "chat-model.yaml")]
    argv += ["--engine", engine, *words]
    child = row.child = Child("canary", argv, work, env=env)
    wait_until("a table", lambda: "table in force" in child.log.read_text(), alive=[child])
    return child


def ask(row: Row, exchanges: int, rate: int) -> None:
    """Ask so often; `rate` a second, 0 for as fast as it goes."""
    body = row.socket.with_name("message")
    message = _message(exchanges)
    body.write_bytes(b"\0" + len(message).to_bytes(4) + message)
    command = ["h2load", "--base-uri", f"unix:{row.socket}", "--data", str(body)]
    command += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    command += ["--clients", "1", "--max-concurrent-streams", str(AT_ONCE)]
    command += ["--requests", str(exchanges), *(["--rps", str(rate)] if rate else [])]
    said = subprocess.run(
        [*command, f"http://localhost/{SERVICE}/Process"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    if f"{exchanges} succeeded" not in said:
        raise SystemExit(f"{row.name}: not every exchange succeeded\n{said}")


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Scrape whoever has metrics there while this lasts."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPED_EVERY_S):
            urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()

    thread = threading.Thread(target=scrape)
    if port:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if port:
            thread.join()


def measure(row: Row, exchanges: int, rate: int, collected: Collector) -> None:
    """Add one round to the row."""
    assert row.child
    collected.spans()
    pid = row.child.pid
    before, engine_ns = usage([pid]), _engine_ns(pid)
    with scraped(row.port):
        ask(row, exchanges, rate)
        time.sleep(EXPORTED_S)
    used_ns, engine_ns = (usage([pid]) - before).cpu_ns, _engine_ns(pid) - engine_ns
    row.us.append(used_ns / 1e3 / exchanges)
    row.aside_us.append((used_ns - engine_ns) / 1e3 / exchanges)
    row.spans.append(collected.spans() / exchanges)


def show(rows: list[Row]) -> None:
    """Print the first table. Ratios are round by round: what slowed a whole round down cancels."""
    heads = ("median", "aside", "added", "of off", "low", "high", "spans")
    print(f"{'CPU per exchange, µs':32}" + "".join(f"{head:>8}" for head in heads))
    for row in rows:
        pairs = list(zip(row.us, rows[0].us, strict=True))
        added, ratios = median(us - off for us, off in pairs), sorted(us / off for us, off in pairs)
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        figures = (median(row.us), median(row.aside_us), added, median(ratios), low, high)
        print(
            f"{row.name:32}" + "".join(f"{x:8.2f}" for x in figures) + f"{median(row.spans):8.3f}"
        )


def parts() -> dict[str, Callable[[], object]]:
    """What is done, or is not done because of what it costs, for every exchange."""
    buckets = [0] * (len(BOUNDS_NS) + 1)
    tracing = Tracing(ParentBasedTraceIdRatio(0.0), lambda _: None)
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    histogram, counter = meter.create_histogram("h"), meter.create_counter("c")
    said = {"canary.rollout": "chat-model", "canary.variant": "canary", "canary.reason": "weight"}
    others = (("user-agent", "envoy"), ("te", "trailers"))

    def below(flags: str) -> tuple[tuple[str, str], ...]:
        return (*others, ("traceparent", f"00-{7:032x}-{9:016x}-{flags}"))

    not_sampled, sampled = below(NOT_SAMPLED), below(SAMPLED)

    def own_histogram() -> None:
        began_ns = time.perf_counter_ns()
        buckets[bisect_left(BOUNDS_NS, time.perf_counter_ns() - began_ns)] += 1

    return {
        "our duration histogram": own_histogram,
        "the SDK's Histogram.record": lambda: histogram.record(0.001),
        "the SDK's Counter.add": lambda: counter.add(1, said),
        "sampling: parent not sampled": lambda: tracing.watch(not_sampled),
        "sampling: no parent, ratio 0": lambda: tracing.watch(others),
        "sampling: parent sampled": lambda: tracing.watch(sampled),
    }


def show_parts() -> None:
    """Print the second table."""
    print(f"\n{'one call of, µs':32}{'least':>8}")
    for name, call in parts().items():
        least = min(timeit.repeat(call, number=REPEATS, repeat=5)) / REPEATS
        print(f"{name:32}{least * 1e6:8.2f}")


def _engine_ns(pid: int) -> int:
    """Return the CPU time of the native engine's threads so far; 0 where another engine answers."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    own = (one for one in threads if (one / "comm").read_text() == "canary-native\n")
    return sum(int((one / "schedstat").read_text().split()[0]) for one in own)


def _message(number: int) -> bytes:
    headers = {":path": "/", ":authority": "localhost", "x-user-id": f"user-{number}"}
    values = [core.HeaderValue(key=k, raw_value=v.encode()) for k, v in headers.items()]
    sent = ext_proc.HttpHeaders(headers=core.HeaderMap(headers=values), end_of_stream=True)
    return bytes(ext_proc.ProcessingRequest(request_headers=sent))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="native")
    parser.add_argument("--exchanges", type=int, default=200_000, help="per row and round")
    parser.add_argument("--rate", type=int, default=0, help="a second; 0: as fast as it goes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = [Row(*row) for row in ROWS]
    with ExitStack() as ends, tempfile.TemporaryDirectory(prefix="cn") as folder:
        collected = ends.enter_context(collector())
        for number, row in enumerate(rows):
            work = Path(folder) / str(number)
            ends.callback(start(row, work, collected.port, options.engine).stop)
        for row in rows:
            ask(row, options.exchanges // 4, options.rate)
        for _ in range(options.rounds):
            for row in random.sample(rows, len(rows)):
                measure(row, options.exchanges, options.rate, collected)
        ends.close()
    show(rows)
    show_parts()
    return 0


if __name__ == "__main__":
    sys.exit(main())
