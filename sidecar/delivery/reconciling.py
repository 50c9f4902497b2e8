"""What the files declare against what stands: which documents to adopt, which rollouts to retire.

A file with a fault declares nothing and withdraws nothing: its rollouts stay as they were last
good. A rollout is retired only when its document is surely gone, that is when the whole folder
could be read: any faulty file may be the one that holds it now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.delivery.state import Change, Document, Origin, State
from sidecar.delivery.transitions import adopt, retire


@dataclass(frozen=True, slots=True)
class Declared:
    """The faultless documents by rollout name, and the files that have a fault.

    `complete` is false if the folder itself could not be read, or has no files.
    """

    documents: Mapping[str, Document]
    faulty: frozenset[str] = frozenset()
    complete: bool = True


def reconcile(states: Mapping[str, State], declared: Declared, origin: Origin) -> list[Change]:
    """Return the changes that lead from the states to what the files declare."""
    changes = [
        adopt(states.get(name), document, origin)
        for name, document in declared.documents.items()
        if not _held_back(states.get(name), declared)
    ]
    if declared.complete and not declared.faulty:
        gone = (s for name, s in states.items() if name not in declared.documents)
        changes += [retire(s, origin) for s in gone]
    return [change for change in changes if change is not None]


def _held_back(state: State | None, declared: Declared) -> bool:
    """Whether the rollout's own file is faulty, so that a second claim to it must wait."""
    return state is not None and not state.retired and state.document.file in declared.faulty
