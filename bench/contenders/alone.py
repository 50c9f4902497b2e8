"""Envoy without the filter: what everybody else's cost and latency are added to."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.contenders.base import Contender


class Alone(Contender):
    """No process, no decision."""

    name = "envoy alone"
    decides: ClassVar[bool] = False

    def start(self, socket: Path) -> Sequence[int]:
        """Nothing to start."""
        del socket
        return ()

    def stop(self) -> None:
        """Nothing to stop."""
