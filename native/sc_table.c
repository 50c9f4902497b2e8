/* Layout of the bytes, little endian, strings as u16 length + bytes:
 *   "SCT3" u32 rollouts u32 hosts u32 sources u32 variants  str version
 *   u8 n, n x key {str id, str secret}   a u8 rank per rollout
 *   per rollout: str name, str salt, str prefix, u16 n, n x str host, u8 n, n x {u8 kind, str name},
 *                u8 n, n x str variant, split, rules (sc_load.c)
 * A rollout without hosts counts one host: "".
 */
#include "sc_table.h"

#include <stdlib.h>

#include "sc_decide.h"

struct sc_table {
  uint8_t *bytes;
  size_t len;
  sc_arena arena;
  sc_index index;
  sc_parts parts;
  sc_str version;
  sc_rollout *rollouts;
  sc_source *sources;
  sc_variant *variants;
  sc_key *keys;
  size_t n_keys;
  uint32_t n_rollouts, n_hosts, n_sources, n_variants;
  uint32_t used_sources, used_variants, tallies;
};

static int name_order(sc_str a, sc_str b)
{
  int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* ---- one rollout ---------------------------------------------------------------------------- */

static void add_host(sc_cursor *c, sc_table *t, uint32_t at, sc_str host, sc_str prefix)
{
  if (!sc_index_add(&t->index, at, host, prefix)) sc_refuse(c, "more hosts than announced");
}

static void read_hosts(sc_cursor *c, sc_table *t, uint32_t at, sc_str prefix)
{
  size_t n = (size_t)sc_read_uint(c, 2);
  if (n == 0) add_host(c, t, at, (sc_str){NULL, 0}, prefix);
  for (size_t i = 0; i < n && sc_fine(c); i++) {
    sc_str host = sc_read_str(c);
    if (host.len < 1 || host.len > SC_MAX_HOST)
      sc_refuse(c, "a host is empty or too long");
    else
      add_host(c, t, at, host, prefix);
  }
}

static void read_prefix(sc_cursor *c, sc_rollout *r)
{
  r->path_prefix = sc_read_str(c);
  if (r->path_prefix.len > 0 &&
      (r->path_prefix.data[0] != '/' || r->path_prefix.data[r->path_prefix.len - 1] == '/'))
    sc_refuse(c, "a path prefix does not begin with '/' or ends with it");
}

static void read_sources(sc_cursor *c, sc_table *t, sc_rollout *r)
{
  r->n_sources = (uint8_t)sc_read_uint(c, 1);
  r->sources = t->sources + t->used_sources;
  for (unsigned i = 0; i < r->n_sources && sc_fine(c); i++) {
    if (t->used_sources == t->n_sources) {
      sc_refuse(c, "more unit sources than announced");
      return;
    }
    uint64_t kind = sc_read_uint(c, 1);
    if (kind < SC_SOURCE_HEADER || kind > SC_SOURCE_CLIENT_ADDRESS)
      sc_refuse(c, "an unknown kind of unit source");
    t->sources[t->used_sources++] = (sc_source){(sc_source_kind)kind, sc_read_str(c)};
  }
}

static void read_variants(sc_cursor *c, sc_table *t, sc_rollout *r)
{
  r->n_variants = (uint8_t)sc_read_uint(c, 1);
  r->variants = t->variants + t->used_variants;
  for (unsigned i = 0; i < r->n_variants && sc_fine(c); i++) {
    if (t->used_variants == t->n_variants) {
      sc_refuse(c, "more variants than announced");
      return;
    }
    t->variants[t->used_variants++] = (sc_variant){sc_read_label(c)};
  }
  if (r->n_variants < 1 || r->n_variants > SC_MAX_VARIANTS)
    sc_refuse(c, "no variant, or too many");
  if (sc_fine(c)) sc_split_read(&r->split, c, r->n_variants);
}

static void place_tally(sc_cursor *c, sc_table *t, sc_rollout *r)
{
  uint32_t cells = r->n_variants * sc_reasons(r);
  if (t->tallies > UINT32_MAX - cells) sc_refuse(c, "too many segments and variants");
  r->first_tally = t->tallies;
  t->tallies += cells;
}

static void read_rollout(sc_cursor *c, sc_table *t, sc_loading *loading, uint32_t at)
{
  sc_rollout *r = &t->rollouts[at];
  r->name = sc_read_label(c);
  if (at > 0 && sc_fine(c) && name_order(t->rollouts[at - 1].name, r->name) >= 0)
    sc_refuse(c, "the rollouts are not in order, or one stands twice");
  r->salt = sc_read_str(c);
  read_prefix(c, r);
  if (sc_fine(c)) read_hosts(c, t, at, r->path_prefix);
  if (sc_fine(c)) read_sources(c, t, r);
  if (sc_fine(c)) read_variants(c, t, r);
  if (sc_fine(c)) sc_rules_read(&r->rules, c, loading, r->salt, r->n_variants);
  if (sc_fine(c)) place_tally(c, t, r);
}

/* ---- prerequisites -------------------------------------------------------------------------- */

/* How many rollouts stand before that name. */
static uint32_t place_of(const sc_table *t, sc_str name)
{
  uint32_t from = 0, to = t->n_rollouts;
  while (from < to) {
    uint32_t middle = from + (to - from) / 2;
    if (name_order(t->rollouts[middle].name, name) < 0)
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

static bool is_at(const sc_table *t, uint32_t at, sc_str name)
{
  return at < t->n_rollouts && sc_str_eq(t->rollouts[at].name, name);
}

static uint32_t find_rollout(const sc_table *t, sc_str name)
{
  uint32_t at = place_of(t, name);
  return is_at(t, at, name) ? at : SC_NONE;
}

static uint64_t slots_named(const sc_rollout *other, const sc_requirement *one)
{
  uint64_t slots = 0;
  for (unsigned slot = 0; slot < other->n_variants; slot++)
    for (unsigned i = 0; i < one->n_variants; i++)
      if (sc_str_eq(other->variants[slot].name, one->variants[i])) slots |= UINT64_C(1) << slot;
  return slots;
}

/* A rollout that is not in the table is a prerequisite that nobody meets. */
static void resolve_requires(sc_cursor *c, sc_table *t)
{
  for (uint32_t at = 0; at < t->n_rollouts; at++) {
    sc_rollout *r = &t->rollouts[at];
    for (unsigned i = 0; i < r->rules.n_requires; i++) {
      sc_requirement *one = &r->rules.requires[i];
      one->at = find_rollout(t, one->rollout);
      if (one->at == SC_NONE) continue;
      one->slots = slots_named(&t->rollouts[one->at], one);
      if (t->rollouts[one->at].rank >= r->rank) sc_refuse(c, "prerequisites in a circle");
    }
  }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void allocate(sc_cursor *c, sc_table *t)
{
  t->rollouts = sc_arena_get(&t->arena, t->n_rollouts, sizeof *t->rollouts);
  t->sources = sc_arena_get(&t->arena, t->n_sources, sizeof *t->sources);
  t->variants = sc_arena_get(&t->arena, t->n_variants, sizeof *t->variants);
  bool indexed = sc_index_init(&t->index, &t->arena, t->n_hosts);
  c->no_memory |= !t->rollouts || !t->sources || !t->variants || !indexed;
}

static void read_keys(sc_cursor *c, sc_table *t)
{
  t->n_keys = (size_t)sc_read_uint(c, 1);
  t->keys = sc_read_list(c, t->n_keys, sizeof *t->keys, 4);
  for (size_t i = 0; t->keys && i < t->n_keys; i++) {
    t->keys[i].id = sc_read_label(c);
    t->keys[i].secret = sc_read_str(c);
  }
}

static void read_head(sc_cursor *c, sc_table *t, size_t len)
{
  if (!sc_str_starts(c->rest, SC_LITERAL("SCT3"))) {
    sc_refuse(c, "not a routing table");
    return;
  }
  c->rest = sc_str_slice(c->rest, 4, c->rest.len);
  t->n_rollouts = (uint32_t)sc_read_uint(c, 4);
  t->n_hosts = (uint32_t)sc_read_uint(c, 4);
  t->n_sources = (uint32_t)sc_read_uint(c, 4);
  t->n_variants = (uint32_t)sc_read_uint(c, 4);
  t->version = sc_read_str(c);
  /* Each of them takes at least two bytes, so that a short block cannot ask for much memory. */
  uint64_t items = (uint64_t)t->n_rollouts + t->n_hosts + t->n_sources + t->n_variants;
  if (items > len / 2 || len > UINT32_MAX / 2) sc_refuse(c, "more announced than there are bytes");
}

static void read_rollouts(sc_cursor *c, sc_table *t)
{
  sc_loading loading = {.parts = &t->parts, .base = t->bytes};
  for (uint32_t i = 0; i < t->n_rollouts; i++) {
    t->rollouts[i].rank = (uint8_t)sc_read_uint(c, 1);
    if (t->rollouts[i].rank > SC_MAX_CHAIN) sc_refuse(c, "too many prerequisites in a row");
  }
  for (uint32_t i = 0; i < t->n_rollouts && sc_fine(c); i++) read_rollout(c, t, &loading, i);
  if (sc_fine(c)) sc_inputs_load(&t->parts.inputs, c, &loading.inputs);
  sc_loading_free(&loading);
}

static int load(sc_table *t, sc_str bytes, const char **reason)
{
  sc_cursor c = {.rest = {t->bytes, bytes.len}, .arena = &t->arena};
  read_head(&c, t, bytes.len);
  if (sc_fine(&c)) read_keys(&c, t);
  if (sc_fine(&c)) allocate(&c, t);
  if (sc_fine(&c)) read_rollouts(&c, t);
  if (sc_fine(&c)) {
    if (c.rest.len > 0) sc_refuse(&c, "bytes are left over");
    if (t->index.used_links != t->n_hosts || t->used_sources != t->n_sources ||
        t->used_variants != t->n_variants)
      sc_refuse(&c, "less than announced");
    resolve_requires(&c, t);
  }
  *reason = c.reason;
  if (c.no_memory) return SC_ERR_NOMEM;
  return c.reason ? SC_ERR_MALFORMED : 0;
}

int sc_table_new(sc_table **out, sc_str bytes, const char **reason)
{
  sc_table *t = calloc(1, sizeof *t);
  if (!t) return SC_ERR_NOMEM;
  int rv = SC_ERR_NOMEM;
  t->bytes = malloc(bytes.len + 1);
  t->len = bytes.len;
  if (t->bytes) {
    if (bytes.len > 0) memcpy(t->bytes, bytes.data, bytes.len);
    rv = load(t, bytes, reason);
  }
  if (rv < 0) {
    sc_table_del(t);
    return rv;
  }
  *out = t;
  return 0;
}

void sc_table_del(sc_table *t)
{
  if (!t) return;
  sc_parts_free(&t->parts);
  sc_arena_free(&t->arena);
  free(t->bytes);
  free(t);
}

/* A rollout's bytes begin with its name, whose length is two bytes. */
static const uint8_t *beginning(const sc_table *t, uint32_t at)
{
  return at < t->n_rollouts ? t->rollouts[at].name.data - 2 : t->bytes + t->len;
}

sc_span sc_table_span(const sc_table *t, sc_str name)
{
  uint32_t at = place_of(t, name);
  return (sc_span){at, beginning(t, at), beginning(t, is_at(t, at, name) ? at + 1 : at)};
}

sc_str sc_table_body(const sc_table *t)
{
  const uint8_t *begin = beginning(t, 0);
  return (sc_str){begin, (size_t)(t->bytes + t->len - begin)};
}

sc_table_sizes sc_table_announced(const sc_table *t)
{
  return (sc_table_sizes){t->n_rollouts, t->n_hosts, t->n_sources, t->n_variants};
}

sc_str sc_table_version(const sc_table *t) { return t->version; }

uint32_t sc_table_len(const sc_table *t) { return t->n_rollouts; }

const sc_rollout *sc_table_rollout(const sc_table *t, uint32_t at) { return &t->rollouts[at]; }

const sc_parts *sc_table_parts(const sc_table *t) { return &t->parts; }

const sc_key *sc_table_keys(const sc_table *t, size_t *count)
{
  *count = t->n_keys;
  return t->keys;
}

uint32_t sc_table_tallies(const sc_table *t) { return t->tallies; }

int sc_table_match(const sc_table *t, sc_str authority, sc_str path, sc_matches *out)
{
  return sc_index_match(&t->index, authority, path, out);
}
