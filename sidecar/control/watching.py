"""One launch under the guard: its judge, what was answered in its step, and the guard's word on it.

What it remembers is one text, from which another process goes on: rows that came after it are read
again, and taking one twice changes nothing. Not for two threads at once.

"Healthy" has to be earned here beyond what the judge asks: answers of both sides *in this step*,
and lately. A controller that is told of decisions but not of what became of them must not promote.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sidecar import analysis, rollout
from sidecar.analysis import Answer, Finding, Judge, Policy, cells, declared, dump, load
from sidecar.analysis.blocks import Block
from sidecar.analysis.guardrails import ERROR_RATE
from sidecar.analysis.ledger import Refusal
from sidecar.control import cohorts
from sidecar.control.cohorts import Row
from sidecar.delivery import Judgement, Reading, State, Unjudged, Verdict
from sidecar.errors import CanaryError

FORMAT = 2
POLICY = Policy()
_SIDES = ("baseline", "candidate")
_VERDICTS = {answer: Verdict(answer.value) for answer in Answer}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answers:
    """What both sides answered since a step began, and when news of it came last (Unix time)."""

    step: int
    since_s: float
    counts: list[int] = field(default_factory=lambda: [0, 0])
    heard_s: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def take(self, block: Block, known: Block | None, now_s: float) -> None:
        """Count what a block has more than was known of it.

        The second in which the step began is not all its own.
        """
        if block.second <= int(self.since_s):
            return
        before = known or Block(block.stratum, block.second)
        for arm, (new, old) in enumerate(zip(block.answers, before.answers, strict=True)):
            if new > old:
                self.counts[arm] += new - old
                self.heard_s[arm] = now_s


class Watch:
    """The guard of one launch of one rollout, from `now_s` on."""

    def __init__(self, state: State, seen: int, now_s: float) -> None:
        plan, progress = state.document.rollout.plan, state.progress
        assert plan
        assert progress
        self.name = state.name
        self.launch = progress.launch
        self.revision = state.revision
        self.guardrails = state.document.rollout.spec.guardrails
        self.guarded = plan.guarded
        self.arms = {plan.baseline: 0, plan.candidate: 1}
        self.since_s = now_s
        self.seen = seen
        self.judge = Judge([declared(one) for one in self.guardrails], now_s, POLICY)
        self.answers = Answers(progress.step, progress.began.timestamp())
        # The candidate's designed share by the tables that rows name: a stratum's must not change.
        self.shares: dict[str, float] = {}
        # By sidecar and kind: what was not taken.
        self.unjudged: Counter[tuple[str, str]] = Counter()
        self.changed = True

    def fits(self, state: State) -> bool:
        """Whether this is still about the launch that is under way, on the same terms."""
        plan, progress = state.document.rollout.plan, state.progress
        return (
            plan is not None
            and progress is not None
            and progress.launch == self.launch
            and state.document.rollout.spec.guardrails == self.guardrails
            and self.arms == {plan.baseline: 0, plan.candidate: 1}
        )

    def begin_step(self, state: State) -> None:
        """Count answers anew where another step has begun."""
        progress = state.progress
        assert progress
        began_s = progress.began.timestamp()
        if (self.answers.step, self.answers.since_s) != (progress.step, began_s):
            self.answers = Answers(progress.step, began_s)
            self.changed = True

    def take(
        self, rows: Sequence[Row], shares: Mapping[str, float], now_s: float
    ) -> Counter[tuple[str, str]]:
        """Take rows in the order in which they came, and look; `shares` are of their tables.

        Return how many seconds of which sidecar were not taken, by kind.
        """
        self.shares = {**shares, **self.shares}
        nodes = {row.epoch: row.node for row in rows}
        compared = []
        for row in rows:
            self.seen = max(self.seen, row.seen)
            arm = self.arms.get(row.variant)
            if arm is None or row.second <= self.since_s:
                continue
            if cohorts.chosen_by_chance(row.segment):
                compared.append((row, cells.unpack(row.counts)))
        found = cohorts.blocks(compared, self.judge, self.arms, self.shares)
        known = [self.judge.ledger.get(block.stratum, block.second) for block in found]
        refusals = self.judge.observe(found, now_s)
        self._answered(found, known, refusals, now_s)
        refused: Counter[tuple[str, str]] = Counter()
        for refusal in refusals:
            node = nodes[refusal.block.stratum.sidecar]
            self._say(node, refusal)
            refused[node, refusal.kind] += 1
            self.unjudged[node, refusal.kind] += 1
        self.changed = self.changed or bool(rows)
        return refused

    def _answered(
        self,
        blocks: Sequence[Block],
        known: Sequence[Block | None],
        refusals: Sequence[Refusal],
        now_s: float,
    ) -> None:
        refused = {id(refusal.block) for refusal in refusals}
        for block, before in zip(blocks, known, strict=True):
            if id(block) not in refused:
                self.answers.take(block, before, now_s)

    def _say(self, node: str, refusal: Refusal) -> None:
        """Write one line for each kind of a sidecar, not for each second."""
        if not self.unjudged[node, refusal.kind]:
            said = {"rollout": self.name, "node": node, "because": refusal.reason}
            _log.warning("outcomes not judged", extra=said)

    @property
    def harmful(self) -> bool:
        """Whether harm was shown; that stays so."""
        return self.judge.harmful is not None

    def word(self, now_s: float) -> Judgement:
        """Say what is known at `now_s` about the step that is under way."""
        verdict = self.judge.verdict(now_s)
        said, sentence = _VERDICTS[verdict.answer], verdict.sentence
        if said in {Verdict.HEALTHY, Verdict.PASSED} and (why := self._unearned(now_s)):
            said, sentence = Verdict.NOT_MEASURED, f"Not measured: {why}."
        written: dict[str, rollout.Guardrail] = {one.metric: one for one in self.guardrails}
        return Judgement(
            said,
            self.launch,
            self.answers.step,
            datetime.fromtimestamp(now_s, UTC),
            samples=self.answers.counts[1],
            sentence=sentence,
            readings=tuple(_reading(f, written[f.metric]) for f in verdict.findings),
            unjudged=tuple(Unjudged(*key, count) for key, count in self.unjudged.items()),
            evidence=self._record(verdict),
        )

    def _unearned(self, now_s: float) -> str:
        """Say why this step's answers do not bear out that the candidate is well."""
        if not self.guarded:
            return ""
        for arm, side in enumerate(_SIDES):
            count, age_s = self.answers.counts[arm], now_s - self.answers.heard_s[arm]
            if count < POLICY.minimum:
                return f"the {side} has answered {count} of {POLICY.minimum} requests in this step"
            if age_s > POLICY.stale_s and self._decided_s(arm) > self.answers.heard_s[arm]:
                return f"no answer of the {side} was heard of for {age_s:.0f} s"
        return ""

    def _decided_s(self, arm: int) -> float:
        """When the newest request of an arm started."""
        return self.judge.newest_s[arm]

    def _record(self, verdict: analysis.Verdict) -> dict[str, Any]:
        """Return what belongs in the history beside the readings."""
        return {
            "eValue": verdict.evidence,
            "bar": verdict.bar,
            "culprits": list(verdict.culprits),
            "why": verdict.why.value if verdict.why else "",
            "harmfulSince": verdict.harmful_since_s,
            "watchedSince": self.since_s,
            "mismatch": verdict.mismatch,
            "requests": list(verdict.requests),
            "units": list(verdict.units),
            "answered": list(self.answers.counts),
        }

    # What survives a restart.

    def remember(self) -> str:
        """Return everything as one text."""
        self.changed = False
        answers = self.answers
        return json.dumps(
            {
                "format": FORMAT,
                "launch": self.launch,
                "revision": self.revision,
                "guardrails": self._terms(),
                "arms": self.arms,
                "since": self.since_s,
                "seen": self.seen,
                "unjudged": [[*key, count] for key, count in self.unjudged.items()],
                "shares": self.shares,
                "step": [answers.step, answers.since_s, answers.counts, answers.heard_s],
                "judge": dump(self.judge),
            },
            separators=(",", ":"),
        )

    @classmethod
    def recalled(cls, text: str, state: State, now_s: float) -> "Watch | None":
        """Go on from a text; None if it is about another launch or other terms.

        Raises CanaryError, ValueError, KeyError or TypeError if it cannot be read.
        """
        said = json.loads(text)
        watch = cls(state, said["seen"], now_s)
        about = (said["format"], said["launch"], said["guardrails"], said["arms"])
        if about != (FORMAT, watch.launch, watch._terms(), watch.arms):
            return None
        watch.since_s, watch.revision = said["since"], said["revision"]
        watch.unjudged.update({(node, why): count for node, why, count in said["unjudged"]})
        watch.shares = said["shares"]
        watch.answers = Answers(*said["step"])
        watch.judge = load(said["judge"], watch.judge.guardrails, POLICY)
        watch.changed = False
        return watch

    def _terms(self) -> list[Any]:
        return [one.model_dump(mode="json") for one in self.guardrails]


UNREADABLE = (CanaryError, ValueError, KeyError, TypeError)


def taken_out(word: Judgement, node: str, variant: str, reason: str) -> Judgement:
    """Return the guard's word once a sidecar has taken the candidate out by itself."""
    return replace(
        word,
        verdict=Verdict.HARMFUL,
        sentence=f"Harmful: sidecar {node} took {variant} out by itself: {reason}.",
        evidence={**(word.evidence or {}), "trip": {"node": node, "reason": reason}},
    )


def _reading(found: Finding, written: rollout.Guardrail) -> Reading:
    unit = "%" if found.relative else ("pp" if found.metric == ERROR_RATE else "s")
    scale = 1.0 if unit == "s" else 100.0
    return Reading(
        metric=found.metric,
        verdict=_VERDICTS[found.answer],
        margin=written.max_increase,
        limit=written.limit,
        unit=unit,
        estimate=_scaled(found.estimate, scale),
        low=_scaled(found.interval.low, scale),
        high=_scaled(found.interval.high, scale),
        e_value=found.evidence,
        baseline_count=found.baseline_count,
        candidate_count=found.candidate_count,
        looks=found.looks,
        sentence=found.sentence,
    )


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value * scale
