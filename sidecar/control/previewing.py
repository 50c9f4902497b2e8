"""What would happen to the running rollouts, if these documents were in the folder.

The same transitions as for a real change, and nothing is kept. Each preview carries both sides as
resources, so that whoever asked can count who would move without a load on the controller.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sidecar import delivery, rollout
from sidecar.control import codec, messages
from sidecar.control.pb import control_pb2 as pb
from sidecar.delivery import Declared, Document, Origin, State
from sidecar.errors import CanaryError
from sidecar.rollout import Rollout
from sidecar.routing import route_of


class DocumentError(CanaryError):
    """A document that this controller cannot read."""


def preview(states: Mapping[str, State], texts: Iterable[str]) -> pb.Preview:
    """Compare documents (JSON) with the states. Raises DocumentError, and RouteError."""
    documents = {one.rollout.name: one for one in (_document(states, text) for text in texts)}
    # Never complete: what is not among them may be in a file that nobody asked about.
    declared = Declared(documents, complete=False)
    changes = delivery.reconcile(states, declared, Origin(datetime.now(UTC), "preview"))
    running = [c for c in changes if c.state.name in states and not states[c.state.name].retired]
    return pb.Preview(changes=[_change(states[one.state.name], one.state) for one in running])


def _document(states: Mapping[str, State], text: str) -> Document:
    try:
        one = Rollout.model_validate_json(text)
    except ValueError as error:
        raise DocumentError(
            f"a document cannot be read: {error}", remedy="use the release that the controller is"
        ) from error
    known = states.get(one.name)
    # Under its own file's name: where it will be is no matter here.
    return Document(one, rollout.generation(one), known.document.file if known else "")


def _change(before: State, after: State) -> pb.PreviewedChange:
    old, new = before.document.rollout, after.document.rollout
    return pb.PreviewedChange(
        rollout=after.name,
        because=rollout.moves(old, new),
        before=messages.weights(before.in_force),
        after=messages.weights(after.in_force),
        resource_before=codec.encode(route_of(old, before.in_force)),
        resource_after=codec.encode(route_of(new, after.in_force)),
    )
