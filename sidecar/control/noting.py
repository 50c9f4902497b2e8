"""What became of launches, counted for whoever looks on: changes, verdicts, and where each stands.

Counts go up as long as the process lives. An event is said for every change, and for every verdict
that is another than the one before; the counts have each single look.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from sidecar.control.keeper import Keeper
from sidecar.delivery import Change, Judgement, State, Verdict

Attributes = Mapping[str, str | int | float | bool]
Emit = Callable[[str, Attributes], None]


class Notes:
    """Counts and says; `emit` takes an event's name and attributes, and must not block."""

    def __init__(self, emit: Emit) -> None:
        self.changes: Counter[tuple[str, str]] = Counter()
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self._emit = emit
        self._last: dict[str, tuple[int, int, Verdict]] = {}

    def changed(self, before: State | None, change: Change) -> None:
        """Note a change that was kept."""
        event = change.event
        self.changes[event.rollout, event.kind.value] += 1
        was = before.progress.phase if before and before.progress else None
        said: dict[str, str | int | float | bool] = {
            "canary.rollout": event.rollout,
            "canary.change": event.kind.value,
            "canary.revision": event.revision,
            "canary.who": event.origin.who,
            "canary.why": event.origin.why,
        }
        if event.phase:
            said |= {"canary.phase": event.phase.value, "canary.step": event.step}
        if was and was is not event.phase:
            said["canary.phase.before"] = was.value
        self._emit("canary.rollout.changed", said)

    def judged(self, judgements: Mapping[str, Judgement]) -> None:
        """Note what the guard said in one look."""
        for name, word in judgements.items():
            self.verdicts[name, word.verdict.value] += 1
            key = (word.launch, word.step, word.verdict)
            if self._last.get(name) == key:
                continue
            self._last[name] = key
            self._emit(
                "canary.guard.judged",
                {
                    "canary.rollout": name,
                    "canary.verdict": word.verdict.value,
                    "canary.step": word.step,
                    "canary.samples": word.samples,
                    "canary.why": word.sentence,
                },
            )


def launches(keeper: Keeper) -> dict[str, tuple[str, float]]:
    """Return each launch's phase, and the candidate's share of the traffic (0 to 1)."""
    stands = {}
    for name, state in tuple(keeper.states.items()):
        plan, progress = state.document.rollout.plan, state.progress
        if plan and progress and not state.retired:
            share = state.in_force[plan.candidate] / sum(state.in_force.values())
            stands[name] = (progress.phase.value, float(share))
    return stands
