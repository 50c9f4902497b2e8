"""Bytes into rollouts, or into every mistake that is in them.

A rollout is declared only if nothing at all is wrong with its document, and if nobody else claims
its name. What a file means never depends on the order of the files.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.rollout import jsontree, names, neighbours, yamltree
from sidecar.rollout.checking import NAME, Draft, drafts
from sidecar.rollout.document import Rollout
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import MAX_PROBLEMS, Items, Parsed, Problem, UnreadableError
from sidecar.rollout.wording import written


class Source(NamedTuple):
    """One file: the name people know it by, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something to mend. `path` is a field (spec.variants[1].weight), "" where none is to blame."""

    file: str
    line: int
    column: int
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        what = f"{self.path}: {self.message}" if self.path else self.message
        return f"{self.file}:{self.line}:{self.column}: {what}\n  remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Declared:
    """A faultless rollout and where it is declared."""

    rollout: Rollout
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a set of files says. A mistake names its file; files without one are wholly in force.

    `warnings` are about what is declared, and allowed, but should not be overlooked.
    """

    declared: tuple[Declared, ...]
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...] = ()


@dataclass(slots=True)
class ParsedFile:
    """What one file says by itself; it may be taken together with others again and again."""

    name: str
    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


# What is wrong with a draft only beside others, by its id: a parsed file is read again and again.
_Found = dict[int, list[Problem]]


def read(sources: Iterable[Source]) -> Reading:
    """Read files, together one set of rollouts. Never raises, whatever the bytes are."""
    return together([parse(source) for source in sources])


def together(files: Sequence[ParsedFile]) -> Reading:
    """Take parsed files as one set of rollouts."""
    found = _rivals(files)
    _find_contradictions(files, found)
    declared = tuple(
        Declared(draft.rollout, file.name, draft.at[0])
        for file in files
        for draft in file.drafts
        if draft.rollout and not (draft.spoiled or draft.problems or id(draft) in found)
    )
    mistakes = tuple(mistake for file in files for mistake in _mistakes(file, found))
    warnings = tuple(one for file in files for one in _warnings(file, found))
    return Reading(declared, mistakes, warnings)


def parse(source: Source) -> ParsedFile:
    """Read one file, without a look at others. Never raises, whatever the bytes are."""
    file, said_none = ParsedFile(source.name), False
    try:
        text = _decode(source.data)
        for document in _documents(source.name, text, file.problems):
            said_none |= isinstance(document.value, Items) and not document.value
            file.drafts += drafts([document])
    except UnreadableError as error:
        file.problems.append(error.problem)
    if not (file.drafts or file.problems or said_none):
        what = "the file declares no rollout"
        remedy = "declare one, remove the file, or say that it is meant: []"
        file.problems.append(Problem((1, 1), (), what, remedy))
    return file


def _documents(name: str, text: str, notes: list[Problem]) -> Iterable[Parsed]:
    """JSON where it is JSON (by the file's name, or by its content), else YAML."""
    if name.endswith(".json"):
        return jsontree.documents(text, notes)
    if text.lstrip()[:1] in ("{", "["):
        seen: list[Problem] = []
        with suppress(UnreadableError):
            parsed = list(jsontree.documents(text, seen))
            notes.extend(seen)
            return parsed
    return yamltree.documents(text, notes)


def _decode(data: bytes) -> str:
    if len(data) > names.MAX_FILE_BYTES:
        mib = names.MAX_FILE_BYTES >> 20
        raise UnreadableError(
            Problem((1, 1), (), f"the file is larger than {mib} MiB", "split it into several files")
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line_start = before.rfind(b"\n") + 1
        at = before.count(b"\n") + 1, len(before[line_start:].decode()) + 1
        byte = data[error.start]
        raise UnreadableError(
            Problem(at, (), f"byte 0x{byte:02x} is not UTF-8", "save the file as UTF-8")
        ) from error


def _rivals(files: Iterable[ParsedFile]) -> _Found:
    """Blame every claim to a name that is claimed twice: nobody can tell which one is meant.

    By the draft's identity: what a file says by itself stays as it is.
    """
    rivals: _Found = {}
    claims: dict[str, list[tuple[ParsedFile, Draft]]] = {}
    for file in files:
        for draft in file.drafts:
            if draft.name is not None:
                claims.setdefault(draft.name, []).append((file, draft))
    for name, claimants in claims.items():
        for index, (_, draft) in enumerate(claimants if len(claimants) > 1 else ()):
            file, other = claimants[1 if index == 0 else 0]
            problem = Problem(
                draft.name_at,
                NAME,
                f"rollout {shown(name)} is declared also in {file.name}:{other.name_at[0]}",
                "keep one of them, or rename one",
            )
            rivals[id(draft)] = [problem]
    return rivals


def _find_contradictions(files: Sequence[ParsedFile], found: _Found) -> None:
    """Blame what no single document can show on every document that has a part in it."""
    drafts = [draft for file in files for draft in file.drafts]
    faultless = {
        draft.rollout.name: draft
        for draft in drafts
        if draft.rollout and not (draft.spoiled or draft.problems or id(draft) in found)
    }
    rollouts = [draft.rollout for draft in faultless.values() if draft.rollout]
    claimed = [draft.name for draft in drafts if draft.name is not None]
    for blame in list(neighbours.blames(rollouts, claimed)):
        draft = faultless[blame.rollout]
        problem = Problem(draft.places[blame.loc], blame.loc, blame.message, blame.remedy)
        found.setdefault(id(draft), []).append(problem)


def _warnings(file: ParsedFile, found: _Found) -> Iterator[Mistake]:
    for draft in file.drafts:
        if draft.problems or draft.spoiled or id(draft) in found:
            continue
        for one in draft.warnings:
            path = written((*draft.prefix, *one.loc))
            yield Mistake(file.name, *one.at, path, one.message, one.remedy)


def _mistakes(file: ParsedFile, among: _Found) -> Iterator[Mistake]:
    found = [(problem.at, problem.loc, problem) for problem in file.problems]
    for draft in file.drafts:
        problems = [*draft.problems, *among.get(id(draft), ())]
        found += [(one.at, (*draft.prefix, *one.loc), one) for one in problems]
    found.sort(key=lambda one: one[0])
    for at, loc, problem in found[:MAX_PROBLEMS]:
        yield Mistake(file.name, *at, written(loc), problem.message, problem.remedy)
    if len(found) > MAX_PROBLEMS:
        at = found[MAX_PROBLEMS][0]
        yield Mistake(file.name, *at, "", "more mistakes follow", "mend those above first")
