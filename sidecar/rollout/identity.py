"""What makes two rollouts the same, and what of a change moves people.

A generation is the content, never its formatting. The variants' weights are not looked at for
movement: moving people by them is what a launch is for, and the law of least movement covers it. A
segment's weights are: no step and no guard moves them, an edit does, at once.
"""

import hashlib
import json

from sidecar.rollout import moving
from sidecar.rollout.document import Rollout, UnitSource, canonical


def generation(rollout: Rollout) -> str:
    """Hash the content to 16 hex digits: the same however it is written."""
    text = json.dumps(canonical(rollout), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def moves(old: Rollout, new: Rollout) -> tuple[str, ...]:
    """Say what in the change, the variants' weights aside, gives people another variant."""
    said = []
    if old.assignment != new.assignment:
        said.append(
            f"assignment {old.assignment} becomes {new.assignment}: everybody is assigned anew"
        )
    if old.salt != new.salt:
        said.append(f"salt {old.salt!r} becomes {new.salt!r}: everybody is assigned anew")
    if old.unit != new.unit:
        said.append(
            f"unit {_sources(old.unit)} becomes {_sources(new.unit)}: whoever has another unit by"
            " that is assigned anew"
        )
    said += _slot_moves([v.name for v in old.variants], [v.name for v in new.variants])
    return (*said, *moving.by_rules(old, new))


def _slot_moves(old: list[str], new: list[str]) -> list[str]:
    dropped = [name for name in old if name not in new]
    said = [
        f"variant {name!r} is dropped: whoever it serves moves (keep it, at weight 0)"
        for name in dropped
    ]
    kept = [name for name in old if name in new]
    for name in kept:
        before, after = old.index(name), new.index(name)
        if before != after:
            said.append(
                f"variant {name!r} goes from place {before + 1} to {after + 1}: its users change"
                " (keep the order, add new variants at the end)"
            )
    return said


def _sources(unit: tuple[UnitSource, ...]) -> str:
    return " then ".join(f"{one.kind.replace('_', ' ')} {one.name}".strip() for one in unit)
