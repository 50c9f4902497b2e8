"""Whether a rule's conditions hold for a request: the specification of native/sc_rule.c.

Written from docs/rollout.md. An input may have several values (a list in metadata): a test holds
if any of them fits. Where the input is absent no test holds, and `not` turns that around too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.rollout import regexes, values
from sidecar.routing import twin_inputs
from sidecar.routing.rules import AllOf, AnyOf, Not

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.routing.rules import Bound, Check, Condition
    from sidecar.routing.twin import Request

_READ: dict[str, Callable[[bytes], Any]] = {
    "number": values.number,
    "semver": values.version,
    "date": values.date,
}


def holds(condition: Condition, request: Request) -> bool:
    """Whether the condition holds."""
    if isinstance(condition, Not):
        return not holds(condition.condition, request)
    if isinstance(condition, AllOf):
        return all(holds(one, request) for one in condition.conditions)
    if isinstance(condition, AnyOf):
        return any(holds(one, request) for one in condition.conditions)
    return any(fits(condition, value) for value in twin_inputs.values(condition.input, request))


def fits(check: Check, value: bytes) -> bool:
    """Whether one value of the input fits the check."""
    if check.operator in _READ:
        return _in_range(check, _READ[check.operator], value)
    return _FITS[check.operator](check, value)


def _in_networks(check: Check, value: bytes) -> bool:
    found = values.address(value)
    networks = (values.network(text.decode()) for text in check.texts)
    return found is not None and any(
        one.family == found[0] and one.low <= found[1] <= one.high for one in networks if one
    )


def _in_range(check: Check, read: Callable[[bytes], Any], value: bytes) -> bool:
    found = read(value)
    return found is not None and _above(check.low, read, found) and _below(check.high, read, found)


def _above(low: Bound | None, read: Callable[[bytes], Any], found: Any) -> bool:
    if low is None:
        return True
    bound = read(low.text.encode())
    return bool(found > bound or (low.inclusive and found == bound))


def _below(high: Bound | None, read: Callable[[bytes], Any], found: Any) -> bool:
    if high is None:
        return True
    bound = read(high.text.encode())
    return bool(found < bound or (high.inclusive and found == bound))


_FITS: dict[str, Callable[[Check, bytes], bool]] = {
    "present": lambda _check, _value: True,
    "exact": lambda check, value: value in check.texts,
    "in": lambda check, value: value in check.texts,
    "prefix": lambda check, value: value.startswith(check.texts[0]),
    "suffix": lambda check, value: value.endswith(check.texts[0]),
    "contains": lambda check, value: check.texts[0] in value,
    "regex": lambda check, value: regexes.matches(check.texts[0], value),
    "cidr": _in_networks,
}
