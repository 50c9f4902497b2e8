"""Bytes into rollouts, or into every mistake that is in them.

A rollout is declared only if nothing at all is wrong with its document, and if nobody else claims
its name. What a file means never depends on the order of the files.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.rollout import jsontree, names, neighbours, yamltree
from sidecar.rollout.checking import NAME, Draft, drafts
from sidecar.rollout.document import Rollout
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import MAX_PROBLEMS, Parsed, Problem, UnreadableError
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
class _File:
    name: str
    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(sources: Iterable[Source]) -> Reading:
    """Read files, together one set of rollouts. Never raises, whatever the bytes are."""
    files = [_read_file(source) for source in sources]
    _find_rivals(files)
    _find_contradictions(files)
    declared = tuple(
        Declared(draft.rollout, file.name, draft.at[0])
        for file in files
        for draft in file.drafts
        if draft.rollout and not draft.spoiled and not draft.problems
    )
    mistakes = tuple(mistake for file in files for mistake in _mistakes(file))
    return Reading(declared, mistakes, tuple(one for file in files for one in _warnings(file)))


def _read_file(source: Source) -> _File:
    file = _File(source.name)
    try:
        text = _decode(source.data)
        for draft in drafts(_documents(source.name, text, file.problems)):
            file.drafts.append(draft)
    except UnreadableError as error:
        file.problems.append(error.problem)
    if not file.drafts and not file.problems:
        file.problems.append(
            Problem((1, 1), (), "the file declares no rollout", "declare one, or remove the file")
        )
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


def _find_rivals(files: list[_File]) -> None:
    """Blame every claim to a name that is claimed twice: nobody can tell which one is meant."""
    claims: dict[str, list[tuple[_File, Draft]]] = {}
    for file in files:
        for draft in file.drafts:
            if draft.name is not None:
                claims.setdefault(draft.name, []).append((file, draft))
    for name, claimants in claims.items():
        for index, (_, draft) in enumerate(claimants if len(claimants) > 1 else ()):
            file, other = claimants[1 if index == 0 else 0]
            draft.problems.append(
                Problem(
                    draft.name_at,
                    NAME,
                    f"rollout {shown(name)} is declared also in {file.name}:{other.name_at[0]}",
                    "keep one of them, or rename one",
                )
            )


def _find_contradictions(files: list[_File]) -> None:
    """Blame what no single document can show on every document that has a part in it."""
    drafts = [draft for file in files for draft in file.drafts]
    faultless = {
        draft.rollout.name: draft
        for draft in drafts
        if draft.rollout and not draft.spoiled and not draft.problems
    }
    rollouts = [draft.rollout for draft in faultless.values() if draft.rollout]
    claimed = [draft.name for draft in drafts if draft.name is not None]
    for blame in list(neighbours.blames(rollouts, claimed)):
        draft = faultless[blame.rollout]
        draft.problems.append(
            Problem(draft.places[blame.loc], blame.loc, blame.message, blame.remedy)
        )


def _warnings(file: _File) -> Iterator[Mistake]:
    for draft in file.drafts:
        for one in draft.warnings if not draft.problems and not draft.spoiled else ():
            path = written((*draft.prefix, *one.loc))
            yield Mistake(file.name, *one.at, path, one.message, one.remedy)


def _mistakes(file: _File) -> Iterator[Mistake]:
    found = [(problem.at, problem.loc, problem) for problem in file.problems]
    for draft in file.drafts:
        found += [(one.at, (*draft.prefix, *one.loc), one) for one in draft.problems]
    found.sort(key=lambda one: one[0])
    for at, loc, problem in found[:MAX_PROBLEMS]:
        yield Mistake(file.name, *at, written(loc), problem.message, problem.remedy)
    if len(found) > MAX_PROBLEMS:
        at = found[MAX_PROBLEMS][0]
        yield Mistake(file.name, *at, "", "more mistakes follow", "mend those above first")
