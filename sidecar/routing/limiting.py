"""The hard limits of a document, as sidecars watch them on their own traffic.

A sidecar sees a part of the traffic and asks nobody, so it waits for a handful of bad requests
before it takes a variant out; the controller, which sees everything, has bounds of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sidecar.rollout.measures import Margin
from sidecar.routing.route import HardLimit

if TYPE_CHECKING:
    from sidecar.rollout import Rollout

WINDOW_S = 30
# One bad request among few is no evidence: so many are wanted at the limit itself.
_FEWEST_BAD = 5
_QUANTILE = "latency_p"


def limits(rollout: Rollout) -> tuple[HardLimit, ...]:
    """Return the limits of the guardrails that have one a sidecar can watch."""
    found = []
    for guardrail in rollout.spec.guardrails:
        if not guardrail.limit:
            continue
        limit = Margin.of(guardrail.limit)
        if guardrail.metric == "error_rate":
            share, slower_than_us, metric = float(limit.value) / 100, 0, "error_rate"
        elif guardrail.metric.startswith(_QUANTILE):
            share = 1 - float(guardrail.metric.removeprefix(_QUANTILE)) / 100
            slower_than_us, metric = int(limit.value * 1_000_000), "latency"
        else:
            continue
        fewest = math.ceil(_FEWEST_BAD / share) if share > 0 else 1
        fewest = max(fewest, guardrail.min_samples)
        found.append(HardLimit(metric, share, WINDOW_S, fewest, slower_than_us))
    return tuple(found)
