"""What a row counts, by number: the same numbers in native memory, on the wire and in SQLite.

Additive only: a number keeps its meaning for ever, readers skip those they do not know. What is not
there is zero. native/sc_rows.h has the same list.
"""

from sidecar.analysis import edges

COMPLETED = 0
BYTES_SENT = 1
BYTES_RECEIVED = 2
DURATION_US = 3  # the sum
ERRORS = 4
# Counted once per unit under one table version.
UNITS = 5  # seen for the first time
UNIT_ERRORS = 6  # its first error
AT_RISK = 7  # requests of units that had no error before: what UNIT_ERRORS came from
STARTED = 8  # by the router, in the second it decided; the others by Envoy's access log
HTTP_CLASS = 16  # + 0 (no answer) to 5
GRPC_STATUS = 32  # + 0 to 16, + 17 for anything else
FLAG = 64  # + the field number in envoy.data.accesslog.v3.ResponseFlags
DURATION = 128  # + the bucket of `analysis.edges`
UNIT_DURATION = 640  # + the bucket: of a unit's first request


def histogram(cells: dict[int, int], first: int = DURATION) -> list[int]:
    """Return all buckets of one of the histograms, by its first cell."""
    return [cells.get(first + bucket, 0) for bucket in range(edges.BUCKETS)]
