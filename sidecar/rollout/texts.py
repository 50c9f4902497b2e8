"""The field types of the document: what each text and number may be, and the remedy if it is not.

Each type carries its JSON Schema, made from the pattern it checks with. What is not said in a
document is the type's empty value ("" or False), which is never a valid written one.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from sidecar.rollout import names

MISTAKE = "canary"  # the error type whose context holds our own message and remedy

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FINEST_WEIGHT = Decimal(1).scaleb(-names.MAX_WEIGHT_DECIMALS)
_PORT = re.compile(r"(.+):[0-9]+")
_SCHEME = re.compile(r"[a-zA-Z]+://([^/]*).*")


def shown(value: Any) -> str:
    """Name a value in a sentence, at bounded length and without control characters."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:50]!r}… ({len(value)} characters)"
    if isinstance(value, Decimal):
        return f"the number {str(value)[:40]}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    return "empty" if value is None else str(value).lower()


def refuse(message: str, remedy: str) -> NoReturn:
    """Refuse a value in our own words."""
    raise PydanticCustomError(MISTAKE, "{message}", {"message": message, "remedy": remedy})


def _any_case(pattern: re.Pattern[str]) -> str:
    return pattern.pattern.replace("a-z", "A-Za-z").replace("a-f", "A-Fa-f")


def _text(pattern: str, limit: int, **more: Any) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": limit, "pattern": f"^({pattern})$", **more}
    )


def label(value: str) -> str:
    """Take a DNS label."""
    if not names.DNS_LABEL.fullmatch(value):
        fitting = re.sub(r"[^a-z0-9]+", "-", value[:200].lower()).strip("-")[:63].strip("-")
        such = f", such as {fitting!r}" if fitting else ""
        refuse(
            f"{shown(value)} is not a DNS label",
            "use 1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or"
            f" digit{such}",
        )
    return value


def _rollout_name(value: str) -> str:
    if label(value).startswith(names.SHADOW_PREFIX):
        refuse(
            f"{shown(value)} begins with {names.SHADOW_PREFIX!r}, which is reserved",
            f"the header x-canary-{names.SHADOW_PREFIX}… speaks of shadow traffic: choose another"
            " name",
        )
    return value


def _host(value: str) -> str:
    if re.fullmatch(_any_case(names.HOST), value) and len(value) <= names.MAX_HOST_BYTES:
        return value.lower()
    remedy = "write a name such as chat.example.com, or *.example.com for every name below it"
    if value == "*":
        remedy = "leave match.hosts out: without it every host matches"
    elif scheme := _SCHEME.fullmatch(value):
        remedy = f"write the host alone: {shown(scheme[1])}"
    elif port := _PORT.fullmatch(value):
        remedy = f"leave the port out, every port matches: {shown(port[1])}"
    elif not value.isascii():
        remedy = "write it as it stands in the request, in punycode (xn--…)"
    elif len(value) > names.MAX_HOST_BYTES:
        remedy = f"use at most {names.MAX_HOST_BYTES} characters"
    refuse(f"{shown(value)} is not a host", remedy)


def _path_prefix(value: str) -> str:
    prefix = value.removesuffix("/")
    too_long = len(value.encode()) > names.MAX_TEXT_BYTES
    if value and names.PATH_PREFIX.fullmatch(prefix) and not too_long:
        return prefix
    remedy = "write whole segments, such as /v1/chat, without query, fragment or empty segment"
    if too_long:
        remedy = f"use at most {names.MAX_TEXT_BYTES} bytes"
    elif not value.startswith("/"):
        remedy = "begin with '/'"
    refuse(f"{shown(value)} is not a path prefix", remedy)


def _header(value: str) -> str:
    fits = re.fullmatch(_any_case(names.HEADER_NAME), value)
    if not fits or len(value) > names.MAX_TEXT_BYTES:
        refuse(f"{shown(value)} is not a header name", "write one such as x-user-id")
    name = value.lower()
    if name.startswith(names.RESERVED_PREFIX):
        refuse(
            f"header {shown(value)} is reserved: clients cannot send {names.RESERVED_PREFIX}*",
            f"send the unit in a header outside {names.RESERVED_PREFIX}",
        )
    if name == "host":
        refuse("Envoy turns the header 'host' into ':authority'", "write ':authority'")
    return name


def _token(value: str) -> str:
    if not names.TOKEN.fullmatch(value) or len(value) > names.MAX_TEXT_BYTES:
        refuse(
            f"{shown(value)} is not a name",
            "use letters, digits and !#$%&'*+.^_`|~- without spaces",
        )
    return value


def _true(value: bool) -> bool:  # noqa: FBT001
    if not value:
        refuse("is false", "write true, or remove the source")
    return value


def _salt(value: str) -> str:
    if not value:
        refuse("is empty", "give it 1 character or more, or leave it out: the name is the salt")
    if _CONTROL.search(value):
        refuse(f"{shown(value)} holds a control character", "use printable characters")
    if len(value.encode()) > names.MAX_TEXT_BYTES:
        refuse(f"is {len(value.encode())} bytes long", f"use at most {names.MAX_TEXT_BYTES} bytes")
    return value


def _cluster(value: str) -> str:
    if not names.CLUSTER.fullmatch(value) or len(value) > names.MAX_TEXT_BYTES:
        refuse(
            f"{shown(value)} is not a cluster name", "write the name of an Envoy cluster, no spaces"
        )
    return value


def _weight(value: Decimal) -> Decimal:
    if not value.is_finite():
        refuse(f"is {str(value).lower()}", "write a finite number, such as 5 or 0.5")
    if value < 0:
        refuse(f"is negative ({_digits(value)})", "write 0 or more; 0 sends nobody")
    if value > names.MAX_WEIGHT:
        refuse(
            f"is {_digits(value)}, more than {names.MAX_WEIGHT}",
            "only the ratios count: divide all weights by the same number",
        )
    rounded = value.quantize(_FINEST_WEIGHT)
    if rounded != value:
        refuse(
            f"{_digits(value)} has more than {names.MAX_WEIGHT_DECIMALS} decimals",
            "only the ratios count: round it, or multiply all weights by the same number",
        )
    # However many zeros it was written with: later arithmetic pays for every digit.
    return Decimal(f"{abs(rounded):f}".rstrip("0").rstrip("."))


def _digits(value: Decimal) -> str:
    digits = f"{value:f}" if abs(value.adjusted()) <= 30 else str(value)
    return digits if len(digits) <= 40 else f"{digits[:30]}…"


RolloutName = Annotated[
    str,
    AfterValidator(_rollout_name),
    _text(names.DNS_LABEL.pattern, 63, **{"not": {"pattern": f"^{names.SHADOW_PREFIX}"}}),
]
LABEL = _text(names.DNS_LABEL.pattern, 63)
VariantName = Annotated[str, AfterValidator(label), LABEL]
Host = Annotated[str, AfterValidator(_host), _text(_any_case(names.HOST), names.MAX_HOST_BYTES)]
PathPrefix = Annotated[
    str,
    AfterValidator(_path_prefix),
    _text(names.PATH_PREFIX.pattern + "/?", names.MAX_TEXT_BYTES),
]
HeaderName = Annotated[
    str,
    AfterValidator(_header),
    _text(
        _any_case(names.HEADER_NAME),
        names.MAX_TEXT_BYTES,
        **{"not": {"pattern": "^([Hh][Oo][Ss][Tt]$|[Xx]-[Cc][Aa][Nn][Aa][Rr][Yy]-)"}},
    ),
]
Token = Annotated[str, AfterValidator(_token), _text(names.TOKEN.pattern, names.MAX_TEXT_BYTES)]
ClientAddress = Annotated[
    bool, AfterValidator(_true), WithJsonSchema({"type": "boolean", "enum": [True]})
]
Salt = Annotated[str, AfterValidator(_salt), _text(r"[^\x00-\x1f\x7f-\x9f]+", names.MAX_TEXT_BYTES)]
Cluster = Annotated[
    str, AfterValidator(_cluster), _text(names.CLUSTER.pattern, names.MAX_TEXT_BYTES)
]
Weight = Annotated[
    Decimal,
    Field(allow_inf_nan=True),  # refused in our own words
    AfterValidator(_weight),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": names.MAX_WEIGHT}),
]
