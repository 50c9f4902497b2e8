"""Load from h2load (nghttp2): HTTP/1.1, closed-loop or at a fixed rate, every request logged.

The users travel in the URI, because h2load varies nothing else. At a fixed rate each of many
connections has a request every INTERVAL_S, and connections begin spread over time, so arrivals are
about as even as h2load's own resolution of one millisecond allows. A request leaves when it is
due unless the one before it on the same connection is unanswered for a whole interval; that the
rate was kept is checked, not assumed.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from bench.harness import scene
from bench.lab.load import user
from bench.lab.process import Child, LabError

TOOL = "h2load"
REMEDY = "apt-get install nghttp2-client (or your system's package of nghttp2's tools)"
USERS = 1000
INTERVAL_S = 0.1
# h2load is asked for a count; this bounds how long it may take for it.
GRACE_S = 60.0
RATE_KEPT = 0.95


@dataclass(frozen=True, slots=True)
class Answers:
    """What h2load logged: latencies in µs, ascending; `failed` had no 2xx answer.

    `late` says that a fixed rate was not kept.
    """

    asked: int
    failed: int
    elapsed_s: float
    latencies_us: tuple[int, ...]
    late: bool = False

    @property
    def rps(self) -> float:
        """Good answers a second, from the first request's start to the last answer's end."""
        return len(self.latencies_us) / self.elapsed_s

    def percentile_us(self, point: float) -> float:
        """Return the latency that `point` % of the good answers did not exceed (nearest rank)."""
        if not self.latencies_us:
            return float("nan")
        return float(self.latencies_us[max(0, ceil(len(self.latencies_us) * point / 100) - 1)])


def check_installed() -> None:
    """Raise LabError with the remedy if there is no h2load."""
    if shutil.which(TOOL) is None:
        raise LabError(f"{TOOL} is not installed: {REMEDY}")


def closed(address: str, work: Path, *, requests: int, connections: int) -> Answers:
    """Each connection sends its next request as soon as it has its answer."""
    words = [f"--clients={connections}", f"--requests={requests}"]
    return _run(address, work, words, requests, GRACE_S)


def paced(address: str, work: Path, *, requests: int, rate: float) -> Answers:
    """Send at `rate` requests/s, whatever the answers do."""
    clients, at_once, period_ms = spread(rate)
    words = [f"--clients={clients}", f"--requests={requests}", f"--rps={rate / clients:.6f}"]
    words += [f"--rate={at_once}", f"--rate-period={period_ms}ms"]
    answers = _run(address, work, words, requests, requests / rate + GRACE_S)
    return replace(answers, late=not kept(answers, rate))


def kept(answers: Answers, rate: float) -> bool:
    """Whether the answers came at the rate asked for; not asked of less than a second of load."""
    due_s = answers.asked / rate
    return due_s < 1 or answers.elapsed_s <= due_s / RATE_KEPT + 2 * INTERVAL_S


def spread(rate: float) -> tuple[int, int, int]:
    """Return how many clients keep `rate`, and how to begin them: so many at once every so many ms.

    Few at once, because clients that begin together ask together for ever; what takes longer than
    one interval (never two) goes on into the next, where it meets the first ones' second requests.
    """
    at_once = max(1, int(rate / 1000))
    period_ms = max(1, ceil(1000 / rate))
    return max(1, round(rate * INTERVAL_S)), at_once, period_ms


def _run(
    address: str, work: Path, words: Sequence[str], requests: int, timeout_s: float
) -> Answers:
    uris, log = work / "uris", work / "h2load.tsv"
    uris.write_text("".join(_uris(address)))
    log.unlink(missing_ok=True)
    argv = [TOOL, "--h1", *words, f"--input-file={uris}", f"--log-file={log}"]
    with Child(TOOL, argv, work) as child:
        if child.wait(timeout_s) != 0:
            raise LabError(f"{TOOL} failed:\n{child.log_tail()}")
    return read(log.read_text(), requests)


def _uris(address: str) -> Iterator[str]:
    for number in range(USERS):
        yield f"http://{address}{scene.LOAD}?user={user(number)}\n"


def read(log: str, requests: int) -> Answers:
    """Read a log: start (µs), HTTP status, µs until the answer's end, tab-separated."""
    rows = [tuple(map(int, line.split("\t")[:3])) for line in log.splitlines()]
    good = sorted(took for _, status, took in rows if 200 <= status < 300)
    starts = [start for start, _, _ in rows]
    ends = [start + took for start, _, took in rows]
    elapsed_us = max(ends) - min(starts) if rows else 0
    return Answers(requests, requests - len(good), max(elapsed_us, 1) / 1e6, tuple(good))
