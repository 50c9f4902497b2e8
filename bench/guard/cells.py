"""A/A: kinds of traffic in which both arms are the same, a look a second for a day.

A cell is a generator: for each second the news of its strata, for all launches at once. Poisson
traffic, split by chance, is two independent Poisson streams, and failures thin each of them; so the
counts are drawn directly. Users that come back are drawn one by one: when each is first seen, and
when it fails first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.guard.launches import Counts, Floats, News

DAY_S = 86_400
Random = np.random.Generator
Seconds = Iterator[list[News]]
Scalar = float | Floats


@dataclass(frozen=True)
class Cell:
    """Its name, what generates it (random, launches, seconds), how many launches at once."""

    name: str
    generate: Callable[[Random, int, int], Seconds]
    batch: int = 2_000


def draw(random: Random, launches: int, rate: Scalar, share: float, error: Scalar) -> News:
    """Strangers of one second: every request its own unit, `rate` of them expected.

    One Poisson number for all launches together, dealt out among them, is one for each.
    """
    expected = rate * error
    if not isinstance(expected, float | int):
        failed = [random.poisson(expected * part) for part in (1 - share, share)]
        return News(failed[0], failed[1], share)
    totals = random.poisson([expected * part * launches for part in (1 - share, share)])
    b, c = (np.bincount(random.integers(0, launches, n), minlength=launches) for n in totals)
    return News(b, c, share)


def constant(rate: float, share: float, error: float = 0.001) -> Callable[..., Seconds]:
    """The same rate all day."""

    def generate(random: Random, launches: int, seconds: int) -> Seconds:
        for _ in range(seconds):
            yield [draw(random, launches, rate, share, error)]

    return generate


def diurnal(random: Random, launches: int, seconds: int) -> Seconds:
    """Ten times as much at noon as at midnight, and errors that follow the load."""
    for second in range(seconds):
        load = 10 ** np.sin(2 * np.pi * second / DAY_S)
        rate = 20 * load**0.5
        yield [draw(random, launches, rate, 0.05, min(0.001 * load, 0.5))]


def bursts(random: Random, launches: int, seconds: int) -> Seconds:
    """About once in five minutes twenty times the traffic, for five seconds."""
    until = np.zeros(launches)
    for second in range(seconds):
        until = np.where(random.random(launches) < 1 / 300, second + 5, until)
        yield [draw(random, launches, np.where(second < until, 400.0, 20.0), 0.05, 0.002)]


def incidents(random: Random, launches: int, seconds: int) -> Seconds:
    """About every two hours, for five minutes, a fifth of all requests fails in both arms."""
    until = np.zeros(launches)
    for second in range(seconds):
        until = np.where(random.random(launches) < 1 / 7200, second + 300, until)
        error = np.where(second < until, 0.2, 0.001)
        yield [draw(random, launches, 50.0, 0.05, error)]


def ramp(random: Random, launches: int, seconds: int) -> Seconds:
    """Steps of 1, 5, 25 and 50 %, while the common error rate drifts."""
    for second in range(seconds):
        step = 4 * second // seconds
        error = 0.005 * (1 + 0.9 * np.sin(2 * np.pi * 3 * second / seconds))
        share = (0.01, 0.05, 0.25, 0.5)[step]
        yield [draw(random, launches, 50.0, share, error)]


def fast_errors(random: Random, launches: int, seconds: int) -> Seconds:
    """Failures at once, successes after 10 s: what is started counts, so they do not matter."""
    for second in range(seconds):
        step = 4 * second // seconds
        error = 0.02 if second % 3600 < 600 else 0.002
        share = (0.01, 0.05, 0.25, 0.5)[step]
        yield [draw(random, launches, 20.0, share, error)]


def slow_errors(random: Random, launches: int, seconds: int) -> Seconds:
    """Failures after 10 s, while the share goes down: they still fall on those who started."""
    late: list[News] = []
    for second in range(seconds):
        share = (0.5, 0.25, 0.05, 0.01)[4 * second // seconds]
        late.append(draw(random, launches, 20.0, share, 0.005))
        yield [late.pop(0)] if len(late) > 10 else []


def three_sidecars(random: Random, launches: int, seconds: int) -> Seconds:
    """Each with its own share, rate and error rate."""
    for _ in range(seconds):
        yield [
            draw(random, launches, 5.0, 0.01, 0.001),
            draw(random, launches, 50.0, 0.05, 0.01),
            draw(random, launches, 20.0, 0.25, 0.05),
        ]


def users(storms: float = 1.0) -> Callable[..., Seconds]:
    """Four thousand users per launch, of unequal weight (Pareto 1.1), one in a hundred error-prone.

    storms: requests per failure. A unit counts once, so only its first failure is news, however
    long its retries last.
    """

    def generate(random: Random, launches: int, seconds: int) -> Seconds:
        shape = (launches, 4_000)
        rate = 1e-3 * np.minimum(random.pareto(1.1, shape) + 0.1, 1e4)
        prone = np.where(random.random(shape) < 0.01, 0.3, 0.001 / storms)
        candidate = random.random(shape) < 0.05
        first = random.uniform(0, seconds * 0.9, shape) + random.exponential(1 / rate)
        again = random.exponential(1 / (rate * prone))
        failed = first + np.where(random.random(shape) < prone, 0.0, again)
        columns = [
            _by_second(np.where(candidate == arm, failed, np.inf), seconds) for arm in (False, True)
        ]
        for failed_b, failed_c in zip(*columns, strict=True):
            yield [News(failed_b.astype(np.int64), failed_c.astype(np.int64), 0.05)]

    return generate


def _by_second(times: Floats, seconds: int) -> Counts:
    launches = len(times)
    launch, _ = inside = np.nonzero(times < seconds)
    flat = times[inside].astype(np.int64) * launches + launch
    counts = np.bincount(flat, minlength=seconds * launches)
    return counts.reshape(seconds, launches).astype(np.int16)


def storms_as_requests(random: Random, launches: int, seconds: int) -> Seconds:
    """What goes wrong where requests are taken as independent: five failures at a time."""
    for _ in range(seconds):
        new = draw(random, launches, 50.0, 0.05, 0.0004)
        b, c = (np.where(e > 0, random.poisson(5.0 * e), 0) for e in (new.errors_b, new.errors_c))
        yield [News(b, c, 0.05)]


CELLS = (
    Cell("1 request/s, 5/95", constant(1, 0.05, 0.01)),
    Cell("1 request/s, 50/50", constant(1, 0.5, 0.01)),
    Cell("1,000 requests/s, 5/95", constant(1000, 0.05)),
    Cell("1,000 requests/s, 50/50", constant(1000, 0.5)),
    Cell("diurnal x 10", diurnal),
    Cell("bursts x 20", bursts),
    Cell("incidents in both arms", incidents),
    Cell("ramp 1-5-25-50, drifting", ramp),
    Cell("fast errors, 10 s successes, ramp", fast_errors),
    Cell("slow errors, ramp down", slow_errors),
    Cell("three sidecars of different share", three_sidecars),
    Cell("users of unequal weight and proneness", users(), batch=250),
    Cell("retry storms of 10 s, units once", users(storms=5.0), batch=250),
)
CONTRAST = Cell("for contrast: storms taken as requests", storms_as_requests)
