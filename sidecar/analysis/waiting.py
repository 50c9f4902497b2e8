"""Blocks that are looked at once, when they are old enough."""

from collections.abc import Sequence

from sidecar.analysis.blocks import Block, Stratum
from sidecar.analysis.ledger import Ledger, Update

# How long after the end of its second, and after the age it is judged at, a block may still be on
# its way: Envoy's and the sidecar's flush.
LAG_S = 1


class Waiting:
    """Blocks by second until every answer within some age must be known."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[Stratum]] = {}

    def add(self, updates: Sequence[Update]) -> None:
        """Queue the blocks that are new."""
        for update in updates:
            if update.new:
                self.put(update.block)

    def put(self, block: Block) -> None:
        """Queue a block."""
        self.seconds.setdefault(block.second, []).append(block.stratum)

    def ripe(self, ledger: Ledger, now_s: float, age_s: int) -> list[Block]:
        """Take out the blocks that are old enough, as they are known now."""
        due = [second for second in self.seconds if second <= now_s - 1 - LAG_S - age_s]
        keys = [(stratum, second) for second in due for stratum in self.seconds.pop(second)]
        blocks = (ledger.get(*key) for key in keys)
        return [block for block in blocks if block is not None]
