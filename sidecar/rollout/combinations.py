"""What no single field of a document can show: lists too long, things said twice, no weight at all.

Works on the tolerant tree, so it speaks although other fields are wrong, and passes over whatever
the model already refuses by itself.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sidecar.rollout.document import describe
from sidecar.rollout.launches import about_launch
from sidecar.rollout.targets import about_rules
from sidecar.rollout.tree import Fields, Items, Loc, Parsed, Problem, key_place, place
from sidecar.rollout.wording import example

_HOSTS: Loc = ("spec", "match", "hosts")
_UNIT: Loc = ("spec", "unit")
_VARIANTS: Loc = ("spec", "variants")
_STEPS: Loc = ("spec", "steps")
_GUARDRAILS: Loc = ("spec", "guardrails")
_NOTIFICATIONS: Loc = ("spec", "notifications")
_SOURCES = ("header", "cookie", "query", "clientAddress")


def at_loc(value: Any, loc: Loc) -> Any:
    """Return the value at `loc`, or None if the way there is not mappings and lists."""
    for step in loc:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def across_fields(document: Parsed) -> Iterator[Problem]:
    """Find every such mistake of one document."""
    for loc in (_HOSTS, _UNIT, _VARIANTS, _STEPS, _GUARDRAILS, _NOTIFICATIONS):
        yield from _length(document, loc)
    yield from _hosts(document)
    yield from _unit(document)
    yield from _variant_names(document)
    yield from _weights(document)
    yield from about_launch(document)
    yield from about_rules(document)


def _list(document: Parsed, loc: Loc) -> Items:
    found = at_loc(document.value, loc)
    return found if isinstance(found, Items) else Items.of((), ())


def _length(document: Parsed, loc: Loc) -> Iterator[Problem]:
    entries, limits = at_loc(document.value, loc), describe(loc)
    if not isinstance(entries, Items):
        return
    if len(entries) < limits.get("minItems", 0):
        remedy = f"write one entry or more, such as {example(loc)}"
        yield Problem(place(document, loc), loc, "is an empty list", remedy)
    if len(entries) > limits["maxItems"]:
        remedy = f"use at most {limits['maxItems']}"
        yield Problem(place(document, loc), loc, f"has {len(entries)} entries", remedy)


def _hosts(document: Parsed) -> Iterator[Problem]:
    texts = {
        (*_HOSTS, index): host.lower()
        for index, host in enumerate(_list(document, _HOSTS))
        if isinstance(host, str)
    }
    yield from _twice(document, texts, "host", "keep one of them: case means nothing in a host")


def _variant_names(document: Parsed) -> Iterator[Problem]:
    texts: dict[Loc, str] = {}
    for index in range(len(_list(document, _VARIANTS))):
        name = at_loc(document.value, (*_VARIANTS, index, "name"))
        if isinstance(name, str):
            texts[(*_VARIANTS, index, "name")] = name
    yield from _twice(document, texts, "variant", "give each variant a name of its own")


def _unit(document: Parsed) -> Iterator[Problem]:
    texts: dict[Loc, str] = {}
    for index, source in enumerate(_list(document, _UNIT)):
        if not isinstance(source, Fields):
            continue
        kinds = [kind for kind in _SOURCES if kind in source]
        if len(kinds) > 1 or not source:
            yield Problem(
                place(document, (*_UNIT, index)),
                (*_UNIT, index),
                f"names {' and '.join(kinds)} at once" if kinds else "names no source",
                "write one of header, cookie, query and clientAddress in each entry",
            )
        elif kinds:
            name = source[kinds[0]]
            said = name.lower() if kinds == ["header"] and isinstance(name, str) else name
            texts[(*_UNIT, index)] = f"{kinds[0]} {said}"
    yield from _twice(document, texts, "source", "keep the first: the second is never looked at")


def _twice(document: Parsed, texts: dict[Loc, str], what: str, remedy: str) -> Iterator[Problem]:
    first: dict[str, Loc] = {}
    for loc, text in texts.items():
        earlier = first.setdefault(text, loc)
        if earlier != loc:
            line = place(document, earlier)[0]
            yield Problem(
                place(document, loc), loc, f"{what} {text!r} stands already in line {line}", remedy
            )


def _weights(document: Parsed) -> Iterator[Problem]:
    count = len(_list(document, _VARIANTS))
    weights = [at_loc(document.value, (*_VARIANTS, index, "weight")) for index in range(count)]
    if count and all(isinstance(weight, Decimal) and weight == 0 for weight in weights):
        yield Problem(
            key_place(document, _VARIANTS),
            _VARIANTS,
            "every weight is zero",
            "give the baseline, the first variant, a weight above zero",
        )
