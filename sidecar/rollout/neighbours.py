"""What no single document can show: layers that overlap, holdouts that disagree, prerequisites.

Every document that has a part in it is blamed, so what is declared does not depend on the order
of the files. A document with faults of its own still counts as there, not as what it says.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.rollout import names
from sidecar.rollout.document import Rollout
from sidecar.rollout.texts import shown
from sidecar.rollout.tree import Loc
from sidecar.rollout.wording import nearest

LAYER: Loc = ("spec", "layer")
HOLDOUT: Loc = ("spec", "holdout")
REQUIRES: Loc = ("spec", "requires")


class Blame(NamedTuple):
    """What is wrong with a rollout because of others."""

    rollout: str
    loc: Loc
    message: str
    remedy: str


def blames(rollouts: Iterable[Rollout], claimed: Iterable[str]) -> Iterator[Blame]:
    """Find every such mistake among faultless rollouts; `claimed` are all names that are there."""
    known = {one.name: one for one in rollouts}
    yield from _layers(known)
    yield from _holdouts(known)
    yield from _requirements(known, set(claimed))
    yield from _circles(known)


def _sources(rollout: Rollout) -> list[tuple[str, str]]:
    return [(source.kind, source.name) for source in rollout.unit]


def _layers(known: dict[str, Rollout]) -> Iterator[Blame]:
    layers: dict[str, list[Rollout]] = defaultdict(list)
    for one in known.values():
        if one.spec.layer:
            layers[one.spec.layer.name].append(one)
    for name, sharing in layers.items():
        yield from _same_unit(sharing, LAYER, f"layer {name!r}")
        yield from _overlaps(name, sharing)


def _overlaps(name: str, sharing: list[Rollout]) -> Iterator[Blame]:
    """Blame both of each pair whose slices overlap; neighbours by their beginning are enough."""
    ordered = sorted(sharing, key=lambda one: (one.spec.layer.from_, one.name))
    reaching = ordered[0]
    for one in ordered[1:]:
        if one.spec.layer.from_ < reaching.spec.layer.to:
            for blamed, other in ((one, reaching), (reaching, one)):
                yield Blame(
                    blamed.name,
                    LAYER,
                    f"its slice of layer {name!r} overlaps that of rollout {other.name!r}"
                    f" ({_percents(other)})",
                    "give each rollout of a layer a slice of its own",
                )
        if one.spec.layer.to > reaching.spec.layer.to:
            reaching = one


def _percents(rollout: Rollout) -> str:
    return f"{rollout.spec.layer.from_:f} to {rollout.spec.layer.to:f} %"


def _holdouts(known: dict[str, Rollout]) -> Iterator[Blame]:
    holdouts: dict[str, list[Rollout]] = defaultdict(list)
    for one in known.values():
        if one.spec.holdout:
            holdouts[one.spec.holdout.name].append(one)
    for name, sharing in holdouts.items():
        yield from _same_unit(sharing, HOLDOUT, f"holdout {name!r}")
        shares = {one.spec.holdout.percent: one.name for one in reversed(sharing)}
        for one in sharing if len(shares) > 1 else ():
            percent = one.spec.holdout.percent
            other = next(said for said in shares if said != percent)
            yield Blame(
                one.name,
                HOLDOUT,
                f"holdout {name!r} is {percent:f} % here and {other:f} % in rollout"
                f" {shares[other]!r}",
                "write the same share everywhere, or name another holdout",
            )


def _same_unit(sharing: list[Rollout], loc: Loc, what: str) -> Iterator[Blame]:
    units = {str(_sources(one)): one.name for one in reversed(sharing)}
    for one in sharing if len(units) > 1 else ():
        other = next(name for unit, name in units.items() if unit != str(_sources(one)))
        yield Blame(
            one.name,
            loc,
            f"{what} has another unit here than in rollout {other!r}: the same people would be"
            " others",
            "take the unit from the same sources, or use another name",
        )


def _requirements(known: dict[str, Rollout], claimed: set[str]) -> Iterator[Blame]:
    for one in known.values():
        for index, required in enumerate(one.spec.requires):
            loc: Loc = (*REQUIRES, index)
            if required.rollout not in claimed:
                near = nearest(required.rollout, sorted(claimed))
                hint = f"did you mean {near!r}? " if near else ""
                yield Blame(
                    one.name,
                    (*loc, "rollout"),
                    f"rollout {shown(required.rollout)} is declared nowhere",
                    f"{hint}Declare it, and check all files together",
                )
            elif other := known.get(required.rollout):
                yield from _variants(one, loc, required.variants, other)


def _variants(one: Rollout, loc: Loc, wanted: tuple[str, ...], other: Rollout) -> Iterator[Blame]:
    declared = [variant.name for variant in other.variants]
    for name in wanted:
        if name not in declared:
            yield Blame(
                one.name,
                (*loc, "variants"),
                f"rollout {other.name!r} has no variant {shown(name)}",
                f"there are: {', '.join(declared)}",
            )


def _circles(known: dict[str, Rollout]) -> Iterator[Blame]:
    """Blame whoever requires itself by way of others, and whoever requires too long a chain."""
    reach = {
        name: {one.rollout for one in rollout.spec.requires} & known.keys()
        for name, rollout in known.items()
    }
    depths = {name: 0 for name, others in reach.items() if not others}
    while True:
        found = {
            name: 1 + max(depths[other] for other in others)
            for name, others in reach.items()
            if name not in depths and others <= depths.keys()
        }
        if not found:
            break
        depths |= found
    for name in reach.keys() - depths.keys():
        if name in _reached(name, reach):
            yield Blame(
                name, REQUIRES, "requires itself, by way of others", "remove one of the circle"
            )
    for name, depth in depths.items():
        if depth > names.MAX_CHAIN:
            yield Blame(
                name,
                REQUIRES,
                f"more than {names.MAX_CHAIN} rollouts require one another in a row",
                "require the last ones directly",
            )


def _reached(name: str, reach: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = list(reach[name])
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            ahead += reach[one]
    return seen
