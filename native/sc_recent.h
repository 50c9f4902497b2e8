/* Remembers the most recent hashes in bounded memory, with two bits beside each.
 *
 * Two sets: what is asked for moves into the younger; when that is full, the older is forgotten and
 * they change places. Whoever was asked for within the last `room` different hashes is remembered. */
#ifndef SC_RECENT_H
#define SC_RECENT_H

#include "sc_marks.h"

typedef struct {
  sc_marks young, old;
  size_t moved;       /* how many of `old` stand in `young` as well */
  uint64_t forgotten; /* since the start */
} sc_recent;

/* `room` for one of the two sets. SC_ERR_NOMEM. */
int sc_recent_init(sc_recent *recent, size_t room);
void sc_recent_free(sc_recent *recent);

/* Adds marks (1 to 3) to a hash; returns those it had, 0 if it was not remembered. */
unsigned sc_recent_mark(sc_recent *recent, uint64_t hash, unsigned marks);

/* Whether it is remembered; asking does not make it younger. */
bool sc_recent_has(const sc_recent *recent, uint64_t hash);

#endif
