"""Seeded traffic for the tests of the analysis, and the blocks it makes."""

import numpy as np

from sidecar.analysis import Absolute, Arm, Block, Counts, Guardrail, Relative, Stratum, edges

STRATUM = Stratum("sidecar-1", "v1")
ERRORS = Guardrail("error_rate", Absolute(0.005))
TAIL = Guardrail("latency_p99", Relative(0.2))
SHAPE = Guardrail("latency", Relative(0.1))


def histogram(seconds):
    buckets = [edges.bucket(int(s * 1e6)) for s in seconds]
    return np.bincount(buckets, minlength=edges.BUCKETS).astype(np.int64)


def arm(started, errors=0, seconds=None):
    counts = Counts(started, errors, None if seconds is None else histogram(seconds))
    return Arm(counts, counts)


class Traffic:
    """Seeded requests of strangers: a block a second, all answered within it."""

    def __init__(self, seed=1, rate=100, share=0.05):
        self.random = np.random.default_rng(seed)
        self.rate, self.share = rate, share

    def block(self, second, errors=(0.001, 0.001), slower=1.0, tail=0.0, stratum=STRATUM):
        candidate = int(self.random.binomial(self.rate, self.share))
        arms = []
        for n, p, is_candidate in (
            (self.rate - candidate, errors[0], False),
            (candidate, errors[1], True),
        ):
            seconds = self.random.lognormal(-3, 0.5, n)
            if is_candidate:
                seconds *= np.where(self.random.random(n) < tail, 10, slower)
            arms.append(arm(n, int(self.random.binomial(n, p)), seconds))
        return Block(stratum, second, *arms, share=self.share)
