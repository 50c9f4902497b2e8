#include "sc_rows.h"

#include <pthread.h>
#include <stdlib.h>

#include "sc_accesslog.h"
#include "sc_hash.h"
#include "sc_journal.h"
#include "sc_odds.h"
#include "sc_recent.h"

#define DAY_US (86400ull * 1000000)
#define AHEAD_US (5ull * 1000000)

enum { SEEN = 1, ERRED = 2 };            /* marks of a unit */
enum { FIRST = 1, FIRST_ERROR = 2, AT_RISK = 4, ERROR = 8 }; /* of a record */
enum { TABLES = 1 << 16, FIRST_ROOM = 256 };
enum { ROWS = 512, INDEX = 2 * ROWS };
enum { LONGEST_VERSION = 255 };
enum { CLIENT_LEFT = 1 << 15 }; /* ResponseFlags.downstream_connection_termination */

struct sc_rows {
  sc_logs logs;
  pthread_mutex_t lock; /* over everything down to `folded` */
  sc_journal journal;
  sc_recent units;
  sc_odds odds;
  sc_marks names; /* hashes of rollouts, and of rollouts with a variant */
  uint64_t counts[SC_ROWS_COUNTS];
  /* The folding thread's own. */
  size_t n_folded;
  uint16_t index[INDEX]; /* 0, or a row's number plus one */
  sc_row folded[ROWS];
};

/* In the journal; the four texts follow, in this order, and padding to eight bytes. */
typedef struct {
  uint32_t size, second;
  uint64_t duration_us, bytes_sent, bytes_received;
  uint32_t flags;
  uint8_t http_class, grpc_status, marks, spare;
  uint8_t lens[4];
  uint32_t spare2;
} record;

/* ---- what may be named ---------------------------------------------------------------------- */

static uint64_t hash_of(sc_str one, sc_str two, sc_str three)
{
  const sc_str zero = SC_LITERAL("\0");
  const sc_str parts[] = {one, zero, two, zero, three};
  return sc_hash(parts, 5).low;
}

static const sc_str nothing = {NULL, 0};

static uint64_t hash_of_one(sc_str text) { return hash_of(text, nothing, nothing); }

int sc_rows_know_version(sc_rows *rows, sc_str version)
{
  pthread_mutex_lock(&rows->lock);
  int rv = sc_odds_know(&rows->odds, hash_of_one(version));
  pthread_mutex_unlock(&rows->lock);
  return rv;
}

int sc_rows_begin_version(sc_rows *rows, sc_str version)
{
  if (version.len == 0 || version.len > LONGEST_VERSION) return SC_ERR_MALFORMED;
  pthread_mutex_lock(&rows->lock);
  int rv = sc_odds_begin(&rows->odds, hash_of_one(version), version);
  pthread_mutex_unlock(&rows->lock);
  return rv;
}

int sc_rows_change_odds(sc_rows *rows, sc_str rollout, sc_str version)
{
  pthread_mutex_lock(&rows->lock);
  int rv = sc_odds_change(&rows->odds, hash_of_one(rollout), version);
  pthread_mutex_unlock(&rows->lock);
  return rv;
}

static int grow(sc_marks *set)
{
  sc_marks larger;
  if (sc_marks_init(&larger, set->room * 2) < 0) return SC_ERR_NOMEM;
  for (size_t i = 0; i <= set->mask; i++)
    if (set->places[i]) sc_marks_add(&larger, set->places[i], (unsigned)set->places[i] & SC_MARKS_MAX);
  sc_marks_free(set);
  *set = larger;
  return 0;
}

int sc_rows_know_variant(sc_rows *rows, sc_str rollout, sc_str variant)
{
  pthread_mutex_lock(&rows->lock);
  int rv = rows->names.room - rows->names.len < 2 ? grow(&rows->names) : 0;
  if (rv == 0) {
    sc_marks_add(&rows->names, hash_of_one(rollout), SEEN);
    sc_marks_add(&rows->names, hash_of(rollout, variant, nothing), SEEN);
  }
  pthread_mutex_unlock(&rows->lock);
  return rv;
}

/* Also says since which table the rollout has had the odds of this decision. */
static sc_rows_count judged(const sc_rows *rows, const sc_logged_decision *d, sc_str *since)
{
  uint64_t rollout = hash_of_one(d->rollout);
  *since = sc_odds_since(&rows->odds, hash_of_one(d->version), d->version, rollout);
  if (since->len == 0) return SC_UNKNOWN_VERSION;
  if (sc_marks_get(&rows->names, hash_of(d->rollout, d->variant, nothing))) return SC_TAKEN;
  return sc_marks_get(&rows->names, rollout) ? SC_UNKNOWN_VARIANT : SC_UNKNOWN_ROLLOUT;
}

/* ---- an entry becomes records --------------------------------------------------------------- */

/* The server's fault. gRPC: the codes OpenTelemetry's conventions call errors of a server (UNKNOWN,
 * DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS). No answer at all is one too, unless
 * the client left first. */
static bool is_error(const sc_entry *e)
{
  const uint32_t server_faults = 1u << 2 | 1u << 4 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15;
  if (e->grpc_status < SC_GRPC_OTHER && server_faults >> e->grpc_status & 1) return true;
  return e->code >= 500 || (e->code == 0 && !(e->flags & CLIENT_LEFT));
}

static uint8_t marks_of(sc_rows *rows, const sc_logged_decision *d, sc_str since, bool error)
{
  uint8_t marks = error ? ERROR : 0;
  if (!d->has_unit) return marks;
  /* The unit is a hash already: what else is in the key is laid over it. */
  uint64_t key = d->unit * 0x9e3779b97f4a7c15 ^ hash_of(d->rollout, d->variant, since);
  unsigned had = sc_recent_mark(&rows->units, key, error ? SEEN | ERRED : SEEN);
  if (!had) marks |= FIRST;
  if (had & ERRED) return marks;
  return marks | AT_RISK | (error ? FIRST_ERROR : 0);
}

static size_t record_size(const sc_logged_decision *d, size_t version)
{
  size_t texts = d->rollout.len + d->variant.len + version + d->reason.len;
  return (sizeof(record) + texts + 7) / 8 * 8;
}

/* Returns its size. */
static size_t write_record(uint8_t *at, const sc_entry *e, const sc_logged_decision *d, sc_str since,
                           uint8_t marks)
{
  const sc_str texts[] = {d->rollout, d->variant, since, d->reason};
  record r = {
      .size = (uint32_t)record_size(d, since.len),
      .second = (uint32_t)(e->start_us / 1000000),
      .duration_us = e->duration_us,
      .bytes_sent = e->bytes_sent,
      .bytes_received = e->bytes_received,
      .flags = e->flags,
      .http_class = (uint8_t)(e->code >= 100 && e->code < 600 ? e->code / 100 : 0),
      .grpc_status = e->grpc_status,
      .marks = marks,
  };
  for (unsigned i = 0; i < 4; i++) r.lens[i] = (uint8_t)texts[i].len;
  memcpy(at, &r, sizeof r);
  at += sizeof r;
  for (unsigned i = 0; i < 4; at += texts[i++].len) memcpy(at, texts[i].data, texts[i].len);
  return r.size;
}

/* One commit for all the decisions of a request: all of them, or none. */
static void append(sc_rows *rows, const sc_entry *e)
{
  size_t len = 0;
  for (unsigned i = 0; i < e->n_decisions; i++) len += record_size(&e->decisions[i], LONGEST_VERSION);
  uint8_t *at = sc_journal_room(&rows->journal, len);
  if (!at) {
    rows->counts[SC_OVERRUN]++;
    return;
  }
  size_t written = 0;
  bool error = is_error(e);
  rows->counts[SC_CROWDED] += e->unread_decisions;
  for (unsigned i = 0; i < e->n_decisions; i++) {
    const sc_logged_decision *d = &e->decisions[i];
    sc_str since;
    sc_rows_count count = judged(rows, d, &since);
    if (count != SC_TAKEN) {
      rows->counts[count]++;
      continue;
    }
    written += write_record(at + written, e, d, since, marks_of(rows, d, since, error));
  }
  sc_journal_commit(&rows->journal, written);
  if (written > 0) rows->counts[SC_TAKEN]++;
}

typedef struct {
  sc_rows *rows;
  uint64_t now_us;
  sc_entry entry;
} taking;

static sc_rows_count timely(const sc_entry *e, uint64_t now_us)
{
  if (e->start_us > now_us + AHEAD_US) return SC_FUTURE;
  return e->start_us + DAY_US < now_us ? SC_TOO_OLD : SC_TAKEN;
}

static int take_entry(void *into, sc_str bytes)
{
  taking *t = into;
  sc_rows *rows = t->rows;
  sc_rows_count count = SC_TAKEN;
  if (sc_entry_parse(&t->entry, bytes) < 0) count = SC_MALFORMED;
  else if (t->entry.intermediate) count = SC_INTERMEDIATE;
  else if (t->entry.n_decisions == 0) count = SC_UNDECIDED;
  else count = timely(&t->entry, t->now_us);
  pthread_mutex_lock(&rows->lock);
  if (count == SC_TAKEN) append(rows, &t->entry);
  else rows->counts[count]++;
  pthread_mutex_unlock(&rows->lock);
  return 0;
}

void sc_rows_take(sc_rows *rows, sc_str message, uint64_t now_us)
{
  taking t;
  t.rows = rows;
  t.now_us = now_us;
  if (sc_accesslog_read(message, take_entry, &t) == 0) return;
  pthread_mutex_lock(&rows->lock);
  rows->counts[SC_MALFORMED_MESSAGES]++;
  pthread_mutex_unlock(&rows->lock);
}

sc_logs *sc_rows_logs(sc_rows *rows) { return &rows->logs; }

/* ---- records become rows -------------------------------------------------------------------- */

unsigned sc_bucket(uint64_t us)
{
  if (us < 1u << SC_LOWEST_BIT) return 0;
  if (us >= 1u << SC_HIGHEST_BIT) return SC_BUCKETS - 1;
  unsigned high = 63 - (unsigned)__builtin_clzll(us);
  unsigned sub = (unsigned)(us >> (high - SC_SUB_BITS)) - (1u << SC_SUB_BITS);
  return 1 + ((high - SC_LOWEST_BIT) << SC_SUB_BITS) + sub;
}

static bool same_row(const sc_row *a, const sc_row *b)
{
  return a->second == b->second && sc_str_eq(a->rollout, b->rollout) &&
         sc_str_eq(a->variant, b->variant) && sc_str_eq(a->version, b->version) &&
         sc_str_eq(a->segment, b->segment);
}

/* The row of this key, made if need be; NULL if there is no room for another. */
static sc_row *row_of(sc_rows *rows, const sc_row *key, uint64_t hash)
{
  size_t at = hash % INDEX;
  for (; rows->index[at]; at = (at + 1) % INDEX) {
    sc_row *row = &rows->folded[rows->index[at] - 1];
    if (same_row(row, key)) return row;
  }
  if (rows->n_folded == ROWS) return NULL;
  sc_row *row = &rows->folded[rows->n_folded++];
  rows->index[at] = (uint16_t)rows->n_folded;
  memset(row->sums, 0, sizeof row->sums);
  memset(row->counts, 0, sizeof row->counts);
  row->second = key->second;
  row->rollout = key->rollout;
  row->variant = key->variant;
  row->version = key->version;
  row->segment = key->segment;
  return row;
}

static void add(sc_row *row, const record *r)
{
  row->sums[SC_CELL_COMPLETED]++;
  row->sums[SC_CELL_BYTES_SENT] += r->bytes_sent;
  row->sums[SC_CELL_BYTES_RECEIVED] += r->bytes_received;
  row->counts[SC_CELL_ERRORS] += (r->marks & ERROR) != 0;
  row->counts[SC_CELL_UNITS] += (r->marks & FIRST) != 0;
  row->counts[SC_CELL_UNIT_ERRORS] += (r->marks & FIRST_ERROR) != 0;
  row->counts[SC_CELL_AT_RISK] += (r->marks & AT_RISK) != 0;
  row->counts[SC_CELL_HTTP_CLASS + r->http_class]++;
  if (r->grpc_status != SC_GRPC_NONE) row->counts[SC_CELL_GRPC_STATUS + r->grpc_status]++;
  for (uint32_t flags = r->flags; flags; flags &= flags - 1)
    row->counts[SC_CELL_FLAG + (unsigned)__builtin_ctz(flags)]++;
  if (r->duration_us == SC_NO_DURATION) return;
  row->sums[SC_CELL_DURATION_US] += r->duration_us;
  row->counts[SC_CELL_DURATION + sc_bucket(r->duration_us)]++;
  if (r->marks & FIRST) row->counts[SC_CELL_UNIT_DURATION + sc_bucket(r->duration_us)]++;
}

/* Reads a record and its key: 0, or SC_ERR_MALFORMED for what no release of ours has written. */
static int read_record(sc_str records, size_t at, record *r, sc_row *key)
{
  if (records.len - at < sizeof *r) return SC_ERR_MALFORMED;
  memcpy(r, records.data + at, sizeof *r);
  size_t texts = (size_t)r->lens[0] + r->lens[1] + r->lens[2] + r->lens[3];
  bool whole = r->size == (sizeof *r + texts + 7) / 8 * 8 && r->size <= records.len - at;
  if (!whole || r->http_class > 5) return SC_ERR_MALFORMED;
  if (r->grpc_status > SC_GRPC_OTHER && r->grpc_status != SC_GRPC_NONE) return SC_ERR_MALFORMED;
  sc_str *views[] = {&key->rollout, &key->variant, &key->version, &key->segment};
  key->second = r->second;
  at += sizeof *r;
  for (unsigned i = 0; i < 4; at += r->lens[i++])
    *views[i] = sc_str_slice(records, at, at + r->lens[i]);
  return 0;
}

int sc_rows_fold(sc_rows *rows, uint64_t number, size_t *at, const sc_row **out)
{
  sc_str records = sc_journal_records(&rows->journal, number);
  memset(rows->index, 0, sizeof rows->index);
  rows->n_folded = 0;
  *out = rows->folded;
  while (*at < records.len) {
    record r;
    sc_row key;
    if (read_record(records, *at, &r, &key) < 0) {
      if (rows->n_folded == 0) return SC_ERR_MALFORMED;
      break;
    }
    uint64_t hash = hash_of(key.rollout, key.variant, key.version) + r.second * 0x9e3779b97f4a7c15;
    sc_row *row = row_of(rows, &key, hash);
    if (!row) break;
    add(row, &r);
    *at += r.size;
  }
  return (int)rows->n_folded;
}

uint64_t sc_rows_turn(sc_rows *rows)
{
  pthread_mutex_lock(&rows->lock);
  uint64_t number = sc_journal_turn(&rows->journal);
  pthread_mutex_unlock(&rows->lock);
  return number;
}

void sc_rows_release(sc_rows *rows, uint64_t number)
{
  pthread_mutex_lock(&rows->lock);
  sc_journal_release(&rows->journal, number);
  pthread_mutex_unlock(&rows->lock);
}

uint64_t sc_rows_counted(sc_rows *rows, sc_rows_count count)
{
  pthread_mutex_lock(&rows->lock);
  uint64_t found = count == SC_UNITS_FORGOTTEN ? rows->units.forgotten : rows->counts[count];
  pthread_mutex_unlock(&rows->lock);
  return found;
}

/* ---- life ----------------------------------------------------------------------------------- */

int sc_rows_new(sc_rows **out, uint8_t *memory, size_t len, size_t units)
{
  sc_rows *rows = calloc(1, sizeof *rows);
  if (!rows) return SC_ERR_NOMEM;
  pthread_mutex_init(&rows->lock, NULL);
  sc_logs_init(&rows->logs);
  int rv = sc_journal_open(&rows->journal, memory, len);
  if (rv == 0) rv = sc_recent_init(&rows->units, units);
  if (rv == 0) rv = sc_odds_init(&rows->odds, TABLES);
  if (rv == 0) rv = sc_marks_init(&rows->names, FIRST_ROOM);
  if (rv < 0) {
    sc_rows_del(rows);
    return rv;
  }
  *out = rows;
  return 0;
}

void sc_rows_del(sc_rows *rows)
{
  if (!rows) return;
  sc_recent_free(&rows->units);
  sc_odds_free(&rows->odds);
  sc_marks_free(&rows->names);
  sc_logs_free(&rows->logs);
  pthread_mutex_destroy(&rows->lock);
  free(rows);
}
