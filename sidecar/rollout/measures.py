"""Texts that measure: durations, margins and limits of a guardrail, times of day, addresses.

A written measure is checked once and kept in one spelling, so that the same content is the same
generation; `duration` and `Margin.of` read what is kept. Every measure carries its unit: a number
without one is refused, because 30 may be seconds to one and minutes to another.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from sidecar.rollout.texts import refuse, shown

Unit = Literal["pp", "%", "s"]

MAX_DURATION = timedelta(days=90)
MAX_TIMEOUT = timedelta(minutes=1)
MAX_SAMPLES = 10**12
MAX_URL_BYTES = 2048

_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = r"[0-9]{1,9}(ms|s|m|h|d)"
_DURATION = re.compile(f"({_PART})+")
_MARGIN = re.compile(r"(?P<sign>[-+]?)(?P<value>[0-9]{1,9}(\.[0-9]{1,9})?) ?(?P<unit>[a-zA-Z%]*)")
_SECONDS = {"us": Decimal("0.000001"), "ms": Decimal("0.001"), "s": Decimal(1)}
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_URL = re.compile(r"https?://[\x21-\x7e]+")
_UNITS = "pp (percentage points), % (of the baseline's), ms or s"


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse a candidate may be, or the most it may ever be.

    `pp`: percentage points; `%`: per cent (of the baseline's, in a margin); `s`: seconds.
    """

    value: Decimal
    unit: Unit

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a written margin that was checked."""
        found = _MARGIN.fullmatch(text)
        assert found
        value, unit = Decimal(found["value"]), found["unit"]
        if unit in _SECONDS:
            return cls(value * _SECONDS[unit], "s")
        return cls(value, "pp" if unit == "pp" else "%")


@lru_cache(maxsize=4096)
def duration(text: str) -> timedelta:
    """Read a written duration that was checked; "" is none at all."""
    parts = re.findall(r"([0-9]+)(ms|s|m|h|d)", text)
    return timedelta(milliseconds=sum(int(number) * _MS[unit] for number, unit in parts))


def spoken(length: timedelta) -> str:
    """Write a duration as it is written in documents: 1h30m."""
    left = max(0, length // timedelta(milliseconds=1))
    said = ""
    for unit, size in sorted(_MS.items(), key=lambda one: -one[1]):
        count, left = divmod(left, size)
        said += f"{count}{unit}" if count else ""
    return said or "0s"


def minute_of(clock: str) -> int:
    """Return the minutes from midnight of a written time of day."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _needs_unit(value: Any) -> Any:
    if isinstance(value, Decimal):
        refuse(f"{shown(value)} has no unit", f"write it with its unit, such as {value}s")
    return value


def _duration(value: str) -> str:
    if value.startswith("-"):
        refuse(f"{shown(value)} is negative", "write how long, such as 10m")
    if not _DURATION.fullmatch(value):
        refuse(f"{shown(value)} is not a duration", "write such as 30s, 10m, 1h30m or 1d")
    length = duration(value)
    if length > MAX_DURATION:
        refuse(f"{shown(value)} is longer than {spoken(MAX_DURATION)}", "choose a shorter one")
    return spoken(length)


def _timeout(value: str) -> str:
    kept = _duration(value)
    if not timedelta(0) < duration(kept) <= MAX_TIMEOUT:
        refuse(
            f"{shown(value)} is no timeout", f"write more than 0s, at most {spoken(MAX_TIMEOUT)}"
        )
    return kept


def _margin_unit(value: Any) -> Any:
    if isinstance(value, Decimal):
        refuse(f"{shown(value)} has no unit", f"write it with one of {_UNITS}, such as 0.5pp")
    return value


def _margin(value: str) -> str:
    found = _MARGIN.fullmatch(value)
    if not found:
        refuse(f"{shown(value)} is not a measure", "write such as 0.5pp, 20% or 50ms")
    if found["sign"] == "-":
        refuse(
            f"{shown(value)} has the wrong sign",
            "it says how much worse is still allowed: write 0 or more",
        )
    if found["unit"] not in {"pp", "%", *_SECONDS}:
        what = f"has no unit {found['unit']!r} that is known" if found["unit"] else "has no unit"
        refuse(f"{shown(value)} {what}", f"write one of {_UNITS}")
    return f"{Decimal(found['value']).normalize():f}{found['unit']}"


def _count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        return value
    if isinstance(value, Decimal) and (not value.is_finite() or value != value.to_integral_value()):
        refuse(f"is {shown(value)}, not a whole number", "write such as 1000")
    if not 0 <= value <= MAX_SAMPLES:
        refuse(f"is {shown(value)}", f"write a whole number from 0 to {MAX_SAMPLES}")
    return int(value)


def _clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        refuse(f"{shown(value)} is not a time of day", "write hours and minutes, such as 09:30")
    return value


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo | None:
    """Find a time zone of the IANA database; None if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _zone(value: str) -> str:
    if zone(value) is None:
        refuse(f"{shown(value)} is not a time zone", "write one such as UTC or Europe/Berlin")
    return value


def _url(value: str) -> str:
    fits = _URL.fullmatch(value) and len(value) <= MAX_URL_BYTES and _host(value)
    if not fits:
        # Never shown whole: whoever has a webhook's address may write to it.
        refuse("is not a web address", "write http:// or https:// with a host, without spaces")
    return value


def _host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _file(value: str) -> str:
    if not value.startswith("/") or "\0" in value or len(value.encode()) > 1024:
        refuse(f"{shown(value)} is not an absolute path", "write such as /etc/canary/webhook")
    return value


def _pattern(pattern: str, limit: int) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": limit, "pattern": f"^({pattern})$"}
    )


Duration = Annotated[
    str, BeforeValidator(_needs_unit), AfterValidator(_duration), _pattern(f"({_PART})+", 100)
]
Timeout = Annotated[
    str, BeforeValidator(_needs_unit), AfterValidator(_timeout), _pattern(f"({_PART})+", 100)
]
Measure = Annotated[
    str,
    BeforeValidator(_margin_unit),
    AfterValidator(_margin),
    _pattern(r"[+]?[0-9]{1,9}(\.[0-9]{1,9})? ?(pp|%|us|ms|s)", 24),
]
Count = Annotated[
    int,
    BeforeValidator(_count),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_SAMPLES}),
]
Clock = Annotated[str, AfterValidator(_clock), _pattern(_CLOCK.pattern, 5)]
Zone = Annotated[str, AfterValidator(_zone), _pattern(r"[A-Za-z0-9_+/-]+", 64)]
Url = Annotated[str, AfterValidator(_url), _pattern(r"https?://[\x21-\x7e]+", MAX_URL_BYTES)]
SecretFile = Annotated[str, AfterValidator(_file), _pattern(r"/[^\x00]*", 1024)]
