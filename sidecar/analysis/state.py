"""A judge's whole memory as JSON, so that a restarted controller goes on exactly where it was.

Floats keep every bit (Python writes the shortest text that reads back the same). The memory belongs
to its guardrails: with other ones it is refused, since evidence against one margin says nothing
about another.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sidecar.analysis import edges, steering
from sidecar.analysis.blocks import Arm, Block, Counts, Stratum
from sidecar.analysis.duration_evidence import DurationEvidence, Held
from sidecar.analysis.error_evidence import ErrorEvidence
from sidecar.analysis.evidence import Evidence
from sidecar.analysis.guardrails import Guardrail
from sidecar.analysis.judge import Judge, Policy
from sidecar.errors import CanaryError

FORMAT = 1


class StateError(CanaryError):
    """A memory that these guardrails cannot go on from."""


def dump(judge: Judge) -> str:
    """Return the judge's memory as JSON text."""
    state = {
        "format": FORMAT,
        "edges": edges.VERSION,
        "guardrails": [_identity(guardrail) for guardrail in judge.guardrails],
        "started_s": judge.started_s,
        "looked_s": judge.looked_s,
        "newest_s": [None if s == -np.inf else s for s in judge.newest_s],
        "requests": judge.requests,
        "units": judge.units,
        "harmful": judge.harmful,
        "mismatched": judge.mismatched,
        "split": [[*stratum, *counts] for stratum, counts in judge.split.counts.items()],
        "unsettled": list(judge.split.waiting.seconds.items()),
        "mismatch": judge.split.evidence,
        "judged_before": judge.ledger.judged_before,
        "closed_before": judge.ledger.closed_before,
        "swept_s": judge.ledger.swept_s,
        "settled": [[*s, first, hex(n)] for s, (first, n) in judge.ledger.settled.items()],
        "errors": [_errors(evidence) for evidence in judge.errors],
        "durations": [_durations(evidence) for evidence in judge.durations],
    }
    # Of a thousand sidecars these are sixty thousand: as text one by one, never all as lists.
    blocks = (_text(_block(b)) for row in judge.ledger.open.values() for b in row.values())
    return f'{_text(state)[:-1]},"open":[{",".join(blocks)}]}}'


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def load(text: str, guardrails: Sequence[Guardrail], policy: Policy | None = None) -> Judge:
    """Return the judge whose memory `dump` wrote. Raises StateError if it does not fit."""
    state = json.loads(text)
    same = [_identity(guardrail) for guardrail in guardrails]
    if (state["format"], state["edges"]) != (FORMAT, edges.VERSION):
        raise StateError("the evidence was written by another release", remedy=_AFRESH)
    if state["guardrails"] != same:
        raise StateError("the evidence is about other guardrails", remedy=_AFRESH)
    judge = Judge(guardrails, state["started_s"], policy)
    judge.looked_s = state["looked_s"]
    judge.newest_s = [-np.inf if s is None else s for s in state["newest_s"]]
    judge.requests, judge.units = state["requests"], state["units"]
    judge.mismatched = state["mismatched"]
    if state["harmful"]:
        since_s, named, evidence = state["harmful"]
        judge.harmful = since_s, tuple(named), evidence
    judge.split.counts = {Stratum(*row[:3]): row[3:] for row in state["split"]}
    judge.split.waiting.seconds = _read_waiting(state["unsettled"])
    judge.split.evidence = state["mismatch"]
    judge.ledger.judged_before = state["judged_before"]
    judge.ledger.closed_before = state["closed_before"]
    judge.ledger.swept_s = state["swept_s"]
    judge.ledger.settled = {Stratum(*r[:3]): (r[3], int(r[4], 16)) for r in state["settled"]}
    for row in state["open"]:
        block = _read_block(row)
        judge.ledger.open.setdefault(block.second, {})[block.stratum] = block
    for errors, row in zip(judge.errors, state["errors"], strict=True):
        _read_errors(errors, row)
    for lasting, row in zip(judge.durations, state["durations"], strict=True):
        _read_durations(lasting, row)
    return judge


_AFRESH = "begin with a new Judge: the launch starts to be watched afresh"


def _identity(guardrail: Guardrail) -> dict[str, Any]:
    return {**asdict(guardrail), "margin_kind": type(guardrail.margin).__name__}


def _block(block: Block) -> list[Any]:
    arms = [
        _counts(counts)
        for arm in (block.baseline, block.candidate)
        for counts in (arm.requests, arm.units)
    ]
    return [*block.stratum, block.second, block.share, *arms]


def _counts(counts: Counts) -> list[Any]:
    latency = None if counts.latency is None else _sparse(counts.latency)
    numbers = (counts.answered, counts.early, counts.carried)
    return [counts.started, counts.errors, latency, *numbers]


def _sparse(values: np.ndarray[Any, Any]) -> list[list[Any]]:
    inside = np.flatnonzero(values)
    return [inside.tolist(), values[inside].tolist()]


def _read_block(row: list[Any]) -> Block:
    counts = [_read_counts(one) for one in row[5:]]
    return Block(Stratum(*row[:3]), row[3], Arm(*counts[:2]), Arm(*counts[2:]), row[4])


def _read_counts(row: list[Any]) -> Counts:
    latency = None if row[2] is None else _dense(row[2], np.int64)
    return Counts(row[0], row[1], latency, *row[3:])


def _dense(sparse: list[list[Any]], kind: type) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = np.zeros(edges.BUCKETS, dtype=kind)
    values[sparse[0]] = sparse[1]
    return values


def _common(evidence: Evidence) -> dict[str, Any]:
    return {
        "given": evidence.given,
        "looks": evidence.looks,
        "totals": evidence.totals,
        "window": [[second, *counts] for second, counts in evidence.window.seconds.items()],
        "tripped": evidence.tripped,
    }


def _read_common(evidence: Evidence, row: dict[str, Any]) -> None:
    evidence.given, evidence.looks = row["given"], row["looks"]
    evidence.totals, evidence.tripped = row["totals"], row["tripped"]
    evidence.window.seconds = {second: counts for second, *counts in row["window"]}


def _errors(evidence: ErrorEvidence) -> dict[str, Any]:
    return {
        **_common(evidence),
        "money": evidence.money.tolist(),
        "pools": [[*pool[0], pool[1], *counts] for pool, counts in evidence.pools.items()],
        "shares": [[*stratum, share] for stratum, share in evidence.shares.items()],
        "interval": evidence.interval.sums.tolist(),
        "sums": evidence.sums,
        "proof": [evidence.proven, evidence.decided],
    }


def _read_errors(evidence: ErrorEvidence, row: dict[str, Any]) -> None:
    _read_common(evidence, row)
    evidence.money = np.array(row["money"])
    evidence.pools = {(Stratum(*pool[:3]), pool[3]): pool[4:] for pool in row["pools"]}
    evidence.shares = {Stratum(*one[:3]): one[3] for one in row["shares"]}
    evidence.interval.sums = np.array(row["interval"])
    evidence.sums = row["sums"]
    evidence.proven, evidence.decided = row["proof"]


def _durations(evidence: DurationEvidence) -> dict[str, Any]:
    learner = evidence.learner
    return {
        **_common(evidence),
        "money": evidence.money.tolist(),
        "waiting": list(evidence.waiting.seconds.items()),
        "limited": list(evidence.limited.seconds.items()),
        "held": [[*stratum, *_held(held)] for stratum, held in evidence.held.items()],
        "interval": [
            _sparse(evidence.interval.baseline),
            _sparse(evidence.interval.candidate),
            evidence.interval.sums,
        ],
        "firsts": evidence.firsts,
        "learner": [_sparse(learner.seen), learner.opened, learner.next_at, learner.age_s],
        "plan": _plan(learner.plan),
    }


def _read_durations(evidence: DurationEvidence, row: dict[str, Any]) -> None:
    _read_common(evidence, row)
    evidence.money = np.array(row["money"], dtype=np.float64)
    for name, waiting in (("waiting", evidence.waiting), ("limited", evidence.limited)):
        waiting.seconds = _read_waiting(row[name])
    evidence.held = {Stratum(*held[:3]): _read_held(held[3:]) for held in row["held"]}
    interval = evidence.interval
    interval.baseline = _dense(row["interval"][0], np.float64)
    interval.candidate = _dense(row["interval"][1], np.float64)
    interval.sums = row["interval"][2]
    evidence.firsts = row["firsts"]
    learner = evidence.learner
    learner.seen = _dense(row["learner"][0], np.int64)
    learner.opened, learner.next_at, learner.age_s = row["learner"][1:]
    if row["plan"]:
        age_s, cuts_c, cuts_b, log_r, shares = row["plan"]
        learner.plan = steering.Plan(
            age_s, tuple(cuts_c), tuple(cuts_b), np.array(log_r), np.array(shares)
        )


def _read_waiting(rows: list[Any]) -> dict[int, list[Stratum]]:
    return {second: [Stratum(*stratum) for stratum in strata] for second, strata in rows}


def _held(held: Held) -> list[Any]:
    return [_sparse(held.baseline), _sparse(held.candidate), held.started]


def _read_held(row: list[Any]) -> Held:
    return Held(_dense(row[0], np.int64), _dense(row[1], np.int64), row[2])


def _plan(plan: steering.Plan | None) -> list[Any] | None:
    if plan is None:
        return None
    return [plan.age_s, plan.cuts_c, plan.cuts_b, plan.log_r.tolist(), plan.shares.tolist()]
