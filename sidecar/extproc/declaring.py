"""What an Envoy says that it forwards, so that a sidecar can tell "not forwarded" from "not sent".

    canary?header=:authority&header=:path&header=x-user-id&attribute=source.address

That is the name of the access log which Envoy keeps for the sidecar (`log_name`): it comes once per
stream of the log, not with every request. `canary envoy` writes it, `fitting` holds it against the
filter it speaks of, and the sidecar holds what is said against what its table looks at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self, cast
from urllib.parse import parse_qs, urlencode

from sidecar.routing import needs
from sidecar.routing.rules import Input, InputKind

LOG_NAME = "canary"
# Of headers: all that there are, as where a filter has no forward_rules.
ALL = "*"


@dataclass(frozen=True, slots=True)
class Forwards:
    """Request headers, attributes and namespaces of dynamic metadata that reach the sidecar."""

    headers: frozenset[str]
    attributes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    @classmethod
    def read(cls, log_name: str) -> Self | None:
        """Read what the name of a log says; None if it says nothing of it."""
        name, said, text = log_name.partition("?")
        if name != LOG_NAME or not said:
            return None
        found = {key: frozenset(values) for key, values in parse_qs(text).items()}
        nothing: frozenset[str] = frozenset()
        return cls(*(found.get(key, nothing) for key in ("header", "attribute", "metadata")))

    def log_name(self) -> str:
        """Write it as the name of a log."""
        said = {
            "header": sorted(self.headers),
            "attribute": sorted(self.attributes),
            "metadata": sorted(self.namespaces),
        }
        text = urlencode(said, doseq=True, safe=":*/")
        return f"{LOG_NAME}?{text}"

    def hides(self, asked: Input) -> str:
        """Say what of an input does not arrive; "" if all of it does."""
        header, attribute = needs.header_of(asked), needs.attribute_of(asked)
        if header and not self.sends(header):
            return f"header {header!r}"
        if attribute and attribute not in self.attributes:
            return f"attribute {attribute!r}"
        if asked.kind == "metadata" and asked.name[0] not in self.namespaces:
            return f"metadata of {asked.name[0]!r}"
        return ""

    def sends(self, header: str) -> bool:
        """Whether this request header arrives."""
        return ALL in self.headers or header in self.headers


class Unseen(NamedTuple):
    """What never arrives ("header 'x-country'"), and the first of `rollouts` that look there."""

    what: str
    rollout: str
    rollouts: int


Looks = Mapping[tuple[str, tuple[str, ...]], tuple[str, int]]


def unseen(declared: Iterable[Forwards], looks: Looks) -> list[Unseen]:
    """Hold what Envoys say against what a table looks at (`Table.looks`), each lack once."""
    found: dict[str, Unseen] = {}
    for forwards in declared:
        for (kind, name), (rollout, count) in looks.items():
            what = forwards.hides(Input(cast("InputKind", kind), name))
            if what and what not in found:
                found[what] = Unseen(what, rollout, count)
    return list(found.values())
