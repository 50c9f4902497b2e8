"""The controller's side of one delta xDS stream, without I/O.

Theory. A response is a step from what the sidecar holds to the newest snapshot. The next step may
leave before the last is confirmed, so nothing waits for a round trip; but at most two are under
way, so that a burst coalesces instead of queueing up behind a slow sidecar. An ACK confirms its
step and all before it. A NACK means: that step and every one built on it did not happen. The
conversation falls back to what was confirmed, and says nothing until there is something other
than the refused content to say. Nonces that are not under way are stale, and ignored.
"""

from dataclasses import dataclass
from datetime import datetime

from sidecar.control import envelopes
from sidecar.control.codec import TYPE_URL
from sidecar.control.snapshot import Holding, Snapshot, delta

MAX_UNDER_WAY = 2


class ProtocolError(Exception):
    """The peer asks for what this stream does not carry; the text is for its operator."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A table a sidecar would not take."""

    at: datetime
    version: str
    reason: str


class Conversation:
    """What one sidecar said and was told. `receive` first, `respond` whenever there is news.

    `acked_version` names the snapshot that it confirmed; `kept` counts what it holds beyond it.
    """

    def __init__(self, connected_since: datetime, identity: str = "") -> None:
        self.connected_since = connected_since
        self.identity = identity
        self.node = ""
        self.acked_version = ""
        self.kept = 0
        self.acked_at: datetime | None = None
        self.last_nack: Refusal | None = None
        self._subscribed = False
        self._greeted = False
        self._confirmed = Holding({})
        self._told = self._confirmed
        self._under_way: dict[str, tuple[Snapshot, Holding]] = {}
        # What is under way was built on something refused.
        self._in_doubt = False
        self._refused: Holding | None = None
        self._sent = 0

    def receive(self, request: envelopes.Request, now: datetime) -> None:
        """Take a request. Raises ProtocolError if it asks for something else than all rollouts."""
        if request.type_url not in {"", TYPE_URL}:
            raise ProtocolError(f"this stream carries {TYPE_URL}, not {request.type_url}")
        if not self._subscribed:
            self._open(request)
        elif request.nonce in self._under_way:
            self._settle(request, now)

    def respond(self, snapshot: Snapshot) -> bytes | None:
        """Return the next response to send, if there is one to send now."""
        busy = self._in_doubt or len(self._under_way) >= MAX_UNDER_WAY
        if busy or not self._subscribed:
            return None
        goal = snapshot.upon(self._told)
        if goal == self._refused or (self._greeted and goal == self._told):
            return None
        step = delta(self._told, goal, snapshot)
        self._sent += 1
        nonce = str(self._sent)
        self._under_way[nonce] = snapshot, goal
        self._told = goal
        self._greeted = True
        return step.pieces + envelopes.pack_head(nonce, goal.version, step.removed)

    def _open(self, request: envelopes.Request) -> None:
        if set(request.subscribe) - {envelopes.WILDCARD}:
            raise ProtocolError("subscribe to everything: no names, or the name '*'")
        self.node = request.node
        self._subscribed = True
        self._confirmed = self._told = Holding(request.held)

    def _settle(self, request: envelopes.Request, now: datetime) -> None:
        snapshot, goal = self._under_way[request.nonce]
        for nonce in list(self._under_way):
            del self._under_way[nonce]
            if nonce == request.nonce:
                break
        refused = request.refusal is not None
        if not refused:
            self.acked_version, self.acked_at = snapshot.version, now
            self.kept = len(goal.versions) - len(snapshot.versions)
            self._confirmed = goal
            self._refused = None
        elif not self._in_doubt:
            self.last_nack = Refusal(now, goal.version, request.refusal or "")
            self._refused = goal
        self._in_doubt = bool(self._under_way) and (self._in_doubt or refused)
        if self._in_doubt or not self._under_way:
            self._told = self._confirmed
