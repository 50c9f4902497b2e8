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
  uint64_t *tally; /* decisions by [variant of the table][reason], for one table only */
} sc_scratch;

/* Gives `scratch`, which starts from zeros, its tally for this table. */
int sc_scratch_init(sc_scratch *scratch, const sc_table *table);

/* How often `slot` of `rollout` was answered for this reason; asked from any thread. */
uint64_t sc_scratch_tally(const sc_scratch *scratch, const sc_rollout *rollout, uint8_t slot,
                          sc_reason reason);

/* Decides for a request that was parsed into `scratch->request`: fills `scratch->decisions`,
 * counts nothing. */
int sc_answer_decide(const sc_table *table, sc_scratch *scratch);

/* Answers and counts. `*out` is a view into `scratch`, valid until its next use; empty where the protocol wants no
 * answer (observability mode, no message). SC_ERR_MALFORMED for anything but a ProcessingRequest. */
int sc_answer(const sc_table *table, sc_str message, sc_scratch *scratch, sc_str *out);

void sc_scratch_free(sc_scratch *scratch);

#endif
