"""Outcome rows become the analysis' blocks: both arms of one stratum and second, as known so far.

A stratum is one life of a sidecar, one table version (that of the table since which the rollout has
had its odds there: what neighbours do begins none), one segment. Rows come one arm at a time, and
come again whole when they rise; the other arm is as the judge knows it. What has nothing to do with
the comparison is passed over: decisions that chance did not make, variants beside the two, requests
from before the launch was watched.
"""

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Protocol

from sidecar.analysis import Arm, Block, Judge, Per, Stratum, arm

BY_CHANCE = "weight"
BY_SEGMENT = "segment:"


class Row(Protocol):
    """A row as the store has it; `counts` are packed as in `analysis.cells`."""

    @property
    def node(self) -> str: ...  # noqa: D102
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
    requests, units = _timed(judge)
    for row, counts in rows:
        # A thousand sidecars have sixty thousand open blocks, and name them again and again.
        at = Stratum(intern(row.epoch), intern(row.version), intern(row.segment)), row.second
        if at not in made:
            known = judge.ledger.get(*at) or Block(*at)
            made[at] = [known.baseline, known.candidate]
        # Durations of a second that was judged are forgotten by the judge, in both arms.
        open_ = row.second >= judge.ledger.judged_before
        made[at][arms[row.variant]] = _arm(counts, requests and open_, units and open_)
    return [
        Block(stratum, second, baseline, candidate, _share(stratum, shares))
        for (stratum, second), (baseline, candidate) in made.items()
    ]


def _share(stratum: Stratum, shares: Mapping[str, float]) -> float | None:
    return shares.get(stratum.version) if stratum.segment == BY_CHANCE else None


def _timed(judge: Judge) -> tuple[bool, bool]:
    """Whose durations a guardrail reads: every request's, and those of units' first ones."""
    read = [evidence.guardrail for evidence in judge.durations]
    requests = any(one.limit or one.per is Per.REQUEST for one in read)
    return requests, any(one.per is Per.UNIT for one in read)


def _arm(counts: Mapping[int, int], requests: bool, units: bool) -> Arm:  # noqa: FBT001
    """Count an arm, with durations only where they are said to be read."""
    known = arm(counts)
    return Arm(
        known.requests if requests else known.requests.untimed(),
        known.units if units else known.units.untimed(),
    )
