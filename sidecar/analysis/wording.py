"""The one sentence that people read first."""

from collections.abc import Sequence

from sidecar.analysis.verdict import Answer, Finding, Why


def sentence(
    answer: Answer, why: Why | None, findings: Sequence[Finding], ages_s: tuple[float, float]
) -> str:
    """Say the answer, with the figures of the guardrails it is about."""
    if answer is Answer.NOT_MEASURED and why is not None:
        return f"Not measured: {_WHY[why]}{_age(why, ages_s)}."
    if not findings:
        return "Healthy: no guardrail is declared, so nothing can be found."
    head = {Answer.HARMFUL: "Harmful", Answer.PASSED: "Passed"}.get(answer, "Healthy")
    return f"{head}: {'; '.join(described(f) for f in findings)}."


_WHY = {
    Why.NO_DATA: "nothing has been counted yet",
    Why.STALE: "nothing new has been counted of an arm",
    Why.ONE_ARM: "only one of the two arms has had requests",
    Why.TOO_FEW: "too little has been counted to call it healthy",
    Why.MISMATCH: "the arms did not get their designed shares of the units, so they cannot be"
    " compared; look for a filter, a cache or a bot in front of the split",
}


def _age(why: Why, ages_s: tuple[float, float]) -> str:
    if why is not Why.STALE:
        return ""
    arm = "baseline" if ages_s[0] > ages_s[1] else "candidate"
    return f" ({arm}: {max(ages_s):.0f} s ago)"


def described(found: Finding) -> str:
    """Say one guardrail's figures."""
    name = found.metric.replace("_", " ")
    if found.limit_broken:
        return f"{name} broke its hard limit"
    if found.candidate is None:
        return f"{name} has no figures yet"
    figure = _percent if found.metric == "error_rate" else _duration
    if found.metric == "latency":
        name = "latency (p95)"
    if found.margin is None:
        return f"{name} {figure(found.candidate)}, within its limit"
    if found.baseline is None:
        return f"{name} {figure(found.candidate)}, nothing to compare it with"
    allowed = f"{found.margin:.0%}" if found.relative else figure(found.margin)
    return (
        f"{name} {figure(found.candidate)} against the baseline's {figure(found.baseline)}"
        f" (allowed: {allowed} more; {found.candidate_count:,} against {found.baseline_count:,}"
        f" {found.per}s; evidence {found.evidence:.3g})"
    )


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"


def _duration(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
