"""The fixed buckets in which durations are counted, the same for every sidecar and release.

Sixteen buckets to each power of two, from 64 µs to 2^30 µs (about 18 minutes): a bucket is at most
6 % wide, its edges are whole microseconds, and a duration finds its bucket by the position of its
highest bit and the four bits below it, so C and Python agree exactly. Everything shorter falls into
bucket 0, everything longer into the last one. Rows name `VERSION`; other buckets need another.
"""

import bisect

VERSION = 1
_SUB_BITS = 4
_LOWEST_BIT = 6
_HIGHEST_BIT = 30
_PER_OCTAVE = 1 << _SUB_BITS

BUCKETS = (_HIGHEST_BIT - _LOWEST_BIT) * _PER_OCTAVE + 2
# The least duration of each bucket in microseconds; the first bucket begins at 0.
LOWER_US: tuple[int, ...] = (
    0,
    *(
        (_PER_OCTAVE + sub) << (bit - _SUB_BITS)
        for bit in range(_LOWEST_BIT, _HIGHEST_BIT)
        for sub in range(_PER_OCTAVE)
    ),
    1 << _HIGHEST_BIT,
)


def bucket(duration_us: int) -> int:
    """Return the bucket of a duration in whole microseconds; below zero counts as zero."""
    if duration_us < 1 << _LOWEST_BIT:
        return 0
    high = duration_us.bit_length() - 1
    if high >= _HIGHEST_BIT:
        return BUCKETS - 1
    sub = (duration_us >> (high - _SUB_BITS)) - _PER_OCTAVE
    return 1 + (high - _LOWEST_BIT) * _PER_OCTAVE + sub


def first_from(duration_s: float) -> int:
    """Return the first bucket that holds nothing shorter than `duration_s`.

    BUCKETS if even the last bucket holds shorter ones.
    """
    return bisect.bisect_left(LOWER_US, duration_s * 1e6)


def last_from(duration_s: float) -> int:
    """Return the bucket that begins at or below `duration_s`, the last such one; at least 0."""
    return max(0, bisect.bisect_right(LOWER_US, duration_s * 1e6) - 1)
