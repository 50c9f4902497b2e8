/* The routing table: immutable, loaded from one flat block of bytes that is checked in full.
 *
 * The bytes are private to one build (sidecar/routing/compiling.py writes them): never stored,
 * never sent. A table that loaded can be read by any number of threads at once.
 */
#ifndef SC_TABLE_H
#define SC_TABLE_H

#include "sc_index.h"
#include "sc_rule.h"
#include "sc_token.h"

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
} sc_variant;

typedef struct {
  sc_str name, salt, path_prefix;
  const sc_source *sources;
  const sc_variant *variants;
  sc_split split; /* by the weights of the variants */
  sc_rules rules;
  uint32_t first_tally; /* this rollout's first cell in a tally of the whole table */
  uint8_t n_sources, n_variants;
  uint8_t rank; /* above that of all it requires, so that no rollout waits for itself */
} sc_rollout;

typedef struct sc_table sc_table;

/* Copies and checks `bytes`. On SC_ERR_MALFORMED, `*reason` says what is wrong (static text). */
int sc_table_new(sc_table **out, sc_str bytes, const char **reason);
void sc_table_del(sc_table *table);

sc_str sc_table_version(const sc_table *table);
uint32_t sc_table_len(const sc_table *table);
const sc_rollout *sc_table_rollout(const sc_table *table, uint32_t at);
const sc_parts *sc_table_parts(const sc_table *table);

/* The keys whose force tokens the table honours. */
const sc_key *sc_table_keys(const sc_table *table, size_t *count);

/* Where the bytes of the first rollout that is not before `name` begin, and where that one's end: the
 * same place if it has another name, or if there is none. Behind them stands the next rollout. */
typedef struct {
  uint32_t at; /* how many rollouts are before it */
  const uint8_t *begin, *end;
} sc_span;

sc_span sc_table_span(const sc_table *table, sc_str name);

/* All rollouts' bytes: what the next table keeps of this one stands there. */
sc_str sc_table_body(const sc_table *table);

/* As the head announces them. */
typedef struct {
  uint32_t rollouts, hosts, sources, variants;
} sc_table_sizes;

sc_table_sizes sc_table_announced(const sc_table *table);

/* How many cells a tally has: one per variant and reason of every rollout (sc_decide.h). */
uint32_t sc_table_tallies(const sc_table *table);

/* The rollouts whose match fits this authority (port and case do not matter) and path. */
int sc_table_match(const sc_table *table, sc_str authority, sc_str path, sc_matches *out);

#endif
