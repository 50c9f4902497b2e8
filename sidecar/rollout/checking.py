"""One document at a time: the model's verdict, and what no single field can show.

The model checks field by field; what spans fields is checked on the parsed tree, so that one
mistake never hides another.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from sidecar.rollout.combinations import across_fields, at_loc
from sidecar.rollout.document import Rollout
from sidecar.rollout.neighbours import HOLDOUT, LAYER, REQUIRES
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import Fields, Items, Loc, Parsed, Place, Problem, place
from sidecar.rollout.trust import grants
from sidecar.rollout.wording import nearest, problems

NAME: Loc = ("metadata", "name")


@dataclass(slots=True)
class Draft:
    """A document on its way to being declared; its tree is let go.

    `name` is the name it claims, valid or not, None if it claims none. `prefix` is its index where
    the file holds a list of documents. `spoiled`: the parser found something wrong with it.
    `places` say where stands what other documents may contradict.
    """

    at: Place
    prefix: Loc
    spoiled: bool
    name: str | None
    name_at: Place
    rollout: Rollout | None
    problems: list[Problem]
    warnings: list[Problem]
    places: Mapping[Loc, Place]


def drafts(documents: Iterable[Parsed]) -> Iterator[Draft]:
    """Check each document in turn; one that is a list holds several. Empty ones are passed over."""
    for document in documents:
        if isinstance(document.value, Items):
            places = document.value.values_at
            for index, (value, at) in enumerate(zip(document.value, places, strict=True)):
                yield _draft(Parsed(at, value, document.spoiled), (index,))
        elif document.value is not None:
            yield _draft(document, ())


def _draft(document: Parsed, prefix: Loc) -> Draft:
    name = at_loc(document.value, NAME)
    kin = _is_kin(document)
    rollout, found = _judge(document)
    if kin:
        found += across_fields(document)
    else:
        found = [one for one in found if one.loc in ((), ("kind",))]
    return Draft(
        document.at,
        prefix,
        document.spoiled,
        name if kin and isinstance(name, str) else None,
        place(document, NAME),
        rollout,
        found,
        list(grants(document, rollout)) if rollout else [],
        {loc: place(document, loc) for loc in _shared(rollout)},
    )


def _shared(rollout: Rollout | None) -> Iterator[Loc]:
    """List the places that `neighbours` may blame."""
    yield from (LAYER, HOLDOUT, REQUIRES)
    for index in range(len(rollout.spec.requires) if rollout else 0):
        yield from ((*REQUIRES, index, "rollout"), (*REQUIRES, index, "variants"))


def _is_kin(document: Parsed) -> bool:
    """Whether it means to be a Rollout at all: its kind says so, or nearly, or nothing."""
    kind = at_loc(document.value, ("kind",))
    said = isinstance(kind, str) and kind != "Rollout"
    return not said or nearest(kind, ["Rollout"]) is not None


def _judge(document: Parsed) -> tuple[Rollout | None, list[Problem]]:
    tree = document.value
    if not isinstance(tree, Fields):
        return None, [
            Problem(document.at, (), f"{shown(tree)} is not a rollout", "write its fields")
        ]
    try:
        return Rollout.model_validate(tree), []
    except ValidationError as error:
        return None, problems(error, document)
