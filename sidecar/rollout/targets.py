"""What no single field of a document can show about its rules.

Like `combinations` it works on the tolerant tree: it speaks although other fields are wrong, and
passes over whatever the model already refuses by itself.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sidecar.rollout import names, values
from sidecar.rollout.document import describe
from sidecar.rollout.rules import INPUTS, NESTING, OPERATORS
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import Fields, Items, Loc, Parsed, Problem, key_place, place
from sidecar.rollout.wording import example, nearest

_SEGMENTS: Loc = ("spec", "segments")
_OVERRIDES: Loc = ("spec", "overrides")
_EXCLUDE: Loc = ("spec", "exclude")
_REQUIRES: Loc = ("spec", "requires")
_RANGES = ("number", "semver", "date")


def about_rules(document: Parsed) -> Iterator[Problem]:
    """Find every such mistake of one document."""
    for loc in (_SEGMENTS, _OVERRIDES, _EXCLUDE, _REQUIRES):
        yield from _most(document, loc)
    yield from _layer(document)
    yield from _requires(document)
    yield from _units(document)
    yield from _segment_names(document)
    for index, segment in enumerate(_list(document, _SEGMENTS)):
        if isinstance(segment, Fields):
            yield from _segment(document, (*_SEGMENTS, index), segment)


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


def _most(document: Parsed, loc: Loc) -> Iterator[Problem]:
    """Refuse a list that is longer than its schema allows, or empty where it must not be."""
    found, limits = _at(document.value, loc), describe(loc)
    if not isinstance(found, Items):
        return
    if len(found) < limits.get("minItems", 0):
        yield _problem(
            document, loc, "is an empty list", f"write one entry or more, such as {example(loc)}"
        )
    if len(found) > limits.get("maxItems", len(found)):
        yield _problem(
            document, loc, f"has {len(found)} entries", f"use at most {limits['maxItems']}"
        )


def _variants(document: Parsed) -> list[str]:
    found = (_at(one, ("name",)) for one in _list(document, ("spec", "variants")))
    return [name for name in found if isinstance(name, str)]


def _unknown(document: Parsed, loc: Loc, said: Any, at_key: bool = False) -> Iterator[Problem]:  # noqa: FBT001, FBT002
    known = _variants(document)
    if not isinstance(said, str) or said in known or not known:
        return
    near = nearest(said, known)
    hint = f"did you mean {near!r}? " if near else ""
    where = key_place(document, loc) if at_key else place(document, loc)
    yield Problem(
        where,
        loc,
        f"there is no variant {shown(said)}",
        f"{hint}Declared here: {', '.join(known[:9])}",
    )


def _twice(
    document: Parsed, said: list[tuple[Loc, Any]], what: str, remedy: str
) -> Iterator[Problem]:
    first: dict[Any, Loc] = {}
    for loc, text in said:
        earlier = first.setdefault(text, loc)
        if earlier != loc:
            line = place(document, earlier)[0]
            yield _problem(
                document, loc, f"{what} {shown(text)} stands already in line {line}", remedy
            )


# ---- layers, prerequisites, lists ------------------------------------------------------------


def _layer(document: Parsed) -> Iterator[Problem]:
    loc: Loc = ("spec", "layer")
    layer = _at(document.value, loc)
    begin, end = _at(layer, ("from",)), _at(layer, ("to",))
    begin = Decimal(0) if begin is None else begin
    numbers = all(isinstance(one, Decimal) and one.is_finite() for one in (begin, end))
    if numbers and 0 < end <= begin <= 100:
        yield _problem(
            document, loc, f"ends at {end:f} %, before it begins at {begin:f} %", "swap from and to"
        )


def _requires(document: Parsed) -> Iterator[Problem]:
    name = _at(document.value, ("metadata", "name"))
    said: list[tuple[Loc, Any]] = []
    for index in range(len(_list(document, _REQUIRES))):
        loc: Loc = (*_REQUIRES, index, "rollout")
        other = _at(document.value, loc)
        yield from _most(document, (*_REQUIRES, index, "variants"))
        if isinstance(other, str):
            said.append((loc, other))
        if isinstance(other, str) and other == name:
            yield _problem(document, loc, "is this rollout itself", "name another one")
    yield from _twice(document, said, "rollout", "list its variants in one entry")


def _units(document: Parsed) -> Iterator[Problem]:
    said = [((*_EXCLUDE, index), unit) for index, unit in enumerate(_list(document, _EXCLUDE))]
    for index in range(len(_list(document, _OVERRIDES))):
        loc: Loc = (*_OVERRIDES, index)
        yield from _unknown(document, (*loc, "variant"), _at(document.value, (*loc, "variant")))
        yield from _most(document, (*loc, "units"))
        units = _list(document, (*loc, "units"))
        said += [((*loc, "units", number), unit) for number, unit in enumerate(units)]
    texts = [(loc, unit) for loc, unit in said if isinstance(unit, str)]
    yield from _twice(
        document, texts, "unit", "keep one of them: which one is meant cannot be known"
    )


# ---- segments --------------------------------------------------------------------------------


def _segment_names(document: Parsed) -> Iterator[Problem]:
    said: list[tuple[Loc, Any]] = []
    for index in range(len(_list(document, _SEGMENTS))):
        loc: Loc = (*_SEGMENTS, index, "name")
        if isinstance(_at(document.value, loc), str):
            said.append((loc, _at(document.value, loc)))
    yield from _twice(document, said, "segment", "give each segment a name of its own")


def _segment(document: Parsed, loc: Loc, segment: Fields) -> Iterator[Problem]:
    outright, weights = "variant" in segment, "weights" in segment
    if outright == weights:
        yield _problem(
            document,
            loc,
            "says both variant and weights" if outright else "says neither variant nor weights",
            "write variant: canary for all of them, or weights: {canary: 10} for a share",
        )
    if outright and "salt" in segment:
        yield _problem(
            document,
            (*loc, "salt"),
            "has no effect: nobody is drawn",
            "remove it, or write weights",
        )
    if outright:
        yield from _unknown(document, (*loc, "variant"), segment["variant"])
    if isinstance(segment.get("weights"), Fields):
        yield from _weights(document, (*loc, "weights"), segment["weights"])
    yield from _most(document, (*loc, "when"))
    for index, condition in enumerate(_list(document, (*loc, "when"))):
        if isinstance(condition, Fields):
            yield from _condition(document, (*loc, "when", index), condition, 1)


def _weights(document: Parsed, loc: Loc, weights: Fields) -> Iterator[Problem]:
    for name in weights:
        yield from _unknown(document, (*loc, name), name, at_key=True)
    known = _variants(document)
    numbers = [one for one in weights.values() if isinstance(one, Decimal) and one.is_finite()]
    if not known or len(numbers) < len(weights):
        return
    if known[0] in weights and not any(numbers):
        yield _problem(document, loc, "every weight is zero", "give one a weight above zero")
    total = sum(numbers, Decimal(0))
    if known[0] not in weights and total > 100:
        yield _problem(
            document,
            loc,
            f"sums up to {total:f}, and {known[0]!r} takes the rest of 100",
            f"write percents, or name {known[0]!r} too: then only the ratios count",
        )
    if not weights:
        yield _problem(document, loc, "names no variant", "write such as {canary: 10}")


def _condition(document: Parsed, loc: Loc, said: Fields, depth: int) -> Iterator[Problem]:
    inputs = [one for one in INPUTS if one in said]
    operators = [one for one in OPERATORS if one in said]
    nesting = [one for one in NESTING if one in said]
    if depth > names.MAX_WRITTEN_DEPTH:
        remedy = f"nest at most {names.MAX_WRITTEN_DEPTH} deep"
        yield _problem(document, loc, "is nested too deep", remedy)
        return
    if said.keys() - {*INPUTS, *OPERATORS, *NESTING}:
        pass  # a field that is not known, which may be the one that seems to be missing
    elif nesting:
        yield from _group(document, loc, [*nesting, *inputs, *operators])
    else:
        yield from _check(document, loc, inputs, operators)
    for name in operators:
        yield from _operand(document, (*loc, name), name)
    for path in ("metadata", "path"), ("in",), ("cidr",):
        yield from _most(document, (*loc, *path))
    for name in nesting:
        for where, inner in _within(document, (*loc, name), name):
            yield from _condition(document, where, inner, depth + 1)


def _within(document: Parsed, loc: Loc, name: str) -> Iterator[tuple[Loc, Fields]]:
    found = _at(document.value, loc)
    if name == "not" and isinstance(found, Fields):
        yield loc, found
    for index, one in enumerate(_list(document, loc) if name != "not" else ()):
        if isinstance(one, Fields):
            yield (*loc, index), one


def _group(document: Parsed, loc: Loc, said: list[str]) -> Iterator[Problem]:
    if len(said) > 1:
        yield _problem(
            document,
            loc,
            f"says {' and '.join(said)} at once",
            "write one in each condition: those in a list must all hold",
        )
    elif said[0] != "not":
        yield from _shortest(document, (*loc, said[0]))


def _shortest(document: Parsed, loc: Loc) -> Iterator[Problem]:
    found = _at(document.value, loc)
    if isinstance(found, Items) and not found:
        yield _problem(document, loc, "is an empty list", "write one condition or more")


def _check(
    document: Parsed, loc: Loc, inputs: list[str], operators: list[str]
) -> Iterator[Problem]:
    if len(inputs) != 1:
        yield _problem(
            document,
            loc,
            f"looks at {' and '.join(inputs)} at once" if inputs else "looks at nothing",
            f"write one of {', '.join(INPUTS)}, or not, allOf, anyOf",
        )
    if len(operators) != 1:
        yield _problem(
            document,
            loc,
            f"says {' and '.join(operators)} at once" if operators else "says nothing about it",
            f"write one of {', '.join(OPERATORS)}; for both of two, write two conditions",
        )


# ---- operands --------------------------------------------------------------------------------


def _operand(document: Parsed, loc: Loc, name: str) -> Iterator[Problem]:
    found = _at(document.value, loc)
    if name in {"in", "cidr"} and isinstance(found, Items):
        texts = [((*loc, i), one) for i, one in enumerate(found) if isinstance(one, str)]
        yield from _twice(document, texts, "value", "keep one of them")
    if name in _RANGES and isinstance(found, Fields):
        yield from _range(document, loc, name, found)


def _range(document: Parsed, loc: Loc, name: str, found: Fields) -> Iterator[Problem]:
    lows = [one for one in ("above", "atLeast", "after") if one in found]
    highs = [one for one in ("below", "atMost", "before") if one in found]
    if not lows and not highs:
        yield _problem(document, loc, "is a range without an end", f"write such as {example(loc)}")
    for ends in (lows, highs):
        if len(ends) > 1:
            yield _problem(document, loc, f"says {' and '.join(ends)} at once", "keep one of them")
    if len(lows) == 1 and len(highs) == 1:
        low, high = _bound(name, found[lows[0]]), _bound(name, found[highs[0]])
        open_ = (lows[0], highs[0]) != ("atLeast", "atMost")
        if low is not None and high is not None and (low > high or (low == high and open_)):
            yield _problem(
                document,
                loc,
                f"nothing lies between {shown(found[lows[0]])} and {shown(found[highs[0]])}",
                "swap the two ends, or remove one",
            )


def _bound(name: str, said: Any) -> Any:
    if name == "number":
        return said if isinstance(said, Decimal) and said.is_finite() else None
    if not isinstance(said, str):
        return None
    return (values.version if name == "semver" else values.date)(said.encode())
