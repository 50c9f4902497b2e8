"""The sidecar's own trips on disk: what it took out stays out when it starts anew, even alone.

The file is JSON and is replaced whole. One that cannot be read holds nothing: the limits are still
watched, and would break again.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path

from sidecar.control import keepsake
from sidecar.control.keepsake import KeepsakeError
from sidecar.delivery import breaker
from sidecar.delivery.breaker import Trip, Trips

# The year 9999.
_LATEST_S = 253_402_300_799
_log = logging.getLogger(__name__)


def save(path: Path, trips: Trips) -> None:
    """Replace the file, or remove it where there is nothing to keep. Raises KeepsakeError."""
    kept = [asdict(trip) for standing in trips.values() for trip in standing]
    try:
        if kept:
            keepsake.replace(path, json.dumps(kept).encode())
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise KeepsakeError(
            f"{path} cannot be written: {error.strerror}",
            remedy="check its permissions and the disk's space; trips stand until a restart",
        ) from error


def load(path: Path) -> Trips:
    """Read the file; nothing if there is none, or none that can be read (which is logged)."""
    trips = breaker.NOTHING
    try:
        for kept in json.loads(path.read_bytes()):
            trips = breaker.tripped(trips, _trip(**kept))
    except FileNotFoundError:
        return breaker.NOTHING
    except (OSError, ValueError, TypeError) as error:
        _log.warning("trips on disk ignored", extra={"file": str(path), "error": str(error)})
        return breaker.NOTHING
    return trips


def _trip(  # noqa: PLR0913, PLR0917 - the fields of a Trip
    rollout: str, variant: str, revision: int, resource: str, at_s: float, reason: str
) -> Trip:
    # What cannot be told to a controller must not keep it from being told the rest.
    if not (0 <= int(revision) < 1 << 64 and 0 <= float(at_s) < _LATEST_S):
        raise ValueError(f"a trip of revision {revision} at {at_s}")
    return Trip(str(rollout), str(variant), int(revision), str(resource), float(at_s), str(reason))
