"""What a row counts, by number: the same numbers in native memory, on the wire and in SQLite.

Additive only: a number keeps its meaning for ever, readers skip those they do not know. What is not
there is zero. native/sc_rows.h has the same list. Packed, counts are pairs of varints (protobuf's:
seven bits a byte, the lowest first), the cell as its distance from the one before, ascending.
"""

from collections.abc import Iterator, Mapping

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

# Far above what a row can hold; the sum of any two still fits SQLite's integers.
MOST = 1 << 62


def histogram(counts: Mapping[int, int], first: int = DURATION) -> list[int]:
    """Return all buckets of one of the histograms, by its first cell."""
    return [counts.get(first + bucket, 0) for bucket in range(edges.BUCKETS)]


def pack(counts: Mapping[int, int]) -> bytes:
    """Return the counts as bytes, the same for the same counts."""
    packed = bytearray()
    before = 0
    for cell, count in sorted(counts.items()):
        if count:
            _put(packed, cell - before)
            _put(packed, count)
            before = cell
    return bytes(packed)


def unpack(packed: bytes) -> dict[int, int]:
    """Read what `pack` wrote. Raises ValueError on anything else."""
    numbers = list(_numbers(packed))
    if len(numbers) % 2:
        raise ValueError("a cell without a count")
    counts: dict[int, int] = {}
    cell = 0
    for at in range(0, len(numbers), 2):
        cell += numbers[at]
        if cell > 0xFFFF or cell in counts or not 0 < numbers[at + 1] < MOST:
            raise ValueError(f"cell {cell} cannot count {numbers[at + 1]}")
        counts[cell] = numbers[at + 1]
    return counts


def add(counts: Mapping[int, int], more: Mapping[int, int]) -> dict[int, int]:
    """Return the sum, cell by cell."""
    return {cell: counts.get(cell, 0) + more.get(cell, 0) for cell in counts.keys() | more.keys()}


def _put(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _numbers(packed: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number, shift = 0, 0
        elif shift > 63:
            raise ValueError("a number without an end")
    if shift:
        raise ValueError("a number that breaks off")
