#include "sc_intern.h"

#include <stdlib.h>

#include "sc_hash.h"

/* There are twice as many slots as there is room for texts, and both are powers of two. */
static uint32_t *slot_of(const sc_intern *known, sc_str text)
{
  uint32_t mask = 2 * known->cap - 1;
  for (uint32_t i = (uint32_t)sc_hash(&text, 1).low;; i++) {
    uint32_t *slot = &known->slots[i & mask];
    if (*slot == 0 || sc_str_eq(known->texts[*slot - 1], text)) return slot;
  }
}

static bool grow(sc_intern *known)
{
  uint32_t cap = known->cap ? 2 * known->cap : 32;
  sc_str *texts = realloc(known->texts, cap * sizeof *texts);
  if (!texts) return false;
  known->texts = texts;
  uint32_t *slots = calloc(2 * (size_t)cap, sizeof *slots);
  if (!slots) return false;
  free(known->slots);
  known->slots = slots;
  known->cap = cap;
  for (uint32_t i = 0; i < known->count; i++) *slot_of(known, known->texts[i]) = i + 1;
  return true;
}

uint32_t sc_intern_number(sc_intern *known, sc_str text)
{
  if (known->count == known->cap && !grow(known)) return SC_NONE;
  uint32_t *slot = slot_of(known, text);
  if (*slot == 0) {
    known->texts[known->count] = text;
    *slot = ++known->count;
  }
  return *slot - 1;
}

void sc_intern_free(sc_intern *known)
{
  free(known->texts);
  free(known->slots);
  *known = (sc_intern){0};
}
