"""The guard of one rollout: give it blocks as they come, ask it at any time.

It never looks at a clock: `now_s` (Unix time) is an argument. Looking more often changes nothing
but the time of the answer. Its whole memory is `state.dump`, from which another process goes on
exactly where this one stopped. One judge watches one candidate through all steps of one launch; a
launch that begins anew needs a new one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sidecar.analysis import capital, wording
from sidecar.analysis.blocks import Block
from sidecar.analysis.duration_evidence import DurationEvidence
from sidecar.analysis.error_evidence import ErrorEvidence
from sidecar.analysis.guardrails import Guardrail, GuardrailError
from sidecar.analysis.ledger import AHEAD_S, Ledger, Refusal, Update
from sidecar.analysis.split import Split
from sidecar.analysis.verdict import Answer, Finding, Verdict, Why

# A silence of so many usual gaps is no chance: one in 20,000.
_GAPS = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How sure, how many, how fresh.

    alpha: the chance of a false rollback in the whole life of a launch. minimum: of what each
    guardrail counts, how much each arm needs before "healthy" is said; harm may be found before.
    stale_s: older news than this is no news, unless an arm is asked so seldom that the silence
    may be chance (ten times its usual gap). horizon: by how many of the candidate's requests it is
    decided whether errors are shown to be within their margins ("passed"), with the chance `alpha`
    of passing what is not; None: nobody asks for that proof.
    """

    alpha: float = 0.01
    minimum: int = 50
    stale_s: float = 60.0
    horizon: int | None = None

    def __post_init__(self) -> None:
        sound = 0 < self.alpha < 0.5 and self.minimum >= 1 and self.stale_s > 0
        if not sound or (self.horizon is not None and self.horizon < 1):
            raise GuardrailError(
                f"a policy of alpha {self.alpha}, minimum {self.minimum}, stale {self.stale_s} s,"
                f" horizon {self.horizon} cannot be followed",
                remedy="alpha between 0 and 0.5, minimum and horizon from 1 up, stale_s above 0",
            )


class Judge:
    """The evidence of one rollout's candidate, from `started_s` on."""

    def __init__(
        self, guardrails: Sequence[Guardrail], started_s: float, policy: Policy | None = None
    ) -> None:
        metrics = [guardrail.metric for guardrail in guardrails]
        if len(set(metrics)) < len(metrics):
            raise GuardrailError("two guardrails watch one metric", remedy="keep one of them")
        self.guardrails = tuple(guardrails)
        self.policy = policy or Policy()
        self.started_s = started_s
        self.ledger = Ledger()
        self.errors = [ErrorEvidence(g) for g in guardrails if g.on_errors]
        self.durations = [DurationEvidence(g) for g in guardrails if not g.on_errors]
        self.split = Split()
        self.mismatched = False
        self.newest_s: list[float] = [-math.inf, -math.inf]
        self.requests, self.units = [0, 0], [0, 0]
        self.harmful: tuple[float, tuple[str, ...], float] | None = None
        self.looked_s = started_s

    @property
    def evidences(self) -> list[ErrorEvidence | DurationEvidence]:
        """The guardrails' evidence in their order."""
        both: list[ErrorEvidence | DurationEvidence] = [*self.errors, *self.durations]
        by_metric = {e.guardrail.metric: e for e in both}
        return [by_metric[guardrail.metric] for guardrail in self.guardrails]

    def observe(self, blocks: Iterable[Block], now_s: float) -> list[Refusal]:
        """Take blocks, new or risen, and settle all bets; return those that were not taken.

        All blocks known at a look belong in one call. Time that stands still or goes back is as if
        it stood still.
        """
        if not math.isfinite(now_s):
            raise ValueError(f"now_s is {now_s}")
        self.looked_s = max(self.looked_s, now_s)
        updates, refusals = self.ledger.take(blocks, now_s)
        self._count(updates)
        self.split.waiting.add(updates)
        given = capital.endowment(self.looked_s - self.started_s)
        for errors in self.errors:
            errors.observe(updates, now_s, given)
            if self.policy.horizon is not None:
                errors.prove(self.policy.horizon, self.policy.alpha)
        for lasting in self.durations:
            lasting.observe(updates, self.ledger, now_s, given)
        judged = max((lasting.judged_before for lasting in self.durations), default=0)
        self.ledger.close(now_s, int(now_s) - judged)
        self._decide(now_s)
        return refusals

    def _count(self, updates: Sequence[Update]) -> None:
        for update in updates:
            block, before = update.block, update.before
            pairs = ((block.baseline, before.baseline), (block.candidate, before.candidate))
            for arm, (new, old) in enumerate(pairs):
                started = new.requests.started - old.requests.started
                self.requests[arm] += started
                self.units[arm] += new.units.started - old.units.started
                if started:
                    self.newest_s[arm] = max(self.newest_s[arm], block.second)

    def _decide(self, now_s: float) -> None:
        """Keep the moment at which harm was shown: it stays shown.

        Arms that cannot be compared show none, but a broken limit needs no comparison.
        """
        self.split.look(self.ledger, now_s)
        self.mismatched = self.mismatched or self.split.evidence >= 1 / self.policy.alpha
        if self.harmful is not None:
            return
        bar = 1 / self.policy.alpha
        pooled, named = self.pooled(), []
        broken = [e.guardrail.metric for e in self.evidences if e.tripped]
        shown = pooled >= bar and not self.mismatched
        if shown:
            sharing = [e for e in self.evidences if e.guardrail.compares]
            found = capital.culprits(*_columns(sharing), bar)
            named = [sharing[i].guardrail.metric for i in found]
        if shown or broken:
            self.harmful = (now_s, tuple(dict.fromkeys(broken + named)), pooled)

    def pooled(self) -> float:
        """The evidence of all guardrails that share the budget."""
        sharing = [e for e in self.evidences if e.guardrail.compares]
        return capital.pooled(*_columns(sharing)) if sharing else 0.0

    def verdict(self, now_s: float) -> Verdict:
        """Say what is known at `now_s`."""
        why = self._why_not(now_s)
        findings = tuple(self._finding(e, why) for e in self.evidences)
        few = any(f.answer is Answer.NOT_MEASURED for f in findings)
        if why is None and few:
            why = Why.TOO_FEW
        answer = Answer.NOT_MEASURED if why else Answer.HEALTHY
        if self.passed and not why:
            answer = Answer.PASSED
        if self.harmful is not None:
            answer, why = Answer.HARMFUL, None
        culprits = self.harmful[1] if self.harmful else ()
        named = [f for f in findings if f.metric in culprits] or list(findings)
        return Verdict(
            answer=answer,
            sentence=wording.sentence(answer, why, named, self._ages(now_s)),
            at_s=now_s,
            findings=findings,
            evidence=self.pooled(),
            bar=1 / self.policy.alpha,
            culprits=culprits,
            why=why,
            mismatch=self.split.evidence,
            harmful_since_s=self.harmful[0] if self.harmful else None,
            requests=(self.requests[0], self.requests[1]),
            units=(self.units[0], self.units[1]),
        )

    def _finding(self, evidence: ErrorEvidence | DurationEvidence, why: Why | None) -> Finding:
        found, guardrail = evidence.finding(self.policy.alpha), evidence.guardrail
        counts = found.baseline_count, found.candidate_count
        least = max(self.policy.minimum, guardrail.minimum)
        answer = Answer.HEALTHY
        if why is not None or (min(counts) < least and guardrail.margin is not None):
            answer = Answer.NOT_MEASURED
        elif isinstance(evidence, ErrorEvidence) and evidence.proven:
            answer = Answer.PASSED
        if self.harmful is not None and guardrail.metric in self.harmful[1]:
            answer = Answer.HARMFUL
        return replace(found, answer=answer, sentence=wording.described(found))

    @property
    def passed(self) -> bool:
        """Whether every guardrail on errors is shown to be within its margin."""
        return bool(self.errors) and all(errors.proven for errors in self.errors)

    def _ages(self, now_s: float) -> tuple[float, float]:
        return now_s - self.newest_s[0], now_s - self.newest_s[1]

    def _why_not(self, now_s: float) -> Why | None:
        if self.mismatched:
            return Why.MISMATCH
        if not any(self.requests):
            return Why.NO_DATA
        if not all(self.requests):
            return Why.ONE_ARM
        for arm, age_s in enumerate(self._ages(now_s)):
            gap_s = (self.newest_s[arm] - self.started_s) / self.requests[arm]
            allowed_s = max(self.policy.stale_s, _GAPS * gap_s)
            if not -AHEAD_S - 1 <= age_s <= allowed_s:
                return Why.STALE
        return Why.TOO_FEW if min(self.requests) < self.policy.minimum else None


def _columns(
    evidences: Sequence[ErrorEvidence | DurationEvidence],
) -> tuple[list[float], list[float]]:
    """Return the e-values and their weights."""
    money = [float(evidence.money.sum()) for evidence in evidences]
    return money, [evidence.guardrail.weight for evidence in evidences]
