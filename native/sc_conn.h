/* One HTTP/2 connection: bytes in, bytes out, no I/O, no clock. Who owns it reads and writes.
 *
 * Theory. nghttp2 speaks HTTP/2; this file speaks gRPC on top of it, and bounds what a peer can make
 * us hold. A call lives from its HEADERS to the close of its stream: Envoy ends nearly every call with
 * RST_STREAM as soon as it has its answer, which is a normal end. nghttp2's own guard against resets
 * would send GOAWAY after a thousand of them, so it is lifted; resets of calls that had *no* answer
 * yet are limited here instead, unless the peer is trusted (a Unix socket's).
 */
#ifndef SC_CONN_H
#define SC_CONN_H

#include <nghttp2/nghttp2.h>

#include "sc_buf.h"
#include "sc_call.h"

enum {
  SC_CONN_MAX_STREAMS = 1 << 15,
  SC_CONN_MAX_MESSAGE = 4 << 20,     /* as grpcio's default */
  SC_CONN_MAX_HEADERS = 64 << 10,    /* one header list, as RFC 9113 6.5.2 counts */
  SC_CONN_MAX_HELD = 16 << 20,       /* parts of messages and replies not yet sent, all calls */
  SC_CONN_CALL_COST = 1 << 10,       /* what a call takes besides, nghttp2's part included; about */
  SC_CONN_MAX_POOL = 256 << 20,      /* both, all connections of a thread; beyond it, only what each ... */
  SC_CONN_FAIR_SHARE = 64 << 10,     /* ... may have in any case */
  SC_CONN_RESETS_BURST = 1000,       /* of unanswered calls, by a peer that is not trusted */
  SC_CONN_RESETS_PER_S = 33,
};

typedef struct {
  const sc_method *methods;
  size_t n_methods;
  bool trusted;    /* resets of unanswered calls are not limited */
  bool keep_trace; /* keep traceparent and tracestate */
} sc_conn_options;

/* What happened, for whoever counts; shared by the connections of a thread. `held` is no count but a level: the bytes
 * that their calls take now. */
typedef struct {
  uint64_t calls, replies, refused, resets_unanswered, protocol_errors, held;
} sc_conn_counts;

typedef struct sc_conn sc_conn;

/* `options` and `counts` must outlive it. */
int sc_conn_new(sc_conn **out, const sc_conn_options *options, sc_conn_counts *counts);

/* Closes every call. */
void sc_conn_del(sc_conn *conn);

/* Takes bytes of the peer, read at `now_ns`. Negative: SC_ERR_NOMEM, or no HTTP/2 at all; close. Any other mistake of the
 * peer is answered by a GOAWAY in the output, after which sc_conn_done() holds. */
int sc_conn_input(sc_conn *conn, sc_str bytes, uint64_t now_ns);

/* Moves what is to be sent to the end of `out`, up to about `limit` bytes. Negative: out of memory, close. */
int sc_conn_output(sc_conn *conn, sc_buf *out, size_t limit);

/* No new calls: GOAWAY now, endless calls end, the others finish. */
void sc_conn_drain(sc_conn *conn);

/* Nothing more will come of it: close it once its output is sent. */
bool sc_conn_done(const sc_conn *conn);

/* Whether the peer has shown itself: its preface and SETTINGS came. */
bool sc_conn_greeted(const sc_conn *conn);

size_t sc_conn_calls(const sc_conn *conn);

/* Bytes of replies that wait for room in the peer's windows, and how many ever went out. */
size_t sc_conn_unsent(const sc_conn *conn);
uint64_t sc_conn_sent(const sc_conn *conn);

#endif
