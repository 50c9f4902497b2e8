"""What rollout files would do to whom, held against the running controller.

Who moves is counted on made-up people, always the same: a change of weights moves as few as can
be, and anything else that decides the assignment may move many.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal

from sidecar.cli import report
from sidecar.config import Settings
from sidecar.control import calls, codec
from sidecar.control.pb import control_pb2 as pb
from sidecar.rollout import Rollout
from sidecar.routing import Route, UnitSource, route_of, twin
from sidecar.routing.simulating import Sides

_UNIT = UnitSource("header", "x-person")
_PEOPLE = [twin.Request(headers=((_UNIT.name, b"person-%d" % number),)) for number in range(10_000)]


def sides(rollouts: Iterable[Rollout], settings: Settings) -> Sides:
    """Put rollouts beside what runs, with the weights and kills that would be in force.

    One that does not run yet has its declared weights, and nothing before. Raises CanaryError.
    """
    declared = list(rollouts)
    texts = [one.model_dump_json(by_alias=True, exclude_defaults=True) for one in declared]
    status = calls.controller_status(settings.control, settings.security)
    running = {one.name: one for one in status.rollouts if not one.retired}
    preview = calls.preview(settings.control, texts, settings.security)
    changes = {one.rollout: one for one in preview.changes}
    found = Sides()
    for one in declared:
        state, change = running.get(one.name), changes.get(one.name)
        if state is None:
            found.after.append(route_of(one, {v.name: v.weight for v in one.variants}))
            continue
        weights = {w.variant: Decimal(w.weight) for w in state.in_force}
        data = (change.resource_before, change.resource_after) if change else ()
        pair = [codec.decode(one.name, each) for each in data] or [route_of(one, weights)] * 2
        before, after = (replace(route, killed=state.killed) for route in pair)
        found.before.append(before)
        found.after.append(after)
        found.because[one.name] = tuple(change.because) if change else ()
    return found


def with_running(rollouts: Iterable[Rollout], settings: Settings) -> Iterator[tuple[str, str]]:
    """Say of each rollout that would change what becomes of it. Raises CanaryError."""
    texts = [one.model_dump_json(by_alias=True, exclude_defaults=True) for one in rollouts]
    found = calls.preview(settings.control, texts, settings.security)
    return ((one.rollout, _said(one)) for one in found.changes)


def moved(before: Route, after: Route) -> float:
    """Return the share of people, from 0 to 1, who get another variant, by the same unit.

    They bring nothing but the unit: no segment that looks at more fits any of them.
    """
    sides = [replace(route, unit=(_UNIT,)) for route in (before, after)]
    answers = ([twin.decide_one(side, one).variant for one in _PEOPLE] for side in sides)
    return float(sum(old != new for old, new in zip(*answers, strict=True)) / len(_PEOPLE))


def _said(change: pb.PreviewedChange) -> str:
    before, after = (
        codec.decode(change.rollout, data)
        for data in (change.resource_before, change.resource_after)
    )
    weights = [report.shares(side) for side in (change.before, change.after)]
    said = list(change.because)
    if weights[0] != weights[1]:
        said.insert(0, "  ->  ".join(weights))
    share = f"moves {moved(before, after):.1%} of the people".replace("%", " %")
    if before.unit != after.unit:
        share += " who keep their unit"
    if before.segments or after.segments:
        share += ", segments aside"
    return "; ".join([share, *said])
