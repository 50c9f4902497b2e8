"""What every guardrail keeps: its bets' money, its counts, its hard limit."""

import numpy as np

from sidecar.analysis import capital
from sidecar.analysis.blocks import Arm, Counts
from sidecar.analysis.guardrails import Guardrail, Per, Relative
from sidecar.analysis.limits import Window
from sidecar.analysis.verdict import Finding, Interval


class Evidence:
    """What both kinds of guardrail have in common."""

    def __init__(self, guardrail: Guardrail) -> None:
        self.guardrail = guardrail
        self.given = 0.0
        self.looks = 0
        self.totals = [0, 0]
        self.window = Window()
        self.tripped = False
        self.money: capital.Floats = np.zeros(0)

    def counts(self, arm: Arm) -> Counts:
        """What of an arm this guardrail counts."""
        return arm.units if self.guardrail.per is Per.UNIT else arm.requests

    def fresh(self, shares: capital.Floats, given: float) -> capital.Floats:
        """Return the money that was given out since the last look, spread over the bets."""
        more = max(given - self.given, 0.0)
        self.given += more
        return shares * more


def finding(
    evidence: Evidence,
    baseline: float | None,
    candidate: float | None,
    estimate: float | None,
    interval: Interval,
) -> Finding:
    """Put a guardrail's figures together."""
    guardrail = evidence.guardrail
    return Finding(
        metric=guardrail.metric,
        baseline=baseline,
        candidate=candidate,
        estimate=estimate,
        interval=interval,
        relative=isinstance(guardrail.allowed, Relative),
        margin=guardrail.margin.value if guardrail.margin else None,
        evidence=float(evidence.money.sum()),
        weight=guardrail.weight,
        per=guardrail.per,
        baseline_count=evidence.totals[0],
        candidate_count=evidence.totals[1],
        looks=evidence.looks,
        limit_broken=evidence.tripped,
    )
