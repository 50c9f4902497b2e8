"""The model's errors in the house's words: a place in the file, what is wrong, what to do."""

import difflib
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.rollout.document import describe
from sidecar.rollout.texts import MISTAKE, shown
from sidecar.rollout.tree import MAX_PROBLEMS, Loc, Parsed, Problem, key_place, place

_EXPECTED = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true",
    "array": "a list",
    "object": "a mapping",
}
_NUMBERS = {"a number": "5 or 0.5", "a whole number": "1000"}
_PLAIN_KEY = re.compile(r"[A-Za-z_<][A-Za-z0-9_-]{0,62}|<<")


def written(loc: Loc) -> str:
    """Write the way to a field as people do: spec.variants[1].weight."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{shown(step)}]"
    return path


def problems(error: ValidationError, document: Parsed) -> list[Problem]:
    """Say the model's errors about `document`, as many as are ever shown."""
    details = error.errors(include_url=False)
    return [_problem(one, document) for one in details[: MAX_PROBLEMS + 1]]


def _problem(error: ErrorDetails, document: Parsed) -> Problem:
    loc: Loc = tuple(error["loc"])
    kind = error["type"]
    if kind == "missing":
        return Problem(
            key_place(document, loc[:-1]), loc, "is missing", f"add it, such as {example(loc)}"
        )
    if kind == "extra_forbidden":
        return Problem(key_place(document, loc), loc, "is not a field here", _known(loc))
    message, remedy = _about_value(error, loc)
    return Problem(place(document, loc), loc, message, remedy)


def nearest(word: str, known: list[str]) -> str | None:
    """Find the known word that was probably meant, in whatever case; None if none is near."""
    folded = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word[:64].lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _about_value(error: ErrorDetails, loc: Loc) -> tuple[str, str]:
    context: dict[str, Any] = error.get("ctx", {})
    value = error["input"]
    match error["type"]:
        case kind if kind == MISTAKE:
            return context["message"], context["remedy"]
        case "literal_error":
            return _other_literal(value, loc)
    return f"is {shown(value)}, not {_expected(loc)}", _type_remedy(value, loc)


def _other_literal(value: Any, loc: Loc) -> tuple[str, str]:
    choices = [str(one) for one in describe(loc)["enum"]]
    if len(choices) > 1:
        near = nearest(value, choices) if isinstance(value, str) else None
        hint = f"did you mean {near}? " if near else ""
        return f"is {shown(value)}, not known here", f"{hint}Write one of: {', '.join(choices)}"
    wanted = choices[0]
    if loc == ("kind",) and isinstance(value, str) and not nearest(value, [wanted]):
        return f"is {shown(value)}, not {wanted!r}", "keep what is no Rollout out of these files"
    return f"is {shown(value)}, not {wanted!r}", f"write {example(loc)}"


def _expected(loc: Loc) -> str:
    return _EXPECTED.get(str(describe(loc).get("type")), "a mapping")


def _type_remedy(value: Any, loc: Loc) -> str:
    if value is None:
        return "give it a value, or remove it"
    if _expected(loc) == "text" and not isinstance(value, dict | tuple):
        return "put quotes around it"
    if _expected(loc) in _NUMBERS and isinstance(value, str):
        return f"write {_expected(loc)}, without quotes, such as {_NUMBERS[_expected(loc)]}"
    return f"write {_expected(loc)}" + (f", such as {example(loc)}" if example(loc) else "")


def example(loc: Loc) -> str:
    """Write what could stand at `loc`, after its field's name; "" if there is no example."""
    examples = describe(loc).get("examples")
    if not examples:
        return ""
    step = loc[-1] if loc else None
    return f"{step}: {_flow(examples[0])}" if isinstance(step, str) else _flow(examples[0])


def _known(loc: Loc) -> str:
    if loc[-1] == "<<":
        return "YAML 1.2 has no merge keys: write the fields out"
    known = list(describe(loc[:-1]).get("properties", {}))
    near = nearest(str(loc[-1]), known)
    return f"did you mean {near!r}?" if near else f"known here: {', '.join(known)}"


def _flow(value: Any) -> str:
    """Write a schema's example on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, str) and value.startswith("*"):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)
