"""What the demo sees, and what it expects: upstream logs and Envoy's statistics, nothing else.

A phase is the time between two commands. The logs are judged against the oracle: who must be
where at the weights of each phase. The first expectation that does not hold is a `BrokenError`, one
sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from bench.lab import oracle
from bench.lab.envoy import Stats
from bench.lab.stack import Ran
from bench.lab.upstream import Reader, Seen

STABLE, CANARY = "stable", "canary"
# The old weights must be gone so long after the command's reply.
SETTLED_MS = 1000.0


class BrokenError(Exception):
    """An expectation that did not hold; the text is one sentence that says which."""


@dataclass(frozen=True)
class Rule:
    """Who must be where: the oracle's answers for one rollout of a baseline and one candidate."""

    salt: str
    users: tuple[str, ...]

    def cohort(self, percent: int) -> frozenset[str]:
        """Everybody who must be in the canary at this weight."""
        return oracle.cohort(self.salt, self.users, Fraction(percent, 100))


@dataclass
class Phase:
    """One weight, from the command that set it (None: declared) to the next command."""

    percent: int
    command: Ran | None
    events: list[tuple[Seen, str]] = field(default_factory=list)
    stats_before: Stats = field(default_factory=Stats)
    stats_after: Stats = field(default_factory=Stats)
    before: "Phase | None" = None
    settled_ns: int = 0
    change: "Change | None" = None

    @property
    def label(self) -> str:
        """Name it as people do."""
        return f"{self.percent} %"

    def variants(self, since_ns: int = 0) -> dict[str, str]:
        """Return where each user was last seen since a moment."""
        return {seen.user: variant for seen, variant in self.events if seen.time_ns > since_ns}

    def split(self, since_ns: int | None = None) -> "Split":
        """Count users, once each, after the old weights were gone (or since a moment)."""
        where = self.variants(self.settled_ns if since_ns is None else since_ns)
        return Split(sum(v == CANARY for v in where.values()), len(where))


@dataclass(frozen=True)
class Split:
    """How many of the users seen were in the canary."""

    canary: int
    users: int

    def __str__(self) -> str:
        low, high = oracle.wilson95(self.canary, self.users)
        seen = self.canary / max(self.users, 1)
        return f"{seen:6.2%} [{low:.2%}, {high:.2%}]"

    def holds(self, percent: int) -> bool:
        """Whether the asked share lies in the 95 % interval."""
        low, high = oracle.wilson95(self.canary, self.users)
        return low <= percent / 100 <= high


@dataclass(frozen=True)
class Change:
    """What one command did, in milliseconds from its start (wall clock) and its reply."""

    before: str
    after: str
    command_ms: float
    first_new_ms: float
    last_old_ms: float
    moved: int
    had_to: int

    @property
    def overlap_ms(self) -> float:
        """How long requests on both weights were seen; 0 when they did not mix."""
        return max(self.last_old_ms - self.first_new_ms, 0.0)

    @property
    def last_old_after_reply_ms(self) -> float:
        """Negative: the last request on the old weights came before the command's reply."""
        return self.last_old_ms - self.command_ms


class Witness:
    """Follows the upstreams' logs, each named by the variant it serves."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = readers
        self._late: list[tuple[Seen, str]] = []
        self.lines: dict[str, int] = dict.fromkeys(readers, 0)

    def collect(self, phase: Phase) -> None:
        """Add to a phase what was logged since the last call."""
        for variant, reader in self._readers.items():
            new = [(seen, variant) for seen in reader.new()]
            self.lines[variant] += len(new)
            phase.events += new
        phase.events.sort(key=lambda event: event[0].time_ns)

    def turn(self, after: Phase) -> None:
        """Give the new phase what belongs to it: everything since its command."""
        before = after.before
        assert before
        assert after.command
        start = after.command.started_ns
        after.events = [one for one in before.events if one[0].time_ns >= start]
        before.events = [one for one in before.events if one[0].time_ns < start]


def judge_change(rule: Rule, after: Phase) -> Change:
    """Say what a change did. Raises BrokenError if the old weights still answer too late."""
    before, command = after.before, after.command
    assert before
    assert command
    old, new = rule.cohort(before.percent), rule.cohort(after.percent)
    movers = old ^ new
    first_new, last_old = None, command.started_ns
    for seen, variant in after.events:
        if seen.user not in movers:
            continue
        if (variant == CANARY) == (seen.user in old):
            last_old = seen.time_ns
        elif first_new is None:
            first_new = seen.time_ns
    after.settled_ns = last_old
    late_ms = (last_old - command.ended_ns) / 1e6
    if first_new is None or late_ms > SETTLED_MS:
        raise BrokenError(
            f"{before.label} -> {after.label}: the old weights still answered {late_ms:.0f} ms "
            f"after the command's reply"
        )
    return Change(
        before.label,
        after.label,
        command_ms=command.took_ms,
        first_new_ms=(first_new - command.started_ns) / 1e6,
        last_old_ms=(last_old - command.started_ns) / 1e6,
        **_moves(rule, before, after),
    )


def _moves(rule: Rule, before: Phase, after: Phase) -> dict[str, int]:
    was, now = before.variants(before.settled_ns), after.variants(after.settled_ns)
    both = was.keys() & now.keys()
    moved = {user for user in both if was[user] != now[user]}
    had_to = both & (rule.cohort(before.percent) ^ rule.cohort(after.percent))
    if moved != had_to:
        raise BrokenError(
            f"{before.label} -> {after.label}: {len(moved - had_to)} users moved who need not, "
            f"{len(had_to - moved)} stayed who had to move"
        )
    return {"moved": len(moved), "had_to": len(had_to)}


def judge_phase(rule: Rule, phase: Phase) -> None:
    """Raise BrokenError unless everybody was where the oracle says and the split is the asked one.

    While a change settles, those who have to move may still be where they were before.
    """
    cohort = rule.cohort(phase.percent)
    movers = cohort ^ rule.cohort(phase.before.percent) if phase.before else frozenset()
    for seen, variant in phase.events:
        moving = seen.time_ns <= phase.settled_ns and seen.user in movers
        if not moving and (variant == CANARY) != (seen.user in cohort):
            must = CANARY if seen.user in cohort else STABLE
            raise BrokenError(
                f"at {phase.label}: {seen.user} was answered by {variant}, must be {must}"
            )
    split = phase.split()
    if split.users < len(rule.users):
        raise BrokenError(
            f"at {phase.label}: only {split.users} of {len(rule.users)} users were seen"
        )
    if not split.holds(phase.percent):
        raise BrokenError(f"at {phase.label}: the asked share is outside the interval of {split}")


def judge_failures(stats: Stats, clients: Mapping[str, int]) -> int:
    """Return how many requests there were. Raises BrokenError if any of them failed."""
    failures = {name: count for name, count in stats.failures().items() if count}
    if failures or clients:
        raise BrokenError(
            f"Envoy's failures are {failures or 'none'}, the clients' {clients or 'none'}"
        )
    requests = stats["http.ingress.downstream_rq_total"]
    decisions = stats.ext_proc("streams_started")
    if decisions != requests:
        raise BrokenError(f"of {requests} requests {decisions} were decided")
    return requests


def judge_witnesses(stats: Stats, lines: Mapping[str, int], clusters: Mapping[str, str]) -> None:
    """Raise BrokenError unless Envoy's count for each cluster is its upstream's own."""
    for variant, cluster in clusters.items():
        if stats.requests(cluster) != lines[variant]:
            raise BrokenError(
                f"Envoy sent {stats.requests(cluster)} requests to {cluster}, "
                f"whose log has {lines[variant]}"
            )


def canary_requests(before: Stats, after: Stats, clusters: Mapping[str, str]) -> tuple[int, int]:
    """Return requests to the canary and to all, by Envoy's counters between two readings."""
    sent = {v: after.requests(c) - before.requests(c) for v, c in clusters.items()}
    return sent[CANARY], sum(sent.values())
