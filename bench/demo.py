"""`python -m bench.demo`: watch a real Envoy move users 5 -> 50 -> 0 %, then three launches.

Real HTTP traffic of a few thousand users goes through a real Envoy to two upstreams while the
ordinary `canary` command moves the weights. Every figure comes from Envoy's statistics and the
upstreams' logs; one expectation that does not hold ends it with a sentence and status 1. Then a
good version is launched, a failing one and a slow one, and left to the guard (`demo_launches`).
`--keep` leaves everything running afterwards and says what to try.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from bench import demo_watch as watch
from bench.demo_launches import Launches
from bench.demo_view import Tick, View, change_lines, summary
from bench.demo_watch import CANARY, STABLE, BrokenError, Phase, Rule, Witness
from bench.lab import load
from bench.lab.envoy import Stats
from bench.lab.process import Child, Interrupted, LabError, signals_unwind, wait_until
from bench.lab.stack import Plan, Stack

NAME = "chat-model"
CLUSTERS = {variant: f"{NAME}-{variant}" for variant in (STABLE, CANARY)}
DECLARED = 5
CHANGES = (50, 0)
TICK_S = 0.25


@dataclass(frozen=True)
class Options:
    """How much traffic, for how long."""

    users: int
    rate: float
    seconds_per_phase: float
    keep: bool
    part: str = "all"


class Demo:
    """One run over a running stack."""

    def __init__(self, stack: Stack, options: Options, view: View) -> None:
        self._stack = stack
        self._options = options
        self._view = view
        self._rule = Rule(NAME, tuple(load.user(number) for number in range(options.users)))
        self._witness = Witness({v: stack.logs[cluster] for v, cluster in CLUSTERS.items()})
        self._load: Child | None = None
        self._started = time.monotonic()

    def run(self) -> str:
        """Drive all phases and return the summary. Raises BrokenError."""
        before = self._stack.identities()
        self._start_load()
        phases = [Phase(DECLARED, None, stats_before=self._stack.envoy.stats())]
        self._follow(phases[0])
        watch.judge_phase(self._rule, phases[0])
        for percent in CHANGES:
            phases.append(self._turn(phases[-1], percent))
            self._follow(phases[-1])
            self._judge(phases[-1])
        requests = self._finish()
        self._same_processes(before)
        return (
            f"{summary(phases, CLUSTERS)}\n\n"
            f"{requests:,} requests, each decided once; Envoy's failures: 0; "
            f"no process restarted ({_pids(before)})"
        )

    def _judge(self, phase: Phase) -> None:
        assert phase.before
        # Its last requests came while this phase's command started.
        watch.judge_phase(self._rule, phase.before)
        phase.change = watch.judge_change(self._rule, phase)
        self._view.say(change_lines(phase.change))
        watch.judge_phase(self._rule, phase)

    def _turn(self, phase: Phase, percent: int) -> Phase:
        words = ("weights", NAME, f"{CANARY}={percent}")
        self._view.say(f"$ canary {' '.join(words)}")
        following = Phase(percent, self._stack.canary(*words), before=phase)
        following.stats_before = self._stack.envoy.stats()
        self._witness.collect(phase)
        self._witness.turn(following)
        return following

    def _follow(self, phase: Phase) -> None:
        """Watch a phase for its time, then read Envoy once more."""
        since_ns = phase.command.ended_ns if phase.command else 0
        end = time.monotonic() + self._options.seconds_per_phase
        last, last_s = self._stack.envoy.stats(), time.monotonic()
        while time.monotonic() < end:
            time.sleep(TICK_S)
            self._stack.check()
            self._witness.collect(phase)
            now, now_s = self._stack.envoy.stats(), time.monotonic()
            self._view.show(self._tick(phase, since_ns, last, now, now_s - last_s))
            last, last_s = now, now_s
        phase.stats_after = last

    def _tick(self, phase: Phase, since_ns: int, last: Stats, now: Stats, took_s: float) -> Tick:
        sent = watch.canary_requests(last, now, CLUSTERS)[1]
        canary, total = watch.canary_requests(phase.stats_before, now, CLUSTERS)
        return Tick(
            seconds=time.monotonic() - self._started,
            asked=phase.label,
            split=phase.split(since_ns),
            rate=sent / took_s,
            canary_share=canary / max(total, 1),
            failures=sum(now.failures().values()),
        )

    def _start_load(self) -> None:
        options = self._options
        argv = [sys.executable, "-m", "bench.lab.load", "--url", f"{self._stack.envoy.url}/"]
        argv += ["--users", str(options.users), "--rate", str(options.rate)]
        # It ends with the demo; the limit is for the case that nobody ends it.
        argv += ["--seconds", "120", "--report", str(self._stack.work / "load.json")]
        self._load = self._stack.start("load", *argv)
        envoy = self._stack.envoy
        wait_until("traffic", lambda: envoy.stats().requests(CLUSTERS[STABLE]), alive=[self._load])

    def _finish(self) -> int:
        """End the traffic, then compare what Envoy, the upstreams and the clients counted."""
        assert self._load
        if status := self._load.stop():
            raise BrokenError(f"the load ended with status {status}:\n{self._load.log_tail()}")
        self._stack.children.pop("load")
        report = json.loads((self._stack.work / "load.json").read_text())
        bad = {name: n for name, n in report["statuses"].items() if name != "200"}
        stats = self._stack.envoy.stats()
        requests = watch.judge_failures(stats, {**report["errors"], **bad})
        self._witness.collect(Phase(0, None))
        watch.judge_witnesses(stats, self._witness.lines, CLUSTERS)
        return requests

    def _same_processes(self, before: dict[str, tuple[int, str]]) -> None:
        after = self._stack.identities()
        changed = [name for name, identity in before.items() if after[name] != identity]
        if changed or self._stack.envoy.restart_epoch():
            raise BrokenError(f"restarted: {', '.join(changed) or 'Envoy, hot'}")


def _pids(identities: dict[str, tuple[int, str]]) -> str:
    return ", ".join(f"{name} {pid}" for name, (pid, _) in identities.items())


def _keep(stack: Stack, view: View) -> None:
    """Stay until a signal; say what to try."""
    place = f"cd {shlex.quote(str(stack.work))}"
    canary = shlex.quote(stack.plan.canary[0])
    names = " ".join(f"{key}={shlex.quote(stack.env[key])}" for key in sorted(stack.env)[:2])
    view.say(
        "\nStill running. Try, in another terminal:\n"
        f"  {place} && export {names}\n"
        f"  curl -i -H 'x-user-id: alice' {stack.envoy.url}/\n"
        f"  {canary} weights {NAME} {CANARY}=25\n"
        f"  {canary} status\n"
        f"  curl -s '{stack.envoy.admin_url}/stats?filter=ext_proc'\n"
        "Ctrl-C ends it."
    )
    while True:
        time.sleep(1)
        stack.check()


def run(options: Options, plan: Plan) -> int:
    """Run the demo on a plan; return the exit status."""
    view = View(Console())
    stack = Stack(plan)
    failed = True
    try:
        with signals_unwind():
            view.say("starting two upstreams, canary up and Envoy")
            with stack:
                view.say(f"Envoy listens on {stack.envoy.url}; {_pids(stack.identities())}")
                if options.part != "launches":
                    with view:
                        text = Demo(stack, options, view).run()
                    view.say(f"\n{text}")
                if options.part != "weights":
                    view.say(f"\n{Launches(stack, view.say).run()}")
                failed = False
                if options.keep:
                    _keep(stack, view)
    except (BrokenError, LabError) as error:
        view.say(f"demo: {error}\ndemo: the logs are in {stack.work}")
        return 1
    except Interrupted as signal:
        failed = False
        return signal.status
    finally:
        if not failed:
            stack.remove()
    return 0


def parse(argv: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--seconds-per-phase", type=float, default=9.0)
    parser.add_argument("--part", choices=("all", "weights", "launches"), default="all")
    options = parser.parse_args(argv)
    needed = options.users / options.rate + 1
    if options.seconds_per_phase < needed:
        parser.error(f"--seconds-per-phase: at least {needed:g}, so that every user is seen")
    return Options(**vars(options))


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:]), Plan(name="demo")))
