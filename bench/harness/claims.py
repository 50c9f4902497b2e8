"""What is said about ourselves, each as a bound on a ratio that a run confirms or denies.

A claim holds when the far end of the ratio's interval is within its bound and the ratio itself is
so by more than A/A's noise; it is refuted when the same is true on the other side. A claim about
rows that were not measured is left out of the verdicts; one against the cheapest of several stays
undecided if one of them was measured but does not count: it might have been the cheapest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.harness.figures import BY_KEY, Figures
from bench.harness.ratios import Interval


@dataclass(frozen=True, slots=True)
class Claim:
    """`metric` of row `over` is at most `at_most` times that of the cheapest row in `under`."""

    metric: str
    over: str
    under: tuple[str, ...]
    at_most: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, the row it was held against, the ratio, and A/A beside it.

    `without` names the rows it should have been held against as well; `open` says that one of them
    took part.
    """

    claim: Claim
    against: str
    ratio: Interval
    noise: Interval | None
    without: tuple[str, ...] = ()
    open: bool = False

    @property
    def word(self) -> str:
        """`holds`, `refuted`, or `undecided`: too near the bound, no noise known, or `open`."""
        if self.noise is None or self.open:
            return "undecided"
        off = self.noise.noise
        if max(self.ratio.high, self.ratio.middle * off) <= self.claim.at_most:
            return "holds"
        refuted = min(self.ratio.low, self.ratio.middle / off) > self.claim.at_most
        return "refuted" if refuted else "undecided"


NATIVE = "canary-native"
CPU = ("handler_us", "full_handler_us")
COMPILED = ("grpc++", "grpc-go", "tonic")
CLAIMS = (
    *(Claim(cpu, NATIVE, ("floor",), 1.5) for cpu in CPU),
    *(Claim(cpu, NATIVE, COMPILED, 0.5) for cpu in CPU),
    *(Claim(cpu, NATIVE, ("canary-grpcio",), 1 / 30) for cpu in CPU),
    Claim("one_p50_us", NATIVE, ("floor",), 1.15),
    *(Claim(cpu, f"{NATIVE}-10000", (NATIVE,), 1.3) for cpu in CPU),
    *(Claim(cpu, f"{NATIVE}-observed", (NATIVE,), 1.15) for cpu in CPU),
    # The plain server knows one fixed rule; ours reads any table, and still must not cost more.
    *(Claim(cpu, "canary-grpcio", ("grpc.aio",), 1.0) for cpu in CPU),
)


def judge(figures: Figures, claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Return the verdicts on all claims whose rows were measured and count."""
    found = []
    for claim in claims:
        metric = BY_KEY[claim.metric]
        against = figures.cheapest(metric, claim.under)
        ratio = figures.ratio(metric, claim.over, against) if against else None
        if against and ratio:
            without = tuple(name for name in claim.under if not figures.counts(name))
            spoilt = any(map(figures.spoilt, without))
            found.append(Verdict(claim, against, ratio, figures.noise(metric), without, spoilt))
    return found
