"""The folder of rollouts as it stands: documents, mistakes, and the files that cannot be trusted.

A file counts as a whole: one mistake in it, or nothing in it, and nothing of it takes effect.
A folder without files is a mistake like one that is not there: so looks a volume that is not
mounted. That nothing is declared, a file says (an empty list).
Blocking, and long for thousands of rollouts: call it off the event loop.
"""

from dataclasses import dataclass
from pathlib import Path

from sidecar import config, rollout
from sidecar.config import ConfigError, File
from sidecar.delivery import Declared, Document
from sidecar.errors import CanaryError
from sidecar.routing import route_of


@dataclass(frozen=True, slots=True)
class FileMistake:
    """What is wrong with a file: the whole message, its place and remedy included."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Scan:
    """One reading of the folder. Files are named relative to it, so that it may move."""

    declared: Declared
    mistakes: tuple[FileMistake, ...]


def scan(folder: Path) -> Scan:
    """Read all rollout files of a folder (or the one file). Never raises for what is in there."""
    try:
        paths = config.rollout_paths([folder])
        if not paths:
            raise _empty(folder)
    except ConfigError as error:
        return Scan(Declared({}, complete=False), (FileMistake(str(folder), str(error)),))
    files, mistakes = _read(paths)
    reading = rollout.read(rollout.Source(file.name, file.data) for file in files)
    mistakes += [FileMistake(mistake.file, str(mistake)) for mistake in reading.mistakes]
    documents: dict[str, Document] = {}
    for declared in reading.declared:
        one = declared.rollout
        document = Document(one, rollout.generation(one), Path(declared.file).name)
        documents[one.name] = document
        mistakes += _unroutable(declared.file, document)
    faulty = frozenset(Path(mistake.file).name for mistake in mistakes)
    trusted = {name: d for name, d in documents.items() if d.file not in faulty}
    return Scan(Declared(trusted, faulty), tuple(mistakes))


def stamp(folder: Path) -> object:
    """Return what changes when any of the files does; cheap enough to ask for often."""
    try:
        stats = [(path, path.stat()) for path in config.rollout_paths([folder])]
    except (ConfigError, OSError) as error:
        return str(error)
    return [(path, s.st_mtime_ns, s.st_size, s.st_ino) for path, s in stats]


def _empty(folder: Path) -> ConfigError:
    return ConfigError(
        f"{folder}: no rollout file is in it; nothing is retired, for so looks an unmounted volume",
        remedy="put the rollouts there; to retire them all, put a file there that declares none: "
        "echo '[]' > none.yaml",
    )


def _read(paths: list[Path]) -> tuple[list[File], list[FileMistake]]:
    files, mistakes = [], []
    for path in paths:
        try:
            files.append(config.read_file(path))
        except ConfigError as error:
            mistakes.append(FileMistake(str(path), str(error)))
    return files, mistakes


def _unroutable(file: str, document: Document) -> list[FileMistake]:
    try:
        route_of(document.rollout, document.weights)
    except CanaryError as error:
        return [FileMistake(file, f"{file}: {error}")]
    return []
