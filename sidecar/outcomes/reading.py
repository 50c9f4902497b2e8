"""Rows become blocks: per stratum and start second, what both arms did.

The analysis wants both arms of a second as of the same moment, so whenever a row rises its whole
block comes again. Only decisions that chance made are compared: reason `weight`, or a segment's.
Started is the router's count; where Envoy's clock put a request into the second beside, or a
sidecar was killed before it could tell, the answers are the least that must have started.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from sidecar.analysis import Arm, Block, Counts, Stratum, cells, edges

_RANDOMISED = "weight"
_SEGMENT = "segment:"
# By table version and segment: the candidate's designed share, None where it is not known.
Share = Callable[[str, str], float | None]


class Row(Protocol):
    """A row as the controller's store gives it."""

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


class Place(NamedTuple):
    """Where a block is."""

    stratum: Stratum
    second: int


@dataclass(slots=True)
class _Rows:
    """The rows of one place, by variant and then by number: parts of one row add up."""

    baseline: dict[int, dict[int, int]] = field(default_factory=dict)
    candidate: dict[int, dict[int, int]] = field(default_factory=dict)


def _unknown(version: str, segment: str) -> float | None:
    del version, segment
    return None


class Blocks:
    """Turns the rows of one rollout into blocks of a baseline and one candidate.

    Feed it the store's news; it remembers what may still rise, until `forget`.
    """

    def __init__(self, baseline: str, candidate: str, share: Share = _unknown) -> None:
        self._baseline = baseline
        self._candidate = candidate
        self._share = share
        self._places: dict[Place, _Rows] = {}

    def take(self, rows: Iterable[Row]) -> list[Block]:
        """Take rows as they stand now; return every block that they change, whole."""
        changed: dict[Place, None] = {}
        for row in rows:
            if row.variant in {self._baseline, self._candidate} and _is_random(row.segment):
                place = Place(Stratum(row.epoch, row.version, row.segment), row.second)
                known = self._places.setdefault(place, _Rows())
                arm = known.baseline if row.variant == self._baseline else known.candidate
                arm[row.number] = cells.unpack(row.counts)
                changed[place] = None
        return [self._block(place) for place in changed]

    def forget(self, before: int) -> None:
        """Drop seconds that are too old to rise."""
        for place in [place for place in self._places if place.second < before]:
            del self._places[place]

    def _block(self, place: Place) -> Block:
        rows = self._places[place]
        stratum = place.stratum
        return Block(
            stratum,
            place.second,
            arm(rows.baseline.values()),
            arm(rows.candidate.values()),
            self._share(stratum.version, stratum.segment),
        )


def arm(parts: Iterable[dict[int, int]]) -> Arm:
    """Return what the counts of one variant say, every request and each unit once."""
    counts: dict[int, int] = {}
    for part in parts:
        counts = cells.add(counts, part)
    started = max(counts.get(cells.STARTED, 0), counts.get(cells.COMPLETED, 0))
    return Arm(
        Counts(started, counts.get(cells.ERRORS, 0), _histogram(counts, cells.DURATION)),
        Counts(
            counts.get(cells.UNITS, 0),
            counts.get(cells.UNIT_ERRORS, 0),
            _histogram(counts, cells.UNIT_DURATION),
        ),
    )


def _histogram(counts: dict[int, int], first: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    found = np.zeros(edges.BUCKETS, np.int64)
    for cell, count in counts.items():
        if first <= cell < first + edges.BUCKETS:
            found[cell - first] = count
    return found


def _is_random(segment: str) -> bool:
    return segment == _RANDOMISED or segment.startswith(_SEGMENT)


def totals(rows: Iterable[Row]) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield (variant, counts) over all rows: for people, never for a test of harm."""
    sums: dict[str, dict[int, int]] = {}
    for row in rows:
        sums[row.variant] = cells.add(sums.get(row.variant, {}), cells.unpack(row.counts))
    yield from sums.items()
