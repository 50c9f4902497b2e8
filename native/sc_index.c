#include "sc_index.h"

#include <stdlib.h>

#include "sc_hash.h"

/* The slot of a host. It comes in two parts, so that "*" + ".b" needs no copy. */
static uint32_t *host_slot(const sc_index *t, const sc_str parts[2])
{
  for (uint32_t i = (uint32_t)sc_hash(parts, 2).low;; i++) {
    uint32_t *slot = &t->host_slots[i & t->mask];
    if (*slot == SC_NONE) return slot;
    sc_str host = t->hosts[*slot];
    if (host.len == parts[0].len + parts[1].len && sc_str_starts(host, parts[0]) &&
        sc_str_eq(sc_str_slice(host, parts[0].len, host.len), parts[1]))
      return slot;
  }
}

static uint32_t *place_slot(const sc_index *t, uint32_t host_id, sc_str prefix)
{
  sc_str parts[] = {{(const uint8_t *)&host_id, sizeof host_id}, prefix};
  for (uint32_t i = (uint32_t)sc_hash(parts, 2).low;; i++) {
    uint32_t *slot = &t->place_slots[i & t->mask];
    if (*slot == SC_NONE) return slot;
    const sc_place *place = &t->places[*slot];
    if (place->host_id == host_id && sc_str_eq(place->prefix, prefix)) return slot;
  }
}

static uint32_t know_host(sc_index *t, sc_str host)
{
  uint32_t *slot = host_slot(t, (sc_str[2]){host, {NULL, 0}});
  if (*slot == SC_NONE) {
    *slot = t->used_hosts++;
    t->hosts[*slot] = host;
  }
  if (sc_str_starts(host, SC_LITERAL("*."))) t->has_wildcards = true;
  return *slot;
}

bool sc_index_add(sc_index *t, uint32_t rollout, sc_str host, sc_str prefix)
{
  if (t->used_links == t->n_hosts) return false;
  uint32_t depth = 0;
  for (size_t i = 0; i < prefix.len; i++) depth += prefix.data[i] == '/';
  if (depth > t->max_depth) t->max_depth = depth;
  uint32_t host_id = know_host(t, host), link = t->used_links++;
  t->links[link] = (sc_link){rollout, SC_NONE};
  uint32_t *slot = place_slot(t, host_id, prefix);
  if (*slot == SC_NONE) {
    *slot = t->used_places++;
    t->places[*slot] = (sc_place){prefix, host_id, link, link};
  } else {
    sc_place *place = &t->places[*slot];
    t->links[place->tail].next = link;
    place->tail = link;
  }
  return true;
}

bool sc_index_init(sc_index *t, sc_arena *arena, uint32_t n_hosts)
{
  uint32_t slots = 2;
  while (slots < 2 * (n_hosts + 1)) slots *= 2;
  *t = (sc_index){.n_hosts = n_hosts, .mask = slots - 1};
  t->links = sc_arena_get(arena, n_hosts, sizeof *t->links);
  t->hosts = sc_arena_get(arena, n_hosts, sizeof *t->hosts);
  t->places = sc_arena_get(arena, n_hosts, sizeof *t->places);
  t->host_slots = sc_arena_get(arena, slots, sizeof *t->host_slots);
  t->place_slots = sc_arena_get(arena, slots, sizeof *t->place_slots);
  if (!t->links || !t->hosts || !t->places || !t->host_slots || !t->place_slots) return false;
  memset(t->host_slots, 0xff, slots * sizeof *t->host_slots);
  memset(t->place_slots, 0xff, slots * sizeof *t->place_slots);
  return true;
}

/* ---- matching ------------------------------------------------------------------------------- */

/* Kept in order and without repeats by insertion: each chain is in order itself, so only where
 * several chains meet does an insertion move anything. */
static int add_match(sc_matches *m, uint32_t rollout)
{
  size_t at = m->len;
  while (at > 0 && m->at[at - 1] > rollout) at--;
  if (at > 0 && m->at[at - 1] == rollout) return 0;
  if (m->len == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 16;
    uint32_t *grown = realloc(m->at, cap * sizeof *grown);
    if (!grown) return SC_ERR_NOMEM;
    m->at = grown;
    m->cap = cap;
  }
  memmove(m->at + at + 1, m->at + at, (m->len - at) * sizeof *m->at);
  m->at[at] = rollout;
  m->len++;
  return 0;
}

static int match_chain(const sc_index *t, uint32_t host, sc_str prefix, sc_matches *out)
{
  uint32_t place = *place_slot(t, host, prefix);
  if (place == SC_NONE) return 0;
  for (uint32_t i = t->places[place].head; i != SC_NONE; i = t->links[i].next) {
    int rv = add_match(out, t->links[i].rollout);
    if (rv < 0) return rv;
  }
  return 0;
}

static int match_paths(const sc_index *t, uint32_t host, sc_str path, sc_matches *out)
{
  if (host == SC_NONE) return 0;
  int rv = match_chain(t, host, (sc_str){NULL, 0}, out);
  size_t end = 0;
  for (uint32_t depth = 0; rv == 0 && depth < t->max_depth && end < path.len; depth++) {
    end = sc_str_find(path, end + 1, '/');
    rv = match_chain(t, host, sc_str_slice(path, 0, end), out);
  }
  return rv;
}

int sc_index_match(const sc_index *t, sc_str authority, sc_str path, sc_matches *out)
{
  uint8_t buffer[SC_MAX_HOST];
  sc_str host = sc_plain_host(authority, buffer);
  path = sc_str_slice(path, 0, sc_str_find(path, 0, '?'));
  out->len = 0;
  int rv = match_paths(t, *host_slot(t, (sc_str[2]){{NULL, 0}, {NULL, 0}}), path, out);
  if (rv == 0 && host.len > 0)
    rv = match_paths(t, *host_slot(t, (sc_str[2]){host, {NULL, 0}}), path, out);
  for (size_t dot = sc_str_find(host, 1, '.'); t->has_wildcards && rv == 0 && dot < host.len;
       dot = sc_str_find(host, dot + 1, '.'))
    rv = match_paths(t, *host_slot(t, (sc_str[2]){SC_LITERAL("*"), sc_str_slice(host, dot, host.len)}),
                     path, out);
  return rv;
}

void sc_matches_free(sc_matches *m)
{
  free(m->at);
  *m = (sc_matches){NULL, 0, 0};
}
