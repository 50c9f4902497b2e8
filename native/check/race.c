/* Two servers, a Unix socket's and a TCP one, under everything at once: tables that are swapped every few hundred
 * microseconds, peers that cut, stall, reset, send garbage, watch the health or send access logs, a reader of the rings and of
 * the rows, drains and sudden ends. What must hold: every answer is one of the two tables' byte for byte, a well-behaved
 * call on a connection that was not cut is answered, every request that was taken from a log is in a row once, nobody waits
 * for ever; and the sanitizers have nothing to say. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lane.h"

enum { CLIENTS = 4, LANES = 2, PATIENCE_MS = 60000, JOURNAL = 1 << 20, UNITS = 64 };

typedef enum { STEADY, AS_ENVOY, WATCHES, SLOW_READER, WELL_BEHAVED, RESETS_EARLY = WELL_BEHAVED, LOGS, GARBLES, CUTS, DEAF, MANNERS } conduct;

typedef struct {
  pthread_t thread;
  lane *lanes;
  const check_fixed *fixed;
  uint64_t random;
  uint64_t opened, answered, conversations[MANNERS];
} visitor;

static bool stopping;

static bool stopped(void) { return __atomic_load_n(&stopping, __ATOMIC_ACQUIRE); }

static void pause_us(long us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL); }

/* ---- one conversation ----------------------------------------------------------------------- */

typedef struct {
  visitor *self;
  client *client;
  sc_buf out;
  size_t to_open, at_once;
  uint64_t steps;
  int fd;
  conduct manner;
  bool over; /* the peer is gone */
} talk;

static void open_calls(talk *t)
{
  client *c = t->client;
  while (t->to_open > 0 && !c->going && c->n_waiting < t->at_once) {
    if (t->manner == LOGS) client_open(c, LOG, t->self->fixed->log, CALL_ENDS);
    call_manner how = t->manner == AS_ENVOY ? CALL_RESETS : t->manner == RESETS_EARLY ? CALL_RESETS_AT_ONCE : CALL_ENDS;
    client_open(c, PROCESS, t->self->fixed->message, how);
    t->to_open--;
  }
}

static void garble(talk *t, size_t from)
{
  sc_str out = sc_buf_view(&t->out);
  if (t->steps < 3 || out.len == from) return; /* the greeting stays whole */
  size_t at = from + check_random(&t->self->random) % (out.len - from);
  t->out.data[t->out.from + at] ^= (uint8_t)(1u << (check_random(&t->self->random) % 8));
}

static void speak(talk *t)
{
  sc_str out = sc_buf_view(&t->out);
  size_t most = t->manner == GARBLES ? 1 + check_random(&t->self->random) % 200 : out.len;
  ssize_t sent = send(t->fd, out.data, out.len < most ? out.len : most, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0)
    sc_buf_take(&t->out, (size_t)sent);
  else if (errno != EAGAIN && errno != EINTR)
    t->over = true;
}

static void listen_to(talk *t)
{
  uint8_t bytes[16 << 10];
  ssize_t len = recv(t->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (len <= 0)
    t->over = true;
  else
    CHECK(client_input(t->client, (sc_str){bytes, (size_t)len}));
}

static void step(talk *t)
{
  open_calls(t);
  size_t before = sc_buf_size(&t->out);
  client_output(t->client, &t->out);
  if (t->manner == GARBLES) garble(t, before);
  bool deaf = t->manner == DEAF || (t->manner == SLOW_READER && t->steps < 4);
  bool mute = sc_buf_size(&t->out) == 0;
  struct pollfd ready = {.fd = t->fd, .events = (short)((deaf ? 0 : POLLIN) | (mute ? 0 : POLLOUT))};
  int n = poll(&ready, 1, deaf ? 1 : PATIENCE_MS);
  CHECK(n > 0 || (n < 0 && errno == EINTR) || deaf);
  if (n > 0 && !mute && ready.revents & (POLLOUT | POLLERR | POLLHUP)) speak(t);
  if (n > 0 && !deaf && !t->over && ready.revents & (POLLIN | POLLERR | POLLHUP)) listen_to(t);
  t->steps++;
}

/* Calls that the peer had taken on and did not finish. */
static uint64_t lost(const client *c)
{
  uint64_t count = c->broken;
  for (const client_call *call = c->calls; call; call = call->next)
    count += c->greeted && call->manner != CALL_STAYS && (c->goaway_last < 0 || call->id <= c->goaway_last);
  return count;
}

_Noreturn static void describe(const talk *t, const lane *l)
{
  const client *c = t->client;
  fprintf(stderr, "manner %d on %s: %llu opened, %zu open, %llu broken, %llu ended badly, GOAWAY up to %d (error %u), %s\n",
          (int)t->manner, l->tcp ? "TCP" : "a Unix socket", (unsigned long long)c->opened, c->n_waiting,
          (unsigned long long)c->broken, (unsigned long long)c->ended_badly, (int)c->goaway_last, c->last_error,
          t->over ? "the server closed" : "the server is there");
  check_failed("every well-behaved call is answered", __FILE__, __LINE__);
}

static bool goes_on(const talk *t)
{
  const client *c = t->client;
  if (t->over) return false;
  if (t->manner == CUTS || t->manner == DEAF || t->manner == GARBLES) return t->steps < 24;
  return c->n_waiting > 0 || (t->to_open > 0 && !c->going) || sc_buf_size(&t->out) > 0;
}

static void converse(visitor *self, lane *l, conduct manner)
{
  uint64_t generation;
  int fd = lane_connect(l, &generation);
  if (fd < 0) {
    pause_us(200);
    return;
  }
  talk t = {.self = self, .client = client_new(manner == DEAF ? 0 : 1 << 20), .fd = fd, .manner = manner,
            .to_open = 300, .at_once = manner == SLOW_READER || manner == DEAF ? 300 : 1 + check_random(&self->random) % 64};
  if (manner < WELL_BEHAVED) t.client->expected = self->fixed->answers;
  if (manner == WATCHES) client_open(t.client, WATCH, SC_LITERAL(""), CALL_STAYS);
  while (goes_on(&t)) step(&t);
  bool was_cut = __atomic_load_n(&l->cut, __ATOMIC_ACQUIRE) >= generation;
  if (manner < WELL_BEHAVED && !was_cut && (lost(t.client) > 0 || t.client->ended_badly > 0)) describe(&t, l);
  self->opened += t.client->opened;
  self->answered += t.client->answered;
  self->conversations[manner]++;
  client_del(t.client);
  sc_buf_free(&t.out);
  close(fd);
}

static void *visit(void *argument)
{
  visitor *self = argument;
  while (!stopped()) {
    lane *l = &self->lanes[check_random(&self->random) % LANES];
    converse(self, l, (conduct)(check_random(&self->random) % MANNERS));
  }
  return NULL;
}

/* ---- the lanes ------------------------------------------------------------------------------ */

static void *own(void *argument)
{
  lane *l = argument;
  do {
    lane_start(l);
    uint64_t end_ns = check_now_ns() + UINT64_C(400000000);
    while (check_now_ns() < end_ns) {
      lane_tend(l);
      pause_us(50);
    }
    if (l->started % 3 == 0)
      lane_cut(l);
    else
      lane_drain(l);
  } while (!stopped());
  return NULL;
}

static void report(const lane *lanes, const visitor *visitors)
{
  uint64_t opened = 0, answered = 0, samples = 0, swaps = 0, generations = 0, logged = 0;
  for (size_t i = 0; i < LANES; i++) {
    samples += lanes[i].samples;
    swaps += lanes[i].number;
    generations += lanes[i].started;
    logged += lanes[i].folded;
    CHECK(lanes[i].folded == sc_rows_counted(lanes[i].rows, SC_TAKEN));
  }
  for (size_t i = 0; i < CLIENTS; i++) {
    opened += visitors[i].opened;
    answered += visitors[i].answered;
  }
  printf("race: %llu calls, %llu checked answers, %llu swaps, %llu servers, %llu samples, %llu logged\n",
         (unsigned long long)opened, (unsigned long long)answered, (unsigned long long)swaps,
         (unsigned long long)generations, (unsigned long long)samples, (unsigned long long)logged);
  CHECK(answered > 0 && swaps > 10 && samples > 0 && logged > 0);
}

static void keep_rows(lane *l, uint64_t *journal)
{
  CHECK(sc_rows_new(&l->rows, (uint8_t *)journal, JOURNAL, UNITS) == 0);
  CHECK(sc_rows_know_version(l->rows, SC_LITERAL("v1")) == 0);
  CHECK(sc_rows_know_variant(l->rows, SC_LITERAL("chat"), SC_LITERAL("canary")) == 0);
}

int main(int argc, char **argv)
{
  static uint64_t journals[LANES][JOURNAL / sizeof(uint64_t)];
  CHECK(argc == 3);
  check_fixed fixed = check_load(argv[1]);
  lane lanes[LANES] = {{.fixed = &fixed, .n_threads = 2, .swap_every_ns = 200000},
                       {.fixed = &fixed, .n_threads = 3, .swap_every_ns = 300000, .tcp = true}};
  visitor visitors[CLIENTS] = {0};
  pthread_t owners[LANES];
  for (size_t i = 0; i < LANES; i++) keep_rows(&lanes[i], journals[i]);
  for (size_t i = 0; i < LANES; i++) CHECK(pthread_create(&owners[i], NULL, own, &lanes[i]) == 0);
  for (size_t i = 0; i < CLIENTS; i++) {
    visitors[i] = (visitor){.lanes = lanes, .fixed = &fixed, .random = i + 1};
    CHECK(pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]) == 0);
  }
  sleep((unsigned)strtoul(argv[2], NULL, 10));
  __atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
  for (size_t i = 0; i < CLIENTS; i++) pthread_join(visitors[i].thread, NULL);
  for (size_t i = 0; i < LANES; i++) pthread_join(owners[i], NULL);
  report(lanes, visitors);
  for (size_t i = 0; i < LANES; i++) sc_rows_del(lanes[i].rows);
  check_free(&fixed);
  return 0;
}
