"""How long to wait before trying again: exponential, with full jitter.

Full jitter (any wait from zero to the present limit is as likely) spreads a fleet that lost its
controller at one moment over the whole interval. The random source is an argument.
"""

from random import Random


class Backoff:
    """Waits in seconds; `retries` counts them since the last reset."""

    def __init__(self, random: Random, *, first_s: float = 0.1, limit_s: float = 10.0) -> None:
        self._random = random
        self._first_s = first_s
        self._limit_s = limit_s
        self.retries = 0

    def next_s(self) -> float:
        """Return the next wait."""
        ceiling_s = min(self._limit_s, self._first_s * 2.0 ** min(self.retries, 32))
        self.retries += 1
        return self._random.uniform(0.0, ceiling_s)

    def reset(self) -> None:
        """Begin anew: the peer answered."""
        self.retries = 0
