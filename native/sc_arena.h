/* Memory that is given out piece by piece and taken back all at once: what a table is made of. */
#ifndef SC_ARENA_H
#define SC_ARENA_H

#include "sc_base.h"

typedef struct sc_arena_block sc_arena_block;

/* Start from zeros. */
typedef struct {
  sc_arena_block *blocks;
  uint8_t *at; /* the free rest of the newest block */
  size_t left;
} sc_arena;

/* Zeroed memory for `count` things of `size` bytes, aligned for any of them; NULL: there is none. Of no
 * things there is a place that takes no memory. */
void *sc_arena_get(sc_arena *arena, size_t count, size_t size);
void sc_arena_free(sc_arena *arena);

#endif
