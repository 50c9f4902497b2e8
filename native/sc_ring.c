#include "sc_ring.h"

#include <stdlib.h>

int sc_ring_new(sc_ring **out)
{
  sc_ring *ring = aligned_alloc(_Alignof(sc_ring), sizeof *ring);
  if (!ring) return SC_ERR_NOMEM;
  /* The slots stay untouched, so that a ring nobody writes to takes no memory. */
  ring->written = ring->dropped = ring->taken = 0;
  *out = ring;
  return 0;
}

void sc_ring_del(sc_ring *ring) { free(ring); }

sc_sample *sc_ring_claim(sc_ring *ring)
{
  if (ring->written - __atomic_load_n(&ring->taken, __ATOMIC_ACQUIRE) == SC_RING_SLOTS) {
    sc_count(&ring->dropped, 1);
    return NULL;
  }
  return &ring->slots[ring->written % SC_RING_SLOTS];
}

bool sc_ring_commit(sc_ring *ring)
{
  uint64_t written = ring->written + 1;
  __atomic_store_n(&ring->written, written, __ATOMIC_RELEASE);
  return written - __atomic_load_n(&ring->taken, __ATOMIC_RELAXED) == SC_RING_SLOTS / 2;
}

bool sc_ring_take(sc_ring *ring, sc_sample *out)
{
  if (__atomic_load_n(&ring->written, __ATOMIC_ACQUIRE) == ring->taken) return false;
  *out = ring->slots[ring->taken % SC_RING_SLOTS];
  __atomic_store_n(&ring->taken, ring->taken + 1, __ATOMIC_RELEASE);
  return true;
}
