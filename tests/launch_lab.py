"""Launches for tests: documents with steps, states in any phase, a clock that tests move."""

from datetime import UTC, datetime, timedelta

from sidecar import delivery, rollout
from sidecar.delivery import Document, Judgement, Origin, State, Tick, Verdict

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # a Monday
STEPS = "[{weight: 5, hold: 10m, minSamples: 100}, {weight: 25, hold: 10m}, {weight: 100}]"


def text(name="chat", steps=STEPS, *more: str, candidate=0, cluster="v2") -> str:
    lines = [f"steps: {steps}"] if steps else []
    variants = (
        f"variants: [{{name: stable, weight: 95}},"
        f" {{name: canary, weight: {candidate}, cluster: {cluster}}}]"
    )
    return "\n  ".join(
        [
            f"apiVersion: canary.dev/v1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec:",
            "unit: [{header: x-user-id}]",
            variants,
            *lines,
            *more,
        ]
    )


def document(*args, **kwargs) -> Document:
    reading = rollout.read([rollout.Source("chat.yaml", text(*args, **kwargs).encode())])
    assert not reading.mistakes, reading.mistakes
    one = reading.declared[0].rollout
    return Document(one, rollout.generation(one), "chat.yaml")


GUARDED = ("chat", STEPS, "guardrails: [{metric: error_rate, maxIncrease: 0.5pp}]")


def origin(minutes=0.0, who="ann", why="") -> Origin:
    return Origin(START + timedelta(minutes=minutes), who, why)


def declared(*args, **kwargs) -> State:
    return delivery.adopt(None, document(*args, **kwargs), origin()).state


class Launch:
    """One rollout under a clock: every input at a time in minutes, the trail of what it did."""

    def __init__(self, *args, **kwargs) -> None:
        self.state = declared(*args, **kwargs)
        self.trail = []

    def give(self, given, minutes, who="ann", why=""):
        return self.take(delivery.handle(self.state, given, origin(minutes, who, why)))

    def take(self, change):
        if change:
            self.state = change.state
            self.trail.append(change.event)
        return change

    def tick(self, minutes, verdict=None, samples=0, **more):
        word = self.word(minutes, verdict, samples, **more) if verdict else None
        return self.give(Tick(word), minutes, "controller")

    def word(self, minutes, verdict, samples=0, **more):
        progress = self.state.progress
        about = {"launch": progress.launch, "step": progress.step}
        at = START + timedelta(minutes=minutes)
        return Judgement(Verdict(verdict), **{**about, "at": at, "samples": samples, **more})

    @property
    def stands(self):
        progress = self.state.progress
        return progress.phase.value, progress.step, self.state.in_force["canary"]
