"""The guard on a real Envoy: harm is found, undone, written down; the witnesses are the upstreams.

Errors and slowness come from the candidate's upstream, outcomes from Envoy's access log, and the
controller acts by itself.
"""

import contextlib
import json
import signal
import sys
import time
from datetime import datetime

import pytest

from bench.lab.process import wait_until
from bench.lab.stack import Plan, Stack
from bench.lab.upstream import Mood

NAME = "chat-model"
CLUSTERS = {"stable": f"{NAME}-stable", "canary": f"{NAME}-canary"}
GUARDED = "  guardrails: [{metric: error_rate, maxIncrease: 0.5pp}]\n"
LIMITED = "  guardrails: [{metric: error_rate, limit: 20%}]\n"
USERS = 1000


def document(steps="[{weight: 20, hold: 1h}, {weight: 100}]", terms=GUARDED):
    return (
        f"apiVersion: canary.dev/v1\nkind: Rollout\nmetadata: {{name: {NAME}}}\nspec:\n"
        "  unit: [{header: x-user-id}]\n"
        "  variants: [{name: stable, weight: 100}, {name: canary, weight: 0}]\n"
        f"  steps: {steps}\n{terms}"
    )


class Town(Stack):
    """A stack with people in it."""

    def people(self, rate=200):
        argv = [sys.executable, "-m", "bench.lab.load", "--url", f"{self.envoy.url}/"]
        argv += ["--users", str(USERS), "--rate", str(rate), "--seconds", "60"]
        self.start("load", *argv, "--report", str(self.work / "load.json"))

    def mood(self, **mood):
        Mood(**mood).write(self.work / f"{CLUSTERS['canary']}.requests")

    def status(self):
        return json.loads(self.canary("status", NAME, "--json").output)

    def until(self, phase):
        self.canary("wait", NAME, "--for", phase, "--timeout", "19s")

    def last_event(self):
        return json.loads(self.canary("history", NAME, "--json", "--newest", "1").output)[0]

    def seen(self):
        """Everything since the last call, by variant."""
        return {variant: list(self.logs[c].new()) for variant, c in CLUSTERS.items()}

    def measured(self, count=60):
        """Wait until the guard has seen so many answers of the candidate in this step."""

        def enough():
            progress = self.status()["progress"]
            return int(progress.get("judgement", {}).get("samples", 0)) >= count

        wait_until("the candidate is measured", enough, alive=list(self.children.values()))


@contextlib.contextmanager
def town(tmp_path, *, engine="native", apart=False, terms=GUARDED, **how):
    path = tmp_path / f"{NAME}.yaml"
    path.write_text(document(terms=terms, **how))
    plan = Plan(rollouts=path, name="guard", apart=apart, env={"CANARY_ENGINE": engine})
    with Town(plan) as stack:
        stack.people()
        yield stack
    stack.remove()


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_errors_take_the_candidate_out_and_the_same_people_return(engine, tmp_path):
    with town(tmp_path, engine=engine) as here:
        here.measured()
        status = here.canary("status", NAME).output
        assert "healthy" in status
        here.mood(fail=0.3)
        here.until("RolledBack")
        event, shown = here.last_event(), here.canary("status", NAME).output
        decided_ns = datetime.fromisoformat(event["at"]).timestamp() * 1e9
        exposed = {one.user for one in here.seen()["canary"]}
        back = set()

        def returned():
            back.update(one.user for one in here.seen()["stable"])
            return len(exposed & back) >= 0.9 * len(exposed)

        wait_until("those people are on the baseline", returned)
        late = [one for one in here.seen()["canary"] if one.time_ns > decided_ns + 1e9]
    assert late == []
    assert (event["kind"], event["who"]) == ("RolloutRolledBack", "controller")
    said = event["evidence"]
    assert said["verdict"] == "harmful"
    assert said["evidence"]["culprits"] == ["error_rate"]
    [reading] = said["readings"]
    assert reading["estimate"] > 0.5
    assert reading["low"] > 0
    assert reading["e_value"] >= 100
    for shown_too in ("error_rate", "0.5pp", "harmful", " pp to"):
        assert shown_too in " ".join(shown.split()), shown


def test_a_good_candidate_is_promoted_and_errors_of_both_harm_nobody(tmp_path):
    steps = "[{weight: 20, hold: 1s}, {weight: 50, hold: 1s}, {weight: 100}]"
    with town(tmp_path, steps=steps) as here:
        for cluster in CLUSTERS.values():
            Mood(fail=0.1).write(here.work / f"{cluster}.requests")
        here.until("Promoted")
        history = json.loads(here.canary("history", NAME, "--json").output)
    assert [one["kind"] for one in history][-3:] == ["StepBegun", "StepBegun", "RolloutPromoted"]


def test_a_controller_killed_between_rows_and_verdict_goes_on(tmp_path):
    """The evidence from before it was killed is neither lost nor counted twice."""
    with town(tmp_path, apart=True) as here:
        here.measured()
        before = here.status()["progress"]["judgement"]
        controller = here.children["controller"]
        controller.kill(signal.SIGKILL)
        controller.wait(10)
        here.mood(fail=0.3)
        time.sleep(0.5)  # errors happen while nobody judges: the sidecar keeps them
        here.start("controller", *here.plan.canary, "controller", str(here.work / "rollouts"))
        here.until("RolledBack")
        event = here.last_event()
        requests, answered = (event["evidence"]["evidence"][k] for k in ("requests", "answered"))
        logged = here.seen()
    assert event["launch"] == 1
    assert answered[1] >= int(before["samples"])
    for arm, variant in enumerate(CLUSTERS):
        assert answered[arm] <= requests[arm] <= len(logged[variant])


def test_a_sidecar_without_its_controller_trips_and_the_controller_rolls_back(tmp_path):
    with town(tmp_path, apart=True, terms=LIMITED) as here:
        here.measured(30)
        here.children["controller"].kill(signal.SIGKILL)
        here.children["controller"].wait(10)
        here.mood(fail=0.9)

        def held_out():
            return "variant taken out by this sidecar" in here.children["sidecar"].log.read_text()

        wait_until("the sidecar takes it out", held_out, alive=[here.children["sidecar"]])
        here.start("controller", *here.plan.canary, "controller", str(here.work / "rollouts"))
        here.until("RolledBack")
        event = here.last_event()
    assert event["kind"] == "RolloutRolledBack"
    assert "hard limit" in event["why"]
