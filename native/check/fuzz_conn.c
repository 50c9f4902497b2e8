/* Whatever a peer sends: a connection answers or ends, and gives back all it held. The bytes come whole, and in pieces
 * between which everything else happens that may: output, a swap, another health, a drain.
 *
 * Input: one byte of options, one that seeds the pieces, then what the peer says; bit 0x80 of the options says the preface
 * and SETTINGS for it, so that changed bytes are frames. Where the peer's bytes are all that happens, whole and in pieces
 * must give the same output. */
#include "fuzz.h"
#include "sc_conn_inside.h"
#include "sc_extproc.h"
#include "sc_health.h"

enum { TRUSTED = 1, TRACES = 2, EVENTS = 4, ROLLED = 0x80 };
enum { N_METHODS = 1 + SC_HEALTH_METHODS };
static const uint64_t start_ns = UINT64_C(1000000000);
static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static check_fixed fixed;
static sc_edition *editions[2];
static sc_ring *ring; /* one for all runs: half a megabyte */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  fixed = check_load(FIXED);
  CHECK(sc_ring_new(&ring) == 0);
  for (size_t i = 0; i < 2; i++) CHECK(sc_edition_new(&editions[i], fixed.tables[i], i + 1, 1) == 0);
  return 0;
}

typedef struct {
  sc_shelf shelf;
  sc_extproc extproc;
  sc_health health;
  sc_method methods[N_METHODS];
  sc_conn_options options;
  sc_conn_counts counts;
  sc_conn *conn;
  sc_buf out;
  uint64_t random;
  bool over;  /* it was no HTTP/2 */
  bool heard; /* nghttp2 wants no more: after a GOAWAY it takes on what came with it, but nothing later */
} host;

static void begin(host *h, uint8_t options, uint8_t seed)
{
  *h = (host){.random = seed, .extproc = {.shelf = &h->shelf, .sampling = {.on = options & TRACES, .follow_parent = true}}};
  h->health = (sc_health){.service = SC_LITERAL("canary"), .serving = true};
  h->extproc.ring = ring;
  sc_shelf_exchange(&h->shelf, editions[0]);
  h->methods[0] = sc_extproc_method(&h->extproc);
  sc_health_methods(&h->health, &h->methods[1]);
  h->options = (sc_conn_options){.methods = h->methods, .n_methods = N_METHODS, .trusted = options & TRUSTED,
                                 .keep_trace = options & TRACES};
  CHECK(sc_conn_new(&h->conn, &h->options, &h->counts) == 0);
  if (options & ROLLED) CHECK(sc_conn_input(h->conn, (sc_str){(const uint8_t *)hello, sizeof hello - 1}, start_ns) == 0);
}

static void end(host *h)
{
  sc_conn_del(h->conn);
  CHECK(h->counts.held == 0 && !h->health.watchers);
  sc_buf_free(&h->out);
}

static void take_output(host *h, size_t limit)
{
  CHECK(sc_conn_output(h->conn, &h->out, limit) == 0);
  CHECK(sc_buf_size(&h->out) < limit + (32 << 10));
}

static void happen(host *h)
{
  sc_sample sample;
  switch (check_random(&h->random) % 6) {
  case 0: sc_conn_drain(h->conn); break;
  case 1: sc_health_set(&h->health, !h->health.serving); break;
  case 2: sc_shelf_exchange(&h->shelf, editions[check_random(&h->random) % 2]); break;
  case 3: sc_shelf_exchange(&h->shelf, NULL); break;
  case 4: sc_buf_reset(&h->out, 0), take_output(h, 1 + check_random(&h->random) % 4096); break;
  default:
    while (sc_ring_take(ring, &sample)) CHECK(sample.edition >= 1 && sample.edition <= 2);
  }
}

static void hear(host *h, sc_str bytes, size_t most, bool events)
{
  uint64_t now_ns = start_ns;
  while (bytes.len > 0 && !h->over) {
    size_t len = most ? 1 + check_random(&h->random) % most : bytes.len;
    if (len > bytes.len) len = bytes.len;
    /* A copy of just this size, so that the sanitizer sees who reads on. */
    uint8_t *piece = malloc(len);
    memcpy(piece, bytes.data, len);
    int rv = sc_conn_input(h->conn, (sc_str){piece, len}, now_ns);
    free(piece);
    CHECK(rv == 0 || rv == SC_ERR_MALFORMED);
    h->over = rv < 0;
    h->heard = h->heard || nghttp2_session_want_read(h->conn->session) == 0;
    bytes = sc_str_slice(bytes, len, bytes.len);
    now_ns += events ? check_random(&h->random) % 100000000 : 0;
    if (events && !h->over) happen(h);
  }
  if (!h->over) take_output(h, SIZE_MAX / 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 2) return 0;
  sc_str peer = {data + 2, size - 2};
  host whole, pieces;
  begin(&whole, data[0], data[1]);
  begin(&pieces, data[0], data[1]);
  bool events = data[0] & EVENTS;
  hear(&whole, peer, 0, false);
  hear(&pieces, peer, 1 + data[1] % 64, events);
  if (!events && !whole.heard && !pieces.heard) {
    CHECK(whole.over == pieces.over);
    CHECK(whole.over || sc_str_eq(sc_buf_view(&whole.out), sc_buf_view(&pieces.out)));
    CHECK(whole.counts.calls == pieces.counts.calls && whole.extproc.counts.answers == pieces.extproc.counts.answers);
  }
  end(&whole);
  end(&pieces);
  return 0;
}
