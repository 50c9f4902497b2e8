"""Texts that are compared as what they mean: numbers, semantic versions, dates, networks.

One reading for the document's bounds and for what a request carries. Whatever is not of the
form has no value (None): a condition on it does not hold. native/sc_value.c says the same in C.
"""

import ipaddress
import re
from typing import NamedTuple

# Numbers are counted in billionths, dates in nanoseconds: both are exact integers.
SCALE = 10**9
MAX_VERSION_BYTES = 256

_NUMBER = re.compile(rb"([+-]?)([0-9]{1,18})(?:\.([0-9]{1,9}))?")
_DATE = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    rb"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
# https://semver.org/spec/v2.0.0.html, its own regular expression in other words.
_NUMERIC = rb"(?:0|[1-9][0-9]*)"
_PRE = rb"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rb"(%(n)s)\.(%(n)s)\.(%(n)s)(?:-(%(p)s(?:\.%(p)s)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    % {b"n": _NUMERIC, b"p": _PRE}
)
_DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def number(text: bytes) -> int | None:
    """Read a decimal of up to 18 digits and 9 decimals, without exponent: its billionths."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    sign, whole, decimals = found.groups()
    value = int(whole) * SCALE + int((decimals or b"0").ljust(9, b"0"))
    return -value if sign == b"-" else value


def date(text: bytes) -> int | None:
    """Read an RFC 3339 date-time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds uncounted.

    A second of 60 is allowed and means the first of the next minute.
    """
    found = _DATE.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, ahead_h, ahead_min = found.groups()[6:]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month - 1] + (leap and month == 2):
        return None
    ahead = int(ahead_h or 0), int(ahead_min or 0)
    if hour > 23 or minute > 59 or second > 60 or ahead[0] > 23 or ahead[1] > 59:
        return None
    past = year - 1
    days = 365 * year + (past // 4 - past // 100 + past // 400 + 1 if year else 0) - 719_528
    days += _DAYS_BEFORE[month - 1] + (leap and month > 2) + day - 1
    offset = (ahead[0] * 60 + ahead[1]) * (-1 if sign == b"-" else 1)
    seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    return seconds * SCALE + int((fraction or b"0").ljust(9, b"0"))


Version = tuple[int, int, int, tuple[object, ...]]


def version(text: bytes) -> Version | None:
    """Read a semantic version: a key that sorts by semver.org's precedence, builds ignored."""
    found = _SEMVER.fullmatch(text) if len(text) <= MAX_VERSION_BYTES else None
    if not found:
        return None
    major, minor, patch, pre = found.groups()
    last: tuple[object, ...] = (1,)
    if pre is not None:
        identifiers = ((0, int(p)) if p.isdigit() else (1, p) for p in pre.split(b"."))
        last = (0, tuple(identifiers))
    return int(major), int(minor), int(patch), last


class Network(NamedTuple):
    """All addresses from `low` to `high`; `family` is 4 or 6."""

    family: int
    low: int
    high: int


def address(text: bytes) -> tuple[int, int] | None:
    """Read an IP address: family and number. An IPv4 address written as IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return None
        found = found.ipv4_mapped or found
    return found.version, int(found)


def network(text: str) -> Network | None:
    """Read a network such as 10.0.0.0/8; an address alone is a network of one."""
    base, slash, bits = text.partition("/")
    found = address(base.encode())
    if found is None or (slash and not re.fullmatch(r"[0-9]{1,3}", bits)):
        return None
    family, value = found
    mapped = family == 4 and ":" in base
    width = 32 if family == 4 else 128
    length = int(bits) - (96 if mapped else 0) if slash else width
    if not 0 <= length <= width:
        return None
    hosts = (1 << (width - length)) - 1
    if value & hosts:
        return None
    return Network(family, value, value | hosts)
