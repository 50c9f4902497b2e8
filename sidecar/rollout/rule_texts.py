"""The field types of rules: what a value, a bound or a network may be, and the remedy."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from sidecar.rollout import names, regexes, texts, values
from sidecar.rollout.texts import refuse, shown

_NOT_EMPTY = {"type": "string", "minLength": 1, "maxLength": names.MAX_TEXT_BYTES}


def _value(value: str) -> str:
    if not value:
        refuse("is empty", "an empty value counts as absent: write `present: false`")
    if len(value.encode()) > names.MAX_TEXT_BYTES:
        refuse(f"is {len(value.encode())} bytes long", f"use at most {names.MAX_TEXT_BYTES} bytes")
    return value


def _regex(value: str) -> str:
    wrong = regexes.mistake(_value(value).encode())
    if wrong is not None:
        refuse(
            f"{shown(value)} is not a regular expression of RE2: {wrong}",
            "see https://github.com/google/re2/wiki/Syntax (no look-around, no back-references)",
        )
    return value


def _network(value: str) -> str:
    if values.network(value) is None:
        refuse(
            f"{shown(value)} is not a network",
            "write an address, or a network such as 10.0.0.0/8 or 2001:db8::/32 whose bits behind"
            " the prefix are 0",
        )
    return value


def _key(value: str) -> str:
    if not value:
        refuse("is empty", "write the key of a field")
    return _value(value)


def _attribute(value: str) -> str:
    if not names.ATTRIBUTE.fullmatch(value) or len(value) > names.MAX_TEXT_BYTES:
        refuse(f"{shown(value)} is not an attribute", "write one such as connection.mtls")
    return value


def _version(value: str) -> str:
    if values.version(value.encode()) is None:
        refuse(
            f"{shown(value)} is not a semantic version", "write three numbers, such as 2.10.0-rc.1"
        )
    return value


def _date(value: str) -> str:
    if values.date(value.encode()) is None:
        refuse(
            f"{shown(value)} is not a date and time of RFC 3339",
            "write it with its offset, such as 2026-11-01T00:00:00Z",
        )
    return value


def _number(value: Decimal) -> Decimal:
    if not value.is_finite() or abs(value.adjusted()) > 40:
        refuse(f"is {str(value)[:40].lower()}", "write a number, such as 5 or 0.5")
    if values.number(f"{value:f}".encode()) is None:
        refuse(
            f"{value:f} has more digits than are compared",
            "use at most 18 before the point and 9 behind it",
        )
    return Decimal(f"{value:f}")


def _percent(value: Decimal) -> Decimal:
    if not value.is_finite() or not 0 <= value <= 100:
        refuse(f"is {str(value)[:40].lower()}, not a share in percent", "write 0 to 100")
    rounded = value.quantize(Decimal(1).scaleb(-names.MAX_WEIGHT_DECIMALS))
    if rounded != value:
        refuse(f"has more than {names.MAX_WEIGHT_DECIMALS} decimals", "round it: nobody notices")
    return Decimal(f"{abs(rounded):f}".rstrip("0").rstrip("."))


def _share(value: Decimal) -> Decimal:
    if value.is_finite() and value == 0:
        refuse("is 0: nobody", "write a share above 0, or leave the field out")
    return _percent(value)


_PERCENT = WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100})
_DATE_TEXT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}.*"

Value = Annotated[str, AfterValidator(_value), WithJsonSchema(_NOT_EMPTY)]
Regex = Annotated[str, AfterValidator(_regex), WithJsonSchema(_NOT_EMPTY)]
Network = Annotated[
    str,
    AfterValidator(_network),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F:./]+$"}),
]
Key = Annotated[str, AfterValidator(_key), WithJsonSchema(_NOT_EMPTY)]
Attribute = Annotated[
    str,
    AfterValidator(_attribute),
    WithJsonSchema(_NOT_EMPTY | {"pattern": f"^({names.ATTRIBUTE.pattern})$"}),
]
Version = Annotated[
    str,
    AfterValidator(_version),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+"}),
]
Date = Annotated[
    str, AfterValidator(_date), WithJsonSchema({"type": "string", "pattern": f"^{_DATE_TEXT}$"})
]
Number = Annotated[
    Decimal,
    Field(allow_inf_nan=True),  # refused in our own words
    AfterValidator(_number),
    WithJsonSchema({"type": "number"}),
]
Percent = Annotated[Decimal, Field(allow_inf_nan=True), AfterValidator(_percent), _PERCENT]
Share = Annotated[Decimal, Field(allow_inf_nan=True), AfterValidator(_share), _PERCENT]
There = texts.ClientAddress
