"""Bearer tokens: one file, one token a line, any of them is good.

Two lines are how a token is changed without a gap: the controller takes the old one and the new
one, the clients (which send the first line of theirs) move over, then the old line goes.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from sidecar.config import ConfigError
from sidecar.control.watched import Watched

MIN_CHARACTERS = 32


class TokenError(ConfigError):
    """A token file that holds no token, or a guessable one; the message never shows it."""


class Tokens:
    """The tokens of one file, as they are at the moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = Watched([path], self._parse, secret=[path])

    def check(self) -> None:
        """Raise CanaryError if the file was never good."""
        self._lines.value()

    def first(self) -> str:
        """Return the one to send. Raises CanaryError if the file was never good."""
        return self._lines.value()[0]

    def know(self, given: str) -> bool:
        """Whether this is one of them, in a time that does not tell how near it was."""
        digest = sha256(given.encode()).digest()
        same = [
            hmac.compare_digest(digest, sha256(line.encode()).digest())
            for line in self._lines.value()
        ]
        return any(same)

    def _parse(self, contents: Sequence[bytes]) -> list[str]:
        lines = [line.strip() for line in contents[0].splitlines() if line.strip()]
        for line in lines:
            if len(line) < MIN_CHARACTERS or not all(0x21 <= byte <= 0x7E for byte in line):
                raise self._unusable("a line is not a token")
        if not lines:
            raise self._unusable("it is empty")
        return [line.decode("ascii") for line in lines]

    def _unusable(self, what: str) -> TokenError:
        return TokenError(
            f"{self._path}: {what}",
            remedy=f"one token a line, at least {MIN_CHARACTERS} characters without spaces, as"
            " `openssl rand -hex 32` prints",
        )
