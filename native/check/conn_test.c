/* The behaviours of a connection and a server that need a peer, a moment or a number that tests through Python cannot have. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "sc_conn.h"
#include "sc_extproc.h"
#include "sc_health.h"
#include "sc_server.h"

enum { N_METHODS = 1 + SC_HEALTH_METHODS, PATIENCE_MS = 30000 };
static const uint64_t second_ns = UINT64_C(1000000000);

static const check_fixed *fixed;

/* ---- a connection without a socket ---------------------------------------------------------- */

typedef struct {
  sc_shelf shelf;
  sc_edition *edition;
  sc_extproc extproc;
  sc_health health;
  sc_method methods[N_METHODS];
  sc_conn_options options;
  sc_conn_counts counts;
  sc_conn *conn;
  client *client;
  sc_buf to_us, to_peer;
  uint64_t now_ns;
} pair;

static void begin(pair *p, bool trusted)
{
  *p = (pair){.client = client_new(1 << 20), .now_ns = second_ns, .extproc = {.shelf = &p->shelf}};
  CHECK(sc_edition_new(&p->edition, fixed->tables[0], 1, 1) == 0);
  sc_shelf_exchange(&p->shelf, p->edition);
  p->client->expected = fixed->answers;
  p->methods[0] = sc_extproc_method(&p->extproc);
  sc_health_methods(&p->health, &p->methods[1]);
  p->options = (sc_conn_options){.methods = p->methods, .n_methods = N_METHODS, .trusted = trusted, .keep_trace = true};
  CHECK(sc_conn_new(&p->conn, &p->options, &p->counts) == 0);
}

static void to_peer(pair *p)
{
  CHECK(sc_conn_output(p->conn, &p->to_peer, SIZE_MAX / 2) == 0);
  size_t heard = sc_buf_size(&p->to_peer);
  CHECK(client_input(p->client, sc_buf_view(&p->to_peer)));
  sc_buf_take(&p->to_peer, heard);
}

static void to_us(pair *p)
{
  client_output(p->client, &p->to_us);
  size_t said = sc_buf_size(&p->to_us);
  CHECK(sc_conn_input(p->conn, sc_buf_view(&p->to_us), p->now_ns) == 0);
  sc_buf_take(&p->to_us, said);
}

static void exchange(pair *p)
{
  for (size_t i = 0; i < 8; i++) {
    to_us(p);
    to_peer(p);
  }
}

static void end(pair *p)
{
  sc_conn_del(p->conn);
  CHECK(p->counts.held == 0 && !p->health.watchers);
  client_del(p->client);
  sc_buf_free(&p->to_us);
  sc_buf_free(&p->to_peer);
  sc_edition_del(p->edition);
}

/* ---- */

static void a_watch_that_comes_before_the_peer_heard_of_the_drain_ends(void)
{
  pair p;
  begin(&p, true);
  exchange(&p);
  sc_conn_drain(p.conn);
  client_open(p.client, WATCH, SC_LITERAL(""), CALL_STAYS);
  exchange(&p);
  CHECK(!p.client->calls && sc_conn_done(p.conn));
  end(&p);
}

static void calls_under_way_when_the_drain_begins_are_answered(void)
{
  pair p;
  begin(&p, true);
  exchange(&p);
  for (size_t i = 0; i < 5; i++) client_open(p.client, PROCESS, fixed->message, CALL_ENDS);
  client_output(p.client, &p.to_us);
  sc_conn_drain(p.conn);
  to_peer(&p); /* the peer hears of it with its calls on the way */
  exchange(&p);
  CHECK(p.client->answered == 5 && p.client->broken == 0 && p.client->goaway_last == 9 && sc_conn_done(p.conn));
  end(&p);
}

static void reset_at_once(pair *p, size_t calls)
{
  for (size_t i = 0; i < calls; i++) {
    client_open(p->client, PROCESS, (sc_str){fixed->message.data, 0}, CALL_RESETS_AT_ONCE);
    /* Only the prefix of a message that never comes: nothing to answer. */
    p->client->calls->bytes[4] = 9;
  }
  exchange(p);
}

static void resets_before_the_answer_have_a_budget_that_refills(void)
{
  pair p;
  begin(&p, false);
  exchange(&p);
  for (size_t i = 0; i < SC_CONN_RESETS_BURST / 10; i++) reset_at_once(&p, 10);
  CHECK(p.counts.resets_unanswered == SC_CONN_RESETS_BURST && !p.client->going);
  p.now_ns += second_ns;
  reset_at_once(&p, SC_CONN_RESETS_PER_S - 1);
  CHECK(!p.client->going);
  reset_at_once(&p, 5);
  CHECK(p.client->going && p.client->last_error == NGHTTP2_ENHANCE_YOUR_CALM && p.counts.protocol_errors == 1);
  CHECK(sc_conn_done(p.conn));
  end(&p);
}

static void a_trusted_peer_may_reset_as_it_likes(void)
{
  pair p;
  begin(&p, true);
  exchange(&p);
  for (size_t i = 0; i < SC_CONN_RESETS_BURST / 5; i++) reset_at_once(&p, 10);
  CHECK(p.counts.resets_unanswered == 2 * SC_CONN_RESETS_BURST && !p.client->going);
  end(&p);
}

static void a_mistake_of_the_peer_ends_with_a_goaway_that_is_counted(void)
{
  static const uint8_t data_on_stream_0[] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 'x'};
  pair p;
  begin(&p, true);
  exchange(&p);
  CHECK(sc_conn_input(p.conn, (sc_str){data_on_stream_0, sizeof data_on_stream_0}, p.now_ns) == 0);
  to_peer(&p);
  CHECK(p.client->last_error == NGHTTP2_PROTOCOL_ERROR && p.counts.protocol_errors == 1 && sc_conn_done(p.conn));
  end(&p);
}

static void what_is_no_http2_is_refused_and_counted(void)
{
  pair p;
  begin(&p, true);
  CHECK(sc_conn_input(p.conn, SC_LITERAL("GET / HTTP/1.1\r\n\r\n"), p.now_ns) == SC_ERR_MALFORMED);
  CHECK(sc_conn_output(p.conn, &p.to_peer, 1) < 0 && p.counts.protocol_errors == 1);
  end(&p);
}

static void a_peer_that_keeps_too_much_waiting_is_broken_off(void)
{
  static uint8_t part[SC_CONN_MAX_MESSAGE / 2];
  pair p;
  begin(&p, true);
  exchange(&p);
  for (size_t i = 0; i < 10 && !p.client->going; i++) {
    client_call *call = client_open(p.client, PROCESS, (sc_str){part, sizeof part}, CALL_STAYS);
    call->bytes[2] = SC_CONN_MAX_MESSAGE >> 16 & 0xff; /* twice as long as what comes */
    exchange(&p);
    CHECK(p.counts.held < SC_CONN_MAX_HELD + sizeof part);
  }
  CHECK(p.client->last_error == NGHTTP2_ENHANCE_YOUR_CALM && p.counts.protocol_errors == 1);
  end(&p);
}

/* The pool is filled by others; `calls` of its own are open. */
static uint64_t refused_with(size_t calls)
{
  pair p;
  begin(&p, true);
  exchange(&p);
  for (size_t i = 0; i < calls; i++) client_open(p.client, WATCH, SC_LITERAL(""), CALL_STAYS);
  exchange(&p);
  p.counts.held += SC_CONN_MAX_POOL;
  client_open(p.client, PROCESS, fixed->message, CALL_ENDS);
  exchange(&p);
  p.counts.held -= SC_CONN_MAX_POOL;
  CHECK(p.client->answered + p.counts.refused == 1);
  uint64_t refused = p.counts.refused;
  end(&p);
  return refused;
}

static void where_all_peers_together_hold_too_much_only_the_greedy_are_refused(void)
{
  CHECK(refused_with(3) == 0);
  CHECK(refused_with(SC_CONN_FAIR_SHARE / SC_CONN_CALL_COST + 1) == 1);
}

static char heard_parent[64];

static sc_status hear_parent(void *context, sc_call *call, sc_str message)
{
  (void)context, (void)message;
  sc_str parent = sc_call_traceparent(call);
  CHECK(parent.len < sizeof heard_parent);
  memset(heard_parent, 0, sizeof heard_parent);
  if (parent.len > 0) memcpy(heard_parent, parent.data, parent.len);
  return SC_DONE;
}

static void say_parent(pair *p, const char *traceparent)
{
  p->client->traceparent = traceparent;
  client_open(p->client, PROCESS, SC_LITERAL(""), CALL_ENDS);
  exchange(p);
}

static void the_traceparent_of_a_later_version_is_understood(void)
{
#define PARENT "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  pair p;
  begin(&p, true);
  p.methods[0].message = hear_parent;
  p.client->expected = NULL;
  say_parent(&p, "00-" PARENT);
  CHECK(strcmp(heard_parent, "00-" PARENT) == 0);
  say_parent(&p, "cc-" PARENT "-what-comes-later");
  CHECK(strcmp(heard_parent, "cc-" PARENT) == 0);
  say_parent(&p, "00-" PARENT "-what-must-not-be");
  CHECK(strcmp(heard_parent, "") == 0);
  end(&p);
}

/* ---- a server on a socket ------------------------------------------------------------------- */

static struct sockaddr_in listen_on(int *listener)
{
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  *listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  CHECK(bind(*listener, (struct sockaddr *)&at, len) == 0 && listen(*listener, 1024) == 0);
  CHECK(getsockname(*listener, (struct sockaddr *)&at, &len) == 0);
  return at;
}

static sc_server *serve(int listener)
{
  sc_server *server;
  sc_edition *edition;
  sc_server_options options = {.n_threads = 2, .listener = listener};
  CHECK(sc_server_new(&server, &options) == 0);
  CHECK(sc_edition_new(&edition, fixed->tables[0], 1, 2) == 0 && !sc_server_exchange(server, edition));
  return server;
}

static void send_all(int fd, sc_str bytes)
{
  for (size_t at = 0; at < bytes.len;) {
    ssize_t sent = send(fd, bytes.data + at, bytes.len - at, MSG_NOSIGNAL);
    CHECK(sent > 0);
    at += (size_t)sent;
  }
}

/* Speaks until the server has closed, without a reset. */
static void listen_to_the_end(client *c, int fd)
{
  uint8_t bytes[4096];
  sc_buf out = {0};
  for (;;) {
    client_output(c, &out);
    send_all(fd, sc_buf_view(&out));
    sc_buf_reset(&out, 0);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    CHECK(poll(&ready, 1, PATIENCE_MS) == 1);
    ssize_t len = recv(fd, bytes, sizeof bytes, 0);
    CHECK(len >= 0);
    if (len == 0) break;
    CHECK(client_input(c, (sc_str){bytes, (size_t)len}));
  }
  sc_buf_free(&out);
}

static void who_waits_at_the_door_when_a_drain_begins_is_served(void)
{
  enum { WAITING = 200 };
  int listener, fds[WAITING];
  struct sockaddr_in at = listen_on(&listener);
  for (size_t i = 0; i < WAITING; i++) {
    fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[i], (struct sockaddr *)&at, sizeof at) == 0);
  }
  sc_server *server = serve(listener);
  sc_server_drain(server);
  for (size_t i = 0; i < WAITING; i++) {
    client *c = client_new(1 << 20);
    c->expected = fixed->answers;
    client_open(c, PROCESS, fixed->message, CALL_ENDS);
    listen_to_the_end(c, fds[i]);
    CHECK(c->answered == 1);
    client_del(c);
    close(fds[i]);
  }
  sc_edition_del(sc_server_del(server));
}

static void last_words_reach_a_peer_that_goes_on_writing(void)
{
  static uint8_t more[256 << 10]; /* beyond what is read at once */
  int listener, fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = listen_on(&listener);
  sc_server *server = serve(listener);
  CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
  client *c = client_new(1 << 20);
  sc_buf out = {0};
  client_output(c, &out);
  CHECK(sc_buf_append(&out, SC_LITERAL("\0\0\1\0\0\0\0\0\0x")) == 0); /* DATA on stream 0 */
  CHECK(sc_buf_append(&out, (sc_str){more, sizeof more}) == 0);
  send_all(fd, sc_buf_view(&out));
  sc_buf_free(&out);
  listen_to_the_end(c, fd);
  CHECK(c->going && c->last_error == NGHTTP2_PROTOCOL_ERROR);
  client_del(c);
  close(fd);
  sc_edition_del(sc_server_del(server));
}

/* ---- all of them ---------------------------------------------------------------------------- */

#define TEST(name) {#name, name}

static const struct {
  const char *name;
  void (*run)(void);
} tests[] = {
    TEST(a_watch_that_comes_before_the_peer_heard_of_the_drain_ends),
    TEST(calls_under_way_when_the_drain_begins_are_answered),
    TEST(resets_before_the_answer_have_a_budget_that_refills),
    TEST(a_trusted_peer_may_reset_as_it_likes),
    TEST(a_mistake_of_the_peer_ends_with_a_goaway_that_is_counted),
    TEST(what_is_no_http2_is_refused_and_counted),
    TEST(a_peer_that_keeps_too_much_waiting_is_broken_off),
    TEST(where_all_peers_together_hold_too_much_only_the_greedy_are_refused),
    TEST(the_traceparent_of_a_later_version_is_understood),
    TEST(who_waits_at_the_door_when_a_drain_begins_is_served),
    TEST(last_words_reach_a_peer_that_goes_on_writing),
};

int main(int argc, char **argv)
{
  CHECK(argc == 2);
  check_fixed loaded = check_load(argv[1]);
  fixed = &loaded;
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    tests[i].run();
    printf("ok %s\n", tests[i].name);
    fflush(stdout);
  }
  check_free(&loaded);
  return 0;
}
