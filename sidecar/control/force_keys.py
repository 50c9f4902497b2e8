"""The keys of force tokens: a file of this sidecar's own, read anew while it runs."""

from collections.abc import Sequence
from pathlib import Path

from sidecar.config import ConfigError
from sidecar.control.watched import Watched
from sidecar.errors import CanaryError
from sidecar.routing.force import Key, parse_keys


class ForceKeys:
    """The keys as they are at the moment; none without a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys = Watched([path], self._parse, secret=[path]) if path else None

    def value(self) -> tuple[Key, ...]:
        """Return the keys, the last good ones after a bad edit.

        Raises CanaryError if they never were good.
        """
        return self._keys.value() if self._keys else ()

    def _parse(self, contents: Sequence[bytes]) -> tuple[Key, ...]:
        try:
            return parse_keys(contents[0].decode("ascii"))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path}: it is not ASCII", remedy="list keys in it") from error
        except CanaryError as error:
            raise ConfigError(f"{self._path}: {error.args[0]}", remedy=error.remedy) from error
