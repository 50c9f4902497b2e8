"""What no single field can show about how a launch proceeds: steps, windows, guardrails.

Like `combinations` it works on the tolerant tree: it speaks although other fields are wrong, and
passes over whatever the model already refuses by itself.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import ValidationError

from sidecar.rollout.names import MAX_TEXT_BYTES
from sidecar.rollout.progress import WEEK_MIN, WHOLE, Step, Window, open_minutes
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import Fields, Items, Loc, Parsed, Problem, key_place, place
from sidecar.rollout.wording import nearest

_SPEC: Loc = ("spec",)
_STEPS: Loc = ("spec", "steps")
_GUARDRAILS: Loc = ("spec", "guardrails")
_ALWAYS = (1 << WEEK_MIN) - 1
# "#" and more digits than launches there will ever be.
_NUMBER_BYTES = 24
_RATES = {"pp", "%"}
_TIMES = {"%", "us", "ms", "s"}
_NOTHING = re.compile(r"\+?[0.]+\s*(%|pp|ms|s)?")
_UNIT = re.compile(r"[a-zA-Z%]*\Z")


def about_launch(document: Parsed) -> Iterator[Problem]:
    """Find every such mistake of one document."""
    spec = _at(document.value, _SPEC)
    if not isinstance(spec, Fields):
        return
    yield from _candidate(document, spec)
    yield from _needs_steps(document, spec)
    yield from _steps(document, spec)
    yield from _windows(document)
    yield from _guardrails(document)
    yield from _notifications(document)
    yield from _salt(document, spec)


def _at(value: Any, loc: Loc) -> Any:
    for step in loc:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _list(document: Parsed, loc: Loc) -> Items:
    found = _at(document.value, loc)
    return found if isinstance(found, Items) else Items.of((), ())


def _problem(document: Parsed, loc: Loc, message: str, remedy: str) -> Problem:
    return Problem(place(document, loc), loc, message, remedy)


def _variants(document: Parsed) -> list[tuple[str, Any]]:
    found = _list(document, ("spec", "variants"))
    return [(str(_at(one, ("name",))), _at(one, ("weight",))) for one in found]


def _candidate(document: Parsed, spec: Fields) -> Iterator[Problem]:
    variants = _variants(document)
    names = [name for name, _ in variants]
    said, loc = spec.get("candidate"), ("spec", "candidate")
    if said is not None and names and isinstance(said, str):
        if said == names[0]:
            yield _problem(
                document, loc, f"{said!r} is the baseline", "name the variant that is to come in"
            )
            return
        if said not in names:
            near = nearest(said, names[1:])
            hint = f"did you mean {near!r}? " if near else ""
            yield _problem(
                document,
                loc,
                f"there is no variant {shown(said)}",
                f"{hint}Declared here: {', '.join(names[1:]) or 'the baseline alone'}",
            )
            return
    if not _stepwise(spec) or not variants:
        return
    if len(variants) == 1:
        remedy = "add the variant that the steps are to bring in, with weight 0"
        yield _problem(document, ("spec", "variants"), "there is no candidate", remedy)
    elif said is None and len(variants) > 2:
        yield Problem(
            key_place(document, _SPEC),
            loc,
            f"is missing: there are {len(variants) - 1} candidates",
            f"say which one the steps bring in: {', '.join(names[1:])}",
        )
    yield from _bystanders(document, variants, said)


def _bystanders(document: Parsed, variants: list[tuple[str, Any]], said: Any) -> Iterator[Problem]:
    """Refuse a third variant with traffic: steps share it all between two."""
    candidate = said if said is not None else variants[1][0] if len(variants) > 1 else None
    for index, (name, weight) in enumerate(variants):
        if index and name != candidate and _is_number(weight) and weight > 0:
            yield _problem(
                document,
                ("spec", "variants", index, "weight"),
                f"{name!r} has weight, but steps share the traffic between baseline and candidate",
                "write 0, or remove the steps and move weights by hand",
            )


def _stepwise(spec: Fields) -> bool:
    return bool(spec.get("steps")) or spec.get("strategy") == "blueGreen"


def _needs_steps(document: Parsed, spec: Fields) -> Iterator[Problem]:
    if _stepwise(spec):
        return
    for field in ("candidate", "guardrails", "onNotMeasured", "relaunch"):
        if field in spec and "steps" not in spec:
            yield Problem(
                key_place(document, (*_SPEC, field)),
                (*_SPEC, field),
                "has no effect without steps",
                "add steps, such as steps: [{weight: 5, hold: 10m}, {weight: 100}]",
            )


def _steps(document: Parsed, spec: Fields) -> Iterator[Problem]:
    weights = [_at(step, ("weight",)) for step in _list(document, _STEPS)]
    if spec.get("strategy") == "blueGreen":
        yield from _one_switch(document, weights)
        return
    numbers = [(index, weight) for index, weight in enumerate(weights) if _is_number(weight)]
    for (_, before), (index, weight) in pairwise(numbers):
        if weight <= before:
            how = "the same as" if weight == before else "less than"
            yield _problem(
                document,
                (*_STEPS, index, "weight"),
                f"{weight:f} is {how} the step before it ({before:f})",
                "let weights grow from step to step: going back is `canary rollback`",
            )
    if numbers and numbers[0][1] == 0:
        yield _problem(
            document, (*_STEPS, numbers[0][0], "weight"), "is 0: nobody", "begin above 0"
        )


def _is_number(weight: Any) -> bool:
    """Whether it can be compared: what is none, or not finite, is the model's to refuse."""
    return isinstance(weight, Decimal) and weight.is_finite()


def _one_switch(document: Parsed, weights: list[Any]) -> Iterator[Problem]:
    if len(weights) > 1:
        yield _problem(
            document,
            (*_STEPS, 1),
            "blueGreen switches once, and this is a second step",
            "keep one step of weight 100, or write strategy: canary",
        )
    if weights and _is_number(weights[0]) and 0 <= weights[0] < WHOLE:
        yield _problem(
            document,
            (*_STEPS, 0, "weight"),
            f"blueGreen switches everybody at once, not {weights[0]:f} %",
            "write 100, or strategy: canary",
        )


class _Stop(NamedTuple):
    """A step and its place in the list."""

    place: int
    step: Step


def _windows(document: Parsed) -> Iterator[Problem]:
    """Refuse windows that never open, and holds that always end outside them."""
    if not any(_at(step, ("window",)) for step in _list(document, _STEPS)):
        return
    stops: list[_Stop | None] = []
    for index, fields in enumerate(_list(document, _STEPS)):
        stop = _stop(index, fields)
        stops.append(stop)
        window = _at(fields, ("window",))
        if stop and isinstance(window, Fields):
            yield from _empty(document, index, window, stop.step.window)
    for stop, after in zip(stops, [*stops[1:], None], strict=False):
        if stop and "window" in stop.step.model_fields_set:
            yield from _hold(document, stop, after)


def _stop(index: int, fields: Any) -> _Stop | None:
    """Read a step that is well in itself; what is not is the model's to refuse."""
    try:
        return _Stop(index, Step.model_validate(fields))
    except (ValidationError, TypeError):
        return None


def _empty(document: Parsed, index: int, written: Fields, window: Window) -> Iterator[Problem]:
    loc: Loc = (*_STEPS, index, "window")
    if window.from_ == window.to:
        remedy = "write two different times, or leave both out for the whole day"
        yield _problem(document, loc, f"opens and closes at {window.to}: never open", remedy)
    if "days" in written and not window.days:
        yield _problem(document, (*loc, "days"), "is an empty list", "name days: mon, tue, …")
    for day in {day for day in window.days if window.days.count(day) > 1}:
        yield _problem(document, (*loc, "days"), f"names {day} twice", "keep one of them")


def _hold(document: Parsed, stop: _Stop, after: _Stop | None) -> Iterator[Problem]:
    """Refuse a hold that ends outside the window whenever in the window it begins."""
    window, hold = stop.step.window, stop.step.hold_time
    opens = open_minutes(window)
    ends = opens
    if after and after.step.window.time_zone == window.time_zone:
        ends &= open_minutes(after.step.window)
    minutes = int(hold.total_seconds() // 60) % WEEK_MIN
    ended = ((opens << minutes) | (opens >> (WEEK_MIN - minutes))) & _ALWAYS
    if opens and not ended & ends:
        yield _problem(
            document,
            (*_STEPS, stop.place, "hold"),
            f"a hold of {stop.step.hold} that begins in the window always ends outside"
            f"{' this one or the next' if after and ends != opens else ' it'}"
            f" ({_said(window)})",
            "shorten the hold (or make it whole days), or widen the window",
        )


def _said(window: Window) -> str:
    days = ", ".join(window.days) or "every day"
    return f"{days} {window.from_}-{window.to} {window.time_zone}"


def _guardrails(document: Parsed) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, guardrail in enumerate(_list(document, _GUARDRAILS)):
        metric = _at(guardrail, ("metric",))
        if not isinstance(metric, str) or not isinstance(guardrail, Fields):
            continue
        loc: Loc = (*_GUARDRAILS, index)
        if first.setdefault(metric, index) != index:
            line = place(document, (*_GUARDRAILS, first[metric]))[0]
            remedy = "keep one of them: margin and limit fit in one"
            yield _problem(document, loc, f"{metric} stands already in line {line}", remedy)
        if "maxIncrease" not in guardrail and "limit" not in guardrail:
            yield _problem(
                document,
                loc,
                "says neither maxIncrease nor limit",
                "write how much worse is still well, such as maxIncrease: 0.5pp, or a limit",
            )
        yield from _units(document, loc, metric, guardrail)


def _units(document: Parsed, loc: Loc, metric: str, guardrail: Fields) -> Iterator[Problem]:
    rate = metric == "error_rate"
    if not rate and not metric.startswith("latency"):
        return
    for field, units, such in (
        ("maxIncrease", _RATES if rate else _TIMES, "0.5pp or 20%" if rate else "20% or 50ms"),
        ("limit", {"%"} if rate else _TIMES - {"%"}, "5%" if rate else "500ms"),
    ):
        text = guardrail.get(field)
        unit = _UNIT.findall(text)[0] if isinstance(text, str) else ""
        if field == "limit" and isinstance(text, str) and _NOTHING.fullmatch(text.strip()):
            yield _problem(
                document,
                (*loc, field),
                f"{text} is no limit: every request would break it",
                f"write more than 0, such as {such}",
            )
        if unit in _RATES | _TIMES and unit not in units:
            yield _problem(
                document,
                (*loc, field),
                f"{text} cannot be {'a limit' if field == 'limit' else 'a margin'} of {metric}",
                f"write such as {such}",
            )


def _notifications(document: Parsed) -> Iterator[Problem]:
    for index, one in enumerate(_list(document, ("spec", "notifications"))):
        if isinstance(one, Fields) and len(one) != 1 and set(one) <= {"webhook", "webhookFile"}:
            yield _problem(
                document,
                ("spec", "notifications", index),
                "names webhook and webhookFile at once" if one else "names no webhook",
                "write one of webhook and webhookFile in each entry",
            )


def _salt(document: Parsed, spec: Fields) -> Iterator[Problem]:
    """Refuse a salt that leaves no room for the number of a refreshed launch (State.salt)."""
    salt = spec.get("salt")
    most = MAX_TEXT_BYTES - _NUMBER_BYTES
    if spec.get("relaunch") == "refresh" and isinstance(salt, str) and len(salt.encode()) > most:
        yield _problem(
            document,
            ("spec", "salt"),
            f"is {len(salt.encode())} bytes long, and each launch adds its number",
            f"use at most {most} bytes, or write relaunch: reuse",
        )
