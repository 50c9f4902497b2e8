/* One ProcessingRequest in, one ProcessingResponse out. */
#ifndef SC_ANSWER_H
#define SC_ANSWER_H

#include "sc_decide.h"

/* What one thread needs to answer by one table, reused from message to message. */
typedef struct {
  sc_request request;
  sc_matches matches;
  sc_decision *decisions;
  size_t n_decisions, decisions_cap;
  uint8_t *buffer;
  size_t buffer_cap;
  uint64_t *tally; /* decisions by rollout, slot and reason, for one table only */
  uint64_t refused[SC_TOKEN_REFUSALS]; /* force tokens that were ignored, by why */
  sc_findings findings;
  sc_force force;
} sc_scratch;

/* Fits `scratch`, which starts from zeros, to this table. */
int sc_scratch_init(sc_scratch *scratch, const sc_table *table);

/* How often `slot` of `rollout` was answered for this reason (below sc_reasons(rollout)); asked from
 * any thread. */
uint64_t sc_scratch_tally(const sc_scratch *scratch, const sc_rollout *rollout, uint8_t slot,
                          uint32_t reason);

/* How many force tokens were ignored for this reason; asked from any thread. */
uint64_t sc_scratch_refused(const sc_scratch *scratch, sc_token_refusal why);

/* A walk over all cells of a tally, for whoever adds up several scratches. Start from zeros. */
typedef struct {
  const sc_rollout *rollout;
  uint32_t reason;
  uint8_t slot;
  bool begun;
  uint32_t at; /* of the rollout in its table */
} sc_tally_cell;

/* Moves on to the next cell; false after the last. */
bool sc_tally_next(const sc_table *table, sc_tally_cell *cell);

/* Decides for a request that was parsed into `scratch->request`: fills `scratch->decisions`,
 * counts nothing. `now_s` is the Unix time in seconds, by which force tokens expire. */
int sc_answer_decide(const sc_table *table, int64_t now_s, sc_scratch *scratch);

/* Answers and counts. `*out` is a view into `scratch`, valid until its next use; empty where the protocol wants no
 * answer (observability mode, no message). SC_ERR_MALFORMED for anything but a ProcessingRequest. */
int sc_answer(const sc_table *table, sc_str message, int64_t now_s, sc_scratch *scratch, sc_str *out);

void sc_scratch_free(sc_scratch *scratch);

#endif
