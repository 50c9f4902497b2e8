"""The demo's second half: a good version ramps by itself, a failing and a slow one are taken out.

Nobody touches a weight: each launch is begun with `canary launch` and left to the guard. What is
told comes from the upstreams' own logs (first bad answer, last request, users) and Envoy's
statistics (how many requests); from the controller only the moment of its decision, as the history
has it. A bad version that stays, a good one that does not, and a request after the end are each a
BrokenError.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.demo_watch import BrokenError
from bench.lab.envoy import Stats
from bench.lab.process import Child, wait_until
from bench.lab.stack import Stack
from bench.lab.upstream import Mood, Seen

NAME = "chat-model"
STABLE, CANARY = (f"{NAME}-{variant}" for variant in ("stable", "canary"))
DOCUMENT = f"""apiVersion: canary.dev/v1
kind: Rollout
metadata: {{name: {NAME}}}
spec:
  match: {{pathPrefix: /}}
  unit: [{{header: x-user-id}}, {{cookie: session}}]
  variants: [{{name: stable, weight: 100}}, {{name: canary, weight: 0}}]
  steps: [{{weight: 5, hold: 3s}}, {{weight: 50, hold: 8s}}, {{weight: 100}}]
  guardrails:
    - {{metric: error_rate, maxIncrease: 0.5pp}}
    - {{metric: latency_p99, maxIncrease: 100ms}}
"""
USERS = 3000
RATE = 500.0
PATIENCE_S = 40.0
LOOK_S = 0.3
# The last request on the candidate must come so soon after the decision.
SETTLED_MS = 1000.0
# How long nothing more may come.
QUIET_S = 1.5


@dataclass(frozen=True)
class Version:
    """What is launched: its mood, how it must end, and the metric that must be found at fault."""

    title: str
    mood: Mood
    ends: str
    culprit: str = ""


GOOD = Version("a good version", Mood(), "Promoted")
BAD = (
    Version("a version that fails 10 % of its answers", Mood(fail=0.1), "RolledBack", "error_rate"),
    Version(
        "a version whose slowest 10 % take half a second more",
        Mood(slow=0.1, slow_s=0.5),
        "RolledBack",
        "latency_p99",
    ),
)


@dataclass
class Course:
    """What the upstreams logged and the controller decided in one launch."""

    version: Version
    events: list[dict[str, Any]] = field(default_factory=list)
    stable: list[Seen] = field(default_factory=list)
    canary: list[Seen] = field(default_factory=list)

    @property
    def decided_ns(self) -> int:
        """When the launch ended, by the history."""
        at = datetime.fromisoformat(self.events[-1]["at"])
        return int(at.timestamp() * 1e9)

    def took(self) -> "Took":
        """Measure a launch that went wrong. Raises BrokenError if nothing did."""
        bad = [seen for seen in self.canary if seen.bad]
        if not bad:
            raise BrokenError(f"{self.version.title}: it never answered badly")
        first, end = bad[0].time_ns, self.decided_ns
        since = [seen for seen in self.canary if seen.time_ns >= first]
        last = self.canary[-1].time_ns
        return Took(
            decision_s=(end - first) / 1e9,
            last_s=(last - first) / 1e9,
            requests_to_decision=sum(seen.time_ns <= end for seen in since),
            requests=len(since),
            all_requests=sum(first <= seen.time_ns <= end for seen in self.stable) + len(since),
            users=len({seen.user for seen in since}),
            hurt=len({seen.user for seen in bad}),
        )


@dataclass(frozen=True)
class Took:
    """From the first bad answer: seconds, requests on the candidate, users who met it."""

    decision_s: float
    last_s: float
    requests_to_decision: int
    requests: int
    all_requests: int
    users: int
    hurt: int


class Launches:
    """Runs the launches over a running stack, one after the other."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._load: Child | None = None

    def run(self) -> str:
        """Launch all versions; return the table. Raises BrokenError."""
        self._drain()
        path = self._stack.work / "rollouts" / f"{NAME}.yaml"
        self._start_load()
        path.write_text(DOCUMENT)
        courses = [self._course(GOOD)]
        self._stack.canary("rollback", NAME, "--why", "the next versions are deployed")
        for version in BAD:
            # Nobody is on the candidate now.
            version.mood.write(self._log(CANARY))
            self._drain()
            self._stack.canary("launch", NAME, "--why", version.title)
            courses.append(self._course(version))
            Mood().write(self._log(CANARY))
        self._stop_load()
        return _table([(one.version, one.took()) for one in courses[1:]])

    def _course(self, version: Version) -> Course:
        self._say(f"\n{version.title} is launched: 5 -> 50 -> 100 %, if the guard lets it")
        before = self._stack.envoy.stats()
        course = Course(version)
        self._follow(course, version)
        self._collect(course)
        course.events = self._history()
        for line in _lines(course.events):
            self._say(line)
        self._judge(course, before)
        return course

    def _follow(self, course: Course, version: Version) -> None:
        """Wait for the end of the launch."""
        until, phase = time.monotonic() + PATIENCE_S, ""
        while phase not in {"Promoted", "RolledBack"} and time.monotonic() < until:
            time.sleep(LOOK_S)
            self._stack.check()
            phase = self._status()["progress"]["phase"]
        if phase != version.ends:
            self._collect(course)
            raise BrokenError(_wrong_end(course, phase))
        # Nothing may come any more.
        time.sleep(QUIET_S)

    def _judge(self, course: Course, before: Stats) -> None:
        version, end = course.version, course.events[-1]
        if version.ends == "Promoted":
            return
        found = (end["evidence"] or {}).get("evidence", {}).get("culprits", [])
        if found != [version.culprit]:
            raise BrokenError(f"{version.title}: at fault is {version.culprit}, not {found}")
        late_ms = (course.canary[-1].time_ns - course.decided_ns) / 1e6
        if late_ms > SETTLED_MS:
            raise BrokenError(
                f"{version.title}: requests came to it until {late_ms:.0f} ms after the decision"
            )
        stats = self._stack.envoy.stats()
        sent = stats.requests(CANARY) - before.requests(CANARY)
        if sent > len(course.canary):
            raise BrokenError(
                f"Envoy sent {sent} requests to {version.title}, whose log has {len(course.canary)}"
            )

    def _collect(self, course: Course) -> None:
        course.stable += self._stack.logs[STABLE].new()
        course.canary += self._stack.logs[CANARY].new()

    def _drain(self) -> None:
        """Pass over what came before."""
        for reader in self._stack.logs.values():
            list(reader.new())

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._stack.canary("status", NAME, "--json").output)
        return found

    def _history(self) -> list[dict[str, Any]]:
        """Return the events of the newest launch."""
        events = json.loads(self._stack.canary("history", NAME, "--json").output)
        newest = max(event["launch"] for event in events)
        return [event for event in events if event["launch"] == newest]

    def _log(self, cluster: str) -> Any:
        return self._stack.work / f"{cluster}.requests"

    def _start_load(self) -> None:
        argv = [sys.executable, "-m", "bench.lab.load", "--url", f"{self._stack.envoy.url}/"]
        argv += ["--users", str(USERS), "--rate", str(RATE), "--seconds", "300"]
        argv += ["--report", str(self._stack.work / "load.json")]
        before = self._stack.envoy.stats().requests(STABLE)
        self._load = self._stack.start("load", *argv)
        wait_until(
            "traffic",
            lambda: self._stack.envoy.stats().requests(STABLE) > before,
            alive=[self._load],
        )

    def _stop_load(self) -> None:
        assert self._load
        self._load.stop()
        self._stack.children.pop("load")


def _wrong_end(course: Course, phase: str) -> str:
    version, bad = course.version, sum(seen.bad for seen in course.canary)
    if version.ends == "Promoted":
        return f"{version.title} must be promoted, but within {PATIENCE_S:g} s it was {phase}"
    return (
        f"{version.title} answered {bad} of {len(course.canary)} requests badly, and was {phase}:"
        " the guard is blind"
    )


def _lines(events: Sequence[dict[str, Any]]) -> list[str]:
    first = datetime.fromisoformat(events[0]["at"])
    lines = []
    for event in events:
        at = (datetime.fromisoformat(event["at"]) - first).total_seconds()
        lines.append(f"  {at:5.1f} s  {event['kind']}: {event['why'] or event['phase']}")
    return lines


def _table(rows: Sequence[tuple[Version, Took]]) -> str:
    head = f"{'from the first bad answer':44}" + "".join(f"{v.culprit:>18}" for v, _ in rows)
    figures: list[tuple[str, Callable[[Took], str]]] = [
        ("to the decision", lambda t: f"{t.decision_s:.2f} s"),
        ("to the last request on the candidate", lambda t: f"{t.last_s:.2f} s"),
        ("requests on the candidate to the decision", lambda t: f"{t.requests_to_decision:,}"),
        ("requests on the candidate in all", lambda t: f"{t.requests:,}"),
        ("requests on both", lambda t: f"{t.all_requests:,}"),
        ("users who met the candidate", lambda t: f"{t.users:,} of {USERS:,}"),
        ("users who met a bad answer", lambda t: f"{t.hurt:,}"),
    ]
    return "\n".join(
        [head, *(f"{name:44}" + "".join(f"{say(t):>18}" for _, t in rows) for name, say in figures)]
    )
