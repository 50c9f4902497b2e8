"""Rollouts and their history as JSON values, in the spelling of the documents (camelCase).

Weights are texts, because they are exact; moments are RFC 3339 in UTC.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from sidecar.delivery import (
    UNDER_WAY,
    Event,
    Judgement,
    Phase,
    Reading,
    State,
    Weights,
    plain,
    waits,
)

# The last second of the year 9999.
_LATEST_MS = 253_402_300_799_000


class Trip(Protocol):
    """A variant that a sidecar holds out by itself."""

    @property
    def node(self) -> str: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def at_unix_ms(self) -> int: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def rollout(
    state: State, word: Judgement | None, trips: Iterable[Trip], now: datetime
) -> dict[str, Any]:
    """One rollout as it stands; `launch` is null where weights move by hand.

    `heldOut`: what sidecars took out by themselves, each at a moment of its own clock.
    """
    return {
        "name": state.name,
        "generation": state.document.generation,
        "revision": state.revision,
        "retired": state.retired,
        "killed": state.killed,
        "file": state.document.file,
        "changedAt": _moment(state.changed_at),
        "declared": _weights(state.document.weights),
        "inForce": _weights(state.in_force),
        "heldOut": [_held_out(trip) for trip in trips],
        "launch": _launch(state, word, now),
    }


def event(happened: Event) -> dict[str, Any]:
    """One line of the history; `evidence` is the guard's record, null where it had no part."""
    return {
        "at": _moment(happened.origin.at),
        "revision": happened.revision,
        "kind": happened.kind.value,
        "who": happened.origin.who,
        "why": happened.origin.why,
        "generation": happened.generation,
        "before": _weights(happened.before),
        "after": _weights(happened.after),
        "phase": happened.phase.value if happened.phase else None,
        "launch": happened.launch,
        "step": happened.step,
        "evidence": json.loads(happened.evidence) if happened.evidence else None,
    }


def _held_out(trip: Trip) -> dict[str, Any]:
    at = datetime.fromtimestamp(min(max(trip.at_unix_ms, 0), _LATEST_MS) / 1000, UTC)
    said = {"node": trip.node, "variant": trip.variant, "reason": trip.reason}
    return {**said, "at": _moment(at)}


def _launch(state: State, word: Judgement | None, now: datetime) -> dict[str, Any] | None:
    plan, progress = state.document.rollout.plan, state.progress
    if plan is None or progress is None:
        return None
    about_it = word if word and word.launch == progress.launch else None
    missing = waits(plan, progress, about_it, now) if progress.phase in UNDER_WAY else ()
    paused = progress.phase is Phase.PAUSED
    return {
        "phase": progress.phase.value,
        "since": _moment(progress.since),
        "number": progress.launch,
        "strategy": plan.strategy,
        "candidate": plan.candidate,
        "step": progress.step,
        "steps": len(plan.steps),
        "began": _moment(progress.began),
        "heldUntil": None if paused else _moment(progress.held_until),
        "holdLeftSeconds": progress.hold_left.total_seconds() if paused else None,
        "why": progress.why,
        "waitsFor": [{"kind": wait.kind, "sentence": wait.sentence} for wait in missing],
        "judgement": _judgement(about_it) if about_it else None,
    }


def _judgement(word: Judgement) -> dict[str, Any]:
    return {
        "at": _moment(word.at),
        "verdict": word.verdict.value,
        "sentence": word.sentence,
        "samples": word.samples,
        "readings": [_reading(one) for one in word.readings],
        "unjudged": [asdict(one) for one in word.unjudged],
    }


def _reading(one: Reading) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "verdict": one.verdict.value,
        "margin": one.margin,
        "limit": one.limit,
        "unit": one.unit,
        "estimate": one.estimate,
        "low": one.low,
        "high": one.high,
        "eValue": one.e_value,
        "baselineCount": one.baseline_count,
        "candidateCount": one.candidate_count,
        "looks": one.looks,
        "sentence": one.sentence,
    }


def _weights(weights: Weights) -> dict[str, str]:
    return {name: plain(weight) for name, weight in weights.items()}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
