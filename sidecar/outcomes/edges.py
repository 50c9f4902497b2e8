"""The buckets of every duration histogram, the same everywhere; native/sc_rows.c counts by them.

One bucket below 128 µs, eight to every doubling up to 2^30 µs (18 minutes), one above: a bucket is
at most an eighth wide. Lower edges belong to their bucket. Histograms of different versions are
never added.
"""

VERSION = 1
_LOW_BITS, _HIGH_BITS, _PER_DOUBLING = 7, 30, 8
BUCKETS = 2 + (_HIGH_BITS - _LOW_BITS) * _PER_DOUBLING

# EDGES_US[i] is the lower edge of bucket i + 1 and the upper one of bucket i.
EDGES_US = (
    *(
        (_PER_DOUBLING + part) << (power - 3)
        for power in range(_LOW_BITS, _HIGH_BITS)
        for part in range(_PER_DOUBLING)
    ),
    1 << _HIGH_BITS,
)


def bucket(duration_us: int) -> int:
    """Return the bucket of a duration, by its highest four bits."""
    if duration_us < 1 << _LOW_BITS:
        return 0
    if duration_us >= 1 << _HIGH_BITS:
        return BUCKETS - 1
    power = duration_us.bit_length() - 1
    return 1 + (power - _LOW_BITS) * _PER_DOUBLING + (duration_us >> (power - 3) & 7)
