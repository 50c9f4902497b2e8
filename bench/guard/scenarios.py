"""What the guards are shown: traffic, its split, and what is wrong with the candidate.

Every request is another user's, so canary requests are the users exposed. Durations are
lognormal(0, 1) around 50 ms: a p99 of 512 ms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.guard.cells import DAY_S

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
SIGMA, MIDDLE_S = 1.0, 0.05
P99_S = MIDDLE_S * float(np.exp(2.326348 * SIGMA))


def steady(_second: float) -> float:
    """No change over the day."""
    return 1.0


def daily(second: float) -> float:
    """Between a tenth of noon's traffic and all of it."""
    return float(10 ** (0.5 * np.sin(2 * np.pi * second / DAY_S)))


def incident(second: float) -> float:
    """A fifth of everything fails for ten minutes, every six hours; 1 means: as usual."""
    return 200.0 if second % 21_600 > 21_000 else 1.0


@dataclass(frozen=True)
class Scenario:
    """One row of the table. `harm`: the candidate's error rate, and its durations' shape."""

    name: str
    rate: float = 100.0
    share: float = 0.05
    designed: float = 0.05
    error: float = 0.001
    harmful_error: float = 0.001
    shape: str = ""
    load: Callable[[float], float] = steady
    failing: Callable[[float], float] = steady

    @property
    def healthy(self) -> bool:
        """Whether a rollback would be false."""
        return self.harmful_error == self.error and not self.shape

    def counts(self, random: np.random.Generator, launches: int, second: int) -> list[Counts]:
        """Draw one second: started and failed of the baseline, then of the candidate."""
        rate = self.rate * self.load(second)
        drawn = []
        for part, error in ((1 - self.share, self.error), (self.share, self.harmful_error)):
            failing = min(error * self.failing(second), 0.2)
            failed = random.poisson(rate * part * failing, launches)
            fine = random.poisson(rate * part * (1 - failing), launches)
            drawn += [failed + fine, failed]
        return drawn


SCENARIOS = (
    Scenario("A/A"),
    Scenario("A/A, traffic x 10 over the day", load=daily),
    Scenario("A/A, incidents in both arms", failing=incident),
    Scenario("A/A, 1 request/s", rate=1.0),
    Scenario("A/A split 52/48 instead of 50/50", share=0.52, designed=0.5),
    Scenario("errors +0.5 pp", harmful_error=0.006),
    Scenario("errors +5 pp", harmful_error=0.051),
    Scenario("errors +5 pp, 1 request/s", rate=1.0, harmful_error=0.051),
    Scenario("p99 doubled (slowest 5 % x 2)", shape="slowest 5 % x 2"),
    Scenario("5 % of requests x 10", shape="5 % of requests x 10"),
)
