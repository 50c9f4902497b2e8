/* The routing table: immutable, loaded from one flat block of bytes that is checked in full.
 *
 * The bytes are private to one build (sidecar/routing/compiling.py writes them): never stored,
 * never sent. A table that loaded can be read by any number of threads at once.
 */
#ifndef SC_TABLE_H
#define SC_TABLE_H

#include "sc_base.h"

enum { SC_MAX_VARIANTS = 64, SC_NO_SLOT = 255 };

typedef enum {
  SC_SOURCE_HEADER = 1,
  SC_SOURCE_COOKIE = 2,
  SC_SOURCE_QUERY = 3,
  SC_SOURCE_CLIENT_ADDRESS = 4,
} sc_source_kind;

typedef struct {
  sc_source_kind kind;
  sc_str name;
} sc_source;

typedef struct {
  sc_str name;
  uint64_t share; /* floor(weight * 2^64 / sum of weights); meaningless where it is the whole line */
} sc_variant;

typedef struct {
  sc_str name, salt, path_prefix;
  const sc_source *sources;
  const sc_variant *variants;
  uint32_t first_variant; /* this rollout's slot 0 among the variants of all rollouts */
  uint8_t n_sources, n_variants;
  uint8_t whole; /* the slot that has all the weight, or SC_NO_SLOT */
} sc_rollout;

typedef struct sc_table sc_table;

/* Copies and checks `bytes`. On SC_ERR_MALFORMED, `*reason` says what is wrong (static text). */
int sc_table_new(sc_table **out, sc_str bytes, const char **reason);
void sc_table_del(sc_table *table);

sc_str sc_table_version(const sc_table *table);
uint32_t sc_table_len(const sc_table *table);
uint32_t sc_table_variants(const sc_table *table); /* of all rollouts together */
const sc_rollout *sc_table_rollout(const sc_table *table, uint32_t at);

/* Caller-owned list of rollouts, by index, ascending and without repeats. Start from zeros. */
typedef struct {
  uint32_t *at;
  size_t len, cap;
} sc_matches;

/* The rollouts whose match fits this authority (port and case do not matter) and path. */
int sc_table_match(const sc_table *table, sc_str authority, sc_str path, sc_matches *out);
void sc_matches_free(sc_matches *matches);

#endif
