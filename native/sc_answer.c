/* The answer is written backwards, from the end of the buffer: when the length of a sub-message is
 * needed, its bytes already stand, so nothing is measured first and nothing is moved. Read every
 * function here from its last line to its first.
 *
 * Field numbers: envoy/service/ext_proc/v3/external_processor.proto, google/protobuf/struct.proto.
 */
#include "sc_answer.h"

#include "sc_lines.h"

enum { OVERWRITE_IF_EXISTS_OR_ADD = 2 };

static const sc_str reserved = {(const uint8_t *)"x-canary-", 9};

typedef struct {
  sc_scratch *scratch;
  size_t at; /* the answer so far is buffer[at .. buffer_cap) */
  bool failed;
} writer;

/* ---- the wire, backwards -------------------------------------------------------------------- */

static bool room_for(writer *w, size_t len)
{
  sc_scratch *s = w->scratch;
  if (w->failed) return false;
  size_t used = s->buffer_cap - w->at;
  size_t cap = s->buffer_cap ? s->buffer_cap : 1024;
  while (cap - used < len) cap *= 2;
  uint8_t *grown = malloc(cap);
  if (!grown) {
    w->failed = true;
    return false;
  }
  if (used > 0) memcpy(grown + cap - used, s->buffer + w->at, used);
  free(s->buffer);
  s->buffer = grown;
  s->buffer_cap = cap;
  w->at = cap - used;
  return true;
}

static inline void put(writer *w, sc_str bytes)
{
  if (bytes.len == 0 || (w->at < bytes.len && !room_for(w, bytes.len))) return;
  w->at -= bytes.len;
  memcpy(w->scratch->buffer + w->at, bytes.data, bytes.len);
}

static void put_long_varint(writer *w, uint64_t x)
{
  uint8_t bytes[10];
  size_t len = 0;
  do {
    bytes[len++] = (uint8_t)(x | 0x80);
    x >>= 7;
  } while (x > 0);
  bytes[len - 1] &= 0x7f;
  put(w, (sc_str){bytes, len});
}

/* Nearly every tag and length is one byte. */
static inline void put_varint(writer *w, uint64_t x)
{
  if (x < 0x80 && w->at > 0)
    w->scratch->buffer[--w->at] = (uint8_t)x;
  else
    put_long_varint(w, x);
}

static void put_scalar(writer *w, uint32_t number, uint64_t x)
{
  put_varint(w, x);
  put_varint(w, number << 3);
}

static size_t written(const writer *w) { return w->scratch->buffer_cap - w->at; }

/* Everything written since `written(w)` was `before` becomes the sub-message `number`. */
static void wrap(writer *w, uint32_t number, size_t before)
{
  put_varint(w, written(w) - before);
  put_varint(w, number << 3 | 2);
}

static void put_bytes(writer *w, uint32_t number, sc_str bytes)
{
  put(w, bytes);
  put_varint(w, bytes.len);
  put_varint(w, number << 3 | 2);
}

/* ---- dynamic metadata: {canary: {<rollout>: {variant, version, reason, unit}}} ----------------- */

/* A google.protobuf.Value since `before` becomes the entry `key` of a Struct. */
static void wrap_entry(writer *w, sc_str key, size_t before)
{
  wrap(w, 2, before);
  put_bytes(w, 1, key);
  wrap(w, 1, before);
}

static void put_string_entry(writer *w, sc_str key, sc_str text)
{
  size_t before = written(w);
  put_bytes(w, 3, text);
  wrap_entry(w, key, before);
}

/* The fields since `before` become a Struct under `key`. */
static void wrap_struct_entry(writer *w, sc_str key, size_t before)
{
  wrap(w, 5, before);
  wrap_entry(w, key, before);
}

static void put_unit(writer *w, uint64_t second)
{
  uint8_t hex[16];
  for (unsigned i = 0; i < 16; i++) hex[i] = (uint8_t)"0123456789abcdef"[second >> (60 - 4 * i) & 15];
  put_string_entry(w, SC_LITERAL("unit"), (sc_str){hex, sizeof hex});
}

static void put_decision(writer *w, const sc_table *table, const sc_decision *d)
{
  size_t before = written(w);
  if (d->has_unit) put_unit(w, d->second);
  put_string_entry(w, SC_LITERAL("reason"), sc_reason_name(d->rollout, d->reason));
  put_string_entry(w, SC_LITERAL("version"), sc_table_version(table));
  put_string_entry(w, SC_LITERAL("variant"), d->rollout->variants[d->slot].name);
  wrap_struct_entry(w, d->rollout->name, before);
}

static void put_metadata(writer *w, const sc_table *table, const sc_scratch *s)
{
  if (s->n_decisions == 0) return;
  size_t before = written(w);
  for (size_t i = s->n_decisions; i-- > 0;) put_decision(w, table, &s->decisions[i]);
  wrap_struct_entry(w, SC_LITERAL("canary"), before);
  wrap(w, 8, before);
}

/* ---- header mutation ------------------------------------------------------------------------ */

static void put_header(writer *w, const sc_decision *d)
{
  size_t before = written(w);
  put_scalar(w, 3, OVERWRITE_IF_EXISTS_OR_ADD);
  size_t header = written(w);
  put_bytes(w, 3, d->rollout->variants[d->slot].name);
  size_t key = written(w);
  put(w, d->rollout->name);
  put(w, reserved);
  wrap(w, 1, key);
  wrap(w, 1, header);
  wrap(w, 1, before);
}

static bool is_ours(const sc_scratch *s, sc_str key)
{
  sc_str name = sc_str_slice(key, reserved.len, key.len);
  for (size_t i = 0; i < s->n_decisions; i++)
    if (sc_str_eq(s->decisions[i].rollout->name, name)) return true;
  return false;
}

/* Envoy strips the reserved prefix before the first route match; where somebody's configuration
 * forgot to, what a client sent is removed here, unless we overwrite it anyway. */
static void put_removals(writer *w, const sc_scratch *s)
{
  for (size_t i = s->request.n_headers; i-- > 0;) {
    sc_str key = s->request.headers[i].key;
    if (sc_str_starts(key, reserved) && !is_ours(s, key)) put_bytes(w, 2, key);
  }
}

/* The route cache is cleared on every answer, and a header mutation is always present, even an
 * empty one: Envoy ignores the first without the second. */
static void put_common_response(writer *w, const sc_scratch *s)
{
  size_t before = written(w);
  put_scalar(w, 5, 1);
  size_t mutation = written(w);
  put_removals(w, s);
  for (size_t i = s->n_decisions; i-- > 0;) put_header(w, &s->decisions[i]);
  wrap(w, 2, mutation);
  wrap(w, 1, before);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int fit_decisions(sc_scratch *s)
{
  if (s->decisions_cap < s->matches.len) {
    sc_decision *grown = realloc(s->decisions, s->matches.cap * sizeof *grown);
    if (!grown) return SC_ERR_NOMEM;
    s->decisions = grown;
    s->decisions_cap = s->matches.cap;
  }
  for (size_t i = 0; i < s->matches.len; i++) s->decisions[i].rollout = NULL;
  return 0;
}

/* Where a rollout stands among those that speak; their number if it does not. */
static size_t speaking_at(const sc_matches *m, uint32_t rollout)
{
  size_t from = 0, to = m->len;
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (m->at[middle] < rollout)
      from = middle + 1;
    else
      to = middle;
  }
  return from < m->len && m->at[from] == rollout ? from : m->len;
}

/* Decides what it requires first: ranks fall on the way, so the recursion ends (SC_MAX_CHAIN). */
static void settle(const sc_table *table, const sc_asked *asked, sc_scratch *s, size_t i)
{
  const sc_rollout *rollout = sc_table_rollout(table, s->matches.at[i]);
  bool met = true;
  for (unsigned n = 0; met && n < rollout->rules.n_requires; n++) {
    const sc_requirement *one = &rollout->rules.requires[n];
    size_t other = speaking_at(&s->matches, one->at);
    met = other < s->matches.len;
    if (met && !s->decisions[other].rollout) settle(table, asked, s, other);
    met = met && one->slots >> s->decisions[other].slot & 1;
  }
  s->decisions[i] = sc_decide(rollout, asked, met);
}

int sc_answer_decide(const sc_table *table, int64_t now_s, sc_scratch *s)
{
  s->n_decisions = 0;
  int rv = sc_table_match(table, s->request.authority, s->request.path, &s->matches);
  if (rv == 0) rv = fit_decisions(s);
  if (rv < 0) return rv;
  size_t n_keys;
  const sc_key *keys = sc_table_keys(table, &n_keys);
  sc_str token = sc_find_header(&s->request, SC_LITERAL("canary-force"));
  sc_token_read(token, keys, n_keys, now_s, &s->force);
  sc_findings_next(&s->findings);
  sc_asked asked = {&s->request, sc_table_parts(table), &s->force, &s->findings};
  for (size_t i = 0; i < s->matches.len; i++)
    if (!s->decisions[i].rollout) settle(table, &asked, s, i);
  if (s->findings.no_memory) return SC_ERR_NOMEM;
  s->n_decisions = s->matches.len;
  return 0;
}

/* ---- counting ------------------------------------------------------------------------------- */

static size_t cell_of(const sc_rollout *rollout, uint8_t slot, uint32_t reason)
{
  return rollout->first_tally + (size_t)slot * sc_reasons(rollout) + reason;
}

static void count(sc_scratch *s)
{
  for (size_t i = 0; i < s->n_decisions; i++) {
    const sc_decision *d = &s->decisions[i];
    sc_count(&s->tally[cell_of(d->rollout, d->slot, d->reason)], 1);
  }
  if (s->force.refusal != SC_TOKEN_FINE) sc_count(&s->refused[s->force.refusal], 1);
}

static bool step_over(sc_tally_cell *cell)
{
  if (++cell->reason < sc_reasons(cell->rollout)) return false;
  cell->reason = 0;
  if (++cell->slot < cell->rollout->n_variants) return false;
  cell->slot = 0;
  cell->at++;
  return true;
}

bool sc_tally_next(const sc_table *table, sc_tally_cell *cell)
{
  bool another = cell->begun ? step_over(cell) : true;
  cell->begun = true;
  if (cell->at >= sc_table_len(table)) return false;
  if (another) cell->rollout = sc_table_rollout(table, cell->at);
  return true;
}

/* ---- all of it ------------------------------------------------------------------------------ */

int sc_answer(const sc_table *table, sc_str message, int64_t now_s, sc_scratch *s, sc_str *out)
{
  *out = (sc_str){NULL, 0};
  s->force.refusal = SC_TOKEN_FINE;
  int rv = sc_request_parse(&s->request, message);
  if (rv < 0 || s->request.observability_mode || s->request.kind == SC_MESSAGE_NONE) return rv;
  writer w = {.scratch = s, .at = s->buffer_cap};
  if (s->request.kind == SC_MESSAGE_REQUEST_HEADERS) {
    rv = sc_answer_decide(table, now_s, s);
    if (rv < 0) return rv;
    put_metadata(&w, table, s);
    size_t before = written(&w);
    put_common_response(&w, s);
    wrap(&w, 1, before);
  } else {
    wrap(&w, (uint32_t)s->request.kind - 1, written(&w));
  }
  if (w.failed) return SC_ERR_NOMEM;
  if (s->request.kind == SC_MESSAGE_REQUEST_HEADERS) count(s);
  *out = (sc_str){s->buffer + w.at, written(&w)};
  return 0;
}

int sc_scratch_init(sc_scratch *s, const sc_table *table)
{
  s->tally = sc_lines_new(((size_t)sc_table_tallies(table) + 1) * sizeof *s->tally);
  return s->tally ? sc_findings_init(&s->findings, &sc_table_parts(table)->inputs) : SC_ERR_NOMEM;
}

uint64_t sc_scratch_tally(const sc_scratch *s, const sc_rollout *rollout, uint8_t slot, uint32_t reason)
{
  return sc_counted(&s->tally[cell_of(rollout, slot, reason)]);
}

uint64_t sc_scratch_refused(const sc_scratch *s, sc_token_refusal why)
{
  return sc_counted(&s->refused[why]);
}

void sc_scratch_free(sc_scratch *s)
{
  free(s->tally);
  sc_findings_free(&s->findings);
  sc_request_free(&s->request);
  sc_matches_free(&s->matches);
  free(s->decisions);
  free(s->buffer);
  *s = (sc_scratch){0};
}
