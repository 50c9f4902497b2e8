/* Which rollouts fit a host and a path.
 *
 * Theory. A request finds its rollouts in time that does not depend on how many there are: a first
 * hash table knows the hosts ("" any, "a.b", "*.b"), a second one the pairs (host, path prefix), and
 * each pair heads a chain of rollouts. A request looks up its host once per label and its path once
 * per segment, as deep as the deepest prefix of the table. */
#ifndef SC_INDEX_H
#define SC_INDEX_H

#include "sc_arena.h"
#include "sc_input.h"

typedef struct {
  sc_str prefix;
  uint32_t host_id;
  uint32_t head; /* first link of the chain */
  uint32_t tail; /* last link: chains keep the rollouts' order */
} sc_place;

typedef struct {
  uint32_t rollout, next;
} sc_link;

typedef struct {
  sc_link *links;
  sc_str *hosts;    /* by id */
  sc_place *places; /* the pairs of a host and a prefix */
  /* What stands in a slot is a host's id, or a place's number; SC_NONE: it is free. Four bytes each, because at
   * most half of the mask + 1 slots are taken. */
  uint32_t *host_slots, *place_slots;
  uint32_t n_hosts, used_links, used_hosts, used_places;
  uint32_t mask;
  uint32_t max_depth;
  bool has_wildcards;
} sc_index;

/* Room for so many pairs of a rollout and a host. */
bool sc_index_init(sc_index *index, sc_arena *arena, uint32_t n_hosts);

/* Adds a rollout, in ascending order; host "" is any. False if there is no room left. */
bool sc_index_add(sc_index *index, uint32_t rollout, sc_str host, sc_str prefix);

/* Caller-owned list of rollouts, by index, ascending and without repeats. Start from zeros. */
typedef struct {
  uint32_t *at;
  size_t len, cap;
} sc_matches;

/* The rollouts whose match fits this authority (port and case do not matter) and path. */
int sc_index_match(const sc_index *index, sc_str authority, sc_str path, sc_matches *out);
void sc_matches_free(sc_matches *matches);

#endif
