#include "sc_mem.h"

#include <stdint.h>
#include <stdlib.h>

static void *take_in(sc_block **all, sc_block *block)
{
  if (!block) return NULL;
  *block = (sc_block){.next = *all};
  if (*all) (*all)->previous = block;
  *all = block;
  return block + 1;
}

static void let_go(sc_block **all, const sc_block *block)
{
  *(block->previous ? &block->previous->next : all) = block->next;
  if (block->next) block->next->previous = block->previous;
}

static void *mem_malloc(size_t size, void *all)
{
  if (size > SIZE_MAX - sizeof(sc_block)) return NULL;
  return take_in(all, malloc(sizeof(sc_block) + size));
}

static void *mem_calloc(size_t n, size_t size, void *all)
{
  if (size > 0 && n > (SIZE_MAX - sizeof(sc_block)) / size) return NULL;
  return take_in(all, calloc(1, sizeof(sc_block) + n * size));
}

static void mem_free(void *at, void *all)
{
  if (!at) return;
  sc_block *block = (sc_block *)at - 1;
  let_go(all, block);
  free(block);
}

static void *mem_realloc(void *at, size_t size, void *all)
{
  if (!at) return mem_malloc(size, all);
  if (size > SIZE_MAX - sizeof(sc_block)) return NULL;
  sc_block *old = (sc_block *)at - 1;
  let_go(all, old);
  sc_block *grown = realloc(old, sizeof(sc_block) + size);
  void *got = take_in(all, grown ? grown : old); /* what could not grow is where it was */
  return grown ? got : NULL;
}

nghttp2_mem sc_mem(sc_block **all)
{
  return (nghttp2_mem){.mem_user_data = all, .malloc = mem_malloc, .free = mem_free, .calloc = mem_calloc, .realloc = mem_realloc};
}

void sc_mem_free_all(sc_block **all)
{
  for (sc_block *block; (block = *all);) {
    *all = block->next;
    free(block);
  }
}
