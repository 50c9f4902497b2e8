"""What a launch waits for before it moves on: the one list that machine and status both read.

A step is left once its hold is over, its samples are in and the guard found no harm; the next one
begins once it is approved, its window is open and its gate said yes. The gate is last: it is asked
only when nothing else is missing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.delivery.progress import Judgement, Progress, Verdict, WaitKind
from sidecar.rollout import Plan, Step, is_open
from sidecar.rollout.measures import spoken

# A guard that looks every second and has not spoken for this long does not measure.
FRESH = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that is missing, and the sentence that says so."""

    kind: WaitKind
    sentence: str


def waits(
    plan: Plan, progress: Progress, judgement: Judgement | None, now: datetime
) -> tuple[Wait, ...]:
    """List what is missing before the launch may move on; () if it may now."""
    found: list[Wait] = []
    if progress.step:
        found += _leaving(plan, progress, judgement, now)
    if progress.step < len(plan.steps):
        found += _entering(plan.steps[progress.step], progress, now)
    return tuple(found)


def fresh(judgement: Judgement | None, progress: Progress, now: datetime) -> bool:
    """Whether the guard's word is about this launch, and new enough to go by."""
    return (
        judgement is not None
        and judgement.launch == progress.launch
        and judgement.step <= progress.step
        and abs(now - judgement.at) <= FRESH
    )


def _leaving(
    plan: Plan, progress: Progress, judgement: Judgement | None, now: datetime
) -> list[Wait]:
    step = plan.steps[progress.step - 1]
    found = []
    if now < progress.held_until:
        found.append(Wait("hold", f"hold for another {spoken_s(progress.held_until - now)}"))
    word = judgement if _about_this_step(judgement, progress, now) else None
    samples = word.samples if word else 0
    if samples < step.min_samples:
        found.append(Wait("samples", f"{samples} of {step.min_samples} samples"))
    if needs_verdict(plan, step) and (word is None or word.verdict is Verdict.NOT_MEASURED):
        said = word.sentence if word else "the guard has not spoken about this step"
        found.append(Wait("verdict", said or "the guardrails could not be measured"))
    if not is_open(step.window, now):
        found.append(Wait("window", f"step {progress.step} may be left only in its window"))
    return found


def needs_verdict(plan: Plan, step: Step) -> bool:
    """Whether the guard must have measured: not where everybody has the candidate already."""
    return plan.guarded and step.weight < 100 and plan.on_not_measured != "proceed"


def _about_this_step(judgement: Judgement | None, progress: Progress, now: datetime) -> bool:
    return (
        judgement is not None
        and fresh(judgement, progress, now)
        and judgement.step == progress.step
        and judgement.at >= progress.began
    )


def _entering(step: Step, progress: Progress, now: datetime) -> list[Wait]:
    number = progress.step + 1
    found = []
    if step.approval and progress.approved < number:
        found.append(Wait("approval", f"approval of step {number} (`canary approve`)"))
    if not is_open(step.window, now):
        found.append(Wait("window", f"the window of step {number}"))
    if step.gate.url:
        said = f": {progress.gate_said}" if progress.gate_said else ""
        found.append(Wait("gate", f"the gate of step {number}{said}"))
    return found


def spoken_s(length: timedelta) -> str:
    """Write a duration in whole seconds, rounded up."""
    return spoken(timedelta(seconds=-(-length // timedelta(seconds=1))))
