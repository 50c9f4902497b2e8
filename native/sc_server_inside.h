/* What sc_server.c and sc_worker.c know of each other, and nobody else. */
#ifndef SC_SERVER_INSIDE_H
#define SC_SERVER_INSIDE_H

#include <pthread.h>

#include "sc_health.h"
#include "sc_server.h"

enum { SC_READ_BYTES = 64 << 10, SC_MAX_METHODS = 8 };

/* A connection with its socket. */
typedef struct sc_peer {
  struct sc_peer *previous, *next;
  sc_conn *conn;
  sc_buf out;
  uint64_t since_ns; /* it was opened, wrote something, or began to wait */
  uint64_t sent, moved_ns; /* how much of the replies went out, and when it was last seen to grow */
  int fd;
  bool writing; /* waits for the socket to take more, and reads nothing meanwhile */
  bool leaving; /* everything is said: only the peer's end of it is awaited */
} sc_peer;

typedef struct {
  sc_server *server;
  pthread_t thread;
  bool started;
  size_t number;
  int epoll, wake;
  sc_peer *peers;
  uint64_t n_peers;      /* of all that were given to it */
  pthread_mutex_t lock;  /* for the inbox: once per connection */
  int inbox[SC_MAX_CONNECTIONS];
  size_t n_inbox;
  bool drained, closed_door; /* the door: nobody is let in until the next tick */
  sc_conn_options options;
  sc_method methods[SC_MAX_METHODS];
  sc_extproc extproc;
  sc_health health;
  sc_conn_counts conns;
  uint64_t wakeups, connections, rejected, stalled;
  uint64_t tick_ns;
  int tick_ms;
  uint8_t input[SC_READ_BYTES];
} sc_worker;

struct sc_server {
  sc_server_options options;
  sc_shelf shelf;
  bool serving, draining, stopping;
  size_t sampled; /* the worker of the latest sample */
  int spare; /* given up for a moment to turn away whoever comes when no descriptor is left */
  sc_worker *workers[];
};

static inline bool sc_flag(const bool *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }

static inline void sc_raise(bool *at, bool value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

/* Its descriptors and what it serves; sc_worker_del() follows also where this fails. */
int sc_worker_new(sc_server *server, size_t number);

/* Starts its thread. errno says why not. */
int sc_worker_start(sc_worker *worker);

/* Waits for its thread, then closes its connections. */
void sc_worker_del(sc_worker *worker);

/* Has it look at its flags and its inbox. */
void sc_worker_wake(sc_worker *worker);

/* Takes a connection for this worker; false if it has no room. */
bool sc_worker_give(sc_worker *worker, int fd);

/* Lets in who waits at the door; called on the first worker's thread. 0: nobody is left, 1: somebody may be, -1: somebody
 * is whom we cannot let in. */
int sc_server_accept(sc_worker *acceptor);

#endif
