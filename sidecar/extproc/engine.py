"""The seam behind which request engines can be exchanged, and from which they are watched."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sidecar.routing import Rows, Table

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
ACCESS_LOG = "envoy.service.accesslog.v3.AccessLogService"
# 1-2-5 from a microsecond to a second, the same in every engine.
BOUNDS_NS = (*(mantissa * 10**e for e in range(3, 9) for mantissa in (1, 2, 5)), 10**9)


class Durations(NamedTuple):
    """How long decisions took since the start.

    `counts` has one entry per bound, how many took at most so long but longer than the bound
    before, and one more for those that took longer than all.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


# Called with the table that answered, the message it answered, and how long that took (ns).
Watch = Callable[[Table, bytes, int], None]


class Observer(Protocol):
    """Wants to know of some decisions, once their answer is on its way. Never raises or blocks."""

    @property
    def sampling(self) -> tuple[bool, bool, int] | None:
        """For an engine that samples by itself: (follow the parent, sample all, or below this).

        None samples nothing. Raises CanaryError if what samples cannot be put so.
        """

    def template(
        self, rollout: str, variant: str, reason: str, version: str
    ) -> tuple[bytes, bytes]:
        """Return what the engine writes spans from: see `_transport.Server.spans`."""

    def record(self, spans: Sequence[bytes]) -> None:
        """Take decisions that the engine sampled by itself, as the spans it wrote."""

    def watch(self, metadata: Sequence[tuple[str, str | bytes]]) -> Watch | None:
        """Say by the metadata of Envoy's call whether its decision is wanted, and by whom."""


class Engine(Protocol):
    """Serves ext_proc and grpc.health.v1. Health is SERVING from the first swap to the drain."""

    name: str
    # Set them before the start, or leave them.
    observer: Observer | None
    # What Envoy's access log becomes; without it that service is not offered.
    rows: Rows | None

    @property
    def ready(self) -> bool:
        """Whether a table is loaded and the engine is not draining."""

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""

    def swap(self, table: Table) -> None:
        """Answer every message from now on by `table`, whole."""

    async def drain(self, grace_s: float) -> None:
        """Accept nothing new, answer what was accepted, then stop; cut after `grace_s` seconds."""

    # What happened since the start; asked from any thread.

    def counters(self) -> Mapping[str, int]:
        """Return streams, answers, malformed, not_ready."""

    def decisions(self) -> Mapping[tuple[str, str, str], int]:
        """Return decisions by (rollout, variant, reason), those of earlier tables included."""

    def durations(self) -> Durations:
        """Return how long decisions took, from the arrival of Envoy's call to the answer."""
