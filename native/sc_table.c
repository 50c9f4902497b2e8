/* Theory. A request finds its rollouts in time that does not depend on how many there are: a first
 * hash table knows the hosts ("" any, "a.b", "*.b"), a second one the pairs (host, path prefix), and
 * each pair heads a chain of rollouts. A request looks up its host once per label and its path once
 * per segment, as deep as the deepest prefix of the table.
 *
 * Layout of the bytes, little endian, strings as u16 length + bytes:
 *   "SCT1" u32 rollouts u32 hosts u32 sources u32 variants  str version
 *   per rollout: str name, str salt, str prefix, u16 n, n x str host, u8 n, n x {u8 kind, str name},
 *                u8 whole, u8 n, n x {str name, u64 share}
 * A rollout without hosts counts one host: "".
 */
#include "sc_table.h"

#include <stdlib.h>

#include "sc_hash.h"

enum { MAX_HOST = 255, NONE = UINT32_MAX };

typedef struct {
  sc_str host;
  uint32_t id; /* NONE: the slot is free */
} host_slot;

typedef struct {
  sc_str prefix;
  uint32_t host_id;
  uint32_t head; /* first link of the chain; NONE: the slot is free */
  uint32_t tail; /* last link: chains keep the rollouts' order */
} path_slot;

typedef struct {
  uint32_t rollout, next;
} link;

struct sc_table {
  uint8_t *bytes;
  sc_str version;
  sc_rollout *rollouts;
  sc_source *sources;
  sc_variant *variants;
  link *links;
  host_slot *host_slots;
  path_slot *path_slots;
  uint32_t n_rollouts, n_hosts, n_sources, n_variants;
  uint32_t used_sources, used_variants, used_links, used_hosts;
  uint32_t mask; /* both hash tables have mask + 1 slots, at most half of them taken */
  uint32_t max_depth;
  bool has_wildcards;
};

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct {
  sc_str rest;
  const char *reason; /* the first thing that was wrong */
} cursor;

static bool refuse(cursor *c, const char *reason)
{
  if (!c->reason) c->reason = reason;
  return false;
}

static uint64_t read_uint(cursor *c, size_t width)
{
  if (c->rest.len < width) {
    c->rest.len = 0;
    refuse(c, "the bytes end early");
    return 0;
  }
  uint64_t x = 0;
  for (size_t i = 0; i < width; i++) x |= (uint64_t)c->rest.data[i] << (8 * i);
  c->rest = sc_str_slice(c->rest, width, c->rest.len);
  return x;
}

static sc_str read_str(cursor *c)
{
  size_t len = (size_t)read_uint(c, 2);
  if (c->rest.len < len) {
    refuse(c, "the bytes end early");
    len = 0;
  }
  sc_str text = sc_str_slice(c->rest, 0, len);
  c->rest = sc_str_slice(c->rest, len, c->rest.len);
  return text;
}

/* Names go into headers: nothing but a DNS label's characters may ever get there. */
static sc_str read_label(cursor *c)
{
  sc_str text = read_str(c);
  for (size_t i = 0; i < text.len; i++) {
    uint8_t b = text.data[i];
    if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-'))
      refuse(c, "a name is not a DNS label");
  }
  if (text.len < 1 || text.len > 63) refuse(c, "a name is empty or too long");
  return text;
}

static int name_order(sc_str a, sc_str b)
{
  int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* ---- the index ------------------------------------------------------------------------------ */

/* The host in two parts, so that "*" + ".b" needs no copy. */
static host_slot *host_at(const sc_table *t, const sc_str parts[2])
{
  for (uint32_t i = (uint32_t)sc_hash(parts, 2).low;; i++) {
    host_slot *slot = &t->host_slots[i & t->mask];
    if (slot->id == NONE) return slot;
    if (slot->host.len == parts[0].len + parts[1].len && sc_str_starts(slot->host, parts[0]) &&
        sc_str_eq(sc_str_slice(slot->host, parts[0].len, slot->host.len), parts[1]))
      return slot;
  }
}

static path_slot *path_at(const sc_table *t, uint32_t host_id, sc_str prefix)
{
  sc_str parts[] = {{(const uint8_t *)&host_id, sizeof host_id}, prefix};
  for (uint32_t i = (uint32_t)sc_hash(parts, 2).low;; i++) {
    path_slot *slot = &t->path_slots[i & t->mask];
    if (slot->head == NONE || (slot->host_id == host_id && sc_str_eq(slot->prefix, prefix)))
      return slot;
  }
}

static uint32_t host_id(sc_table *t, sc_str host)
{
  host_slot *slot = host_at(t, (sc_str[2]){host, {NULL, 0}});
  if (slot->id == NONE) *slot = (host_slot){host, t->used_hosts++};
  if (sc_str_starts(host, SC_LITERAL("*."))) t->has_wildcards = true;
  return slot->id;
}

static bool add_host(cursor *c, sc_table *t, uint32_t rollout, sc_str host, sc_str prefix)
{
  if (t->used_links == t->n_hosts) return refuse(c, "more hosts than announced");
  path_slot *slot = path_at(t, host_id(t, host), prefix);
  t->links[t->used_links] = (link){rollout, NONE};
  if (slot->head == NONE)
    *slot = (path_slot){prefix, host_id(t, host), t->used_links, t->used_links};
  else
    t->links[slot->tail].next = t->used_links;
  slot->tail = t->used_links++;
  return true;
}

/* ---- one rollout ---------------------------------------------------------------------------- */

static void read_hosts(cursor *c, sc_table *t, uint32_t at, sc_str prefix)
{
  size_t n = (size_t)read_uint(c, 2);
  if (n == 0) add_host(c, t, at, (sc_str){NULL, 0}, prefix);
  for (size_t i = 0; i < n && !c->reason; i++) {
    sc_str host = read_str(c);
    if (host.len < 1 || host.len > MAX_HOST)
      refuse(c, "a host is empty or too long");
    else
      add_host(c, t, at, host, prefix);
  }
}

static void read_prefix(cursor *c, sc_table *t, sc_rollout *r)
{
  r->path_prefix = read_str(c);
  uint32_t depth = 0;
  for (size_t i = 0; i < r->path_prefix.len; i++) depth += r->path_prefix.data[i] == '/';
  if (r->path_prefix.len > 0 &&
      (r->path_prefix.data[0] != '/' || r->path_prefix.data[r->path_prefix.len - 1] == '/'))
    refuse(c, "a path prefix does not begin with '/' or ends with it");
  if (depth > t->max_depth) t->max_depth = depth;
}

static void read_sources(cursor *c, sc_table *t, sc_rollout *r)
{
  r->n_sources = (uint8_t)read_uint(c, 1);
  r->sources = t->sources + t->used_sources;
  for (unsigned i = 0; i < r->n_sources && !c->reason; i++) {
    if (t->used_sources == t->n_sources) {
      refuse(c, "more unit sources than announced");
      return;
    }
    uint64_t kind = read_uint(c, 1);
    if (kind < SC_SOURCE_HEADER || kind > SC_SOURCE_CLIENT_ADDRESS)
      refuse(c, "an unknown kind of unit source");
    t->sources[t->used_sources++] = (sc_source){(sc_source_kind)kind, read_str(c)};
  }
}

static void read_variants(cursor *c, sc_table *t, sc_rollout *r)
{
  r->whole = (uint8_t)read_uint(c, 1);
  r->n_variants = (uint8_t)read_uint(c, 1);
  r->variants = t->variants + t->used_variants;
  r->first_variant = t->used_variants;
  sc_u128 sum = 0, line = (sc_u128)1 << 64;
  for (unsigned i = 0; i < r->n_variants && !c->reason; i++) {
    if (t->used_variants == t->n_variants) {
      refuse(c, "more variants than announced");
      return;
    }
    sc_variant v = {.name = read_label(c), .share = read_uint(c, 8)};
    sum += v.share;
    t->variants[t->used_variants++] = v;
  }
  if (r->n_variants < 1 || r->n_variants > SC_MAX_VARIANTS)
    refuse(c, "no variant, or too many");
  if (r->whole != SC_NO_SLOT && r->whole >= r->n_variants)
    refuse(c, "the slot with all the weight does not exist");
  if (sum > line) refuse(c, "the shares overlap");
  /* Flooring loses less than one point per variant; more is missing only if the bytes are wrong. */
  if (sum + SC_MAX_VARIANTS < line) refuse(c, "the shares do not fill the line");
}

static void read_rollout(cursor *c, sc_table *t, uint32_t at)
{
  sc_rollout *r = &t->rollouts[at];
  r->name = read_label(c);
  if (at > 0 && !c->reason && name_order(t->rollouts[at - 1].name, r->name) >= 0)
    refuse(c, "the rollouts are not in order, or one stands twice");
  r->salt = read_str(c);
  read_prefix(c, t, r);
  if (!c->reason) read_hosts(c, t, at, r->path_prefix);
  if (!c->reason) read_sources(c, t, r);
  if (!c->reason) read_variants(c, t, r);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int allocate(sc_table *t)
{
  uint32_t slots = 2;
  while (slots < 2 * (t->n_hosts + 1)) slots *= 2;
  t->mask = slots - 1;
  t->rollouts = calloc((size_t)t->n_rollouts + 1, sizeof *t->rollouts);
  t->sources = calloc((size_t)t->n_sources + 1, sizeof *t->sources);
  t->variants = calloc((size_t)t->n_variants + 1, sizeof *t->variants);
  t->links = calloc((size_t)t->n_hosts + 1, sizeof *t->links);
  t->host_slots = malloc(slots * sizeof *t->host_slots);
  t->path_slots = malloc(slots * sizeof *t->path_slots);
  if (!t->rollouts || !t->sources || !t->variants || !t->links || !t->host_slots || !t->path_slots)
    return SC_ERR_NOMEM;
  for (uint32_t i = 0; i < slots; i++) {
    t->host_slots[i] = (host_slot){{NULL, 0}, NONE};
    t->path_slots[i] = (path_slot){{NULL, 0}, NONE, NONE, NONE};
  }
  return 0;
}

static bool read_head(cursor *c, sc_table *t, size_t len)
{
  if (!sc_str_starts(c->rest, SC_LITERAL("SCT1"))) return refuse(c, "not a routing table");
  c->rest = sc_str_slice(c->rest, 4, c->rest.len);
  t->n_rollouts = (uint32_t)read_uint(c, 4);
  t->n_hosts = (uint32_t)read_uint(c, 4);
  t->n_sources = (uint32_t)read_uint(c, 4);
  t->n_variants = (uint32_t)read_uint(c, 4);
  t->version = read_str(c);
  /* Each of them takes at least two bytes, so that a short block cannot ask for much memory. */
  uint64_t items = (uint64_t)t->n_rollouts + t->n_hosts + t->n_sources + t->n_variants;
  if (items > len / 2 || len > UINT32_MAX) return refuse(c, "more announced than there are bytes");
  return !c->reason;
}

static int load(sc_table *t, sc_str bytes, const char **reason)
{
  cursor c = {.rest = {t->bytes, bytes.len}};
  if (read_head(&c, t, bytes.len)) {
    if (allocate(t) < 0) return SC_ERR_NOMEM;
    for (uint32_t i = 0; i < t->n_rollouts && !c.reason; i++) read_rollout(&c, t, i);
    if (c.rest.len > 0) refuse(&c, "bytes are left over");
    if (t->used_links != t->n_hosts || t->used_sources != t->n_sources || t->used_variants != t->n_variants)
      refuse(&c, "less than announced");
  }
  *reason = c.reason;
  return c.reason ? SC_ERR_MALFORMED : 0;
}

int sc_table_new(sc_table **out, sc_str bytes, const char **reason)
{
  sc_table *t = calloc(1, sizeof *t);
  if (!t) return SC_ERR_NOMEM;
  int rv = SC_ERR_NOMEM;
  t->bytes = malloc(bytes.len + 1);
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
  free(t->bytes);
  free(t->rollouts);
  free(t->sources);
  free(t->variants);
  free(t->links);
  free(t->host_slots);
  free(t->path_slots);
  free(t);
}

sc_str sc_table_version(const sc_table *t) { return t->version; }

uint32_t sc_table_len(const sc_table *t) { return t->n_rollouts; }

uint32_t sc_table_variants(const sc_table *t) { return t->n_variants; }

const sc_rollout *sc_table_rollout(const sc_table *t, uint32_t at) { return &t->rollouts[at]; }

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

static int match_chain(const sc_table *t, uint32_t host, sc_str prefix, sc_matches *out)
{
  for (uint32_t i = path_at(t, host, prefix)->head; i != NONE; i = t->links[i].next) {
    int rv = add_match(out, t->links[i].rollout);
    if (rv < 0) return rv;
  }
  return 0;
}

static int match_paths(const sc_table *t, uint32_t host, sc_str path, sc_matches *out)
{
  if (host == NONE) return 0;
  int rv = match_chain(t, host, (sc_str){NULL, 0}, out);
  size_t end = 0;
  for (uint32_t depth = 0; rv == 0 && depth < t->max_depth && end < path.len; depth++) {
    end = sc_str_find(path, end + 1, '/');
    rv = match_chain(t, host, sc_str_slice(path, 0, end), out);
  }
  return rv;
}

/* The host without its port, lower case, in `buffer`. A host too long to match any becomes "". */
static sc_str plain_host(sc_str authority, uint8_t buffer[MAX_HOST])
{
  size_t from = authority.len > 0 && authority.data[0] == '[' ? sc_str_find(authority, 0, ']') : 0;
  size_t len = sc_str_find(authority, from, ':');
  if (len > MAX_HOST) len = 0;
  for (size_t i = 0; i < len; i++) {
    uint8_t b = authority.data[i];
    buffer[i] = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
  }
  return (sc_str){buffer, len};
}

int sc_table_match(const sc_table *t, sc_str authority, sc_str path, sc_matches *out)
{
  uint8_t buffer[MAX_HOST];
  sc_str host = plain_host(authority, buffer);
  path = sc_str_slice(path, 0, sc_str_find(path, 0, '?'));
  out->len = 0;
  int rv = match_paths(t, host_at(t, (sc_str[2]){{NULL, 0}, {NULL, 0}})->id, path, out);
  if (rv == 0 && host.len > 0)
    rv = match_paths(t, host_at(t, (sc_str[2]){host, {NULL, 0}})->id, path, out);
  for (size_t dot = sc_str_find(host, 1, '.'); t->has_wildcards && rv == 0 && dot < host.len;
       dot = sc_str_find(host, dot + 1, '.'))
    rv = match_paths(t, host_at(t, (sc_str[2]){SC_LITERAL("*"), sc_str_slice(host, dot, host.len)})->id,
                     path, out);
  return rv;
}

void sc_matches_free(sc_matches *m)
{
  free(m->at);
  *m = (sc_matches){NULL, 0, 0};
}
