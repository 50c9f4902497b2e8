"""What people declare: the Rollout document, its validation, its JSON Schema. Pure.

`read` turns the bytes of files into rollouts and mistakes; everything behind this door works on
rollouts that are known to be valid.
"""

from sidecar.rollout.document import Rollout, UnitSource, Variant, schema
from sidecar.rollout.identity import generation, moves
from sidecar.rollout.progress import Guardrail, Notification, Plan, Step, Window, is_open
from sidecar.rollout.reading import (
    Declared,
    Mistake,
    ParsedFile,
    Reading,
    Source,
    parse,
    read,
    together,
)

__all__ = [
    "Declared",
    "Guardrail",
    "Mistake",
    "Notification",
    "ParsedFile",
    "Plan",
    "Reading",
    "Rollout",
    "Source",
    "Step",
    "UnitSource",
    "Variant",
    "Window",
    "generation",
    "is_open",
    "moves",
    "parse",
    "read",
    "schema",
    "together",
]
