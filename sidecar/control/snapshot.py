"""What every sidecar should have: immutable, replaced whole, named by its content.

Two snapshots with the same version hold the same resources, whichever controller made them and
whenever; that is why a sidecar can resume at a restarted controller without being sent anything.

A controller that has seen no faultless folder yet does not know what is gone. Its snapshot takes
nothing from anybody but what it names: whatever else a sidecar holds, it keeps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from sidecar.control import codec, envelopes
from sidecar.routing import Route, version_of


@dataclass(frozen=True, slots=True)
class Resource:
    """One serialised canary.v1.Rollout, with the piece of a response that carries it."""

    name: str
    version: str
    data: bytes = field(repr=False)
    piece: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, route: Route) -> Self:
        """Encode a route, once."""
        data = codec.encode(route)
        version = codec.version_of_bytes(data)
        piece = envelopes.pack_resource(route.name, version, data)
        return cls(route.name, version, data, piece)


class Holding:
    """Which versions of which resources somebody holds; equal if the content is."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self.versions = versions
        self.version = version_of(versions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holding) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)


class Snapshot(Holding):
    """All resources at one moment.

    `withdrawn`: the only names that are surely gone; None if whatever is not here is.
    """

    def __init__(
        self, resources: Iterable[Resource], withdrawn: frozenset[str] | None = None
    ) -> None:
        self.resources = {resource.name: resource for resource in resources}
        self.withdrawn = withdrawn
        super().__init__({r.name: r.version for r in self.resources.values()})

    def kept_by(self, held: Holding) -> Mapping[str, str]:
        """Return what is not here, and yet stays with whoever holds `held`."""
        if self.withdrawn is None:
            return {}
        gone = self.withdrawn
        return {
            name: version
            for name, version in held.versions.items()
            if name not in self.versions and name not in gone
        }

    def upon(self, held: Holding) -> Holding:
        """Return what whoever holds `held` should hold."""
        kept = self.kept_by(held)
        return Holding({**kept, **self.versions}) if kept else self


@dataclass(frozen=True, slots=True)
class Delta:
    """What leads from a holding to another: joined pieces, and names to drop."""

    pieces: bytes = field(repr=False)
    removed: tuple[str, ...]


# Every sidecar takes the same step at about the same time.
@lru_cache(maxsize=4)
def delta(held: Holding, goal: Holding, snapshot: Snapshot) -> Delta:
    """Return what must be sent to whoever holds `held`, so that they hold `goal`.

    `goal` is what the snapshot makes of `held`.
    """
    changed = [
        resource.piece
        for name, resource in snapshot.resources.items()
        if held.versions.get(name) != resource.version
    ]
    removed = tuple(name for name in held.versions if name not in goal.versions)
    return Delta(b"".join(changed), removed)
