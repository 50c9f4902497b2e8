"""What telemetry is handed by those it watches; nothing here knows OpenTelemetry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Durations(Protocol):
    """Counts per bucket, upper bounds included, and one count more for what is above all."""

    @property
    def bounds_s(self) -> tuple[float, ...]:
        """The upper bounds."""

    @property
    def counts(self) -> tuple[int, ...]:
        """How many since the start, each in one bucket only."""

    @property
    def sum_s(self) -> float:
        """All durations together."""


class Table(Protocol):
    """The part of a routing table that spans are made from."""

    @property
    def version(self) -> str:
        """The version its answers carry."""

    def decide(self, message: bytes, now_s: int) -> list[tuple[str, str, str, int, int]]:
        """Return (rollout, variant, reason, position, second) per rollout that speaks.

        `now_s` is the Unix time by which force tokens expire.
        """


Metadata = Sequence[tuple[str, str | bytes]]
Attributes = Mapping[str, str | int | float | bool]
Watch = Callable[[Table, bytes, int], None]


class Sampling(NamedTuple):
    """Which decisions are sampled.

    As the parent is, where there is one and `follow_parent`; else every one, or those whose trace
    id's low 64 bits are below `bound`.
    """

    follow_parent: bool
    always: bool
    bound: int


class Observer(Protocol):
    """Told of the calls that an engine serves; an engine needs none."""

    @property
    def sampling(self) -> Sampling | None:
        """What an engine that samples by itself goes by; None: nothing is sampled."""

    def template(
        self, rollout: str, variant: str, reason: str, version: str
    ) -> tuple[bytes, bytes]:
        """Return what all spans of such decisions have in common, and the unit's attribute.

        The engine that samples by itself writes the rest between and behind them.
        """

    def record(self, spans: Sequence[bytes]) -> None:
        """Take decisions that an engine sampled by itself, as the spans it wrote."""

    def watch(self, metadata: Metadata) -> Watch | None:
        """Return what is to be called with the decision, or None if nobody wants it."""


class ControlStream(NamedTuple):
    """How the control stream stands, and what became of it since the start."""

    connected: bool
    connections: int
    nacks: int


@dataclass(frozen=True, slots=True)
class SidecarSources:
    """What is read of a sidecar, whenever somebody collects, from any thread.

    `table` gives version and age in seconds, None before the first table; `unseen` how many inputs
    of rules never arrive, None where no Envoy says what it forwards.
    """

    decisions: Callable[[], Mapping[tuple[str, str, str], int]]
    durations: Callable[[], Durations]
    counters: Callable[[], Mapping[str, int]]
    table: Callable[[], tuple[str, float] | None]
    control_stream: Callable[[], ControlStream]
    unseen: Callable[[], int | None] = lambda: None


@dataclass(frozen=True, slots=True)
class ControllerSources:
    """What is read of a controller, whenever somebody collects, from any thread.

    `sidecars`: how many have the table it wants, how many not. `changes` and `verdicts` count by
    rollout and kind, `launches` gives phase and candidate's share by rollout. `unjudged` counts by
    rollout, sidecar and kind.
    """

    sidecars: Callable[[], tuple[int, int]]
    changes: Callable[[], Mapping[tuple[str, str], int]] = dict
    verdicts: Callable[[], Mapping[tuple[str, str], int]] = dict
    launches: Callable[[], Mapping[str, tuple[str, float]]] = dict
    unjudged: Callable[[], Mapping[tuple[str, str, str], int]] = dict


class Telemetry:
    """Exports nothing: what a process has that was not asked for more."""

    observer: Observer | None = None

    def measure_sidecar(self, sources: SidecarSources) -> None:
        """Export the metrics of a sidecar."""

    def measure_controller(self, sources: ControllerSources) -> None:
        """Export the metrics of a controller."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Export something that happened, once; never blocks."""

    def stop(self) -> None:
        """Export what is left, in bounded time."""
