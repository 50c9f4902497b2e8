/* Reads a table's bytes from front to back and trusts none of them. The first thing that is wrong is
 * kept as the reason; reading on is harmless and gives zeros. */
#ifndef SC_CURSOR_H
#define SC_CURSOR_H

#include "sc_arena.h"

typedef struct {
  sc_str rest;
  const char *reason; /* the first thing that was wrong; static text */
  bool no_memory;
  sc_arena *arena;
} sc_cursor;

/* Notes the reason, if it is the first. Always false. */
bool sc_refuse(sc_cursor *c, const char *reason);

/* Whether everything so far was right. */
static inline bool sc_fine(const sc_cursor *c) { return !c->reason && !c->no_memory; }

uint64_t sc_read_uint(sc_cursor *c, size_t width);
sc_str sc_read_str(sc_cursor *c);

/* A DNS label's characters only: names go into headers. */
sc_str sc_read_label(sc_cursor *c);

/* Memory for `count` things of `size` bytes, of which each takes at least `least` bytes here, so
 * that a short block cannot ask for much. NULL, and a reason or `no_memory`, if it cannot be. */
void *sc_read_list(sc_cursor *c, size_t count, size_t size, size_t least);

#endif
