#define _GNU_SOURCE
#include "lane.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FLIP_EVERY = 64, DRAIN_S = 60 };

typedef union {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_un un;
} address;

/* The Unix socket has an abstract name: nothing to remove. */
static socklen_t address_of(const lane *l, uint64_t generation, uint64_t port, address *out)
{
  *out = (address){.un.sun_family = AF_UNIX};
  if (l->tcp) {
    out->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return sizeof out->in;
  }
  int len = snprintf(out->un.sun_path + 1, sizeof out->un.sun_path - 1, "canary-check-%d-%p-%llu", (int)getpid(),
                     (const void *)l, (unsigned long long)generation);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

static int listen_at(lane *l, uint64_t generation)
{
  address at;
  socklen_t len = address_of(l, generation, 0, &at);
  int fd = socket(l->tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0 && bind(fd, &at.any, len) == 0 && listen(fd, 1024) == 0);
  if (!l->tcp) return fd;
  len = sizeof at;
  CHECK(getsockname(fd, &at.any, &len) == 0);
  __atomic_store_n(&l->port, ntohs(at.in.sin_port), __ATOMIC_RELEASE);
  return fd;
}

static void collect(lane *l)
{
  size_t kept = 0;
  for (size_t i = 0; i < l->n_retired; i++) {
    if (sc_server_reads(l->server, l->retired[i]))
      l->retired[kept++] = l->retired[i];
    else
      sc_edition_del(l->retired[i]);
  }
  l->n_retired = kept;
}

static void swap(lane *l)
{
  sc_edition *next;
  CHECK(l->n_retired < sizeof l->retired / sizeof *l->retired);
  const sc_table *table = l->fixed->tables[l->number % 2];
  CHECK(sc_edition_new(&next, table, ++l->number, l->n_threads) == 0);
  sc_edition *before = sc_server_exchange(l->server, next);
  if (before) l->retired[l->n_retired++] = before;
  collect(l);
}

/* What may be named grows with every table, as the sidecar tells it. */
static void know(lane *l)
{
  char version[32];
  int len = snprintf(version, sizeof version, "v%llu", (unsigned long long)l->number);
  CHECK(sc_rows_know_version(l->rows, (sc_str){(const uint8_t *)version, (size_t)len}) == 0);
  CHECK(sc_rows_know_variant(l->rows, SC_LITERAL("chat"), (sc_str){(const uint8_t *)version, (size_t)len}) == 0);
}

static void fold(lane *l)
{
  uint64_t number = l->rows ? sc_rows_turn(l->rows) : 0;
  const sc_row *found;
  size_t at = 0;
  int count;
  if (number == 0) return;
  while ((count = sc_rows_fold(l->rows, number, &at, &found)) > 0)
    for (int i = 0; i < count; i++) l->folded += found[i].sums[SC_CELL_COMPLETED];
  CHECK(count == 0);
  sc_rows_release(l->rows, number);
}

void lane_start(lane *l)
{
  uint64_t generation = ++l->started;
  sc_server_options options = {.n_threads = l->n_threads,
                               .listener = listen_at(l, generation),
                               .trusted = !l->tcp,
                               .sampling = {.on = true, .follow_parent = true},
                               .rows = l->rows};
  CHECK(sc_server_new(&l->server, &options) == 0);
  swap(l);
  l->serving = true;
  sc_server_set_serving(l->server, true);
  __atomic_store_n(&l->generation, generation, __ATOMIC_RELEASE);
}

void lane_tend(lane *l)
{
  uint64_t now_ns = check_now_ns();
  sc_sample sample;
  sc_server_counts counts;
  for (size_t i = 0; i < 256 && sc_server_take_sample(l->server, &sample); i++) l->samples++;
  sc_server_count(l->server, &counts);
  collect(l);
  fold(l);
  if (now_ns - l->swapped_ns < l->swap_every_ns) return;
  l->swapped_ns = now_ns;
  swap(l);
  if (l->rows) know(l);
  if (l->number % FLIP_EVERY == 0) sc_server_set_serving(l->server, l->serving = !l->serving);
}

static void end(lane *l)
{
  sc_edition_del(sc_server_del(l->server));
  for (size_t i = 0; i < l->n_retired; i++) sc_edition_del(l->retired[i]);
  l->n_retired = 0;
  for (size_t half = 0; half < 2; half++) fold(l);
}

void lane_drain(lane *l)
{
  __atomic_store_n(&l->generation, 0, __ATOMIC_RELEASE);
  uint64_t start_ns = check_now_ns();
  sc_server_drain(l->server);
  while (sc_server_open_connections(l->server) > 0) {
    CHECK(check_now_ns() - start_ns < DRAIN_S * UINT64_C(1000000000));
    lane_tend(l);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
  }
  end(l);
}

void lane_cut(lane *l)
{
  __atomic_store_n(&l->cut, l->started, __ATOMIC_RELEASE);
  __atomic_store_n(&l->generation, 0, __ATOMIC_RELEASE);
  end(l);
}

int lane_connect(lane *l, uint64_t *generation)
{
  *generation = __atomic_load_n(&l->generation, __ATOMIC_ACQUIRE);
  if (*generation == 0) return -1;
  address at;
  socklen_t len = address_of(l, *generation, __atomic_load_n(&l->port, __ATOMIC_ACQUIRE), &at);
  int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  if (connect(fd, &at.any, len) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}
