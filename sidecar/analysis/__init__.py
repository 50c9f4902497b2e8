"""Is the candidate worse? Tests that may be looked at every second without lying.

Pure: numpy, no clock, no chance. A `Judge` takes blocks (what one stratum started in one second,
both arms, as far as is known) and gives a `Verdict` whenever asked. What is tested, promised and
not seen: docs/analysis.md.

A sidecar counts in this room's cells and edges and never judges: what needs numpy (25 MB) is loaded
when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.analysis.blocks import Arm, Block, Counts, Stratum, arm
    from sidecar.analysis.declaring import declared
    from sidecar.analysis.guardrails import (
        Absolute,
        Guardrail,
        GuardrailError,
        Limit,
        Margin,
        Per,
        Relative,
    )
    from sidecar.analysis.judge import Judge, Policy
    from sidecar.analysis.ledger import Refusal
    from sidecar.analysis.state import StateError, dump, load
    from sidecar.analysis.verdict import Answer, Finding, Interval, Verdict, Why

__all__ = [
    "Absolute",
    "Answer",
    "Arm",
    "Block",
    "Counts",
    "Finding",
    "Guardrail",
    "GuardrailError",
    "Interval",
    "Judge",
    "Limit",
    "Margin",
    "Per",
    "Policy",
    "Refusal",
    "Relative",
    "StateError",
    "Stratum",
    "Verdict",
    "Why",
    "arm",
    "declared",
    "dump",
    "load",
]

_HOMES = {
    "blocks": ("Arm", "Block", "Counts", "Stratum", "arm"),
    "declaring": ("declared",),
    "guardrails": ("Absolute", "Guardrail", "GuardrailError", "Limit", "Margin", "Per", "Relative"),
    "judge": ("Judge", "Policy"),
    "ledger": ("Refusal",),
    "state": ("StateError", "dump", "load"),
    "verdict": ("Answer", "Finding", "Interval", "Verdict", "Why"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"sidecar.analysis.{home}"), name)
    raise AttributeError(name)
