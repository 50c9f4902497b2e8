"""The arms' shares of the units, as designed or not: counted when a block has settled.

A unit is counted by its first answer. While answers are on their way the slower arm has fewer
units, so a block waits until nothing is open in it, or until it is so old that what is open no
longer matters.
"""

import numpy as np

from sidecar.analysis import ratio
from sidecar.analysis.blocks import Block, Stratum
from sidecar.analysis.ledger import Ledger
from sidecar.analysis.waiting import Waiting

_OLD_S = 120


class Split:
    """Units of each stratum: baseline, candidate, and the candidate's designed share."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.counts: dict[Stratum, list[float]] = {}
        self.evidence = 0.0

    def look(self, ledger: Ledger, now_s: float) -> None:
        """Count the blocks that have settled; those with open answers wait on."""
        settled = 0
        for block in self.waiting.ripe(ledger, now_s, 0):
            if any(block.opened) and now_s - block.second < _OLD_S:
                self.waiting.put(block)
            elif block.share is not None and 0 < block.share < 1:
                self._count(block, block.share)
                settled += 1
        if settled:
            rows = np.array(list(self.counts.values()))
            shares = np.stack([1 - rows[:, 2], rows[:, 2]], axis=1)
            logs = ratio.log_evidence(rows[:, :2].astype(np.int64), shares)
            self.evidence = ratio.pooled(logs)

    def _count(self, block: Block, share: float) -> None:
        counts = self.counts.setdefault(block.stratum, [0, 0, share])
        counts[0] += block.baseline.units.started
        counts[1] += block.candidate.units.started
