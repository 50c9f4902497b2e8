/* Every allocation fails in turn, first alone, then with all that follow; ours and nghttp2's (which asks sc_mem for
 * memory). What must hold: no crash, no leak (LeakSanitizer looks at the end), an error is returned, and what
 * could not be changed is as it was: the same step done again succeeds. Linked with -Wl,--wrap=malloc and the like. */
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "sc_als.h"
#include "sc_conn.h"
#include "sc_extproc.h"
#include "sc_health.h"
#include "sc_server.h"

/* ---- the allocator -------------------------------------------------------------------------- */

static _Thread_local bool armed;       /* only our own code is counted, not the driver's */
static uint64_t count, fail_at;
static bool fail_after;  /* and all that follow */
static uint64_t failures;

static bool refused(void)
{
  if (!armed) return false;
  count++;
  bool fails = count == fail_at || (fail_after && count > fail_at);
  failures += fails;
  return fails;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) { return refused() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size) { return refused() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *old, size_t size) { return refused() ? NULL : __real_realloc(old, size); }
void *__wrap_aligned_alloc(size_t alignment, size_t size) { return refused() ? NULL : __real_aligned_alloc(alignment, size); }

#define ARMED(into, call) (armed = true, (into) = (call), armed = false)

/* ---- what is tried -------------------------------------------------------------------------- */

static const check_fixed *fixed;

/* Each gives 0 where everything went well and negative where memory was missing. */
typedef int scenario(void);

static sc_str table_bytes;

static int loads_a_table(void)
{
  sc_table *table;
  const char *reason = NULL;
  int rv;
  ARMED(rv, sc_table_new(&table, table_bytes, &reason));
  if (rv == 0) sc_table_del(table);
  CHECK(rv == 0 || rv == SC_ERR_NOMEM);
  return rv;
}

static int answers(void)
{
  sc_scratch scratch = {0};
  sc_str out;
  int rv, first;
  ARMED(first, sc_scratch_init(&scratch, fixed->tables[0]));
  if (first == 0) {
    ARMED(first, check_answer(fixed->tables[0], fixed->message, &scratch, &out));
    CHECK(first == 0 || first == SC_ERR_NOMEM);
    rv = check_answer(fixed->tables[0], fixed->message, &scratch, &out);
    CHECK(rv == 0 && sc_str_eq(out, fixed->answers[0]));
  }
  sc_scratch_free(&scratch);
  return first;
}

static int makes_an_edition(void)
{
  sc_edition *edition;
  int rv;
  ARMED(rv, sc_edition_new(&edition, fixed->tables[0], 1, 3));
  if (rv == 0) sc_edition_del(edition);
  return rv;
}

static int makes_a_ring(void)
{
  sc_ring *ring;
  int rv;
  ARMED(rv, sc_ring_new(&ring));
  if (rv == 0) sc_ring_del(ring);
  return rv;
}

static int fills_a_buffer(void)
{
  sc_buf buf = {0};
  int rv = 0;
  for (size_t i = 0; i < 200; i++) {
    int now;
    ARMED(now, sc_buf_append(&buf, SC_LITERAL("0123456789")));
    if (now < 0) CHECK(sc_buf_append(&buf, SC_LITERAL("0123456789")) == 0);
    rv = rv < 0 ? rv : now;
  }
  CHECK(sc_buf_size(&buf) == 2000 && sc_str_starts(sc_buf_view(&buf), SC_LITERAL("01234567890")));
  sc_buf_free(&buf);
  return rv;
}

/* A server that does not start leaves the listener to its caller. */
static int starts_a_server(void)
{
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(listener >= 0 && listen(listener, 1) < 0); /* nobody will come: it has no name */
  sc_server_options options = {.n_threads = 2, .listener = listener, .trusted = true, .sampling.on = true};
  sc_server *server;
  int rv;
  ARMED(rv, sc_server_new(&server, &options));
  if (rv == 0)
    CHECK(!sc_server_del(server));
  else
    CHECK(close(listener) == 0);
  return rv;
}

/* ---- an access log ---------------------------------------------------------------------------- */

enum { JOURNAL = 1 << 14, UNITS = 64, NAMES = 300 };

static uint64_t journal[JOURNAL / sizeof(uint64_t)];

static uint64_t folded(sc_rows *rows)
{
  uint64_t number = sc_rows_turn(rows), all = 0;
  const sc_row *found;
  size_t at = 0;
  for (int n; number > 0 && (n = sc_rows_fold(rows, number, &at, &found)) > 0;)
    for (int i = 0; i < n; i++) all += found[i].sums[SC_CELL_COMPLETED];
  if (number > 0) sc_rows_release(rows, number);
  return all;
}

/* So many names that their set must grow; what could not be learnt is learnt the next time. */
static int learn(sc_rows *rows)
{
  int rv = 0;
  for (size_t i = 0; i < NAMES; i++) {
    char name[16];
    sc_str variant = {(uint8_t *)name, (size_t)snprintf(name, sizeof name, "v%zu", i)};
    int now;
    ARMED(now, sc_rows_know_variant(rows, SC_LITERAL("chat"), variant));
    if (now < 0) CHECK(sc_rows_know_variant(rows, SC_LITERAL("chat"), variant) == 0);
    rv = rv < 0 ? rv : now;
  }
  return rv;
}

/* So many tables that what they changed must grow; what could not be noted is noted the next time. */
static int follow(sc_rows *rows)
{
  int rv = 0;
  for (size_t i = 0; i < NAMES; i++) {
    char name[16];
    sc_str version = {(uint8_t *)name, (size_t)snprintf(name, sizeof name, "t%zu", i)};
    int now;
    ARMED(now, sc_rows_begin_version(rows, version));
    if (now < 0) CHECK(sc_rows_begin_version(rows, version) == 0);
    rv = rv < 0 ? rv : now;
    ARMED(now, sc_rows_change_odds(rows, i % 2 ? version : SC_LITERAL("chat"), version));
    if (now < 0) CHECK(sc_rows_change_odds(rows, i % 2 ? version : SC_LITERAL("chat"), version) == 0);
    rv = rv < 0 ? rv : now;
  }
  return rv;
}

/* Once there are rows, no missing memory loses an entry. */
static int takes_a_log(void)
{
  sc_rows *rows;
  int rv;
  memset(journal, 0, sizeof journal);
  ARMED(rv, sc_rows_new(&rows, (uint8_t *)journal, JOURNAL, UNITS));
  if (rv < 0) return rv;
  CHECK(sc_rows_know_variant(rows, SC_LITERAL("chat"), SC_LITERAL("canary")) == 0);
  rv = learn(rows);
  int followed = follow(rows);
  rv = rv < 0 ? rv : followed;
  armed = true;
  CHECK(sc_rows_know_version(rows, SC_LITERAL("v1")) == 0);
  sc_rows_take(rows, fixed->log, (uint64_t)time(NULL) * 1000000);
  CHECK(folded(rows) == 2);
  armed = false;
  sc_rows_del(rows);
  return rv;
}

/* ---- a connection --------------------------------------------------------------------------- */

typedef struct {
  sc_shelf shelf;
  sc_edition *edition;
  sc_extproc extproc;
  sc_health health;
  sc_rows *rows;
  sc_method methods[2 + SC_HEALTH_METHODS];
  sc_conn_options options;
  sc_conn_counts counts;
  sc_conn *conn;
  client *client;
  sc_buf to_us, to_peer;
  bool closed;
} pair;

/* As sc_worker.c does: whatever is negative closes the connection. */
static void exchange(pair *p)
{
  for (size_t turn = 0; turn < 50 && !p->closed; turn++) {
    int rv;
    client_output(p->client, &p->to_us);
    size_t said = sc_buf_size(&p->to_us);
    ARMED(rv, sc_conn_input(p->conn, sc_buf_view(&p->to_us), 1));
    sc_buf_take(&p->to_us, said);
    if (rv == 0) ARMED(rv, sc_conn_output(p->conn, &p->to_peer, 1 << 16));
    CHECK(rv == 0 || rv == SC_ERR_NOMEM);
    size_t heard = sc_buf_size(&p->to_peer);
    CHECK(client_input(p->client, sc_buf_view(&p->to_peer)));
    sc_buf_take(&p->to_peer, heard);
    p->closed = rv < 0 || sc_conn_done(p->conn);
    if (said == 0 && heard == 0) return;
  }
}

static void begin(pair *p)
{
  *p = (pair){.client = client_new(1 << 20)};
  CHECK(sc_edition_new(&p->edition, fixed->tables[0], 1, 1) == 0);
  sc_shelf_exchange(&p->shelf, p->edition);
  p->extproc = (sc_extproc){.shelf = &p->shelf};
  p->health = (sc_health){.service = SC_LITERAL("canary"), .serving = true};
  p->methods[0] = sc_extproc_method(&p->extproc);
  sc_health_methods(&p->health, &p->methods[1]);
  memset(journal, 0, sizeof journal);
  CHECK(sc_rows_new(&p->rows, (uint8_t *)journal, JOURNAL, UNITS) == 0);
  CHECK(sc_rows_know_version(p->rows, SC_LITERAL("v1")) == 0);
  CHECK(sc_rows_know_variant(p->rows, SC_LITERAL("chat"), SC_LITERAL("canary")) == 0);
  p->methods[1 + SC_HEALTH_METHODS] = sc_als_method(p->rows);
  p->options = (sc_conn_options){.methods = p->methods, .n_methods = 2 + SC_HEALTH_METHODS, .keep_trace = true};
}

static int end(pair *p)
{
  sc_conn_del(p->conn);
  CHECK(p->counts.held == 0 && !p->health.watchers);
  client_del(p->client);
  sc_buf_free(&p->to_us);
  sc_buf_free(&p->to_peer);
  sc_edition_del(p->edition);
  sc_rows_del(p->rows);
  return failures > 0 ? SC_ERR_NOMEM : 0;
}

/* A message in two parts, answered; an access log; a health watch that is told of a change; resets; a drain. */
static int converses(void)
{
  pair p;
  begin(&p);
  int rv;
  ARMED(rv, sc_conn_new(&p.conn, &p.options, &p.counts));
  if (rv == 0) {
    for (size_t i = 0; i < 3; i++) client_open(p.client, PROCESS, fixed->message, CALL_ENDS);
    client_open(p.client, PROCESS, fixed->message, CALL_RESETS);
    client_open(p.client, WATCH, SC_LITERAL(""), CALL_STAYS);
    client_open(p.client, HEALTH_CHECK, SC_LITERAL("\x0a\x06" "canary"), CALL_ENDS);
    client_open(p.client, LOG, fixed->log, CALL_ENDS);
    client_open(p.client, "/unknown.Service/Method", SC_LITERAL("?"), CALL_ENDS);
    client_output(p.client, &p.to_us);
    sc_str all = sc_buf_view(&p.to_us);
    ARMED(rv, sc_conn_input(p.conn, sc_str_slice(all, 0, all.len - 700), 1));
    sc_buf_take(&p.to_us, all.len - 700);
    p.closed = rv < 0;
    exchange(&p);
    armed = true;
    if (!p.closed) sc_health_set(&p.health, false);
    armed = false;
    exchange(&p);
    armed = true;
    if (!p.closed) sc_conn_drain(p.conn);
    armed = false;
    exchange(&p);
    if (failures == 0) CHECK(p.closed && p.client->broken == 0 && p.client->answered == 6 && p.client->ended_badly == 1 &&
                             folded(p.rows) == 2);
  }
  return end(&p);
}

/* ---- in turn -------------------------------------------------------------------------------- */

static uint64_t in_turn(const char *name, scenario *run, bool after)
{
  uint64_t runs = 0;
  for (;;) {
    count = failures = 0;
    fail_at = ++runs;
    fail_after = after;
    int rv = run();
    if (failures == 0) {
      CHECK(rv == 0);
      break;
    }
    CHECK(rv < 0);
    CHECK(runs < 100000);
  }
  printf("failing: %-18s %4llu allocations, %s\n", name, (unsigned long long)runs - 1,
         after ? "each failing with all that follow" : "each failing once");
  return runs - 1;
}

int main(int argc, char **argv)
{
  CHECK(argc == 2);
  check_fixed loaded = check_load(argv[1]);
  fixed = &loaded;
  table_bytes = check_read(argv[1], "a.table");
  const struct {
    const char *name;
    scenario *run;
  } all[] = {{"load a table", loads_a_table}, {"answer", answers}, {"make an edition", makes_an_edition},
             {"make a ring", makes_a_ring}, {"fill a buffer", fills_a_buffer}, {"start a server", starts_a_server},
             {"take a log", takes_a_log}, {"converse", converses}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (int after = 0; after < 2; after++) CHECK(in_turn(all[i].name, all[i].run, after) > 0);
  free((void *)(uintptr_t)table_bytes.data);
  check_free(&loaded);
  return 0;
}
