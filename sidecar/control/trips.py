"""What sidecars took out by themselves, as the controller hears of it."""

from typing import NamedTuple


class Trip(NamedTuple):
    """A variant that a sidecar took out by itself."""

    node: str
    rollout: str
    variant: str
    revision: int
    at_unix_ms: int
    reason: str
