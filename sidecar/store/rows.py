"""Between states and rows: JSON for what has a shape, text for what must stay exact.

Decimals and times keep their text, so that what is read back is what was written, to the digit.
"""

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from sidecar.delivery import Document, Event, Kind, Origin, State, Weights
from sidecar.rollout import Rollout

Row = Mapping[str, str | int]


def of_state(state: State) -> Row:
    """One row of `states`."""
    return {
        "rollout": state.name,
        "document": state.document.rollout.model_dump_json(by_alias=True, exclude_defaults=True),
        "generation": state.document.generation,
        "file": state.document.file,
        "in_force": _weights_text(state.in_force),
        "revision": state.revision,
        "retired": int(state.retired),
        "changed_at": state.changed_at.isoformat(),
    }


def state(row: sqlite3.Row) -> State:
    """Read what `of_state` wrote. Raises ValueError on anything else."""
    rollout = Rollout.model_validate_json(row["document"])
    return State(
        document=Document(rollout, row["generation"], row["file"]),
        in_force=_weights(row["in_force"]),
        revision=row["revision"],
        retired=bool(row["retired"]),
        changed_at=datetime.fromisoformat(row["changed_at"]),
    )


def of_event(event: Event) -> Row:
    """One row of `events`."""
    return {
        "rollout": event.rollout,
        "revision": event.revision,
        "kind": event.kind.value,
        "generation": event.generation,
        "at": event.origin.at.isoformat(),
        "who": event.origin.who,
        "why": event.origin.why,
        "before": _weights_text(event.before),
        "after": _weights_text(event.after),
    }


def event(row: sqlite3.Row) -> Event:
    """Read what `of_event` wrote. Raises ValueError on anything else."""
    return Event(
        kind=Kind(row["kind"]),
        rollout=row["rollout"],
        revision=row["revision"],
        generation=row["generation"],
        origin=Origin(datetime.fromisoformat(row["at"]), row["who"], row["why"]),
        before=_weights(row["before"]),
        after=_weights(row["after"]),
    )


def _weights_text(weights: Weights) -> str:
    return json.dumps({name: str(weight) for name, weight in weights.items()})


def _weights(text: str) -> Weights:
    return {name: Decimal(weight) for name, weight in json.loads(text).items()}
