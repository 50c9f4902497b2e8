"""How long a bad candidate lives on, once the sidecar knows enough.

    python -m bench.rollback [--rollbacks 30 | --quick]

Real Envoy, controller and sidecar as processes of their own, healthy traffic all the while. For
each rollback so many people meet errors in one moment that the first look must find harm. The clock
starts when the sidecar has taken the first of those entries from Envoy, and stops at the last
request in the candidate's own log. Then another launch begins. The sidecar's own counter is asked
all the time; the clock starts with the last question, after the first bad answer at the client,
whose answer surely knew nothing of it: no entry that decides can have come earlier. Beside it
stands the time from that first bad answer, which holds Envoy's own flush as well. The second half
is `bench.rollback_fleet`.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import aiohttp
from rich.console import Console
from rich.table import Table

from bench import rollback_fleet
from bench.lab import load, oracle
from bench.lab.process import Child, LabError, as_command, wait_until
from bench.lab.stack import ROOT, Plan, Stack
from sidecar.control import calls

NAME = "chat-model"
CANARY = f"{NAME}-canary"
DOCUMENT = f"""apiVersion: canary.dev/v1
kind: Rollout
metadata: {{name: {NAME}}}
spec:
  unit: [{{header: x-user-id}}]
  variants: [{{name: stable, weight: 100}}, {{name: canary, weight: 0}}]
  steps: [{{weight: 40, hold: 1h}}, {{weight: 100}}]
  guardrails: [{{metric: error_rate, maxIncrease: 0.5pp}}]
"""
LIMIT_MS = 500.0
USERS, RATE = 2000, 300.0
SHARE = Fraction(40, 100)
# People who meet an error in the same moment: 24 of 24 on the candidate.
BURST = 24
POLL_S = 0.002


class Asking:
    """Asks for a count again and again in a thread of its own: [moment before, count]."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._answers: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until("an answer", lambda: self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            began_ns = time.time_ns()
            self._answers.append((began_ns, self._ask()))

    def risen_after(self, moment_ns: int) -> int:
        """Return the last moment, at `moment_ns` or later, at which it surely had not risen."""

        def risen() -> int | None:
            for (began_ns, count), (next_ns, more) in pairwise(tuple(self._answers)):
                if more > count and next_ns > moment_ns:
                    return max(began_ns, moment_ns)
            return None

        return wait_until("entries", risen)


class Course:
    """One stack, one launch after the other."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._control = f"unix://{stack.run_dir}/control.sock"
        self._admin = f"unix://{stack.run_dir}/sidecar.sock"
        users = [load.user(number) for number in range(USERS)]
        self._victims = sorted(oracle.cohort(NAME, users, SHARE))

    def rollback(self, number: int) -> dict[str, float]:
        """Make one launch go wrong; return milliseconds from the sidecar's receipt."""
        self._measured()
        list(self._stack.logs[CANARY].new())
        at = number * BURST % (len(self._victims) - BURST)
        with Asking(self._taken) as asking:
            answered_ns = asyncio.run(self._burst(self._victims[at : at + BURST]))
            received_ns = asking.risen_after(answered_ns)
        wait_until("the rollback", lambda: self._phase() == "RolledBack", 10.0)
        time.sleep(0.5)  # nothing may come any more
        [event] = calls.history(self._control, NAME, 1).events
        decided_ns = int(event.at.ToDatetime(UTC).timestamp() * 1e9)
        last_ns = max(seen.time_ns for seen in self._stack.logs[CANARY].new())
        calls.act(self._control, NAME, "ACTION_LAUNCH")
        return {
            "decision_ms": (decided_ns - received_ns) / 1e6,
            "last_request_ms": (last_ns - received_ns) / 1e6,
            "from_answer_ms": (last_ns - answered_ns) / 1e6,
        }

    async def _burst(self, users: list[str]) -> int:
        """Let people meet errors, all at once; return when the first was told (Unix, ns)."""
        async with aiohttp.ClientSession() as session:

            async def fail(user: str) -> tuple[int, int]:
                headers = {"x-user-id": user, "x-request-key": user, "x-fail-times": "1000000"}
                async with session.get(self._stack.envoy.url, headers=headers) as answer:
                    return time.time_ns(), answer.status

            answers = await asyncio.gather(*map(fail, users))
        if {status for _, status in answers} != {503}:
            raise LabError(f"the burst was answered {answers}")
        return min(moment for moment, _ in answers)

    def _taken(self) -> int:
        return int(calls.sidecar_status(self._admin).counters["outcomes_taken"])

    def _standing(self) -> Any:
        return calls.controller_status(self._control).rollouts[0].progress

    def _phase(self) -> str:
        return str(self._standing().phase)

    def _measured(self) -> None:
        """Wait for a launch under way whose candidate was found well in its step."""

        def well() -> bool:
            progress = self._standing()
            return bool(progress.step == 1 and progress.judgement.verdict == "healthy")

        wait_until("a healthy candidate", well, 30.0, list(self._stack.children.values()))


def measure(rollbacks: int, folder: Path) -> dict[str, Any]:
    """Run so many rollbacks; return the figures."""
    path = folder / f"{NAME}.yaml"
    path.write_text(DOCUMENT)
    with Stack(Plan(rollouts=path, name="rollback", apart=True)) as stack:
        argv = [sys.executable, "-m", "bench.lab.load", "--url", stack.envoy.url]
        argv += ["--users", str(USERS), "--rate", str(RATE), "--seconds", "1800"]
        argv += ["--report", str(stack.work / "load.json")]
        with Child("load", argv, stack.work, env=stack.env):
            course = Course(stack)
            found = [course.rollback(number) for number in range(rollbacks)]
    stack.remove()
    return {
        "rollbacks": rollbacks,
        "rate_rps": RATE,
        **_points("decision", [one["decision_ms"] for one in found]),
        **_points("last_request", [one["last_request_ms"] for one in found]),
        **_points("from_first_error", [one["from_answer_ms"] for one in found]),
        "limit_p99_ms": LIMIT_MS,
    }


def _points(name: str, values: list[float]) -> dict[str, float]:
    values = sorted(values)
    points = {f"p{p}": values[min(len(values) - 1, len(values) * p // 100)] for p in (50, 90, 99)}
    return {f"{name}_{p}_ms": round(v, 1) for p, v in {**points, "max": values[-1]}.items()}


def show(title: str, figures: dict[str, Any]) -> None:
    """Print figures, and keep them under build/bench/."""
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


def main() -> int:
    """Measure both halves; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description="how long a bad candidate lives on")
    parser.add_argument("--rollbacks", type=int, default=30)
    parser.add_argument("--sidecars", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a look, no figures")
    options = parser.parse_args()
    rollbacks, sidecars = (3, 50) if options.quick else (options.rollbacks, options.sidecars)
    target = ROOT / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    with as_command():
        one = measure(rollbacks, target)
        show("the sidecar's receipt of the deciding entries -> last request on the candidate", one)
        fleet = rollback_fleet.measure(sidecars)
        show("errors reported by simulated sidecars -> every sidecar has the new weights", fleet)
    (target / "rollback.json").write_text(json.dumps({"one": one, "fleet": fleet}, indent=1) + "\n")
    late = one["last_request_p99_ms"] > LIMIT_MS or fleet["all_switched_ms"] > fleet["limit_ms"]
    big = fleet["controller_mb"] > fleet["limit_mb"]
    return int((late or big) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
