"""Who would get what, before anything is deployed: rollouts held against a list of people.

The native table decides, as it will decide their requests; what is counted is exact.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

from sidecar.routing._native import Table
from sidecar.routing.compiling import compile_table
from sidecar.routing.needs import needs
from sidecar.routing.route import Route, by_name
from sidecar.routing.rules import Input

SILENT = 0xFFFFFFFF
# (variant, reason); both are empty where the rollout does not speak.
Given = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rollout: how many of the people were given what, and before (`was`), if asked."""

    rollout: str
    given: dict[Given, int]
    moved: dict[tuple[Given, Given], int]


@dataclass(frozen=True, slots=True)
class Sides:
    """What would be and what is, and by rollout what else than weights moves people."""

    after: list[Route] = field(default_factory=list)
    before: list[Route] = field(default_factory=list)
    because: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Side:
    """A table, and the columns of its rollouts."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._at = {route.name: at for at, route in enumerate(by_name(routes))}
        self._table = Table(compile_table(routes, "simulated"))
        self._codes = memoryview(b"").cast("I")

    def decide(self, messages: list[bytes]) -> None:
        self._codes = self._table.decide_many(messages)

    def codes(self, name: str) -> Iterable[int]:
        at = self._at.get(name)
        return repeat(SILENT) if at is None else self._codes[at :: len(self._at)].tolist()

    def meaning(self, name: str, code: int) -> Given:
        return ("", "") if code == SILENT else self._table.meaning(self._at[name], code)


class Simulation:
    """Counts messages through a set of routes, and beside it through the one it would replace."""

    def __init__(self, routes: Sequence[Route], against: Sequence[Route] | None = None) -> None:
        self._new = _Side(routes)
        self._old = None if against is None else _Side(against)
        self._names = sorted({route.name for route in (*routes, *(against or ()))})
        self._given: dict[str, Counter[int]] = {name: Counter() for name in self._names}
        self._pairs: dict[str, Counter[tuple[int, int]]] = {n: Counter() for n in self._names}

    def take(self, messages: list[bytes]) -> None:
        """Decide and count them. ValueError: one is no ProcessingRequest."""
        self._new.decide(messages)
        if self._old is None:
            for name in self._names:
                self._given[name].update(self._new.codes(name))
            return
        self._old.decide(messages)
        for name in self._names:
            # The shorter side ends: one of them has as many codes as there are messages.
            pairs = zip(self._old.codes(name), self._new.codes(name), strict=False)
            self._pairs[name].update(pairs)

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return what was counted so far, in order of names."""
        return tuple(map(self._outcome, self._names))

    def _outcome(self, name: str) -> Outcome:
        given: Counter[Given] = Counter()
        moved: Counter[tuple[Given, Given]] = Counter()
        for code, count in self._given[name].items():
            given[self._new.meaning(name, code)] += count
        for (was, code), count in self._pairs[name].items():
            assert self._old is not None
            before, now = self._old.meaning(name, was), self._new.meaning(name, code)
            given[now] += count
            if before[0] != now[0]:
                moved[before, now] += count
        return Outcome(name, dict(given), dict(moved))


def speaking(routes: Iterable[Route], inputs: Iterable[Input | None]) -> tuple[Route, ...]:
    """Let every rollout speak where no column says for which host or path."""
    named = {one.name for one in inputs if one and one.kind == "header"}
    on_hosts, on_paths = (":authority",) in named, (":path",) in named
    return tuple(
        replace(
            route,
            hosts=route.hosts if on_hosts else (),
            path_prefix=route.path_prefix if on_paths else "",
        )
        for route in routes
    )


def missing(
    routes: Iterable[Route], inputs: Sequence[Input | None]
) -> dict[Input, tuple[str, ...]]:
    """Return the inputs that the rollouts look at and no column gives, with who looks there."""
    given = set(inputs)
    return {
        asked: who for asked, who in needs(routes).items() if not given & set(_columns_of(asked))
    }


def _columns_of(asked: Input) -> tuple[Input, ...]:
    match asked.kind:
        case "path" | "query":
            return asked, Input("header", (":path",))
        case "host":
            return (Input("header", (":authority",)),)
        case "cookie":
            return asked, Input("header", ("cookie",))
        case "client_address":
            return asked, Input("attribute", ("source.address",))
        case _:
            source = Input("attribute", ("source.address",))
            return (asked, Input("client_address")) if asked == source else (asked,)
