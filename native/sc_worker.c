#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sc_als.h"
#include "sc_server_inside.h"

enum { WRITE_BYTES = 64 << 10, KEEP_OUTPUT = 64 << 10, MAX_EVENTS = 64, TICK_MS = 1000, LEAVE_MS = 2000 };
static const uint64_t ms = 1000000;

static uint64_t now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- one connection ------------------------------------------------------------------------- */

static void peer_del(sc_worker *w, sc_peer *p)
{
  *(p->previous ? &p->previous->next : &w->peers) = p->next;
  if (p->next) p->next->previous = p->previous;
  sc_conn_del(p->conn);
  sc_buf_free(&p->out);
  close(p->fd);
  free(p);
  __atomic_sub_fetch(&w->n_peers, 1, __ATOMIC_RELEASE);
}

/* False: the kernel will not tell us of it any more. */
static bool watch(sc_worker *w, sc_peer *p, bool writing)
{
  if (p->writing == writing) return true;
  p->writing = writing;
  p->since_ns = w->tick_ns;
  struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = p};
  return epoll_ctl(w->epoll, EPOLL_CTL_MOD, p->fd, &event) == 0;
}

/* To close now would take the last words from a peer that is writing itself: its kernel would report a reset before, or
 * instead of, them. So it is told that nothing more comes, and closes first. */
static bool leave(sc_worker *w, sc_peer *p)
{
  p->leaving = true;
  p->since_ns = w->tick_ns;
  return watch(w, p, false) && shutdown(p->fd, SHUT_WR) == 0;
}

/* Writes until nothing is left or the socket takes no more. False: the connection is beyond help. */
static bool write_out(sc_worker *w, sc_peer *p)
{
  for (;;) {
    if (sc_conn_output(p->conn, &p->out, WRITE_BYTES) < 0) return false;
    sc_str ready = sc_buf_view(&p->out);
    if (ready.len == 0) return sc_conn_done(p->conn) ? leave(w, p) : watch(w, p, false);
    ssize_t sent = send(p->fd, ready.data, ready.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) {
      sc_buf_take(&p->out, (size_t)sent);
      if (sc_buf_size(&p->out) == 0) sc_buf_reset(&p->out, KEEP_OUTPUT);
      p->since_ns = w->tick_ns;
    }
    if (sent < (ssize_t)ready.len) return watch(w, p, true);
  }
}

static void flush(sc_worker *w, sc_peer *p)
{
  if (!p->leaving && !write_out(w, p)) peer_del(w, p);
}

static void receive(sc_worker *w, sc_peer *p)
{
  ssize_t len = recv(p->fd, w->input, sizeof w->input, MSG_DONTWAIT);
  if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (len > 0 && p->leaving) return;
  if (len <= 0 || sc_conn_input(p->conn, (sc_str){w->input, (size_t)len}, now_ns()) < 0)
    peer_del(w, p);
  else
    flush(w, p);
}

/* Of a TCP peer: an answer does not wait for the acknowledgement of the one before, and who is gone without a word is found
 * out. A refusal costs time, not correctness. */
static void set_options(int fd)
{
  int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static void adopt(sc_worker *w, int fd)
{
  sc_peer *p = calloc(1, sizeof *p);
  if (!p || sc_conn_new(&p->conn, &w->options, &w->conns) < 0) goto fail;
  p->fd = fd;
  p->since_ns = p->moved_ns = w->tick_ns;
  if (!w->server->options.trusted) set_options(fd);
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

/* ---- the worker ----------------------------------------------------------------------------- */

static void take_inbox(sc_worker *w)
{
  for (;;) {
    pthread_mutex_lock(&w->lock);
    int fd = w->n_inbox > 0 ? w->inbox[--w->n_inbox] : -1;
    pthread_mutex_unlock(&w->lock);
    if (fd < 0) return;
    adopt(w, fd);
  }
}

static void flush_all(sc_worker *w)
{
  for (sc_peer *p = w->peers, *next; p; p = next) {
    next = p->next;
    flush(w, p);
  }
}

/* Whether the kernel tells of those who wait at the door. */
static void open_door(sc_worker *w, bool open)
{
  struct epoll_event event = {.events = open ? EPOLLIN : 0, .data.ptr = w->server};
  int rv = epoll_ctl(w->epoll, EPOLL_CTL_MOD, w->server->options.listener, &event);
  w->closed_door = !open || rv < 0; /* what failed is tried again */
}

/* Who was at the door before it closes has a connection, and is told on it. */
static void drain(sc_worker *w)
{
  if (w->number == 0) {
    while (sc_server_accept(w) > 0) continue;
    close(w->server->options.listener);
    take_inbox(w);
  }
  for (sc_peer *p = w->peers; p; p = p->next) sc_conn_drain(p->conn);
  sc_raise(&w->drained, true);
}

/* What others asked for since the last time. */
static void obey(sc_worker *w)
{
  eventfd_t ignored;
  (void)eventfd_read(w->wake, &ignored);
  take_inbox(w);
  sc_health_set(&w->health, sc_flag(&w->server->serving));
  if (sc_flag(&w->server->draining) && !w->drained) drain(w);
  flush_all(w);
}

static bool is_overdue(const sc_worker *w, sc_peer *p)
{
  const sc_server_options *options = &w->server->options;
  uint64_t age = w->tick_ns - p->since_ns;
  if (p->leaving) return age > LEAVE_MS * ms;
  if (sc_conn_unsent(p->conn) == 0 || sc_conn_sent(p->conn) != p->sent) {
    p->sent = sc_conn_sent(p->conn);
    p->moved_ns = w->tick_ns;
  }
  bool late = !sc_conn_greeted(p->conn) && age > options->greeting_ms * ms;
  bool socket_full = p->writing && age > options->stall_ms * ms;
  bool windows_full = w->tick_ns - p->moved_ns > options->stall_ms * ms;
  return late || socket_full || windows_full;
}

/* Peers that never greet, that take nothing of what they asked for (their socket or their windows stay full), or that do
 * not close. */
static void tick(sc_worker *w)
{
  if (w->closed_door && !w->drained) open_door(w, true);
  for (sc_peer *p = w->peers, *next; p; p = next) {
    next = p->next;
    if (!is_overdue(w, p)) continue;
    if (!p->leaving) sc_count(&w->stalled, 1);
    peer_del(w, p);
  }
}

static void on_event(sc_worker *w, const struct epoll_event *event)
{
  if (event->data.ptr == w) {
    obey(w);
  } else if (event->data.ptr == w->server) {
    /* Without that it would be announced again at once, for ever. */
    if (sc_server_accept(w) < 0) open_door(w, false);
  } else {
    sc_peer *p = event->data.ptr;
    if (event->events & EPOLLOUT)
      flush(w, p);
    else
      receive(w, p);
  }
}

static void *work(void *argument)
{
  sc_worker *w = argument;
  struct epoll_event events[MAX_EVENTS];
  w->tick_ns = now_ns();
  while (!sc_flag(&w->server->stopping)) {
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
    if (now - w->tick_ns > (uint64_t)w->tick_ms * ms) {
      w->tick_ns = now;
      tick(w);
    }
  }
  return NULL;
}

/* ---- its beginning and its end -------------------------------------------------------------- */

void sc_worker_wake(sc_worker *w)
{
  /* Full means that it is awake anyway. */
  while (eventfd_write(w->wake, 1) < 0 && errno == EINTR) continue;
}

bool sc_worker_give(sc_worker *w, int fd)
{
  pthread_mutex_lock(&w->lock);
  bool room = w->n_inbox < SC_MAX_CONNECTIONS;
  if (room) {
    w->inbox[w->n_inbox++] = fd;
    __atomic_add_fetch(&w->n_peers, 1, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&w->lock);
  if (room) sc_worker_wake(w);
  return room;
}

int sc_worker_new(sc_server *server, size_t number)
{
  sc_worker *w = calloc(1, sizeof *w);
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
  w->extproc = (sc_extproc){.shelf = &server->shelf, .reader = number, .sampling = server->options.sampling,
                            .alarm = server->options.alarm};
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

void sc_worker_del(sc_worker *w)
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
int sc_worker_start(sc_worker *w)
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
