"""The ring of samples is a bounded queue: whole, in order, and what found no room is counted.

It calls its reader each time it has become half full.
"""

import ctypes
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from native_lab import Sample, door

SLOTS = 2_048


def dropped(ring):
    """Read `dropped`, the second number of the writer's cache line."""
    return ctypes.cast(ring, ctypes.POINTER(ctypes.c_uint64))[1]


class Ring(RuleBasedStateMachine):
    """The real ring beside a list."""

    def __init__(self):
        super().__init__()
        self.ring = ctypes.c_void_p()
        assert door().sc_ring_new(ctypes.byref(self.ring)) == 0
        self.model = deque()
        self.number = self.refused = 0

    def teardown(self):
        door().sc_ring_del(self.ring)

    def write(self):
        self.number += 1
        slot = door().sc_ring_claim(self.ring)
        assert bool(slot) == (len(self.model) < SLOTS)
        if not slot:
            self.refused += 1
            return
        slot.contents.edition, slot.contents.parent = self.number, ~self.number & (2**64 - 1)
        slot.contents.tracestate = str(self.number).encode()
        called = door().sc_ring_commit(self.ring)
        self.model.append(self.number)
        assert called == (len(self.model) == SLOTS // 2)

    def take(self):
        sample = Sample()
        assert door().sc_ring_take(self.ring, ctypes.byref(sample)) == bool(self.model)
        if self.model:
            number = self.model.popleft()
            assert (sample.edition, sample.parent) == (number, ~number & (2**64 - 1))
            assert sample.tracestate == str(number).encode()

    @rule(count=st.one_of(st.integers(1, 5), st.integers(SLOTS - 2, SLOTS + 2)))
    def writes(self, count):
        for _ in range(count):
            self.write()

    @rule(count=st.one_of(st.integers(1, 5), st.integers(SLOTS - 2, SLOTS + 2)))
    def takes(self, count):
        for _ in range(min(count, len(self.model) + 1)):
            self.take()

    @rule()
    def a_slot_that_is_not_committed_is_nobodys(self):
        door().sc_ring_claim(self.ring)
        self.refused += len(self.model) == SLOTS

    @invariant()
    def refusals_are_counted(self):
        assert dropped(self.ring) == self.refused


Ring.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestRing = Ring.TestCase
