"""Counts by cell: packed and read back, whatever they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.analysis import cells

COUNTS = st.dictionaries(st.integers(0, 0xFFFF), st.integers(1, cells.MOST - 1))


@given(COUNTS)
def test_what_was_packed_is_read_back(counts):
    assert cells.unpack(cells.pack(counts)) == counts


@given(COUNTS)
def test_the_same_counts_are_the_same_bytes(counts):
    assert cells.pack(dict(reversed(counts.items()))) == cells.pack(counts)


def test_zeros_are_not_written():
    assert cells.pack({1: 0, 2: 5}) == cells.pack({2: 5})


@given(st.binary(max_size=40))
def test_any_bytes_are_counts_or_refused(data):
    try:
        counts = cells.unpack(data)
    except ValueError:
        return
    assert cells.unpack(cells.pack(counts)) == counts


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\x80",
        b"\x01\x00",
        b"\x01\x05\x00\x05",
        b"\xff\xff\x7f\x01",
        b"\x01" + b"\xff" * 11,
    ],
    ids=["no count", "breaks off", "zero", "cell twice", "cell too high", "no end"],
)
def test_what_cannot_be_counts_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller says whose counts they were
        cells.unpack(data)


@given(COUNTS, COUNTS)
def test_a_sum_counts_both(one, other):
    total = cells.add(one, other)
    assert all(total[cell] == one.get(cell, 0) + other.get(cell, 0) for cell in total)
    assert total.keys() == one.keys() | other.keys()
