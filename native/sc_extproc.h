/* envoy.service.ext_proc.v3.ExternalProcessor/Process on one thread: message → decision core → answer. */
#ifndef SC_EXTPROC_H
#define SC_EXTPROC_H

#include "sc_call.h"
#include "sc_edition.h"
#include "sc_ring.h"
#include "sc_sampling.h"

enum { SC_DURATION_BOUNDS = 19 };

/* 1-2-5 from a microsecond to a second, upper bounds included. */
extern const uint64_t sc_duration_bounds_ns[SC_DURATION_BOUNDS];

/* What one thread counts; read from any other. */
typedef struct {
  uint64_t answers, malformed, not_ready;
  uint64_t durations[SC_DURATION_BOUNDS + 1], duration_sum_ns;
  uint64_t force_refused[SC_TOKEN_REFUSALS]; /* force tokens that were ignored, by why */
} sc_extproc_counts;

typedef struct {
  sc_shelf *shelf;
  size_t reader;       /* this thread's number, for the shelf and the edition's scratches */
  sc_sampling sampling;
  sc_ring *ring;       /* NULL where nothing is sampled */
  int alarm;           /* an eventfd that is written to when the ring is half full; 0: nobody listens */
  uint64_t random;
  sc_extproc_counts counts;
} sc_extproc;

/* The method, served from `context`. */
sc_method sc_extproc_method(sc_extproc *context);

#endif
