#include "sc_marks.h"

#include <stdlib.h>

int sc_marks_init(sc_marks *set, size_t room)
{
  size_t places = 16;
  while (places / 4 * 3 < room) places *= 2;
  *set = (sc_marks){.places = calloc(places, sizeof *set->places), .mask = places - 1, .room = room};
  return set->places ? 0 : SC_ERR_NOMEM;
}

void sc_marks_free(sc_marks *set)
{
  free(set->places);
  *set = (sc_marks){0};
}

void sc_marks_clear(sc_marks *set)
{
  memset(set->places, 0, (set->mask + 1) * sizeof *set->places);
  set->len = 0;
}

/* Where the hash is, or would be: a quarter of the places is always free. */
static uint64_t *place_of(const sc_marks *set, uint64_t hash)
{
  size_t at = (size_t)(hash >> 2) & set->mask;
  while (set->places[at] && (set->places[at] ^ hash) > SC_MARKS_MAX) at = (at + 1) & set->mask;
  return &set->places[at];
}

unsigned sc_marks_get(const sc_marks *set, uint64_t hash)
{
  return *place_of(set, hash) & SC_MARKS_MAX;
}

bool sc_marks_add(sc_marks *set, uint64_t hash, unsigned marks)
{
  uint64_t *place = place_of(set, hash);
  if (*place) {
    *place |= marks;
    return true;
  }
  if (set->len == set->room) return false;
  *place = (hash & ~(uint64_t)SC_MARKS_MAX) | marks;
  set->len++;
  return true;
}
