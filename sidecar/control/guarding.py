"""Watches the hard limits on this sidecar's own traffic, with or without a controller.

What is judged comes from `seen`; what follows is the client's: a table without the variant, kept on
disk. One that broke is told to whoever reports, and stays out until the controller decides anew.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from sidecar.control.client import Client
from sidecar.control.pb import outcomes_pb2 as pb
from sidecar.delivery import breaker
from sidecar.delivery.breaker import Seen, Trip
from sidecar.routing import HardLimit, Route

# Of a rollout's variant, what its requests came to, in the light of a limit.
Sight = Callable[[str, str, HardLimit], Iterable[Seen]]
_log = logging.getLogger(__name__)


class Guard:
    """Judges on demand; `tripped` is called after each variant that it took out."""

    def __init__(self, client: Client, seen: Sight, tripped: Callable[[], None]) -> None:
        self._client = client
        self._seen = seen
        self._tripped = tripped
        self._unknown: set[tuple[str, str]] = set()

    @property
    def watched(self) -> set[str]:
        """The rollouts that have limits."""
        return {name for name, (route, _) in self._client.routes.items() if route.limits}

    async def judge(self) -> None:
        """Take out what broke a limit."""
        for trip in list(self._broken(time.time())):
            if await self._client.trip(trip):
                said = {"rollout": trip.rollout, "variant": trip.variant, "reason": trip.reason}
                _log.error("variant taken out by this sidecar", extra=said)
                self._tripped()

    def trips(self) -> list[pb.Trip]:
        """Return what is held out, as the controller is told."""
        return [
            pb.Trip(
                rollout=trip.rollout,
                variant=trip.variant,
                revision=trip.revision,
                at_unix_ms=int(trip.at_s * 1000),
                reason=trip.reason,
            )
            for standing in self._client.trips.values()
            for trip in standing
        ]

    def _broken(self, now_s: float) -> Iterator[Trip]:
        for route, since_s in tuple(self._client.routes.values()):
            for limit in route.limits:
                if limit.metric not in breaker.METRICS:
                    self._say_unknown(route, limit)
                    continue
                for variant in route.variants[1:]:
                    seen = self._seen(route.name, variant.name, limit)
                    if why := breaker.judge(limit, seen, now_s, since_s):
                        yield self._trip(route, variant.name, now_s, why)

    def _trip(self, route: Route, variant: str, now_s: float, why: str) -> Trip:
        holdings = self._client.holdings
        held = holdings.resources.get(route.name) if holdings else None
        version = held.version if held else ""
        return Trip(route.name, variant, route.revision, version, now_s, why)

    def _say_unknown(self, route: Route, limit: HardLimit) -> None:
        if (route.name, limit.metric) not in self._unknown:
            self._unknown.add((route.name, limit.metric))
            said = {"rollout": route.name, "metric": limit.metric}
            _log.warning("hard limit not watched: this release does not know it", extra=said)
