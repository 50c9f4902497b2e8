#include "sc_arena.h"

#include <stdlib.h>

enum { BLOCK = 1 << 16, ALIGN = 16 };

struct sc_arena_block {
  sc_arena_block *next;
  uint64_t pad; /* what follows stays aligned */
};

static bool add_block(sc_arena *arena, size_t size)
{
  if (size > SIZE_MAX - sizeof(sc_arena_block)) return false;
  sc_arena_block *block = calloc(1, sizeof *block + size);
  if (!block) return false;
  block->next = arena->blocks;
  arena->blocks = block;
  arena->at = (uint8_t *)(block + 1);
  arena->left = size;
  return true;
}

void *sc_arena_get(sc_arena *arena, size_t count, size_t size)
{
  static _Alignas(ALIGN) uint8_t nothing[ALIGN];
  if (count == 0) return nothing;
  if (size > (SIZE_MAX - ALIGN) / count) return NULL;
  size_t bytes = (count * size + ALIGN - 1) / ALIGN * ALIGN;
  if (bytes > arena->left && !add_block(arena, bytes > BLOCK ? bytes : BLOCK)) return NULL;
  void *got = arena->at;
  arena->at += bytes;
  arena->left -= bytes;
  return got;
}

void sc_arena_free(sc_arena *arena)
{
  while (arena->blocks) {
    sc_arena_block *next = arena->blocks->next;
    free(arena->blocks);
    arena->blocks = next;
  }
  *arena = (sc_arena){0};
}
