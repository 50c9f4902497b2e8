/* What sc_call.c and sc_conn.c know of each other, and nobody else. */
#ifndef SC_CONN_INSIDE_H
#define SC_CONN_INSIDE_H

#include "sc_conn.h"
#include "sc_mem.h"

enum { SC_PREFIX = 5, SC_TRACEPARENT = 55, SC_KEEP_BUFFER = 4096 };

struct sc_call {
  sc_conn *conn;
  sc_call *previous, *next; /* among the connection's calls; `next` also among the spare ones */
  const sc_method *method;
  void *data;
  uint64_t began_ns;
  sc_buf in, out; /* a message not yet whole; replies not yet taken */
  sc_buf trace;   /* traceparent, then tracestate */
  size_t header_bytes;
  int32_t id;
  sc_status status;
  bool posted, grpc, compressed_calls; /* what its headers said */
  bool half_closed;                    /* by the peer */
  bool responding, replied, ending, gone;
  bool reading; /* nghttp2 will ask for what there is to say */
};

struct sc_conn {
  nghttp2_session *session;
  sc_block *blocks; /* the session's memory */
  const sc_conn_options *options;
  sc_conn_counts *counts;
  sc_call *calls, *spare;
  sc_call *heard; /* whose headers are coming in, or NULL */
  size_t n_calls, n_spare;
  size_t held, unsent; /* all that calls hold; the replies among it */
  uint64_t sent;       /* bytes of replies */
  uint64_t now_ns;
  uint64_t reset_tokens_ns; /* a token bucket, in nanoseconds of refill */
  bool greeted, draining, parting, failed; /* parting: the last GOAWAY is said, or the connection is broken off */
};

/* Every byte that a call keeps is held, and released with it. */
static inline void sc_conn_hold(sc_conn *conn, size_t bytes)
{
  conn->held += bytes;
  sc_count(&conn->counts->held, bytes);
}

static inline void sc_conn_release(sc_conn *conn, size_t bytes)
{
  conn->held -= bytes;
  sc_count(&conn->counts->held, 0 - (uint64_t)bytes);
}

/* Whether it holds more than a peer may make us hold, be it alone or together with the others. */
static inline bool sc_conn_is_greedy(const sc_conn *conn)
{
  return conn->held > SC_CONN_MAX_HELD ||
         (conn->counts->held > SC_CONN_MAX_POOL &&
          conn->held + conn->n_calls * SC_CONN_CALL_COST > SC_CONN_FAIR_SHARE);
}

/* A call that begins, or NULL without memory. */
sc_call *sc_call_new(sc_conn *conn, int32_t id);

/* Tells the service, and keeps what can be used again. */
void sc_call_del(sc_call *call);

/* Frees what sc_call_del() kept. */
void sc_call_free_spare(sc_conn *conn);

/* Ends the call; `http_status` is said only where nothing was said before. */
int sc_call_end_as(sc_call *call, sc_status status, const char *http_status);

#endif
