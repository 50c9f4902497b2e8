/* The decision: which variant answers a request (assignment v1, docs/assignment.md). Pure, no allocation
 * besides the caller's lists, no state, no draw. sidecar/routing/twin.py is its specification. */
#ifndef SC_DECIDE_H
#define SC_DECIDE_H

#include "sc_request.h"
#include "sc_table.h"

typedef enum {
  SC_REASON_WEIGHT,
  SC_REASON_NO_UNIT,
  SC_REASONS, /* how many there are */
} sc_reason;

/* As it stands in metadata, metrics and traces. */
sc_str sc_reason_name(sc_reason reason);

typedef struct {
  const sc_rollout *rollout;
  uint64_t position; /* the point on the hash line; 0 without a unit */
  uint64_t second;   /* the unit's pseudonym; 0 without a unit */
  uint8_t slot;      /* the variant */
  sc_reason reason;
} sc_decision;

/* Decides for one rollout. */
sc_decision sc_decide(const sc_rollout *rollout, const sc_request *request);

/* The slot at a point of the hash line. */
uint8_t sc_decide_slot(const sc_rollout *rollout, uint64_t position, uint64_t second);

#endif
