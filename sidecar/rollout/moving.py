"""What of a change in a document's rules gives people another variant.

Read off the canonical content, so that another spelling moves nobody. Which people a changed
condition reaches only traffic knows; `canary simulate --against` counts them on a list.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sidecar.rollout import rules
from sidecar.rollout.document import Rollout

_SHOWN = 3


def by_rules(old: Rollout, new: Rollout) -> Iterator[str]:
    """Say what moves people by lists, shares, prerequisites and segments, by precedence."""
    before, after = rules.canonical(old.spec), rules.canonical(new.spec)
    yield from _shares("holdout", before, after, "comes back or is held out")
    yield from _listed("exclude", before.get("exclude", ()), after.get("exclude", ()))
    if _pairs(before) != _pairs(after):
        yield "requires changes: whoever the other rollouts answer differently moves"
    one, two = _overridden(before), _overridden(after)
    for variant in sorted(one.keys() | two.keys()):
        yield from _listed(f"overrides of {variant!r}", one.get(variant, ()), two.get(variant, ()))
    yield from _shares("layer", before, after, "goes to the baseline or is drawn")
    baseline = new.variants[0].name
    yield from _segments(before.get("segments", []), after.get("segments", []), baseline)


def _shares(
    field: str, before: Mapping[str, Any], after: Mapping[str, Any], who: str
) -> Iterator[str]:
    if before.get(field) != after.get(field):
        said = " becomes ".join(_share(one.get(field)) for one in (before, after))
        yield f"{field} {said}: whoever is in one of them alone {who}"


def _share(said: Mapping[str, Any] | None) -> str:
    if said is None:
        return "none"
    if "percent" in said:
        return f"{said['name']!r} {said['percent']} %"
    return f"{said['name']!r} {said.get('from', '0')} to {said['to']} %"


def _pairs(said: Mapping[str, Any]) -> set[tuple[str, frozenset[str]]]:
    return {(one["rollout"], frozenset(one["variants"])) for one in said.get("requires", ())}


def _overridden(said: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in said.get("overrides", ()):
        found.setdefault(one["variant"], []).extend(one["units"])
    return found


def _listed(where: str, before: Any, after: Any) -> Iterator[str]:
    old, new = set(before), set(after)
    for how, units in (("lists", new - old), ("no longer lists", old - new)):
        if units:
            few = ", ".join(sorted(units)[:_SHOWN])
            more = f" and {len(units) - _SHOWN:,} more" if len(units) > _SHOWN else ""
            yield f"{where} {how} {few}{more}: they move"


def _segments(
    before: list[dict[str, Any]], after: list[dict[str, Any]], baseline: str
) -> Iterator[str]:
    if [_meaning(one) for one in before] == [_meaning(one) for one in after]:
        return
    old, new = ({one["name"]: one for one in side} for side in (before, after))
    for name in (name for name in old if name not in new):
        yield f"segment {name!r} is dropped: whoever it fits falls to what stands below it"
    for name in (name for name in new if name not in old):
        yield f"segment {name!r} is new: whoever it fits leaves what stands below it"
    for name in (name for name in old if name in new):
        yield from _segment(name, old[name], new[name], baseline)
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield "segments change places: whoever several of them fit may get another one"


def _segment(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], baseline: str
) -> Iterator[str]:
    if _meaning(old["when"]) != _meaning(new["when"]):
        yield f"segment {name!r} has other conditions: whoever fits on one side alone moves"
    if old.get("salt") != new.get("salt"):
        lines = [repr(one["salt"]) if "salt" in one else "the rollout's" for one in (old, new)]
        yield f"segment {name!r}: salt {lines[0]} becomes {lines[1]}: its people are drawn anew"
    gives = [_given(one, baseline) for one in (old, new)]
    if gives[0] != gives[1]:
        yield f"segment {name!r} gave {gives[0]}, and gives {gives[1]}: the difference moves"


def _meaning(said: Any) -> Any:
    """Drop what means nothing: a segment's name, and the order of conditions and of values."""
    if isinstance(said, dict):
        return {
            key: value if key == "path" else _meaning(value)
            for key, value in said.items()
            if key != "name" or "when" not in said
        }
    return sorted(map(_meaning, said), key=repr) if isinstance(said, list) else said


def _given(said: Mapping[str, Any], baseline: str) -> str:
    """Say what a segment gives in percent, however its weights are written."""
    if variant := said.get("variant"):
        return f"{variant} outright"
    weights = {name: Decimal(weight) for name, weight in said["weights"].items()}
    weights.setdefault(baseline, 100 - sum(weights.values(), Decimal(0)))
    total = sum(weights.values())
    shares = {name: weight * 100 / total for name, weight in sorted(weights.items()) if weight}
    return ", ".join(
        f"{name} to {'all' if share == 100 else f'{share:.5g} %'}" for name, share in shares.items()
    )
