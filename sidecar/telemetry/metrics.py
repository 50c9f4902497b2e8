"""What is measured, under which name: the one list that docs/observe.md repeats.

Nothing is recorded while requests are decided. Engines count for themselves; the instruments read
those counts when somebody collects. The SDK has no such instrument for histograms: histogram.py.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.semconv._incubating.attributes.cpu_attributes import CPU_MODE
from opentelemetry.semconv._incubating.metrics import process_metrics
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from sidecar.telemetry.sources import ControllerSources, ControlStream, SidecarSources
from sidecar.telemetry.spans import REASON, ROLLOUT, VARIANT, VERSION

_REFUSALS = ("malformed", "not_ready")
_FORCE = "force_"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
Observed = Iterable[Observation]
Observe = Callable[[], Observed]


def measure_process(meter: Meter) -> None:
    """Measure this process's CPU and memory."""
    _counter(meter, process_metrics.PROCESS_CPU_TIME, "s", "CPU time used.", _cpu)
    _up_down_counter(meter, process_metrics.PROCESS_MEMORY_USAGE, "By", "Memory held.", _memory)


def measure_sidecar(meter: Meter, sources: SidecarSources) -> None:
    """Measure one sidecar; its durations are the readers' business."""
    _counter(
        meter,
        "canary.decisions",
        "{decision}",
        "Decisions by rollout, variant and reason.",
        lambda: _decisions(sources.decisions()),
    )
    _measure_ext_proc(meter, sources.counters)
    _measure_spans(meter, sources.counters)
    _gauge(
        meter,
        "canary.table.age",
        "s",
        "How long the table in force, named by its version, has been in force.",
        lambda: _age(sources.table()),
    )
    _gauge(
        meter,
        "canary.inputs.unseen",
        "{input}",
        "Inputs of rollouts that Envoy does not forward; only where Envoy says what it forwards.",
        lambda: _known(sources.unseen()),
    )
    _measure_control_stream(meter, sources.control_stream)


def measure_controller(meter: Meter, sources: ControllerSources) -> None:
    """Measure one controller."""

    def sidecars() -> Observed:
        current, behind = sources.sidecars()
        yield Observation(current, {"canary.sidecar.state": "current"})
        yield Observation(behind, {"canary.sidecar.state": "behind"})

    _up_down_counter(
        meter,
        "canary.controller.sidecars",
        "{sidecar}",
        "Connected sidecars, by whether they confirmed the table they should have.",
        sidecars,
    )
    _measure_launches(meter, sources)


def _measure_launches(meter: Meter, sources: ControllerSources) -> None:
    def counted(counts: Mapping[tuple[str, str], int], attribute: str) -> Observed:
        for (rollout, kind), count in tuple(counts.items()):
            yield Observation(count, {ROLLOUT: rollout, attribute: kind})

    def unjudged() -> Observed:
        counts = dict(sources.unjudged())
        for (rollout, node, why), count in counts.items():
            yield Observation(count, {ROLLOUT: rollout, "canary.node": node, "canary.why": why})
        # So that there is something to compare with when it rises.
        for rollout in sources.launches().keys() - {rollout for rollout, _, _ in counts}:
            yield Observation(0, {ROLLOUT: rollout})

    _counter(
        meter,
        "canary.rollout.changes",
        "{change}",
        "Changes of a rollout by kind, as in its history.",
        lambda: counted(sources.changes(), "canary.change"),
    )
    _counter(
        meter,
        "canary.guard.verdicts",
        "{verdict}",
        "Looks of the guard by what it found.",
        lambda: counted(sources.verdicts(), "canary.verdict"),
    )
    _counter(
        meter,
        "canary.guard.unjudged",
        "{second}",
        "Seconds of a sidecar's outcomes that the guard could not take.",
        unjudged,
    )
    _gauge(
        meter,
        "canary.rollout.phase",
        "1",
        "1 for the phase that a launch is in.",
        lambda: [
            Observation(1, {ROLLOUT: rollout, "canary.phase": phase})
            for rollout, (phase, _) in sources.launches().items()
        ],
    )
    _gauge(
        meter,
        "canary.rollout.candidate.share",
        "1",
        "The candidate's share of the traffic, 0 to 1.",
        lambda: [
            Observation(share, {ROLLOUT: rollout})
            for rollout, (_, share) in sources.launches().items()
        ],
    )


def _measure_ext_proc(meter: Meter, counters: Callable[[], Mapping[str, int]]) -> None:
    def refusals() -> Observed:
        counted = counters()
        return [Observation(counted[kind], {ERROR_TYPE: kind}) for kind in _REFUSALS]

    _counter(
        meter,
        "canary.ext_proc.streams",
        "{stream}",
        "Streams that Envoy opened, one per request.",
        lambda: [Observation(counters()["streams"])],
    )
    _counter(
        meter,
        "canary.ext_proc.answers",
        "{answer}",
        "Messages answered.",
        lambda: [Observation(counters()["answers"])],
    )
    _counter(
        meter,
        "canary.ext_proc.refusals",
        "{stream}",
        "Streams refused: not a ProcessingRequest, or no table yet. Envoy fails them open.",
        refusals,
    )
    _counter(
        meter,
        "canary.force.refusals",
        "{token}",
        "Force tokens ignored: malformed, signed with an unknown key or wrongly, or expired.",
        lambda: _tokens(counters()),
    )


def _measure_spans(meter: Meter, counters: Callable[[], Mapping[str, int]]) -> None:
    _counter(
        meter,
        "canary.spans.dropped",
        "{span}",
        "Sampled decisions that found no room on their way out of the engine.",
        lambda: [Observation(counters().get("samples_dropped", 0))],
    )


def _measure_control_stream(meter: Meter, stream: Callable[[], ControlStream]) -> None:
    name = "canary.control_stream"
    _gauge(
        meter,
        f"{name}.connected",
        "1",
        "1 while a controller answers, else 0.",
        lambda: [Observation(int(stream().connected))],
    )
    _counter(
        meter,
        f"{name}.connections",
        "{connection}",
        "Connections to a controller; all but the first are reconnects.",
        lambda: [Observation(stream().connections)],
    )
    _counter(
        meter,
        f"{name}.nacks",
        "{nack}",
        "Updates refused; the table in force stayed.",
        lambda: [Observation(stream().nacks)],
    )


def _decisions(counted: Mapping[tuple[str, str, str], int]) -> Observed:
    for (rollout, variant, reason), count in counted.items():
        yield Observation(count, {ROLLOUT: rollout, VARIANT: variant, REASON: reason})


def _tokens(counted: Mapping[str, int]) -> Observed:
    for name, count in counted.items():
        if name.startswith(_FORCE):
            yield Observation(count, {ERROR_TYPE: name.removeprefix(_FORCE)})


def _known(count: int | None) -> Observed:
    return [] if count is None else [Observation(count)]


def _age(table: tuple[str, float] | None) -> Observed:
    return [Observation(table[1], {VERSION: table[0]})] if table else []


def _cpu() -> Observed:
    used = os.times()
    for mode, seconds in (("user", used.user), ("system", used.system)):
        yield Observation(seconds, {CPU_MODE: mode})


def _memory() -> Observed:
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [Observation(resident_pages * _PAGE_BYTES)]


def _counter(meter: Meter, name: str, unit: str, what: str, observe: Observe) -> None:
    meter.create_observable_counter(name, [_callback(observe)], unit, what)


def _up_down_counter(meter: Meter, name: str, unit: str, what: str, observe: Observe) -> None:
    meter.create_observable_up_down_counter(name, [_callback(observe)], unit, what)


def _gauge(meter: Meter, name: str, unit: str, what: str, observe: Observe) -> None:
    meter.create_observable_gauge(name, [_callback(observe)], unit, what)


def _callback(observe: Observe) -> Callable[[CallbackOptions], Observed]:
    return lambda _: observe()
