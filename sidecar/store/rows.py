"""Between states and rows: JSON for what has a shape, text for what must stay exact.

Decimals and times keep their text, so that what is read back is what was written, to the digit.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal

from sidecar.delivery import Document, Event, Kind, Origin, Phase, Progress, State, Weights
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
        "progress": _progress_text(state.progress),
        "killed": int(state.killed),
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
        progress=_progress(row["progress"]),
        killed=bool(row["killed"]),
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
        "phase": event.phase or "",
        "launch": event.launch,
        "step": event.step,
        "evidence": event.evidence,
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
        phase=Phase(row["phase"]) if row["phase"] else None,
        launch=row["launch"],
        step=row["step"],
        evidence=row["evidence"],
    )


def _weights_text(weights: Weights) -> str:
    return json.dumps({name: str(weight) for name, weight in weights.items()})


def _weights(text: str) -> Weights:
    return {name: Decimal(weight) for name, weight in json.loads(text).items()}


def _progress_text(progress: Progress | None) -> str:
    """Write how far a launch is, as JSON: "" where there is no launch."""
    if progress is None:
        return ""
    said = asdict(progress)
    for name in ("since", "began", "held_until"):
        said[name] = said[name].isoformat()
    said["hold_left"] = progress.hold_left // timedelta(microseconds=1)
    return json.dumps(said)


def _progress(text: str) -> Progress | None:
    if not text:
        return None
    said = json.loads(text)
    for name in ("since", "began", "held_until"):
        said[name] = datetime.fromisoformat(said[name])
    said["hold_left"] = timedelta(microseconds=said["hold_left"])
    said["phase"] = Phase(said["phase"])
    try:
        return Progress(**said)
    except TypeError as error:
        raise ValueError(f"not a progress: {error}") from error
