"""The folder of rollouts as it stands: documents, mistakes, and the files that cannot be trusted.

A file counts as a whole: one mistake in it, or nothing in it, and nothing of it takes effect.
A folder without files is a mistake like one that is not there: so looks a volume that is not
mounted. That nothing is declared, a file says (an empty list).
Blocking, and long for thousands of rollouts: call it off the event loop.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from sidecar import config, rollout
from sidecar.config import ConfigError
from sidecar.delivery import Declared, Document
from sidecar.errors import CanaryError
from sidecar.rollout import ParsedFile
from sidecar.routing import route_of

# Two writes within one tick of a file system's clock (2 s on the coarsest) look like one.
_CLOCK_TICK_NS = 2_000_000_000


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


class Folder:
    """A folder of rollout files (or one file), read again and again.

    A file that did not change is not parsed again: with thousands of them, that would leave the
    interpreter little time for anything else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[Path, _Known] = {}
        self._documents: dict[str, _Judged] = {}

    def scan(self) -> Scan:
        """Read the folder as it stands. Never raises for what is in there."""
        try:
            paths = config.rollout_paths([self._path])
            if not paths:
                raise _empty(self._path)
        except ConfigError as error:
            mistake = FileMistake(str(self._path), str(error))
            return Scan(Declared({}, complete=False), (mistake,))
        files, mistakes = self._read(paths)
        reading = rollout.together(files)
        mistakes += [FileMistake(mistake.file, str(mistake)) for mistake in reading.mistakes]
        self._documents = {one.rollout.name: self._judged(one) for one in reading.declared}
        for judged in self._documents.values():
            mistakes += judged.mistakes
        faulty = frozenset(Path(mistake.file).name for mistake in mistakes)
        documents = {name: one.document for name, one in self._documents.items()}
        trusted = {name: d for name, d in documents.items() if d.file not in faulty}
        return Scan(Declared(trusted, faulty), tuple(mistakes))

    def _read(self, paths: list[Path]) -> tuple[list[ParsedFile], list[FileMistake]]:
        known, mistakes = {}, []
        for path in paths:
            try:
                known[path] = self._parsed(path)
            except ConfigError as error:
                mistakes.append(FileMistake(str(path), str(error)))
        self._files = known
        return [one.file for one in known.values()], mistakes

    def _parsed(self, path: Path) -> "_Known":
        # Before the bytes: whatever is written from here on is another stamp.
        begun_ns = time.time_ns()
        try:
            stat = path.stat()
        except OSError as error:
            raise config.unreadable(path, error) from error
        before = self._files.get(path)
        stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev)
        if before and before.stamp == stamp:
            return before
        file = rollout.parse(rollout.Source(*config.read_file(path)))
        settled = begun_ns - max(stat.st_mtime_ns, stat.st_ctime_ns) > _CLOCK_TICK_NS
        return _Known(stamp if settled else None, file)

    def _judged(self, declared: rollout.Declared) -> "_Judged":
        one = declared.rollout
        before = self._documents.get(one.name)
        if before and before.document.rollout is one:
            return before
        document = Document(one, rollout.generation(one), Path(declared.file).name)
        return _Judged(document, _unroutable(declared.file, document))


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read; without a stamp it is read again, whatever its stamp says then."""

    stamp: tuple[int, ...] | None
    file: ParsedFile


@dataclass(frozen=True, slots=True)
class _Judged:
    document: Document
    mistakes: list[FileMistake]


def scan(folder: Path) -> Scan:
    """Read all rollout files of a folder (or the one file), once."""
    return Folder(folder).scan()


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


def _unroutable(file: str, document: Document) -> list[FileMistake]:
    try:
        route_of(document.rollout, document.weights)
    except CanaryError as error:
        return [FileMistake(file, f"{file}: {error}")]
    return []
