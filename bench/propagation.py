"""How long old weights live on, at half load.

    python -m bench.propagation [--changes 200 | --quick]

From the controller accepting a change to the last decision by the old table; real Envoy, controller
and sidecar as processes of their own. Saturation is measured first; the changes then run at half of
it. The last decision by the old table is the last request that reached an upstream with the old
table's version in its metadata: Envoy's and the upstream's own time are in the number, so it is an
upper bound. The moment of acceptance is the controller's, after its store committed; all processes
share one machine's clock.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.lab.process import Child, wait_until
from bench.lab.stack import ROOT, Plan, Stack
from bench.lab.upstream import Seen
from sidecar.control import calls

ROLLOUT = "chat-model"
LIMIT_MS = 20.0
USERS = 1000
FIRST_RATE = 200.0
CALIBRATION_S = 2.0
BETWEEN_S = 0.1
LONGEST_S = 120.0
VERSION_HEADER = "x-canary-version"


def tell_version(config: dict[str, Any]) -> dict[str, Any]:
    """Make Envoy tell the upstreams which table decided."""
    [listener] = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    value = f"%DYNAMIC_METADATA(canary:{ROLLOUT}:version)%"
    manager["route_config"]["request_headers_to_add"] = [
        {"header": {"key": VERSION_HEADER, "value": value}}
    ]
    return config


@contextmanager
def load(stack: Stack, rate: float, seconds: float) -> Iterator[Path]:
    """Drive open-loop traffic at `rate` requests/s; the report is written when it ends."""
    report = stack.work / "load.json"
    argv = [sys.executable, "-m", "bench.lab.load", "--url", stack.envoy.url]
    argv += ["--users", str(USERS), "--rate", str(rate), "--seconds", str(seconds)]
    arrived(stack)
    with Child("load", [*argv, "--report", str(report)], stack.work, env=stack.env) as driver:
        wait_until("traffic", lambda: arrived(stack), alive=[driver])
        yield report
        driver.kill(signal.SIGTERM)
        driver.wait(60)


def arrived(stack: Stack) -> list[Seen]:
    """Return the requests that reached an upstream since this was last asked."""
    return [request for log in stack.logs.values() for request in log.new()]


def saturation(stack: Stack) -> float:
    """The most answers a second, as the offered rate is doubled until it is missed."""
    best, offered = 0.0, FIRST_RATE
    while not best or best >= offered / 2 * 0.9:
        best = max(best, answered_at(stack, offered))
        offered *= 2
    return best


def answered_at(stack: Stack, rate: float) -> float:
    """Requests a second that Envoy answers when `rate` are offered."""
    with load(stack, rate, CALIBRATION_S + 1):
        before, begun = stack.envoy.stats(), time.monotonic()
        time.sleep(CALIBRATION_S)
        after, ended = stack.envoy.stats(), time.monotonic()
    name = "http.ingress.downstream_rq_2xx"
    return (after[name] - before[name]) / (ended - begun)


def change_weights(stack: Stack, changes: int) -> list[int]:
    """Change the weights so many times; return when the controller accepted each (Unix, ns)."""
    accepted = []
    for number in range(changes):
        canary = Decimal(50 if number % 2 == 0 else 5)
        reply = calls.set_weights(
            f"unix://{stack.run_dir}/control.sock", ROLLOUT, {"canary": canary}
        )
        accepted.append(reply.accepted_at_unix_ns)
        time.sleep(BETWEEN_S)
    return accepted


def lags_ms(stack: Stack, accepted: list[int]) -> list[float]:
    """For each change, milliseconds until the last request that the old table decided."""
    seen = sorted((one.time_ns, one.canary.get(VERSION_HEADER, "")) for one in arrived(stack))
    found = []
    for at, until in zip(accepted, [*accepted[1:], accepted[-1] + 10**9], strict=True):
        [old] = [v for t, v in seen if t <= at and v][-1:]
        late = [t - at for t, version in seen if at < t < until and version == old]
        found.append(max(late, default=0) / 1e6)
    return found


def measure(changes: int) -> dict[str, Any]:
    """Run it all; return the figures."""
    with Stack(Plan(name="propagation", apart=True, adjust=tell_version)) as stack:
        most = saturation(stack)
        with load(stack, rate=most / 2, seconds=LONGEST_S) as report:
            lags = sorted(lags_ms(stack, change_weights(stack, changes)))
        failures = sum(stack.envoy.stats().failures().values())
        answered = json.loads(report.read_text())
    stack.remove()
    return {
        "changes": changes,
        "saturation_rps": round(most),
        "rate_rps": round(most / 2),
        "requests": answered["sent"],
        "failures": failures + sum(answered["errors"].values()),
        **{
            f"p{p}_ms": round(lags[min(len(lags) - 1, len(lags) * p // 100)], 2)
            for p in (50, 90, 99)
        },
        "max_ms": round(lags[-1], 2),
        "limit_p99_ms": LIMIT_MS,
    }


def main() -> int:
    """Measure, print, keep under build/bench/; 1 if the limit is missed or anything failed."""
    parser = argparse.ArgumentParser(description="how long old weights live on")
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="five changes, whatever they take")
    options = parser.parse_args()
    figures = measure(5 if options.quick else options.changes)
    table = Table("figure", "value", title="accepted change → last decision by the old table")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    target = ROOT / "build" / "bench" / "propagation.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1) + "\n")
    late = figures["p99_ms"] > LIMIT_MS and not options.quick
    return int(late or figures["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
