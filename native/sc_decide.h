/* The decision: which variant answers a request (assignment v1, docs/assignment.md). Pure, no allocation
 * besides the caller's lists, no state, no draw. sidecar/routing/twin.py is its specification. */
#ifndef SC_DECIDE_H
#define SC_DECIDE_H

#include "sc_request.h"
#include "sc_table.h"

/* Why a variant was given. Behind SC_REASONS come the segments of the rollout, in their order. */
typedef enum {
  SC_REASON_WEIGHT,
  SC_REASON_NO_UNIT,
  SC_REASON_KILLED,
  SC_REASON_HOLDOUT,
  SC_REASON_EXCLUDED,
  SC_REASON_PREREQUISITE,
  SC_REASON_FORCED,
  SC_REASON_OVERRIDE,
  SC_REASON_LAYER,
  SC_REASONS,
} sc_reason;

/* How many reasons this rollout can give. */
static inline uint32_t sc_reasons(const sc_rollout *rollout)
{
  return SC_REASONS + (uint32_t)rollout->rules.n_segments;
}

/* As it stands in metadata, metrics and traces. */
sc_str sc_reason_name(const sc_rollout *rollout, uint32_t reason);

typedef struct {
  const sc_rollout *rollout; /* NULL: not decided yet */
  uint64_t position; /* the point on the hash line that decided; 0 without a unit */
  uint64_t second;   /* the unit's pseudonym; 0 without a unit */
  uint32_t reason;   /* sc_reason, or SC_REASONS + the number of a segment */
  uint8_t slot;      /* the variant */
  bool has_unit;
} sc_decision;

/* What a decision may look at beside its rollout. */
typedef struct {
  const sc_request *request;
  const sc_parts *parts;
  const sc_force *force;
  sc_findings *findings;
} sc_asked;

/* Decides for one rollout whose prerequisites are met or not. */
sc_decision sc_decide(const sc_rollout *rollout, const sc_asked *asked, bool met);

/* The slot at a point of a hash line that is shared out by `split`. */
uint8_t sc_decide_slot(const sc_rollout *rollout, const sc_split *split, uint64_t position,
                       uint64_t second);

#endif
