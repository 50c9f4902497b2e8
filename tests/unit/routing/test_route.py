"""A Route that exists is valid; exact integers; versions that name content."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routing import HardLimit, Route, RouteError, UnitSource, Variant, scale, version_of

GOOD = Route(
    name="chat",
    unit=(UnitSource("header", "x-user-id"),),
    salt=b"chat",
    variants=(Variant("stable", 95), Variant("canary", 5)),
    hosts=("chat.example", "*.example", "[::1]"),
    path_prefix="/v1/chat",
)

BAD = {
    "upper-case name": {"name": "Chat"},
    "name of a shadow header": {"name": "shadow-chat"},
    "name with a line break": {"name": "chat\r\n"},
    "host with a port": {"hosts": ("a.b:80",)},
    "host twice": {"hosts": ("a.b", "a.b")},
    "wildcard in the middle": {"hosts": ("a.*.b",)},
    "prefix without slash": {"path_prefix": "v1"},
    "prefix that ends with a slash": {"path_prefix": "/v1/"},
    "prefix with a query": {"path_prefix": "/v1?x"},
    "no unit": {"unit": ()},
    "reserved header as unit": {"unit": (UnitSource("header", "x-canary-chat"),)},
    "upper-case header as unit": {"unit": (UnitSource("header", "X-User-Id"),)},
    "cookie without a name": {"unit": (UnitSource("cookie"),)},
    "client address with a name": {"unit": (UnitSource("client_address", "x"),)},
    "salt with a NUL": {"salt": b"a\0b"},
    "no variant": {"variants": ()},
    "variant twice": {"variants": (Variant("a", 1), Variant("a", 1))},
    "variant with a line break": {"variants": (Variant("a\n", 1),)},
    "all weights zero": {"variants": (Variant("a", 0), Variant("b", 0))},
    "negative weight": {"variants": (Variant("a", 2), Variant("b", -1))},
    "limit that is no number": {"limits": (HardLimit("error_rate", math.nan, 30, 100),)},
    "limit of everything and more": {"limits": (HardLimit("error_rate", 1e308, 30, 100),)},
    "limit without a window": {"limits": (HardLimit("error_rate", 0.05, 0, 100),)},
    "limit on latency without one": {"limits": (HardLimit("latency", 0.05, 30, 100),)},
    "too many variants": {"variants": tuple(Variant(f"v{i}", 1) for i in range(65))},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_a_route_that_cannot_be_is_refused_with_its_name_and_a_remedy(change):
    with pytest.raises(RouteError) as caught:
        replace(GOOD, **change)
    assert change.get("name", "chat") in str(caught.value).replace("\\r\\n", "\r\n")
    assert caught.value.remedy


def test_shares_are_the_floors_of_the_contract():
    assert GOOD.thresholds == ((95 << 64) // 100, (5 << 64) // 100)


@given(
    st.lists(st.decimals(0, 10**9, places=9, allow_nan=False), min_size=1, max_size=6).filter(any)
)
def test_scaling_keeps_the_ratios_exactly_and_the_numbers_small(weights):
    named = {f"v{i}": weight for i, weight in enumerate(weights)}
    scaled = scale(named)
    total, scaled_total = sum(map(Fraction, weights)), sum(scaled.values())
    for name, weight in named.items():
        assert Fraction(scaled[name], scaled_total) == Fraction(weight) / total
        assert 0 <= scaled[name] < 1 << 64


def test_scaling_is_independent_of_the_scale():
    one = scale({"a": Decimal("0.95"), "b": Decimal("0.05")})
    assert one == scale({"a": Decimal(950), "b": Decimal("50.0")}) == {"a": 19, "b": 1}


def test_a_version_names_the_content_whatever_the_order():
    version = version_of({"a": "1", "b": "2"})
    assert version == version_of({"b": "2", "a": "1"})
    assert len({version, version_of({"a": "1"}), version_of({"a": "2", "b": "1"})}) == 3
