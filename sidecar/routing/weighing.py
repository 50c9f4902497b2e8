"""Decimal weights as the integers that the data path divides."""

from collections.abc import Mapping
from decimal import Decimal
from math import gcd, lcm


def scale(weights: Mapping[str, Decimal]) -> dict[str, int]:
    """Exact integers in the same ratios as the decimals, as small as they can be."""
    ratios = {name: weight.as_integer_ratio() for name, weight in weights.items()}
    common = lcm(*(denominator for _, denominator in ratios.values()))
    whole = {name: top * (common // bottom) for name, (top, bottom) in ratios.items()}
    divisor = gcd(*whole.values()) or 1
    return {name: value // divisor for name, value in whole.items()}
