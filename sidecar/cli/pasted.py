"""A request that somebody copied: a curl command, or an entry of a HAR file (HTTP Archive 1.2).

Both come out of a browser's developer tools. The answer is a list of headers as Envoy has them:
lower-case names, `:method`, `:authority` and `:path` among them.
"""

import base64
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sidecar.errors import CanaryError

Headers = list[tuple[str, bytes]]

_MAX_HAR_BYTES = 256 << 20
_MOST_SHOWN = 200

# Long options of curl that take a value and say nothing about the request's head.
_VALUED = frozenset((
    "--output", "--write-out", "--max-time", "--connect-timeout", "--proxy", "--cacert", "--capath",
    "--cert", "--key", "--resolve", "--connect-to", "--cookie-jar", "--retry", "--retry-delay",
    "--interface", "--ciphers", "--limit-rate", "--dump-header", "--unix-socket", "--dns-servers",
))  # fmt: skip
_SENDING = frozenset((
    "-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--data-urlencode", "--json",
    "-F", "--form", "--form-string", "-T", "--upload-file",
))  # fmt: skip
# Short options that take a value, with a space or without.
_TAKING = "XHbAedFTuomxwEcDCyYz"


class PastedError(CanaryError):
    """A text that is no request."""


def curl(text: str) -> Headers:
    """Read a curl command. Raises PastedError naming what it cannot read."""
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise PastedError(
            f"not a curl command: {error}", remedy="paste it whole, in single quotes or on stdin"
        ) from error
    if not words or Path(words[0]).name != "curl":
        raise PastedError("not a curl command", remedy="paste it with the word curl")
    said = _Said()
    for option, value in _options(words[1:]):
        said.take(option, value)
    return said.headers()


def har(text: str) -> Headers:
    """Read `FILE` or `FILE:N`, the entry number N from 1. Raises PastedError."""
    name, _, number = text.rpartition(":")
    try:
        if not name or not number.isdecimal() or Path(text).exists():
            name, number = text, ""
        entries = json.loads(_content(name))["log"]["entries"]
        if not number and len(entries) != 1:
            raise PastedError(f"{name} has {len(entries)} entries", remedy=f"say which: {name}:1")
        if number and not 1 <= int(number) <= len(entries):
            raise PastedError(f"{name} has no entry {number}", remedy=f"name 1 to {len(entries)}")
        return _entry(entries[int(number or 1) - 1]["request"])
    except OSError as error:
        raise PastedError(f"{name}: {error.strerror}", remedy="name a HAR file") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # Never the error's repr: that of a decoding error holds the whole file.
        why = f"{type(error).__name__}: {str(error)[:_MOST_SHOWN]}"
        raise PastedError(
            f"{name} is not a HAR file: {why}", remedy="save one as 'HAR with content'"
        ) from error


def _content(name: str) -> bytes:
    with Path(name).open("rb") as file:
        content = file.read(_MAX_HAR_BYTES + 1)
    if len(content) > _MAX_HAR_BYTES:
        raise PastedError(
            f"{name} is longer than {_MAX_HAR_BYTES >> 20} MiB", remedy="save the one entry alone"
        )
    return content


def _entry(request: Any) -> Headers:
    given = [(str(h["name"]).lower(), os.fsencode(str(h["value"]))) for h in request["headers"]]
    pseudo = _target(str(request["url"]), str(request["method"]))
    named = {name for name, _ in given}
    kept = [one for one in pseudo if one[0] not in named]
    return [*kept, *((":authority" if name == "host" else name, value) for name, value in given)]


def _target(url: str, method: str) -> Headers:
    if "://" not in url:
        url = f"http://{url}"
    split = urlsplit(url)
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    pairs = ((":method", method), (":authority", split.netloc.rpartition("@")[2]), (":path", path))
    return [(name, os.fsencode(text)) for name, text in pairs]


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Pair each option with its value, if it takes one; the URL comes as the value of --url."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "--url", word
        elif word.startswith("--"):
            takes = word in _VALUED | _SENDING | _LONG.keys()
            yield _LONG.get(word, word), next(rest, "") if takes else ""
        else:
            yield from _short(word[1:], rest)


def _short(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Read -sSL, -XPOST and -H 'a: b'."""
    for at, letter in enumerate(letters):
        if letter in _TAKING:
            yield f"-{letter}", letters[at + 1 :] or next(rest, "")
            return
        yield f"-{letter}", ""


_LONG = {
    "--request": "-X", "--header": "-H", "--cookie": "-b", "--user-agent": "-A",
    "--referer": "-e", "--user": "-u", "--url": "--url",
}  # fmt: skip
_NAMED = {"-A": "user-agent", "-e": "referer"}


class _Said:
    """What a command's options say so far."""

    def __init__(self) -> None:
        self._url = ""
        self._method = ""
        self._sends = False
        self._headers: Headers = []

    def take(self, option: str, value: str) -> None:
        if option == "--url":
            self._take_url(value)
        elif option == "-X":
            self._method = value
        elif option in {"-I", "--head"}:
            self._method = self._method or "HEAD"
        elif option in {"-G", "--get"}:
            self._method = self._method or "GET"
        elif option == "-H":
            self._take_header(value)
        elif option == "-b":
            self._take_cookie(value)
        elif option in _NAMED:
            self._headers.append((_NAMED[option], os.fsencode(value)))
        elif option == "-u":
            basic = base64.b64encode(os.fsencode(value))
            self._headers.append(("authorization", b"Basic " + basic))
        elif option in _SENDING:
            self._sends = True

    def headers(self) -> Headers:
        if not self._url:
            raise PastedError("the curl command has no URL", remedy="paste it whole")
        method = self._method or ("POST" if self._sends else "GET")
        named = {name for name, _ in self._headers}
        try:
            target = _target(self._url, method)
        except ValueError as error:
            what = f"{self._url[:_MOST_SHOWN]!r} is not a URL: {error}"
            raise PastedError(what, remedy="paste the command as it was") from error
        return [*(p for p in target if p[0] not in named), *self._headers]

    def _take_url(self, url: str) -> None:
        if self._url:
            raise PastedError(
                f"two URLs in the curl command: {self._url!r} and {url!r}",
                remedy="paste one request",
            )
        self._url = url

    def _take_header(self, text: str) -> None:
        if text.startswith("@"):
            raise PastedError(f"-H {text} names a file", remedy="write its headers out")
        name, _, value = text.partition(":")
        if value.strip():  # 'name:' takes a header of curl's own away
            key = name.strip().lower()
            key = ":authority" if key == "host" else key
            self._headers.append((key, os.fsencode(value.strip(" \t"))))

    def _take_cookie(self, text: str) -> None:
        if "=" not in text:
            raise PastedError(f"-b {text} names a file", remedy="write its cookies out: a=b; c=d")
        self._headers.append(("cookie", os.fsencode(text)))
