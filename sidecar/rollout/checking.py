"""One document at a time: the model's verdict, and what no single field can show.

The model checks field by field; what spans fields is checked on the parsed tree, so that one
mistake never hides another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from sidecar.rollout.combinations import across_fields, at_loc
from sidecar.rollout.document import Rollout
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import (
    Fields,
    Items,
    Loc,
    Parsed,
    Problem,
)
from sidecar.rollout.wording import nearest, problems

NAME: Loc = ("metadata", "name")


@dataclass(slots=True)
class Draft:
    """A document on its way to being declared.

    `prefix` is its index where the file holds a list of documents; `spoiled` says that the file
    has notes on it.
    """

    parsed: Parsed
    prefix: Loc
    spoiled: bool
    rollout: Rollout | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def name(self) -> str | None:
        """The name it claims, valid or not; None if it claims none."""
        found = at_loc(self.parsed.value, NAME)
        return found if isinstance(found, str) and self.kin else None

    @property
    def kin(self) -> bool:
        """Whether it means to be a Rollout at all: its kind says so, or nearly, or nothing."""
        kind = at_loc(self.parsed.value, ("kind",))
        said = isinstance(kind, str) and kind != "Rollout"
        return not said or nearest(kind, ["Rollout"]) is not None


def drafts(documents: Iterable[Parsed], notes: list[Problem]) -> Iterator[Draft]:
    """Check each document in turn; one that is a list holds several. Empty ones are passed over.

    `notes` is where the parser notes what it could read past: it spoils the document it is about.
    """
    noted = len(notes)
    for document in documents:
        spoiled, noted = len(notes) > noted, len(notes)
        for prefix, part in _parts(document):
            draft = Draft(part, prefix, spoiled)
            _check(draft)
            yield draft


def _parts(document: Parsed) -> Iterator[tuple[Loc, Parsed]]:
    if isinstance(document.value, Items):
        pairs = zip(document.value, document.value.values_at, strict=True)
        for index, (value, at) in enumerate(pairs):
            yield (index,), Parsed(at, value)
    elif document.value is not None:
        yield (), document


def _check(draft: Draft) -> None:
    tree = draft.parsed.value
    if not isinstance(tree, Fields):
        draft.problems.append(
            Problem(draft.parsed.at, (), f"{shown(tree)} is not a rollout", "write its fields")
        )
        return
    try:
        draft.rollout = Rollout.model_validate(tree)
    except ValidationError as error:
        draft.problems += problems(error, draft.parsed)
    if draft.kin:
        draft.problems += across_fields(draft.parsed)
    else:
        draft.problems = [one for one in draft.problems if one.loc == ("kind",)]
