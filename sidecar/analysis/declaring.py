"""The guardrails of a document as the judge needs them: units turned into fractions and seconds."""

from sidecar import rollout
from sidecar.analysis.guardrails import Absolute, Guardrail, Limit, Margin, Per, Relative
from sidecar.rollout.measures import Margin as Written


def declared(written: rollout.Guardrail, per: Per = Per.UNIT) -> Guardrail:
    """Return what a document's guardrail means. Documents are checked before, so all of them do."""
    limit = written.hard_limit
    return Guardrail(
        metric=written.metric,
        margin=_margin(written.margin) if written.margin is not None else None,
        limit=Limit(_limit(limit)) if limit is not None else None,
        weight=float(written.weight),
        per=per,
        minimum=written.min_samples,
    )


def _margin(written: Written) -> Margin:
    value = float(written.value)
    if written.unit == "%":
        return Relative(value / 100)
    return Absolute(value / 100 if written.unit == "pp" else value)


def _limit(written: Written) -> float:
    return float(written.value) if written.unit == "s" else float(written.value) / 100
