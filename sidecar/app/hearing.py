"""Whether Envoy forwards what the rollouts look at: what it hides looks as if nobody sent it.

Each Envoy says what it forwards in the name of its access log (extproc/declaring.py). That is held
against the table in force whenever either changes, and what is wrong is told: in the log, by a
metric, in the status. No request is looked at.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from sidecar.control.pb import control_pb2 as pb
from sidecar.extproc import declaring
from sidecar.extproc.declaring import Forwards, Looks, Unseen
from sidecar.routing import Table

_EVERY_S = 1.0
_REMEDY = "forward it, or change the rollout: `canary envoy ROLLOUTS --check` says where"
_log = logging.getLogger(__name__)


class Hearing:
    """What is forwarded, by the open logs' names, against the table; () and None: not there yet."""

    def __init__(
        self, log_names: Callable[[], Collection[str]], table: Callable[[], Table | None]
    ) -> None:
        self._log_names = log_names
        self._table = table
        self._looked_at: tuple[object, object] = (None, None)
        self._looks: tuple[object, Looks] = (None, {})
        self.said = 0
        self.silent = 0
        self.unseen: tuple[Unseen, ...] = ()

    async def run(self) -> None:
        """Look again whenever something changed, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Look now, if anything changed since the last time."""
        table, logs = self._table(), tuple(self._log_names())
        if (table, logs) == self._looked_at or table is None:
            return
        if self._looks[0] is not table:
            self._looks = (table, await asyncio.to_thread(table.looks))
        said = [one for one in map(Forwards.read, logs) if one]
        before, self.unseen = self.unseen, tuple(declaring.unseen(said, self._looks[1]))
        self.said, self.silent = len(said), len(logs) - len(said)
        self._looked_at = (table, logs)
        for one in self.unseen:
            if one not in before:
                _log.warning(
                    "Envoy does not forward it", extra={**one._asdict(), "remedy": _REMEDY}
                )
        if before and not self.unseen:
            _log.info("Envoy forwards all that the rollouts look at")

    async def status(self) -> pb.Forwarding:
        """Return how it stands now."""
        await self.look()
        unseen = [pb.Unseen(**one._asdict()) for one in self.unseen]
        return pb.Forwarding(said=self.said, silent=self.silent, unseen=unseen)
