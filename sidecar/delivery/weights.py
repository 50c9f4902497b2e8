"""The arithmetic of `canary weights`: what is said changes, the baseline gives or takes the rest.

Numbers are always those of the document's total, so that the same command means the same whatever
was said before: after `stable=1 canary=1` of a total of 100, `canary=2` is 2 % and not everybody.

The bounds are those of the document, so sums of decimals stay exact: they fit the 28 digits of the
default context.
"""

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction

from sidecar.delivery.state import Weights
from sidecar.errors import CanaryError
from sidecar.rollout.names import MAX_WEIGHT, MAX_WEIGHT_DECIMALS

_FINEST = 10**MAX_WEIGHT_DECIMALS


class WeightsError(CanaryError):
    """Weights that cannot be in force."""


class UnknownVariantError(CanaryError):
    """A variant that the rollout does not declare."""


def rebalance(in_force: Weights, changes: Mapping[str, Decimal], total: Decimal) -> Weights:
    """Apply `changes` to the weights in force, the baseline being the first of them.

    Every number is one of the document's `total`, whatever was in force before. Unnamed candidates
    keep their share, an unnamed baseline takes the rest; of two variants, either does. Where all
    are named, only their ratios count. Raises UnknownVariantError on an undeclared variant and
    WeightsError on weights that cannot be, or do not say who gets the rest.
    """
    for variant in changes:
        _check_known(in_force, variant)
    said = {variant: _checked(variant, weight) for variant, weight in changes.items()}
    after = {**scaled(in_force, total), **said}
    if unnamed := [name for name in in_force if name not in said]:
        _check_rest(in_force, said, unnamed, total)
        after[unnamed[0]] = _rest(after, unnamed, total)
    if not any(after.values()):
        raise WeightsError(
            "every weight would be zero", remedy=f"give {next(iter(after))} one above zero"
        )
    return scaled(after, total)


def scaled(weights: Weights, total: Decimal) -> Weights:
    """Bring weights to a total without a change of their ratios; as they are where none fits."""
    factor = Fraction(total) / (sum(map(Fraction, weights.values())) or 1)
    finest = {name: Fraction(weight) * factor * _FINEST for name, weight in weights.items()}
    if any(one.denominator != 1 or one > MAX_WEIGHT * _FINEST for one in finest.values()):
        return dict(weights)
    return {name: _trimmed(Decimal(int(one)) / _FINEST) for name, one in finest.items()}


def plain(weight: Decimal) -> str:
    """Write a weight without an exponent and without zeros that say nothing."""
    text = f"{weight:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _check_rest(in_force: Weights, said: Weights, unnamed: list[str], total: Decimal) -> None:
    """Of two, either may take the rest; of more, only the baseline."""
    baseline = next(iter(in_force))
    everyone = f"name every variant: {' '.join(f'{name}=N' for name in in_force)}"
    if baseline in said and len(in_force) > 2:
        raise WeightsError(
            f"{baseline} is named and {', '.join(unnamed)} is not: who gets the rest?",
            remedy=everyone,
        )
    if len(unnamed) > 1 and sum(scaled(in_force, total).values()) != total:
        raise WeightsError(
            f"{', '.join(unnamed[1:])} cannot keep its share: of the document's total of "
            f"{plain(total)} it is no exact number",
            remedy=everyone,
        )


def _rest(after: Weights, unnamed: list[str], total: Decimal) -> Decimal:
    taker, *_ = unnamed
    others = sum((weight for name, weight in after.items() if name != taker), Decimal(0))
    if others > total:
        raise WeightsError(
            f"the others would weigh {plain(others)} of a total of {plain(total)}: nothing is left "
            f"for {taker}",
            remedy="ask for less (the total is the document's), or name every variant: then only "
            "the ratios count",
        )
    return total - others


def _check_known(in_force: Weights, variant: str) -> None:
    if variant in in_force:
        return
    near = get_close_matches(variant, in_force, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownVariantError(
        f"there is no variant {variant!r}", remedy=f"{hint}Its variants: {', '.join(in_force)}"
    )


def _checked(variant: str, weight: Decimal) -> Decimal:
    if not weight.is_finite() or not 0 <= weight <= MAX_WEIGHT:
        raise WeightsError(
            f"weight {weight} of {variant} is not a number from 0 to {MAX_WEIGHT}",
            remedy="give a decimal such as 5 or 12.5",
        )
    exponent = weight.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MAX_WEIGHT_DECIMALS:
        raise WeightsError(
            f"weight {weight} of {variant} has more than {MAX_WEIGHT_DECIMALS} decimals",
            remedy="round it: only the ratios of the weights mean anything",
        )
    return _trimmed(weight)


def _trimmed(weight: Decimal) -> Decimal:
    """Write the same number without an exponent, a sign of zero, or zeros that say nothing."""
    return Decimal(plain(weight)) if weight else Decimal(0)
