"""Calling out: gates that are asked, addresses that are told. Each call has a deadline.

An address is a secret: whoever has it may write to the channel behind it. So no error, log line or
record ever holds more of it than the host. Redirects are not followed (they would carry a body to
whoever is named), and no proxy is taken from the environment.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

# Of an answer, for people: more is not read.
_SAID_BYTES = 300
_AT_ONCE = 64


class Webhooks:
    """One HTTP client for all webhooks of a controller. Make it in the event loop; `close` it."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=_AT_ONCE, limit_per_host=8, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Let go of every connection."""
        await self._session.close()

    async def ask(self, url: str, timeout_s: float, body: Mapping[str, Any]) -> tuple[bool, str]:
        """POST `body` as JSON; return whether the answer is a yes (2xx), and what it said.

        Never raises for what the other side does: that is a no, and its words say why.
        """
        try:
            async with self._session.post(
                url,
                json=dict(body),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                text = (await answer.content.read(_SAID_BYTES)).decode(errors="replace")
        except TimeoutError:
            return False, f"{host_of(url)} did not answer within {timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, f"{host_of(url)} cannot be asked: {_reason(error)}"
        said = f"{host_of(url)} answered {answer.status}"
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return 200 <= answer.status < 300, f"{said}: {words}" if words else said


def host_of(url: str) -> str:
    """Return what of an address may be told: the host."""
    return urlsplit(url).hostname or "the webhook"


def _reason(error: Exception) -> str:
    """Say why without the address: aiohttp puts it into some of its messages."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return type(error).__name__


async def pause(delay_s: float) -> None:
    """Wait between two attempts; a seam for tests."""
    await asyncio.sleep(delay_s)
