"""The signed force token: whoever holds one gets the variants it names, until it expires.

    v1.<key id>.<expiry, Unix seconds>.<rollout>=<variant>[+<rollout>=<variant>...].<signature>

The signature is HMAC-SHA256 (RFC 2104) over everything before its dot, in 64 hex digits. Keys are
a sidecar's own: they stand in no document and travel on no stream. The request path checks tokens
in native/sc_token.c; this is the same in Python, and signs.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sidecar.errors import CanaryError

MAX_TOKEN_BYTES = 4096
MAX_PAIRS = 16
MAX_KEYS = 16
MIN_SECRET_BYTES = 32
MAX_SECRET_BYTES = 1024

Refusal = Literal["", "malformed", "unknown_key", "bad_signature", "expired"]

_LABEL = r"[a-z0-9-]{1,63}"
_KEY_LINE = re.compile(rf"({_LABEL})[ \t]+([!-~]+)")
_PAIRS = rf"{_LABEL}={_LABEL}(?:\+{_LABEL}={_LABEL}){{0,{MAX_PAIRS - 1}}}"
_TOKEN = re.compile(rf"(v1\.({_LABEL})\.([0-9]{{1,12}})\.({_PAIRS}))\.([0-9a-f]{{64}})".encode())


class KeysError(CanaryError):
    """Keys that cannot be used."""


@dataclass(frozen=True, slots=True)
class Key:
    """A secret and the name by which tokens say that they were signed with it."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Force:
    """What a token asks for, by rollout; nothing if it is refused."""

    variants: Mapping[str, str]
    refusal: Refusal = ""


def parse_keys(text: str) -> tuple[Key, ...]:
    """Read a file of keys, one `<id> <secret>` a line, `#` comments; the first one signs.

    Raises KeysError naming the line, never the secret.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _KEY_LINE.fullmatch(line.strip())
        if not found or not MIN_SECRET_BYTES <= len(found[2]) <= MAX_SECRET_BYTES:
            raise KeysError(
                f"line {number} is not a key",
                remedy=f"write an id (a-z, 0-9, -), a space, and a secret of {MIN_SECRET_BYTES}"
                " characters or more, such as `openssl rand -hex 32` gives",
            )
        if any(key.id == found[1] for key in keys):
            raise KeysError(f"line {number}: key {found[1]!r} is there twice", remedy="keep one")
        keys.append(Key(found[1], found[2].encode()))
    if not 0 < len(keys) <= MAX_KEYS:
        raise KeysError(f"{len(keys)} keys", remedy=f"list 1 to {MAX_KEYS}, one a line")
    return tuple(keys)


def sign(key: Key, variants: Mapping[str, str], expires_s: int) -> str:
    """Make a token. `expires_s` is the Unix time from which it no longer holds."""
    pairs = "+".join(f"{rollout}={variant}" for rollout, variant in variants.items())
    signed = f"v1.{key.id}.{expires_s}.{pairs}"
    token = f"{signed}.{_signature(key, signed.encode()).decode()}"
    if len(token) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token.encode()):
        raise CanaryError(
            "no token can say that",
            remedy=f"name 1 to {MAX_PAIRS} rollouts with a variant each, and an expiry within"
            " this age",
        )
    return token


def read(token: bytes, keys: Sequence[Key], now_s: int) -> Force:
    """Check a token at a time (Unix seconds). Without one nothing is asked, and none refused."""
    if not token:
        return Force({})
    found = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
    if not found:
        return Force({}, "malformed")
    signed, key_id, expires_s, pairs, signature = found.groups()
    key = next((key for key in keys if key.id.encode() == key_id), None)
    if key is None:
        return Force({}, "unknown_key")
    if not hmac.compare_digest(_signature(key, signed), signature):
        return Force({}, "bad_signature")
    if int(expires_s) <= now_s:
        return Force({}, "expired")
    # Of a rollout named twice, the first counts.
    named = [pair.decode().split("=") for pair in reversed(pairs.split(b"+"))]
    return Force(dict(named))


def _signature(key: Key, signed: bytes) -> bytes:
    return hmac.new(key.secret, signed, hashlib.sha256).hexdigest().encode()
