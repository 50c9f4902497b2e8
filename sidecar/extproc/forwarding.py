"""What Envoy must send for a set of rollouts to be decided, and what a filter of theirs sends.

Derived from the rules (routing/needs.py), because whatever is not forwarded looks to the sidecar
as if the client had not sent it: a condition on it never holds, and nothing says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.extproc import trees
from sidecar.extproc.declaring import ALL, Forwards
from sidecar.extproc.findings import Finding
from sidecar.extproc.trees import at
from sidecar.rollout import Rollout, names
from sidecar.routing import Route, needs, route_of

Json = dict[str, Any]

_ADDRESS = "source.address"
_JWT = "envoy.filters.http.jwt_authn"
_JWT_MESSAGE = "http.jwt_authn.v3.JwtAuthentication"


@dataclass(frozen=True, slots=True)
class Needed:
    """Request headers, attributes and namespaces of dynamic metadata, each with who looks there."""

    headers: dict[str, tuple[str, ...]]
    attributes: dict[str, tuple[str, ...]]
    namespaces: dict[str, tuple[str, ...]]


def needed(rollouts: Iterable[Rollout | Route]) -> Needed:
    """Derive it from the rollouts; the pseudo headers and the token's are everybody's: ()."""
    found = Needed(dict.fromkeys(needs.headers(()), ()), {}, {})
    for asked, who in needs.needs(map(_route, rollouts)).items():
        for name in needs.headers([asked]):
            if name not in needs.headers(()):
                found.headers[name] = _joined(found.headers.get(name), who)
        if attribute := needs.attribute_of(asked):
            found.attributes[attribute] = _joined(found.attributes.get(attribute), who)
        if asked.kind == "metadata":
            found.namespaces[asked.name[0]] = _joined(found.namespaces.get(asked.name[0]), who)
    return found


def rules(rollouts: Iterable[Rollout | Route]) -> Json:
    """Return the fields of the ext_proc filter that forward it, and nothing else."""
    need = needed(rollouts)
    metadata: Json = {"receiving_namespaces": {"untyped": ["canary"]}}
    if need.namespaces:
        metadata = {"forwarding_namespaces": {"untyped": list(need.namespaces)}, **metadata}
    patterns = [{"exact": name} for name in need.headers]
    return {
        "forward_rules": {"allowed_headers": {"patterns": patterns}},
        **({"request_attributes": list(need.attributes)} if need.attributes else {}),
        "metadata_options": metadata,
    }


def declared(rollouts: Iterable[Rollout | Route]) -> Forwards:
    """Return what a filter with these rules forwards, for the log that says so."""
    need = needed(rollouts)
    return Forwards(frozenset(need.headers), frozenset(need.attributes), frozenset(need.namespaces))


def untrue(ext_proc: Any, said: Forwards, rollouts: Iterable[Rollout | Route]) -> list[str]:
    """List what is said to arrive and does not, by this filter; what is needed, `hidden` lists."""
    need = needed(rollouts)
    forward_rules = at(ext_proc, "forward_rules")
    headers = said.headers - {ALL, *need.headers}
    wrong = [f"header {name!r}" for name in headers if not _forwarded(forward_rules, name)]
    if ALL in said.headers and (
        at(forward_rules, "allowed_headers").get("patterns")
        or at(forward_rules, "disallowed_headers").get("patterns")
    ):
        wrong.append("every header")
    sent = ext_proc.get("request_attributes") or []
    opened = at(ext_proc, "metadata_options", "forwarding_namespaces", "untyped") or []
    attributes = said.attributes.difference(sent, need.attributes)
    namespaces = said.namespaces.difference(opened, need.namespaces)
    wrong += [f"attribute {name!r}" for name in attributes]
    return sorted(wrong + [f"metadata of {name!r}" for name in namespaces])


def hidden(
    where: str, manager: Any, ext_proc: Any, rollouts: Iterable[Rollout | Route]
) -> Iterator[Finding]:
    """Find what the rollouts look at and this filter does not send."""
    need = needed(rollouts)
    forward_rules = at(ext_proc, "forward_rules")
    for name, who in need.headers.items():
        if not _forwarded(forward_rules, name):
            yield _header_hidden(where, name, who)
    sent = ext_proc.get("request_attributes") or []
    for name, who in need.attributes.items():
        if name not in sent:
            yield _attribute_hidden(where, name, who)
    opened = at(ext_proc, "metadata_options", "forwarding_namespaces", "untyped") or []
    for name, who in need.namespaces.items():
        if name not in opened:
            yield Finding(
                "metadata-hidden",
                where,
                f"no metadata of {name!r} reaches the sidecar, and {_who(who)} looks there",
                "add it to metadata_options.forwarding_namespaces.untyped",
            )
    if _JWT in need.namespaces and not _before(manager, ext_proc, _JWT_MESSAGE):
        yield Finding(
            "metadata-unwritten",
            where,
            f"no jwt_authn stands before ext_proc, and {_who(need.namespaces[_JWT])} looks at"
            " its claims",
            f"put {_JWT} before it, with payload_in_metadata",
        )


def _route(rollout: Rollout | Route) -> Route:
    if isinstance(rollout, Route):
        return rollout
    return route_of(rollout, {variant.name: variant.weight for variant in rollout.variants})


def _joined(known: tuple[str, ...] | None, more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*(known or ()), *more}))


def _header_hidden(where: str, name: str, who: tuple[str, ...]) -> Finding:
    remedy = f"add {{exact: {name!r}}} to forward_rules.allowed_headers.patterns"
    if name == names.FORCE_HEADER:
        what = f"forward_rules keep {name!r} from the sidecar: no force token is ever seen"
        return Finding("force-hidden", where, what, remedy)
    return Finding(
        "header-hidden",
        where,
        f"forward_rules keep {name!r} from the sidecar, and {_who(who)} looks there",
        remedy,
    )


def _attribute_hidden(where: str, name: str, who: tuple[str, ...]) -> Finding:
    if name == _ADDRESS:
        return Finding(
            "address-hidden",
            where,
            f"no client address reaches the sidecar, and {_who(who)} looks at it",
            f"add {name} to request_attributes",
        )
    return Finding(
        "attribute-hidden",
        where,
        f"no attribute {name!r} reaches the sidecar, and {_who(who)} looks there",
        "add it to request_attributes",
    )


def _who(rollouts: tuple[str, ...]) -> str:
    if not rollouts:
        return "every rollout"
    more = f" (and {len(rollouts) - 1} more)" if len(rollouts) > 1 else ""
    return f"rollout {rollouts[0]!r}{more}"


def _forwarded(forward_rules: Any, name: str) -> bool:
    allowed, disallowed = (
        at(forward_rules, key).get("patterns") for key in ("allowed_headers", "disallowed_headers")
    )
    if disallowed and any(trees.matches(one, name) for one in disallowed):
        return False
    return not allowed or any(trees.matches(one, name) for one in allowed)


def _before(manager: Any, ext_proc: Any, message: str) -> bool:
    """Whether a filter of this kind stands before ours."""
    for one in trees.objects(manager.get("http_filters")):
        if any(typed is ext_proc for typed in trees.walk(one)):
            return False
        if any(trees.typed(one, message)):
            return True
    return False
