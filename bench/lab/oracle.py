"""Who must be where: CONTRACTS 1 for a baseline and one candidate, written from the text.

Deliberately shares nothing with `sidecar` and `native`; its murmur3 is mmh3's. It is what the
demo and the end-to-end tests hold the real thing against.
"""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from math import floor, sqrt

import mmh3

LINE = 1 << 64
# The 97.5 % point of the normal distribution: 95 % lie within, both sides.
Z95 = 1.959963984540054


def position(salt: str, unit: str) -> int:
    """Return the unit's point on the hash line, 0 to 2^64-1."""
    key = salt.encode() + b"\x00" + unit.encode()
    return int(mmh3.hash128(key, seed=0)) & (LINE - 1)


def share(weight: Decimal | int, total: Decimal | int) -> Fraction:
    """Return the asked share of the candidate, exactly."""
    return Fraction(weight) / Fraction(total)


def in_canary(salt: str, unit: str, asked: Fraction) -> bool:
    """Whether a unit belongs to candidate 1 when `asked` is its share."""
    return position(salt, unit) < floor(asked * LINE)


def cohort(salt: str, units: Iterable[str], asked: Fraction) -> frozenset[str]:
    """Everybody who must be in the canary."""
    return frozenset(unit for unit in units if in_canary(salt, unit, asked))


def wilson95(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson) of a share of which `hits` in `total` were seen."""
    if total == 0:
        return 0.0, 1.0
    seen = hits / total
    spread = Z95 * Z95 / total
    centre = (seen + spread / 2) / (1 + spread)
    half = Z95 * sqrt(seen * (1 - seen) / total + spread / (4 * total)) / (1 + spread)
    # 0 and 1 are exact, whatever rounding says.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == total else centre + half
    return low, high
