"""The seam behind which request engines can be exchanged."""

from collections.abc import Mapping
from typing import Protocol

from sidecar.routing import Table

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"


class Engine(Protocol):
    """Serves ext_proc and grpc.health.v1. Health is SERVING from the first swap to the drain."""

    name: str

    @property
    def ready(self) -> bool:
        """Whether a table is loaded and the engine is not draining."""

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""

    def swap(self, table: Table) -> None:
        """Answer every message from now on by `table`, whole."""

    async def drain(self, grace_s: float) -> None:
        """Accept nothing new, answer what was accepted, then stop; cut after `grace_s` seconds."""

    def counters(self) -> Mapping[str, int]:
        """Return what happened since the start: streams, answers, malformed, not_ready."""
