"""Hard limits: a plain circuit breaker on the candidate's own rate, with no comparison in it.

For what is unbearable whatever the baseline does. Requests count by the second in which they
started, failed or slow ones over all that were started, so that fast failures beside slow successes
do not look like nothing but failures.
"""

from dataclasses import dataclass, field

from sidecar.analysis.guardrails import Limit


@dataclass(slots=True)
class Window:
    """Started and bad requests by second; seconds older than the window are forgotten."""

    seconds: dict[int, list[int]] = field(default_factory=dict)

    def add(self, second: int, started: int, bad: int) -> None:
        """Count requests to the second in which they started."""
        counts = self.seconds.setdefault(second, [0, 0])
        counts[0] += started
        counts[1] += bad

    def sums(self, until_s: int, window_s: int) -> tuple[int, int]:
        """Return (started, bad) of the `window_s` seconds before `until_s`; forget older ones."""
        first = until_s - window_s
        for second in [s for s in self.seconds if s < first]:
            del self.seconds[second]
        inside = [counts for second, counts in self.seconds.items() if second < until_s]
        return sum(c[0] for c in inside), sum(c[1] for c in inside)


def broken(started: int, bad: int, limit: Limit, allowed: float) -> bool:
    """Whether more than `allowed` of at least `limit.minimum` requests were bad."""
    return started >= limit.minimum and bad > allowed * started
