#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sc_server_inside.h"

/* ---- new connections ------------------------------------------------------------------------ */

enum { ACCEPT_AT_ONCE = 64, GREETING_MS = 10000, STALL_MS = 20000 };

static void hand_over(sc_server *server, sc_worker *acceptor, int fd)
{
  sc_worker *to = server->workers[0];
  uint64_t all = 0;
  for (size_t i = 0; i < server->options.n_threads; i++) {
    sc_worker *w = server->workers[i];
    uint64_t n = __atomic_load_n(&w->n_peers, __ATOMIC_ACQUIRE);
    all += n;
    if (n < __atomic_load_n(&to->n_peers, __ATOMIC_ACQUIRE)) to = w;
  }
  bool room = all < SC_MAX_CONNECTIONS && sc_worker_give(to, fd);
  sc_count(room ? &acceptor->connections : &acceptor->rejected, 1);
  if (!room) close(fd);
}

/* No descriptor is left: the peer is let in and out. False: another thread was faster at taking the spare one. */
static bool turn_away(sc_server *server, sc_worker *acceptor)
{
  if (server->spare >= 0) close(server->spare);
  int fd = accept4(server->options.listener, NULL, NULL, SOCK_CLOEXEC);
  bool out_of_descriptors = fd < 0 && (errno == EMFILE || errno == ENFILE);
  if (fd >= 0) close(fd);
  server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) sc_count(&acceptor->rejected, 1);
  return !out_of_descriptors;
}

int sc_server_accept(sc_worker *acceptor)
{
  sc_server *server = acceptor->server;
  for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
    int fd = accept4(server->options.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      hand_over(server, acceptor, fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      if (!turn_away(server, acceptor)) return -1;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return errno == EAGAIN ? 0 : -1;
    }
  }
  return 1;
}

static void wake_all(sc_server *server)
{
  for (size_t i = 0; i < server->options.n_threads; i++) sc_worker_wake(server->workers[i]);
}

int sc_server_new(sc_server **out, const sc_server_options *options)
{
  sc_server *server = aligned_alloc(_Alignof(sc_server), (sizeof *server + options->n_threads * sizeof(sc_worker *) +
                                                          _Alignof(sc_server) - 1) / _Alignof(sc_server) * _Alignof(sc_server));
  if (!server) return SC_ERR_NOMEM;
  memset(server, 0, sizeof *server + options->n_threads * sizeof(sc_worker *));
  server->options = *options;
  if (options->greeting_ms == 0) server->options.greeting_ms = GREETING_MS;
  if (options->stall_ms == 0) server->options.stall_ms = STALL_MS;
  server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < options->n_threads; i++) rv = sc_worker_new(server, i);
  /* The first worker comes last: until it runs, nothing is accepted, and the listener is not closed on failure. */
  for (size_t i = options->n_threads; rv == 0 && i-- > 0;) rv = sc_worker_start(server->workers[i]);
  if (rv < 0) {
    int why = errno;
    sc_server_del(server);
    errno = why;
    return rv;
  }
  *out = server;
  return 0;
}

sc_edition *sc_server_del(sc_server *server)
{
  sc_raise(&server->stopping, true);
  for (size_t i = 0; i < server->options.n_threads; i++)
    if (server->workers[i] && server->workers[i]->wake >= 0) sc_worker_wake(server->workers[i]);
  for (size_t i = 0; i < server->options.n_threads; i++) sc_worker_del(server->workers[i]);
  sc_edition *current = sc_shelf_exchange(&server->shelf, NULL);
  if (server->spare >= 0) close(server->spare);
  free(server);
  return current;
}

sc_edition *sc_server_exchange(sc_server *server, sc_edition *next)
{
  return sc_shelf_exchange(&server->shelf, next);
}

bool sc_server_reads(const sc_server *server, const sc_edition *edition)
{
  return sc_shelf_is_read(&server->shelf, edition);
}

void sc_server_set_serving(sc_server *server, bool serving)
{
  sc_raise(&server->serving, serving);
  wake_all(server);
}

/* Goes on where it took the last one, so that no ring waits for another. */
bool sc_server_take_sample(sc_server *server, sc_sample *out)
{
  if (!server->options.sampling.on) return false;
  for (size_t i = 0; i < server->options.n_threads; i++) {
    server->sampled = (server->sampled + 1) % server->options.n_threads;
    if (sc_ring_take(server->workers[server->sampled]->extproc.ring, out)) return true;
  }
  return false;
}

void sc_server_drain(sc_server *server)
{
  sc_raise(&server->serving, false);
  sc_raise(&server->draining, true);
  wake_all(server);
}

/* A worker that has yet to hear of the drain may have somebody at its door. */
size_t sc_server_open_connections(const sc_server *server)
{
  size_t all = 0;
  for (size_t i = 0; i < server->options.n_threads; i++) {
    const sc_worker *w = server->workers[i];
    all += sc_flag(&server->draining) && !sc_flag(&w->drained);
    all += __atomic_load_n(&w->n_peers, __ATOMIC_ACQUIRE);
  }
  return all;
}

/* ---- counts --------------------------------------------------------------------------------- */

/* Both structures hold nothing but counters. */
static void add(uint64_t *to, const uint64_t *from, size_t bytes)
{
  for (size_t i = 0; i < bytes / sizeof *to; i++) to[i] += sc_counted(&from[i]);
}

void sc_server_count(const sc_server *server, sc_server_counts *out)
{
  *out = (sc_server_counts){0};
  for (size_t i = 0; i < server->options.n_threads; i++) {
    const sc_worker *w = server->workers[i];
    add((uint64_t *)&out->conns, (const uint64_t *)&w->conns, sizeof w->conns);
    add((uint64_t *)&out->extproc, (const uint64_t *)&w->extproc.counts, sizeof w->extproc.counts);
    out->wakeups += sc_counted(&w->wakeups);
    out->connections += sc_counted(&w->connections);
    out->rejected += sc_counted(&w->rejected);
    out->stalled += sc_counted(&w->stalled);
    if (w->extproc.ring) out->samples_dropped += sc_counted(&w->extproc.ring->dropped);
  }
}
