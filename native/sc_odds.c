#include "sc_odds.h"

#include <stdlib.h>

enum { EARLIER = 1, FIRST = 2, FIRST_PLACES = 64 };
/* Beyond so many changes that are over, tables are forgotten before their time. */
enum { MOST_OVER = 1 << 18 };

struct sc_numbered {
  uint64_t hash;
  uint32_t number; /* 0: free */
};

struct sc_change {
  uint64_t rollout;
  uint32_t from;   /* the number of the table */
  uint32_t before; /* 1 + the change before it, of the same rollout; 0: none */
  sc_str since;    /* the table's version: ours */
};

/* ---- numbers by hash ------------------------------------------------------------------------ */

static int numbers_init(sc_numbers *set, size_t places)
{
  *set = (sc_numbers){.places = calloc(places, sizeof *set->places), .mask = places - 1};
  return set->places ? 0 : SC_ERR_NOMEM;
}

static struct sc_numbered *place_of(const sc_numbers *set, uint64_t hash)
{
  size_t at = (size_t)hash & set->mask;
  while (set->places[at].number && set->places[at].hash != hash) at = (at + 1) & set->mask;
  return &set->places[at];
}

static uint32_t number_of(const sc_numbers *set, uint64_t hash) { return place_of(set, hash)->number; }

static int numbers_put(sc_numbers *set, uint64_t hash, uint32_t number)
{
  if (set->len >= (set->mask + 1) / 4 * 3) {
    sc_numbers larger;
    if (numbers_init(&larger, 2 * (set->mask + 1)) < 0) return SC_ERR_NOMEM;
    for (size_t i = 0; i <= set->mask; i++)
      if (set->places[i].number) *place_of(&larger, set->places[i].hash) = set->places[i];
    larger.len = set->len;
    free(set->places);
    *set = larger;
  }
  struct sc_numbered *place = place_of(set, hash);
  set->len += place->number == 0;
  *place = (struct sc_numbered){hash, number};
  return 0;
}

/* ---- what is remembered --------------------------------------------------------------------- */

static int copy(sc_str text, sc_str *made)
{
  uint8_t *bytes = malloc(text.len + 1);
  if (!bytes) return SC_ERR_NOMEM;
  memcpy(bytes, text.data, text.len);
  *made = (sc_str){bytes, text.len};
  return 0;
}

static void drop(sc_str text) { free((void *)(uintptr_t)text.data); }

int sc_odds_init(sc_odds *odds, size_t room)
{
  *odds = (sc_odds){.number = EARLIER, .room = room};
  if (numbers_init(&odds->tables, FIRST_PLACES) < 0 || numbers_init(&odds->newest, FIRST_PLACES) < 0) {
    sc_odds_free(odds);
    return SC_ERR_NOMEM;
  }
  return 0;
}

void sc_odds_free(sc_odds *odds)
{
  for (uint32_t i = 0; i < odds->n_changes; i++) drop(odds->changes[i].since);
  drop(odds->first);
  free(odds->changes);
  free(odds->tables.places);
  free(odds->newest.places);
  *odds = (sc_odds){0};
}

static int forget_tables(sc_odds *odds, uint32_t oldest)
{
  sc_numbers kept;
  if (numbers_init(&kept, FIRST_PLACES) < 0) return SC_ERR_NOMEM;
  for (size_t i = 0; i <= odds->tables.mask; i++) {
    struct sc_numbered *one = &odds->tables.places[i];
    if (one->number >= oldest && numbers_put(&kept, one->hash, one->number) < 0) {
      free(kept.places);
      return SC_ERR_NOMEM;
    }
  }
  free(odds->tables.places);
  odds->tables = kept;
  return 0;
}

/* A change is over when the next one of its rollout came before all that are remembered. They move down
 * over the gaps in their order, so what refers to one refers to one that has moved already. */
static int forget_changes(sc_odds *odds, uint32_t oldest)
{
  uint32_t *moved = calloc((size_t)odds->n_changes + 1, sizeof *moved);
  if (!moved) return SC_ERR_NOMEM;
  for (uint32_t i = odds->n_changes; i > 0; i--) {
    const struct sc_change *one = &odds->changes[i - 1];
    if (number_of(&odds->newest, one->rollout) == i) moved[i] = 1;
    if (moved[i] && one->from > oldest) moved[one->before] = 1;
  }
  uint32_t kept = 0;
  moved[0] = 0;
  for (uint32_t i = 1; i <= odds->n_changes; i++) {
    struct sc_change one = odds->changes[i - 1];
    if (!moved[i]) {
      drop(one.since);
      continue;
    }
    struct sc_numbered *newest = place_of(&odds->newest, one.rollout);
    one.before = moved[one.before];
    odds->changes[kept] = one;
    moved[i] = ++kept;
    if (newest->number == i) newest->number = kept;
  }
  odds->n_changes = kept;
  free(moved);
  return 0;
}

static int forget(sc_odds *odds, uint32_t oldest)
{
  int rv = forget_tables(odds, oldest);
  return rv < 0 ? rv : forget_changes(odds, oldest);
}

/* ---- what comes ----------------------------------------------------------------------------- */

int sc_odds_know(sc_odds *odds, uint64_t hash)
{
  return number_of(&odds->tables, hash) ? 0 : numbers_put(&odds->tables, hash, EARLIER);
}

int sc_odds_begin(sc_odds *odds, uint64_t hash, sc_str version)
{
  if (odds->number > EARLIER && odds->in_force == hash) return 0;
  int rv = 0;
  if (!odds->first.data) rv = copy(version, &odds->first);
  if (rv == 0 && odds->tables.len >= 2 * odds->room) {
    bool many = odds->number + 1 > FIRST + odds->room;
    rv = forget(odds, many ? odds->number + 1 - (uint32_t)odds->room : FIRST);
  }
  if (rv == 0) rv = numbers_put(&odds->tables, hash, odds->number + 1);
  if (rv < 0) return rv;
  odds->number++;
  odds->in_force = hash;
  return 0;
}

static int grow(sc_odds *odds)
{
  uint32_t room = odds->room_changes ? 2 * odds->room_changes : FIRST_PLACES;
  struct sc_change *changes = realloc(odds->changes, room * sizeof *changes);
  if (!changes) return SC_ERR_NOMEM;
  odds->changes = changes;
  odds->room_changes = room;
  return 0;
}

int sc_odds_change(sc_odds *odds, uint64_t rollout, sc_str version)
{
  uint32_t before = number_of(&odds->newest, rollout);
  if (odds->number == FIRST || (before && odds->changes[before - 1].from == odds->number)) return 0;
  int rv = 0;
  if (odds->n_changes >= odds->newest.len + MOST_OVER)
    rv = forget(odds, odds->changes[odds->n_changes / 2].from);
  if (rv == 0 && odds->n_changes == odds->room_changes) rv = grow(odds);
  struct sc_change one = {rollout, odds->number, number_of(&odds->newest, rollout), {NULL, 0}};
  if (rv == 0) rv = copy(version, &one.since);
  if (rv < 0) return rv;
  if ((rv = numbers_put(&odds->newest, rollout, odds->n_changes + 1)) < 0) drop(one.since);
  else odds->changes[odds->n_changes++] = one;
  return rv;
}

sc_str sc_odds_since(const sc_odds *odds, uint64_t hash, sc_str version, uint64_t rollout)
{
  uint32_t number = number_of(&odds->tables, hash);
  if (number == 0) return (sc_str){NULL, 0};
  if (number == EARLIER) return version;
  for (uint32_t at = number_of(&odds->newest, rollout); at; at = odds->changes[at - 1].before)
    if (odds->changes[at - 1].from <= number) return odds->changes[at - 1].since;
  return odds->first;
}
