#include "sc_set.h"

static sc_str text_at(const uint8_t *at) { return (sc_str){at + 2, (size_t)(at[0] | at[1] << 8)}; }

bool sc_set_init(sc_set *set, sc_cursor *c, uint32_t count, const uint8_t *base)
{
  if (count > c->rest.len / 2 || count > UINT32_MAX / 4)
    return sc_refuse(c, "more announced than there are bytes");
  *set = (sc_set){.base = base};
  if (count == 0) return true;
  uint32_t slots = 2;
  while (slots < 2 * count) slots *= 2;
  *set = (sc_set){.base = base, .mask = slots - 1};
  set->slots = sc_arena_get(c->arena, slots, sizeof *set->slots);
  c->no_memory |= !set->slots;
  return set->slots != NULL;
}

static uint32_t *slot_of(const sc_set *set, uint64_t hash, sc_str text)
{
  for (uint32_t i = (uint32_t)hash;; i++) {
    uint32_t *slot = &set->slots[i & set->mask];
    if (*slot == 0 || sc_str_eq(text_at(set->base + (*slot - 1)), text)) return slot;
  }
}

bool sc_set_add(sc_set *set, uint64_t hash, const uint8_t *at)
{
  uint32_t *slot = slot_of(set, hash, text_at(at));
  if (*slot != 0) return false;
  *slot = (uint32_t)(at - set->base) + 1;
  set->count++;
  return true;
}

const uint8_t *sc_set_find(const sc_set *set, uint64_t hash, sc_str text)
{
  if (set->count == 0) return NULL;
  uint32_t slot = *slot_of(set, hash, text);
  return slot == 0 ? NULL : set->base + (slot - 1);
}
