"""What files say, read anew whenever somebody asks: certificates, keys and tokens change in place.

Invariant: a bad edit (half written, expired, a key that is not the certificate's) never takes the
place of what was good. It is logged once, and tried again at the next question.
"""

import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sidecar import config
from sidecar.errors import CanaryError

_T = TypeVar("_T")
# No certificate, key or token file is larger; what is would only cost memory.
_LIMIT_BYTES = 1 << 20
_log = logging.getLogger(__name__)


class Watched(Generic[_T]):
    """The value that `parse` makes of the bytes of `files`, in their order. Any thread may ask.

    `secret` names those that only their owner should read.
    """

    def __init__(
        self,
        files: Sequence[Path],
        parse: Callable[[Sequence[bytes]], _T],
        secret: Sequence[Path] = (),
    ) -> None:
        self._files = files
        self._parse = parse
        self._secret = secret
        self._taken: tuple[list[bytes], _T] | None = None
        self._complaint = ""
        self._lock = threading.Lock()

    def value(self) -> _T:
        """Return what the files say, or said when they were last good.

        Raises CanaryError if they never were.
        """
        with self._lock:
            try:
                return self._read()
            except CanaryError as error:
                if self._taken is None:
                    raise
                self._complain(error)
                return self._taken[1]

    def _read(self) -> _T:
        contents = [_content(path) for path in self._files]
        if self._taken and self._taken[0] == contents:
            return self._taken[1]
        value = self._parse(contents)
        for path in self._secret:
            _warn_if_open(path)
        if self._taken:
            _log.info("files taken anew", extra={"files": ", ".join(map(str, self._files))})
        self._taken, self._complaint = (contents, value), ""
        return value

    def _complain(self, error: CanaryError) -> None:
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.warning("files not taken, the last good ones stay", extra={"error": error})


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise config.ConfigError(
                    f"{path} can be written by everybody on this machine",
                    remedy=f"chmod o-w {path}",
                )
            return file.read(_LIMIT_BYTES)
    except OSError as error:
        raise config.unreadable(path, error) from error


def _warn_if_open(path: Path) -> None:
    # No error: in a pod where only this user's processes see the mount, it may be the only way.
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning(
            "everybody on this machine can read this secret",
            extra={"file": str(path), "remedy": f"chmod o-r {path}"},
        )
