"""What can be wrong between Envoy, sidecar and rollouts: every kind of finding, by its id.

An id is what people search for (docs/troubleshooting.md has each), so it never changes its
meaning. `error`: requests get a wrong answer, or would under load or attack. `warning`: answers are
right, something else is lost or at risk.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["error", "warning"]

SEVERITIES: dict[str, Severity] = {
    # Envoy's configuration
    "no-filter": "error",
    "after-router": "error",
    "not-asked": "error",
    "filter-disabled": "error",
    "no-sidecar-cluster": "error",
    "sidecar-not-grpc": "error",
    "no-sidecar-endpoint": "error",
    "breaker-default": "error",
    "no-early-strip": "error",
    "header-hidden": "error",
    "address-hidden": "error",
    "attribute-hidden": "error",
    "metadata-hidden": "error",
    "metadata-unwritten": "error",
    "forwards-untrue": "error",
    "route-kept": "error",
    "mutations-forbidden": "error",
    "metadata-refused": "error",
    "no-route": "error",
    "route-shadowed": "error",
    "path-elsewhere": "error",
    "host-elsewhere": "error",
    "no-cluster": "error",
    "config-rejected": "error",
    "force-hidden": "warning",
    "sidecar-elsewhere": "warning",
    "other-cluster": "warning",
    "responses-asked": "warning",
    "fail-closed": "warning",
    "timeout-short": "warning",
    "no-trace-parent": "warning",
    "no-outcomes": "warning",
    "forwards-unsaid": "warning",
    "outcomes-late": "warning",
    "grpc-status-hidden": "warning",
    # Envoy's statistics
    "route-clear-ignored": "error",
    "mutations-rejected": "error",
    "silent-failures": "error",
    "decisions-failed": "warning",
    "stats-hidden": "warning",
    # The processes
    "admin-unreachable": "error",
    "sidecar-unreachable": "error",
    "sidecar-not-ready": "error",
    "table-refused": "error",
    "input-unseen": "error",
    "table-behind": "warning",
    "controller-unreachable": "warning",
    "stream-down": "warning",
    "files-refused": "warning",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend; `where` names the filter, listener, cluster or process."""

    id: str
    where: str
    message: str
    remedy: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return SEVERITIES[self.id]

    def __str__(self) -> str:
        return f"{self.where}: {self.message}\n  remedy: {self.remedy}"


def gathered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Say once what holds in many places (a mesh has dozens of listeners); errors first."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        found = places.setdefault(replace(finding, where=""), [])
        if finding.where not in found:
            found.append(finding.where)
    merged = (replace(one, where=_places(where)) for one, where in places.items())
    return tuple(sorted(merged, key=lambda one: one.severity))


def _places(where: list[str]) -> str:
    return where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"
