"""The arithmetic of `canary weights`: what is said changes, the baseline gives or takes the rest.

The bounds are those of the document, so sums of decimals stay exact: they fit the 28 digits of the
default context.
"""

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice

from sidecar.delivery.state import Weights
from sidecar.errors import CanaryError
from sidecar.rollout.names import MAX_WEIGHT, MAX_WEIGHT_DECIMALS


class WeightsError(CanaryError):
    """Weights that cannot be in force."""


class UnknownVariantError(CanaryError):
    """A variant that the rollout does not declare."""


def rebalance(in_force: Weights, changes: Mapping[str, Decimal]) -> Weights:
    """Apply `changes` to the weights in force, the baseline being the first of them.

    Unnamed candidates keep their weight. An unnamed baseline takes the rest of the present total;
    a named one is taken at its word, and then the total may change. Raises UnknownVariantError on
    an undeclared variant and WeightsError on weights that cannot be.
    """
    for variant, weight in changes.items():
        _check_known(in_force, variant)
        _check_weight(variant, weight)
    baseline = next(iter(in_force))
    after = {**in_force, **changes}
    if baseline not in changes:
        after[baseline] = _rest(in_force, after, baseline)
    if not any(after.values()):
        raise WeightsError("every weight would be zero", remedy=f"give {baseline} one above zero")
    return after


def plain(weight: Decimal) -> str:
    """Write a weight without an exponent and without zeros that say nothing."""
    text = f"{weight:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rest(in_force: Weights, after: Weights, baseline: str) -> Decimal:
    total = sum(in_force.values(), Decimal(0))
    candidates = sum(islice(after.values(), 1, None), Decimal(0))
    if candidates > total:
        raise WeightsError(
            f"the candidates would weigh {plain(candidates)} of a total of {plain(total)}: "
            f"nothing is left for the baseline {baseline}",
            remedy=f"ask for less, or name the baseline too ({baseline}=N) to set a new total",
        )
    return total - candidates


def _check_known(in_force: Weights, variant: str) -> None:
    if variant in in_force:
        return
    near = get_close_matches(variant, in_force, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownVariantError(
        f"there is no variant {variant!r}", remedy=f"{hint}Its variants: {', '.join(in_force)}"
    )


def _check_weight(variant: str, weight: Decimal) -> None:
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
