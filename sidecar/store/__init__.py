"""What survives a restart: the state of every rollout and the trail of events that made it.

SQLite in one file, owned by one process. Blocking: call it off the event loop, because one fsync
must never stall a decision.
"""

from sidecar.store.database import Store, StoreError
from sidecar.store.outcomes import OutcomeRow, Outcomes, OutcomesError

__all__ = ["OutcomeRow", "Outcomes", "OutcomesError", "Store", "StoreError"]
