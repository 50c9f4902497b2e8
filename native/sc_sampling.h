/* Which decisions become spans, by what the call says of its parent and by a ratio.
 *
 * As OpenTelemetry's samplers decide (parentbased_*, traceidratio): specification/trace/sdk.md. */
#ifndef SC_SAMPLING_H
#define SC_SAMPLING_H

#include "sc_base.h"

typedef struct {
  bool on;             /* false: nobody wants spans */
  bool follow_parent;  /* the parent's flag decides where there is a parent */
  bool always;         /* else: every trace, or those whose id is below the bound */
  uint64_t bound;
} sc_sampling;

typedef struct {
  uint64_t trace_high, trace_low, parent;
} sc_span_context;

/* A random number for an id, never 0; `*random` moves on. */
uint64_t sc_sampling_draw(uint64_t *random);

/* Whether the decision for this call is sampled; `*out` is then its trace and its parent (0: none,
 * with a trace id drawn from `*random`, which moves on). `traceparent` may be empty or malformed. */
bool sc_sampling_decide(const sc_sampling *sampling, sc_str traceparent, uint64_t *random, sc_span_context *out);

#endif
