/* One ProcessingRequest in, one ProcessingResponse out. */
#ifndef SC_ANSWER_H
#define SC_ANSWER_H

#include "sc_decide.h"

/* What one thread needs to answer, reused from message to message. Start from zeros. */
typedef struct {
  sc_request request;
  sc_matches matches;
  sc_decision *decisions;
  size_t n_decisions, decisions_cap;
  uint8_t *buffer;
  size_t buffer_cap;
} sc_scratch;

/* Decides for a request that was parsed into `scratch->request`: fills `scratch->decisions`. */
int sc_answer_decide(const sc_table *table, sc_scratch *scratch);

/* `*out` is a view into `scratch`, valid until its next use; empty where the protocol wants no
 * answer (observability mode, no message). SC_ERR_MALFORMED for anything but a ProcessingRequest. */
int sc_answer(const sc_table *table, sc_str message, sc_scratch *scratch, sc_str *out);

void sc_scratch_free(sc_scratch *scratch);

#endif
