"""The files behind `Rows`: one per life of a sidecar, mapped into memory.

What was taken is in the file before anybody has read it, so a killed sidecar leaves its last
outcomes behind, and the next one takes them over. A file belongs to a living process while that
holds its lock; whoever finds one without a lock inherits it.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sidecar.errors import CanaryError
from sidecar.routing import Rows

# Two halves: at 80 bytes a decision, each holds what 1,000 requests a second leave in 50 seconds.
JOURNAL_BYTES = 8 << 20
_SUFFIX = ".journal"


class JournalError(CanaryError):
    """The file cannot be had."""


class Journal:
    """One epoch's file, locked and mapped; `rows` writes into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epoch = path.name.removesuffix(_SUFFIX)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unavailable(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Given to us whole: writing into a hole of a full disk would end the process.
            if os.fstat(self._file).st_size == 0:
                os.posix_fallocate(self._file, 0, JOURNAL_BYTES)
            self.rows = Rows(mmap.mmap(self._file, 0))
        except (OSError, ValueError) as error:
            os.close(self._file)
            raise _unavailable(path, error) from error

    def remove(self) -> None:
        """Delete the file: everything in it is kept elsewhere."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        os.close(self._file)


def create(folder: Path, epoch: str) -> Journal:
    """Begin an epoch. Raises JournalError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unavailable(folder, error) from error
    return Journal(folder / f"{epoch}{_SUFFIX}")


def inherited(folder: Path) -> Iterator[Journal | JournalError]:
    """Open what earlier lives left behind; those of living processes are passed over."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            yield Journal(path)
        except JournalError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                yield error


def _unavailable(path: Path, error: Exception) -> JournalError:
    return JournalError(
        f"{path} cannot be used: {getattr(error, 'strerror', None) or error}",
        remedy="check its permissions and the disk's space; move it away if it is damaged",
    )
