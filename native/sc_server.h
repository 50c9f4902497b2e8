/* The transport: threads, sockets and epoll around sc_conn, without a word of Python.
 *
 * Theory. Each worker thread owns an epoll instance and the connections that were given to it; a
 * connection never changes its thread, so nothing on the path of a request is locked. The first
 * worker also accepts, and hands each new connection to the worker that has the fewest. What other
 * threads want of a worker (a drain, another health, the end) is a flag and a write to its eventfd.
 */
#ifndef SC_SERVER_H
#define SC_SERVER_H

#include "sc_conn.h"
#include "sc_extproc.h"
#include "sc_rows.h"

enum { SC_MAX_CONNECTIONS = 4096 };

typedef struct {
  size_t n_threads;     /* 1 to SC_MAX_THREADS */
  int listener;         /* bound, listening, non-blocking; owned by the server from here on */
  bool trusted;         /* only local, permitted peers can reach it: a Unix socket */
  sc_sampling sampling;
  int alarm;            /* an eventfd that is written to when there are many samples to take; 0: none */
  uint32_t greeting_ms; /* how long a peer may take to greet; 0: 10 seconds */
  uint32_t stall_ms;    /* how long it may take nothing of what it asked for; 0: 20 seconds */
  sc_rows *rows; /* what access logs become; NULL: the service is not offered. Outlives the server */
} sc_server_options;

/* What happened since the start, all threads together. */
typedef struct {
  sc_conn_counts conns;
  sc_extproc_counts extproc;
  uint64_t wakeups, connections, rejected, stalled, samples_dropped;
} sc_server_counts;

typedef struct sc_server sc_server;

/* Threads start here. Negative: nothing was started and the listener is still the caller's; errno says why. */
int sc_server_new(sc_server **out, const sc_server_options *options);

/* Closes what is open, ends the threads, frees all but the edition in force, which is given back (or NULL). */
sc_edition *sc_server_del(sc_server *server);

/* These may be called from one thread at a time, while the workers run. */
sc_edition *sc_server_exchange(sc_server *server, sc_edition *next);
bool sc_server_reads(const sc_server *server, const sc_edition *edition);
void sc_server_set_serving(sc_server *server, bool serving);
bool sc_server_take_sample(sc_server *server, sc_sample *out);

/* Accepts nothing more, says GOAWAY to every peer, lets calls finish. */
void sc_server_drain(sc_server *server);

/* From any thread. */
size_t sc_server_open_connections(const sc_server *server);
void sc_server_count(const sc_server *server, sc_server_counts *out);

#endif
