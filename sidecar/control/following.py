"""The sidecar's side of delta xDS, without I/O: what it holds, and the step a response asks for.

A step is taken whole or not at all: `step` returns the next holdings or raises, and the present
ones are never touched. Resources are held as they came: what they mean is read when somebody asks,
because ten thousand of them are to fit into a few megabytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.control import codec
from sidecar.control.codec import TYPE_URL, ResourceError
from sidecar.control.envelopes import Response
from sidecar.control.rule_codec import Known
from sidecar.routing import Route, version_of


class OutOfStepError(ResourceError):
    """The response was built on an update that was refused; the controller will send another."""


@dataclass(frozen=True, slots=True)
class Held:
    """One resource as it came."""

    version: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Holdings:
    """All resources in force, by name; `version` names the table they make."""

    resources: Mapping[str, Held]
    version: str

    @property
    def versions(self) -> dict[str, str]:
        """The resources' versions, for resuming a stream."""
        return {name: held.version for name, held in self.resources.items()}

    def route(self, name: str, known: Known | None = None) -> Route:
        """Read one resource. Raises ResourceError, KeyError if it is not held."""
        return codec.decode(name, self.resources[name].data, known)

    @property
    def routes(self) -> list[Route]:
        """Read all of them. Raises ResourceError."""
        known = Known()
        return [self.route(name, known) for name in self.resources]


NOTHING = Holdings({}, version_of({}))


def step(holdings: Holdings, response: Response) -> Holdings:
    """Return the holdings after a response. Raises ResourceError if it cannot be taken whole.

    Whether each resource can be read, and all stand together, is seen when a table is made of them.
    """
    if response.type_url != TYPE_URL:
        raise ResourceError(f"the response carries {response.type_url}, not {TYPE_URL}")
    resources = dict(holdings.resources)
    for name, version, type_url, data in response.resources:
        if type_url != TYPE_URL:
            raise ResourceError(
                f"resource {name!r} is of type {type_url or 'nothing'}, not {TYPE_URL}"
            )
        resources[name] = Held(version, data)
    for name in response.removed:
        resources.pop(name, None)
    after = _holdings(resources)
    if response.table_version and response.table_version != after.version:
        raise OutOfStepError(
            f"what is held and what came make table {after.version}, not {response.table_version}"
        )
    return after


def restore(stored: Iterable[tuple[str, str, bytes]]) -> Holdings:
    """Return the holdings of stored (name, version, bytes), not read yet."""
    return _holdings({name: Held(version, data) for name, version, data in stored})


def _holdings(resources: Mapping[str, Held]) -> Holdings:
    versions = {name: held.version for name, held in resources.items()}
    return Holdings(resources, version_of(versions))
