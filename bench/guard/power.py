"""How much evidence the guard needs, against the least that any test could need.

Wald: ln(1/alpha) / KL(p1 || p0) candidate requests, for a baseline that is known and never moves.
Two-sample bound: the baseline may move at any time, so it must be watched alongside; then it is
ln(1/alpha) / min_q [KL(p1 || r q + d) + (n_b / n_c) KL(p0 || q)].
"""

import math
from dataclasses import dataclass

import numpy as np

from bench.guard.launches import SAME, Counts, DurationLaunches, ErrorLaunches, Floats, News
from sidecar.analysis import edges, horizon, steering
from sidecar.analysis.guardrails import Absolute, Margin, Relative

ALPHA = 0.01
Random = np.random.Generator


@dataclass(frozen=True)
class Case:
    """Error rates of baseline and candidate, the candidate's share, and the margin."""

    before: float
    after: float
    share: float
    margin: Margin = SAME

    @property
    def name(self) -> str:
        """How the tables call it."""
        split = f"{100 * (1 - self.share):g}/{100 * self.share:g}"
        margin = self.margin
        allowed = ""
        if margin.value:
            absolute = isinstance(margin, Absolute)
            allowed = f", +{100 * margin.value:g} {'pp' if absolute else '%'} allowed"
        return f"{100 * self.before:g} -> {100 * self.after:g} % at {split}{allowed}"


ERRORS = (
    Case(0.001, 0.05, 0.05),
    Case(0.001, 0.01, 0.05),
    Case(0.01, 0.02, 0.05),
    Case(0.001, 0.05, 0.5),
    Case(0.001, 0.01, 0.5),
    Case(0.01, 0.02, 0.5),
    Case(0.001, 0.05, 0.05, Absolute(0.005)),
    Case(0.001, 0.05, 0.5, Absolute(0.005)),
    Case(0.01, 0.03, 0.05, Absolute(0.005)),
    Case(0.001, 0.01, 0.05, Relative(1.0)),
    Case(0.001, 0.01, 0.5, Relative(1.0)),
)


def kl(p: float | Floats, q: float | Floats) -> Floats:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), in nats."""
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def wald(case: Case) -> float:
    """The least candidate requests, by Wald, against the worst healthy rate."""
    ratio, extra = _allowed(case.margin)
    return math.log(1 / ALPHA) / float(kl(case.after, ratio * case.before + extra))


def two_sample(case: Case) -> float:
    """The least candidate requests if the baseline may move."""
    ratio, extra = _allowed(case.margin)
    q = np.geomspace(case.before / 3, case.after, 20_000)
    q = q[ratio * q + extra < case.after]
    times = (1 - case.share) / case.share
    cost = kl(case.after, ratio * q + extra) + times * kl(case.before, q)
    return math.log(1 / ALPHA) / float(cost.min())


def _allowed(margin: Margin) -> tuple[float, float]:
    return (1.0, margin.value) if isinstance(margin, Absolute) else (1 + margin.value, 0.0)


def requests_to_rollback(case: Case, random: Random, launches: int) -> Floats:
    """The candidate's requests until harm is shown, at about one candidate request a look."""
    judged = ErrorLaunches(launches, case.margin)
    seen = np.zeros(launches)
    found = np.full(launches, np.inf)
    chunk = max(1, round(two_sample(case) / 150))
    for second in range(100_000):
        news, exposed = strangers(random, launches, chunk / case.share, case)
        seen += exposed
        judged.look(1.0 + second * 1e-3, [news])
        found = np.where((judged.most >= 1 / ALPHA) & np.isinf(found), seen, found)
        if np.isfinite(found).mean() > 0.95:
            break
    return found


def strangers(random: Random, launches: int, rate: float, case: Case) -> tuple[News, Counts]:
    """One look at a harmful candidate, and how many requests it had."""
    b, c = rate * (1 - case.share), rate * case.share
    failed_b = random.poisson(b * case.before, launches)
    failed_c = random.poisson(c * case.after, launches)
    exposed = failed_c + random.poisson(c * (1 - case.after), launches)
    return News(failed_b, failed_c, case.share, exposed), exposed


def late_harm(random: Random, launches: int, healthy_s: int = 4 * 3600) -> Floats:
    """Seconds from the onset of 0.1 -> 5 % errors after healthy hours, at 1,000 requests/s."""
    harm, fine = Case(0.001, 0.05, 0.05), Case(0.001, 0.001, 0.05)
    judged = ErrorLaunches(launches)
    for second in range(healthy_s):
        judged.look(second + 1.0, [strangers(random, launches, 1000, fine)[0]])
    found = np.full(launches, np.inf)
    false = judged.most >= 1 / ALPHA
    for second in range(60):
        news, _ = strangers(random, launches, 1000, harm)
        judged.look(healthy_s + second + 1.0, [news])
        now = judged.money.sum(axis=1) >= 1 / ALPHA
        found = np.where(now & np.isinf(found), second + 1.0, found)
    return found[~false]


def slowed(random: Random, size: int, harm: str) -> Floats:
    """Durations in seconds, lognormal(0, 1) around 50 ms, or slower as the harm is named."""
    z = random.standard_normal(size)
    times = 0.05 * np.exp(z)
    if harm == "5 % of requests x 10":
        times = np.where(random.random(size) < 0.05, 10 * times, times)
    elif harm == "slowest 5 % x 2":
        times = np.where(z > 1.6448536, 2 * times, times)
    elif harm == "+10 %":
        times = 1.1 * times
    return times


SLOWER = ("5 % of requests x 10", "slowest 5 % x 2", "+10 %")


def bucketed(times: Floats) -> Counts:
    """The bucket of each duration (the vectorised `edges.bucket`)."""
    return np.searchsorted(np.array(edges.LOWER_US), times * 1e6, side="right").astype(np.int64) - 1


def steered(random: Random, count: int = 20_000) -> steering.Plan:
    """A plan by so many answers of the baseline."""
    seen = np.bincount(bucketed(slowed(random, count, "")), minlength=edges.BUCKETS)
    return steering.plan(seen, 0, Relative(0.0), None)


def samples_to_slow(random: Random, launches: int, harm: str, share: float) -> Floats:
    """The candidate's answers until a slow candidate is shown, a look for each few of them."""
    plan = steered(random)
    judged = DurationLaunches(launches, plan)
    seen, found = np.zeros(launches), np.full(launches, np.inf)
    block_c = 5 if share < 0.2 else 10
    block_b = round(block_c * (1 - share) / share)
    for look in range(4_000):
        c = _grouped(random, plan, launches, block_c, harm, candidate=True)
        b = _grouped(random, plan, launches, block_b, "", candidate=False)
        judged.look(1.0 + look, c, b)
        seen += block_c
        found = np.where((judged.most >= 1 / ALPHA) & np.isinf(found), seen, found)
        if np.isfinite(found).mean() > 0.92:
            break
    return found


def _grouped(  # noqa: PLR0913
    random: Random, plan: steering.Plan, launches: int, size: int, harm: str, *, candidate: bool
) -> Counts:
    cuts = plan.cuts_c if candidate else plan.cuts_b
    buckets = bucketed(slowed(random, launches * size, harm))
    groups = np.searchsorted(np.array(cuts), buckets, side="right")
    launch = np.repeat(np.arange(launches), size)
    flat = np.bincount(launch * (len(cuts) + 1) + groups, minlength=launches * (len(cuts) + 1))
    return flat.reshape(launches, -1).astype(np.int64)


def samples_by_band(random: Random, launches: int, harm: str, share: float) -> Floats:
    """The same by the time-uniform DKW band (Howard & Ramdas 2022; Netflix's canary method).

    One-sided, two samples, half of alpha each: the candidate's distribution is below the
    baseline's by more than both bands, at some bucket.
    """
    times = (1 - share) / share
    found = np.full(launches, np.inf)
    for launch in range(launches):
        c, b = np.zeros(edges.BUCKETS), np.zeros(edges.BUCKETS)
        step = 200
        for _ in range(1_000):
            c += np.bincount(bucketed(slowed(random, step, harm)), minlength=edges.BUCKETS)
            more = bucketed(slowed(random, round(step * times), ""))
            b += np.bincount(more, minlength=edges.BUCKETS)
            gap = (np.cumsum(b) / b.sum() - np.cumsum(c) / c.sum()).max()
            if gap > _band(c.sum()) + _band(b.sum()):
                found[launch] = c.sum()
                break
    return found


def _band(count: float) -> float:
    log_log = math.log(math.log(math.e * count))
    return 0.85 * math.sqrt((log_log + 0.8 * math.log(1612 / (ALPHA / 2))) / count)


def known_horizon(random: Random, runs: int, effect: float) -> tuple[float, float]:
    """How often a known horizon of 500 per arm rejects at 5 %, one-sided: (ours, YEAST's)."""
    size, level = 500, 0.05
    difference = random.standard_normal((runs, size)) - random.standard_normal((runs, size))
    scores = np.cumsum(difference + effect, axis=1) / math.sqrt(2)
    samples = np.arange(1, size + 1, dtype=np.float64)
    ours = (horizon.certainty(scores, samples, size, level) >= 1).any(axis=1)
    # YEAST: one bound for all n, by Levy's inequality: z(1 - alpha/2) standard deviations at N.
    yeast = (scores >= 1.959963985 * math.sqrt(size)).any(axis=1)
    return float(ours.mean()), float(yeast.mean())
