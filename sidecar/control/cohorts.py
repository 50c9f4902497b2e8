"""Outcome rows become the analysis' blocks: both arms of one stratum and second, as known so far.

A stratum is one life of a sidecar, one table version, one segment. Rows come one arm at a time, and
come again whole when they rise; the other arm is as the judge knows it. What has nothing to do with
the comparison is passed over: decisions that chance did not make, variants beside the two, requests
from before the launch was watched.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from sidecar.analysis import Arm, Block, Counts, Judge, Stratum, cells, edges

BY_CHANCE = "weight"
BY_SEGMENT = "segment:"


class Row(Protocol):
    """A row as the store has it; `counts` are packed as in `analysis.cells`."""

    @property
    def epoch(self) -> str: ...  # noqa: D102
    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def second(self) -> int: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def segment(self) -> str: ...  # noqa: D102
    @property
    def counts(self) -> bytes: ...  # noqa: D102
    @property
    def seen(self) -> int: ...  # noqa: D102


def chosen_by_chance(segment: str) -> bool:
    """Whether a row's reason is one that compares like with like."""
    return segment == BY_CHANCE or segment.startswith(BY_SEGMENT)


def blocks(
    rows: Iterable[tuple[Row, Mapping[int, int]]],
    judge: Judge,
    arms: Mapping[str, int],
    shares: Mapping[str, float],
) -> list[Block]:
    """Return the blocks that these rows (each with its counts unpacked) belong to, whole.

    `arms` maps the baseline's name to 0 and the candidate's to 1. `shares` is the candidate's
    designed share of those whom chance decides about, by table version, where it is known.
    """
    made: dict[tuple[Stratum, int], list[Arm]] = {}
    for row, counts in rows:
        at = Stratum(row.epoch, row.version, row.segment), row.second
        if at not in made:
            known = judge.ledger.get(*at) or Block(*at)
            made[at] = [known.baseline, known.candidate]
        # Durations of a second that was judged are forgotten by the judge, in both arms.
        timed = bool(judge.durations) and row.second >= judge.ledger.judged_before
        made[at][arms[row.variant]] = _arm(counts, timed=timed)
    return [
        Block(stratum, second, baseline, candidate, _share(stratum, shares))
        for (stratum, second), (baseline, candidate) in made.items()
    ]


def _share(stratum: Stratum, shares: Mapping[str, float]) -> float | None:
    return shares.get(stratum.version) if stratum.segment == BY_CHANCE else None


def _arm(counts: Mapping[int, int], *, timed: bool) -> Arm:
    """Count an arm.

    The router counts by tenths of a second, Envoy exactly: at the edge of a second the two differ
    by a request or two, and whatever was answered was started.
    """
    answered = counts.get(cells.COMPLETED, 0)
    started = max(counts.get(cells.STARTED, 0), answered)
    requests = Counts(
        started,
        counts.get(cells.ERRORS, 0),
        _histogram(counts, cells.DURATION) if timed else None,
    )
    units = Counts(
        counts.get(cells.UNITS, 0),
        counts.get(cells.UNIT_ERRORS, 0),
        _histogram(counts, cells.UNIT_DURATION) if timed else None,
    )
    return Arm(requests, units)


def _histogram(counts: Mapping[int, int], first: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    made = np.zeros(edges.BUCKETS, dtype=np.int64)
    for cell, count in counts.items():
        if first <= cell < first + edges.BUCKETS:
            made[cell - first] = count
    return made
