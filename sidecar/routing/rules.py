"""What a rule is made of: inputs, tests on them, and what holds where they fit.

All of it is immutable and checked by `Route` (checking.py); compiling.py writes it for the native
core, twin_rules.py evaluates it in plain Python.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

InputKind = Literal[
    "header", "cookie", "query", "path", "host", "client_address", "metadata", "attribute"
]
Operator = Literal[
    "present", "exact", "in", "prefix", "suffix", "contains", "regex",
    "number", "semver", "date", "cidr",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """What a test looks at.

    `name` holds one text for header, cookie, query and attribute; for metadata the filter's name
    and the keys that lead to the value; nothing for path, host and client_address.
    """

    kind: InputKind
    name: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range, as it is written: a number, a version or a date."""

    text: str
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One operator on one input: a condition that looks at the request.

    `texts` are what text operators compare with, `in`'s values or `cidr`'s networks; `low` and
    `high` bound number, semver and date.
    """

    input: Input
    operator: Operator
    texts: tuple[bytes, ...] = ()
    low: Bound | None = None
    high: Bound | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where the condition does not, an absent input included."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds where every condition does."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds where at least one condition does."""

    conditions: tuple["Condition", ...]


Condition = Check | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Segment:
    """Some of the people, by conditions that must all hold; the first segment that fits decides.

    They get `variant` outright, or are drawn by `weights`, one per variant of the rollout in its
    order: on the rollout's own hash line, or on one of their own where there is a `salt`.
    """

    name: str
    when: tuple[Condition, ...]
    variant: str = ""
    weights: tuple[int, ...] = ()
    salt: bytes | None = None
    thresholds: tuple[int, ...] = field(init=False, repr=False, compare=False)
    # What rule_checks.py found in it, once: thousands of rollouts may share a segment.
    survey: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", thresholds(self.weights))
        self.remember(None)

    def remember(self, survey: Any) -> None:
        """Keep what was found."""
        object.__setattr__(self, "survey", survey)


@dataclass(frozen=True, slots=True)
class Override:
    """Units that get a variant by name, in UTF-8 or whatever bytes the requests carry."""

    variant: str
    units: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Holdout:
    """The first `part` of `whole` on the holdout's own hash line never sees the launch.

    Rollouts that name the same holdout leave out the same people.
    """

    name: str
    part: int
    whole: int

    @property
    def salt(self) -> bytes:
        """The salt of its hash line."""
        return b"holdout:" + self.name.encode()

    @property
    def last(self) -> int:
        """The last point of the line that is held out."""
        return (self.part << 64) // self.whole - 1


@dataclass(frozen=True, slots=True)
class Layer:
    """The rollout's slice of a line that rollouts share without overlap, in parts of `whole`."""

    name: str
    start: int
    end: int
    whole: int

    @property
    def salt(self) -> bytes:
        """The salt of its hash line."""
        return b"layer:" + self.name.encode()

    @property
    def first(self) -> int:
        """The first point of the slice."""
        return (self.start << 64) // self.whole

    @property
    def last(self) -> int:
        """The last point of the slice."""
        return (self.end << 64) // self.whole - 1


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Another rollout that has to answer the same request with one of these variants."""

    rollout: str
    variants: tuple[str, ...]


@lru_cache(maxsize=4096)
def thresholds(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Each weight's share of the hash line: floor(weight * 2^64 / sum of weights), exact."""
    total = sum(weights)
    return tuple((weight << 64) // total for weight in weights) if total else ()
