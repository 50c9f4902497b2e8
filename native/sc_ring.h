/* Sampled decisions on their way from one thread of the request path to one reader: a bounded
 * ring without locks. The writer never waits: what finds no room is counted and dropped. */
#ifndef SC_RING_H
#define SC_RING_H

#include "sc_base.h"

enum { SC_RING_SLOTS = 2048, SC_MAX_TRACESTATE = 160 };

/* One rollout's part in one sampled decision. Ids are as in a traceparent, big endian. */
typedef struct {
  uint64_t edition; /* whose table `rollout`, `slot` and `reason` belong to */
  uint64_t second;  /* the unit's pseudonym */
  uint64_t end_ns;  /* CLOCK_REALTIME */
  uint64_t took_ns;
  uint64_t trace_high, trace_low, parent; /* parent 0: the span is a root, the trace id was drawn here */
  uint64_t span;                          /* its own id, drawn here, never 0 */
  uint32_t rollout, reason;
  uint8_t slot;
  uint8_t tracestate_len;
  char tracestate[SC_MAX_TRACESTATE];
} sc_sample;

typedef struct {
  _Alignas(64) uint64_t written;
  uint64_t dropped;
  _Alignas(64) uint64_t taken;
  sc_sample slots[SC_RING_SLOTS];
} sc_ring;

/* Starts from zeros. */
int sc_ring_new(sc_ring **out);
void sc_ring_del(sc_ring *ring);

/* The writer: where to write the next sample, NULL if there is no room (which is counted); then commit it, which is true
 * each time the ring has become half full: the reader should come. */
sc_sample *sc_ring_claim(sc_ring *ring);
bool sc_ring_commit(sc_ring *ring);

/* The reader: copies the oldest sample; false if there is none. */
bool sc_ring_take(sc_ring *ring, sc_sample *out);

#endif
