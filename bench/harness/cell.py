"""One contender, measured once: fresh processes, the dialogue, three loads, every failure counter.

The loads: `one` connection (its latency), `paced` at the rate that everybody gets (latency and CPU
at half load), `full` with CONNECTIONS in closed loop (saturation). CPU is the processes' own over
one load, less what they use when nobody asks; Envoy's and the handler's apart.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender
from bench.harness import dialogue, h2load, meter, scene
from bench.lab.envoy import HTTP_FAILURES, Envoy, Stats

CONNECTIONS = 32
WARM_UP = 300
# Envoy 1.40 counts every failed stream as two half-closed ones as well.
HALF_CLOSED_PER_FAILED = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests each load has; `rate` (requests/s) is for `paced`."""

    one: int
    paced: int
    full: int
    rate: float
    idle_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Phase:
    """What one load showed. CPU in µs a request, idle use taken off.

    `per_wakeup` is how many requests the handler's threads had for each time one was woken;
    `others` is how many cores were busy with anything but Envoy, handler and load.
    """

    requests: int
    rps: float
    p50_us: float
    p99_us: float
    handler_us: float
    envoy_us: float
    per_wakeup: float
    others: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one round. It counts only if no failure does."""

    phases: Mapping[str, Phase]
    peak_rss_mb: float
    idle_handler_us_per_s: float
    failures: Mapping[str, int]

    @property
    def failed(self) -> dict[str, int]:
        """The failure counters that are not zero."""
        return {name: count for name, count in self.failures.items() if count}


def measure(contender: Contender, counts: Counts) -> Cell:
    """Start everything, measure, end everything. Raises LabError, WrongAnswerError among them."""
    with opened(contender) as bench:
        return bench.run(counts)


@contextmanager
def opened(contender: Contender) -> Iterator["Bench"]:
    """Start a contender and its Envoy, hold the dialogue, lend both, end both. Raises LabError."""
    work = Path(tempfile.mkdtemp(prefix="cn-bench-"))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, work, ignore_errors=True)
        socket = work / "ext_proc.sock"
        ending.callback(contender.stop)
        pids = tuple(contender.start(socket))
        config = scene.configuration(f"unix://{socket}", decides=contender.decides)
        envoy = ending.enter_context(Envoy(config, work, concurrency=1))
        if contender.decides:
            dialogue.hold(envoy.address, contender.answers_as)
        yield Bench(envoy, pids, work, decides=contender.decides)


@dataclass(frozen=True, slots=True)
class _Books:
    """Everything the kernel counts, at one moment or between two."""

    wall_s: float
    handler: meter.Usage
    envoy: meter.Usage
    others_ns: int

    def __sub__(self, earlier: "_Books") -> "_Books":
        return _Books(
            self.wall_s - earlier.wall_s,
            self.handler - earlier.handler,
            self.envoy - earlier.envoy,
            self.others_ns - earlier.others_ns,
        )


class Bench:
    """A contender behind its Envoy: loads, with the meters read around each, and the counters."""

    def __init__(self, envoy: Envoy, pids: tuple[int, ...], work: Path, *, decides: bool) -> None:
        self.envoy = envoy
        self.pids = pids
        self.work = work
        self._decides = decides
        self._failed = 0
        self._late = 0
        self._idle = (0.0, 0.0)

    def run(self, counts: Counts) -> Cell:
        """Warm up, then all loads of one cell; what failed before is not counted again."""
        before = self.failures()
        self.closed(WARM_UP, connections=8)
        self.rest(counts.idle_s)
        loads: dict[str, tuple[int, Callable[[], Phase]]] = {
            "one": (counts.one, lambda: self.closed(counts.one, connections=1)),
            "paced": (counts.paced, lambda: self.paced(counts.paced, counts.rate)),
            "full": (counts.full, lambda: self.closed(counts.full)),
        }
        phases = {name: drive() for name, (number, drive) in loads.items() if number}
        rss_mb = meter.peak_rss_bytes(self.pids) / 1e6
        failures = {name: after - before[name] for name, after in self.failures().items()}
        return Cell(phases, rss_mb, self._idle[0] / 1e3, failures)

    def rest(self, seconds: float) -> None:
        """Find out what the processes use when nobody asks; taken off from now on."""
        if not seconds:
            return
        before = self._read()
        # Not waiting for anything: the time itself is what is measured.
        time.sleep(seconds)
        used = self._read() - before
        self._idle = (used.handler.cpu_ns / used.wall_s, used.envoy.cpu_ns / used.wall_s)

    def closed(self, requests: int, *, connections: int = CONNECTIONS) -> Phase:
        """Load in closed loop."""
        return self._load(
            lambda: h2load.closed(
                self.envoy.address, self.work, requests=requests, connections=connections
            )
        )

    def paced(self, requests: int, rate: float) -> Phase:
        """Load at a fixed rate."""
        return self._load(
            lambda: h2load.paced(self.envoy.address, self.work, requests=requests, rate=rate)
        )

    def failures(self) -> dict[str, int]:
        """Everything that went wrong since the start, by name; all names are there."""
        seen = _failures(self.envoy.stats(), decides=self._decides)
        return seen | {"load": self._failed, "rate_missed": self._late}

    def _load(self, drive: Callable[[], h2load.Answers]) -> Phase:
        before = self._read()
        answers = drive()
        used = self._read() - before
        self._failed += answers.failed
        self._late += answers.late
        number = max(1, len(answers.latencies_us))
        return Phase(
            requests=number,
            rps=answers.rps,
            p50_us=answers.percentile_us(50),
            p99_us=answers.percentile_us(99),
            handler_us=(used.handler.cpu_ns - used.wall_s * self._idle[0]) / number / 1e3,
            envoy_us=(used.envoy.cpu_ns - used.wall_s * self._idle[1]) / number / 1e3,
            per_wakeup=number / used.handler.sleeps if used.handler.sleeps else 0.0,
            others=used.others_ns / used.wall_s / 1e9,
        )

    def _read(self) -> _Books:
        handler, envoy = meter.usage(self.pids), meter.usage([self.envoy.child.pid])
        ours_ns = handler.cpu_ns + envoy.cpu_ns + meter.ended_children_ns()
        return _Books(time.monotonic(), handler, envoy, meter.machine_ns() - ours_ns)


def _failures(stats: Stats, *, decides: bool) -> dict[str, int]:
    """Whatever Envoy counted against the decisions and the answers."""
    failures = {name: stats[f"http.ingress.{name}"] for name in HTTP_FAILURES}
    if not decides:
        return failures
    failed = stats.ext_proc("streams_failed")
    half_closed = stats.ext_proc("server_half_closed") - HALF_CLOSED_PER_FAILED * failed
    asked = stats.ext_proc("stream_msgs_sent")
    return failures | {
        "streams_failed": failed,
        "message_timeouts": stats.ext_proc("message_timeouts"),
        "failure_mode_allowed": stats.ext_proc("failure_mode_allowed"),
        "server_half_closed": max(0, half_closed),
        "rejected_header_mutations": stats.ext_proc("rejected_header_mutations"),
        "unanswered": asked - stats.ext_proc("stream_msgs_received"),
    }
