#define _GNU_SOURCE
#include "sc_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sc_als.h"
#include "sc_health.h"

enum { READ_BYTES = 64 << 10, WRITE_BYTES = 64 << 10, KEEP_OUTPUT = 64 << 10, MAX_EVENTS = 64 };
enum { TICK_MS = 1000, MAX_METHODS = 8, GREETING_MS = 10000, STALL_MS = 20000 };

/* A connection with its socket. */
typedef struct peer {
  struct peer *previous, *next;
  sc_conn *conn;
  sc_buf out;
  uint64_t since_ns; /* it was opened, or wrote something */
  uint64_t sent, moved_ns; /* how much of the replies went out, and when it was last seen to grow */
  int fd;
  bool writing; /* waits for the socket to take more, and reads nothing meanwhile */
  bool closing; /* nothing more is to be read */
} peer;

typedef struct {
  sc_server *server;
  pthread_t thread;
  bool started;
  size_t number;
  int epoll, wake;
  peer *peers;
  uint64_t n_peers;      /* of all that were given to it */
  pthread_mutex_t lock;  /* for the inbox: once per connection */
  int inbox[SC_MAX_CONNECTIONS];
  size_t n_inbox;
  bool drained;
  sc_conn_options options;
  sc_method methods[MAX_METHODS];
  sc_extproc extproc;
  sc_health health;
  sc_conn_counts conns;
  uint64_t wakeups, connections, rejected, stalled;
  uint64_t tick_ns;
  int tick_ms;
  uint8_t input[READ_BYTES];
} worker;

struct sc_server {
  sc_server_options options;
  sc_shelf shelf;
  bool serving, draining, stopping;
  int spare; /* given up for a moment to turn away whoever comes when no descriptor is left */
  worker *workers[];
};

static uint64_t now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool flag(const bool *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }

static void raise_flag(bool *at, bool value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

static void wake(worker *w)
{
  /* Full means that it is awake anyway. */
  while (eventfd_write(w->wake, 1) < 0 && errno == EINTR) continue;
}

static void wake_all(sc_server *server)
{
  for (size_t i = 0; i < server->options.n_threads; i++) wake(server->workers[i]);
}

/* ---- one connection ------------------------------------------------------------------------- */

static void peer_del(worker *w, peer *p)
{
  *(p->previous ? &p->previous->next : &w->peers) = p->next;
  if (p->next) p->next->previous = p->previous;
  sc_conn_del(p->conn);
  sc_buf_free(&p->out);
  close(p->fd);
  free(p);
  __atomic_sub_fetch(&w->n_peers, 1, __ATOMIC_RELEASE);
}

static void watch(worker *w, peer *p, bool writing)
{
  if (p->writing == writing) return;
  p->writing = writing;
  struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = p};
  if (epoll_ctl(w->epoll, EPOLL_CTL_MOD, p->fd, &event) < 0) p->closing = true;
}

/* Writes as much as the socket takes. False: the connection is gone. */
static bool flush(worker *w, peer *p)
{
  for (;;) {
    if (sc_conn_output(p->conn, &p->out, WRITE_BYTES) < 0) break;
    sc_str ready = sc_buf_view(&p->out);
    if (ready.len == 0) {
      if (p->closing || sc_conn_done(p->conn)) break;
      watch(w, p, false);
      return true;
    }
    ssize_t sent = send(p->fd, ready.data, ready.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) break;
    if (sent > 0) {
      sc_buf_take(&p->out, (size_t)sent);
      if (sc_buf_size(&p->out) == 0) sc_buf_reset(&p->out, KEEP_OUTPUT);
      p->since_ns = w->tick_ns;
    }
    if (sent < (ssize_t)ready.len) {
      watch(w, p, true);
      return true;
    }
  }
  peer_del(w, p);
  return false;
}

static void receive(worker *w, peer *p)
{
  ssize_t len = recv(p->fd, w->input, sizeof w->input, MSG_DONTWAIT);
  if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (len <= 0) {
    peer_del(w, p);
    return;
  }
  if (sc_conn_input(p->conn, (sc_str){w->input, (size_t)len}, now_ns()) < 0) p->closing = true;
  flush(w, p);
}

static void adopt(worker *w, int fd)
{
  peer *p = calloc(1, sizeof *p);
  if (!p || sc_conn_new(&p->conn, &w->options, &w->conns) < 0) goto fail;
  p->fd = fd;
  p->since_ns = p->moved_ns = now_ns();
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
  if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) < 0) goto fail;
  p->next = w->peers;
  if (p->next) p->next->previous = p;
  w->peers = p;
  if (w->drained) sc_conn_drain(p->conn);
  flush(w, p);
  return;
fail:
  if (p) sc_conn_del(p->conn);
  free(p);
  close(fd);
  sc_count(&w->rejected, 1);
  __atomic_sub_fetch(&w->n_peers, 1, __ATOMIC_RELEASE);
}

/* ---- new connections ------------------------------------------------------------------------ */

static void hand_over(sc_server *server, worker *acceptor, int fd)
{
  worker *to = server->workers[0];
  uint64_t all = 0;
  for (size_t i = 0; i < server->options.n_threads; i++) {
    worker *w = server->workers[i];
    uint64_t n = __atomic_load_n(&w->n_peers, __ATOMIC_ACQUIRE);
    all += n;
    if (n < __atomic_load_n(&to->n_peers, __ATOMIC_ACQUIRE)) to = w;
  }
  pthread_mutex_lock(&to->lock);
  bool room = all < SC_MAX_CONNECTIONS && to->n_inbox < SC_MAX_CONNECTIONS;
  if (room) {
    to->inbox[to->n_inbox++] = fd;
    __atomic_add_fetch(&to->n_peers, 1, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&to->lock);
  sc_count(room ? &acceptor->connections : &acceptor->rejected, 1);
  if (room)
    wake(to);
  else
    close(fd);
}

/* No descriptor is left: the peer is let in and out, or it would be announced again at once, forever. */
static void turn_away(sc_server *server, worker *acceptor)
{
  close(server->spare);
  int fd = accept4(server->options.listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  sc_count(&acceptor->rejected, 1);
}

static void accept_all(worker *w)
{
  sc_server *server = w->server;
  for (int i = 0; i < MAX_EVENTS; i++) {
    int fd = accept4(server->options.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      /* An answer must not wait until the one before is acknowledged; a Unix socket refuses, and needs it not. */
      (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
      hand_over(server, w, fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      turn_away(server, w);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

/* ---- the worker ----------------------------------------------------------------------------- */

static void take_inbox(worker *w)
{
  for (;;) {
    pthread_mutex_lock(&w->lock);
    int fd = w->n_inbox > 0 ? w->inbox[--w->n_inbox] : -1;
    pthread_mutex_unlock(&w->lock);
    if (fd < 0) return;
    adopt(w, fd);
  }
}

static void flush_all(worker *w)
{
  for (peer *p = w->peers, *next; p; p = next) {
    next = p->next;
    flush(w, p);
  }
}

static void drain(worker *w)
{
  w->drained = true;
  if (w->number == 0) {
    epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->server->options.listener, NULL);
    close(w->server->options.listener);
  }
  for (peer *p = w->peers; p; p = p->next) sc_conn_drain(p->conn);
}

/* What others asked for since the last time. */
static void obey(worker *w)
{
  eventfd_t ignored;
  (void)eventfd_read(w->wake, &ignored);
  take_inbox(w);
  sc_health_set(&w->health, flag(&w->server->serving));
  if (flag(&w->server->draining) && !w->drained) drain(w);
  flush_all(w);
}

/* Peers that never greet, or that take nothing of what they asked for. */
static void tick(worker *w)
{
  const uint64_t ms = 1000000;
  uint64_t greeting_ns = w->server->options.greeting_ms * ms, stall_ns = w->server->options.stall_ms * ms;
  for (peer *p = w->peers, *next; p; p = next) {
    next = p->next;
    if (sc_conn_unsent(p->conn) == 0 || sc_conn_sent(p->conn) != p->sent) {
      p->sent = sc_conn_sent(p->conn);
      p->moved_ns = w->tick_ns;
    }
    uint64_t age = w->tick_ns > p->since_ns ? w->tick_ns - p->since_ns : 0;
    bool late = !sc_conn_greeted(p->conn) && age > greeting_ns;
    bool socket_full = p->writing && age > stall_ns, windows_full = w->tick_ns - p->moved_ns > stall_ns;
    if (!late && !socket_full && !windows_full) continue;
    sc_count(&w->stalled, 1);
    peer_del(w, p);
  }
}

static void on_event(worker *w, const struct epoll_event *event)
{
  if (event->data.ptr == w) {
    obey(w);
  } else if (event->data.ptr == w->server) {
    accept_all(w);
  } else {
    peer *p = event->data.ptr;
    if (event->events & EPOLLOUT)
      flush(w, p);
    else
      receive(w, p);
  }
}

static void *work(void *argument)
{
  worker *w = argument;
  struct epoll_event events[MAX_EVENTS];
  w->tick_ns = now_ns();
  while (!flag(&w->server->stopping)) {
    int n = epoll_wait(w->epoll, events, MAX_EVENTS, w->tick_ms);
    if (n > 0) sc_count(&w->wakeups, 1);
    /* A peer is deleted only by its own event or by the worker's, which epoll gives once each:
     * the worker's comes last, so that none of the others is stale. */
    bool woken = false;
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr == w)
        woken = true;
      else
        on_event(w, &events[i]);
    }
    if (woken) obey(w);
    uint64_t now = now_ns();
    if (now - w->tick_ns > UINT64_C(1000000) * (uint64_t)w->tick_ms) {
      w->tick_ns = now;
      tick(w);
    }
  }
  return NULL;
}

/* ---- the server ----------------------------------------------------------------------------- */

static int worker_new(sc_server *server, size_t number)
{
  worker *w = calloc(1, sizeof *w);
  if (!w) return SC_ERR_NOMEM;
  server->workers[number] = w;
  w->server = server;
  w->number = number;
  uint32_t shortest = server->options.greeting_ms < server->options.stall_ms ? server->options.greeting_ms
                                                                             : server->options.stall_ms;
  w->tick_ms = shortest < 2 * TICK_MS ? (int)(shortest / 2 + 1) : TICK_MS;
  w->epoll = epoll_create1(EPOLL_CLOEXEC);
  w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&w->lock, NULL);
  w->extproc = (sc_extproc){.shelf = &server->shelf, .reader = number, .sampling = server->options.sampling};
  w->health.service = SC_LITERAL("envoy.service.ext_proc.v3.ExternalProcessor");
  if (getrandom(&w->extproc.random, sizeof w->extproc.random, 0) < 0) return SC_ERR_NOMEM;
  if (server->options.sampling.on && sc_ring_new(&w->extproc.ring) < 0) return SC_ERR_NOMEM;
  w->methods[0] = sc_extproc_method(&w->extproc);
  sc_health_methods(&w->health, &w->methods[1]);
  w->options = (sc_conn_options){.methods = w->methods,
                                 .n_methods = 1 + SC_HEALTH_METHODS,
                                 .trusted = server->options.trusted,
                                 .keep_trace = server->options.sampling.on};
  if (server->options.rows) w->methods[w->options.n_methods++] = sc_als_method(server->options.rows);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
  if (w->epoll < 0 || w->wake < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &event) < 0) return SC_ERR_NOMEM;
  event.data.ptr = server;
  if (number == 0 && epoll_ctl(w->epoll, EPOLL_CTL_ADD, server->options.listener, &event) < 0) return SC_ERR_NOMEM;
  return 0;
}

static void worker_del(worker *w)
{
  if (!w) return;
  if (w->started) pthread_join(w->thread, NULL);
  while (w->peers) peer_del(w, w->peers);
  for (size_t i = 0; i < w->n_inbox; i++) close(w->inbox[i]);
  if (w->number == 0 && w->started && !w->drained) close(w->server->options.listener);
  if (w->epoll >= 0) close(w->epoll);
  if (w->wake >= 0) close(w->wake);
  pthread_mutex_destroy(&w->lock);
  sc_ring_del(w->extproc.ring);
  free(w);
}

/* Signals are for whoever started us. */
static int start(worker *w)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rv = pthread_create(&w->thread, NULL, work, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  w->started = rv == 0;
  if (w->started) pthread_setname_np(w->thread, "canary-native");
  errno = rv;
  return w->started ? 0 : SC_ERR_NOMEM;
}

int sc_server_new(sc_server **out, const sc_server_options *options)
{
  sc_server *server = aligned_alloc(_Alignof(sc_server), (sizeof *server + options->n_threads * sizeof(worker *) +
                                                          _Alignof(sc_server) - 1) / _Alignof(sc_server) * _Alignof(sc_server));
  if (!server) return SC_ERR_NOMEM;
  memset(server, 0, sizeof *server + options->n_threads * sizeof(worker *));
  server->options = *options;
  if (options->greeting_ms == 0) server->options.greeting_ms = GREETING_MS;
  if (options->stall_ms == 0) server->options.stall_ms = STALL_MS;
  server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < options->n_threads; i++) rv = worker_new(server, i);
  /* The first worker comes last: until it runs, nothing is accepted, and the listener is not closed on failure. */
  for (size_t i = options->n_threads; rv == 0 && i-- > 0;) rv = start(server->workers[i]);
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
  raise_flag(&server->stopping, true);
  for (size_t i = 0; i < server->options.n_threads; i++)
    if (server->workers[i] && server->workers[i]->wake >= 0) wake(server->workers[i]);
  for (size_t i = 0; i < server->options.n_threads; i++) worker_del(server->workers[i]);
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
  raise_flag(&server->serving, serving);
  wake_all(server);
}

bool sc_server_take_sample(sc_server *server, sc_sample *out)
{
  for (size_t i = 0; i < server->options.n_threads; i++)
    if (server->workers[i]->extproc.ring && sc_ring_take(server->workers[i]->extproc.ring, out)) return true;
  return false;
}

void sc_server_drain(sc_server *server)
{
  raise_flag(&server->serving, false);
  raise_flag(&server->draining, true);
  wake_all(server);
}

size_t sc_server_open_connections(const sc_server *server)
{
  size_t all = 0;
  for (size_t i = 0; i < server->options.n_threads; i++)
    all += __atomic_load_n(&server->workers[i]->n_peers, __ATOMIC_ACQUIRE);
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
    const worker *w = server->workers[i];
    add((uint64_t *)&out->conns, (const uint64_t *)&w->conns, sizeof w->conns);
    add((uint64_t *)&out->extproc, (const uint64_t *)&w->extproc.counts, sizeof w->extproc.counts);
    out->wakeups += sc_counted(&w->wakeups);
    out->connections += sc_counted(&w->connections);
    out->rejected += sc_counted(&w->rejected);
    out->stalled += sc_counted(&w->stalled);
    if (w->extproc.ring) out->samples_dropped += sc_counted(&w->extproc.ring->dropped);
  }
}
