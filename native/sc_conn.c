#include <stdlib.h>

#include "sc_conn_inside.h"

enum { MAX_TRACESTATE = 512 };

static const sc_status going = {SC_GRPC_UNAVAILABLE, "the server is going"};

static const uint64_t token_ns = UINT64_C(1000000000) / SC_CONN_RESETS_PER_S;

/* ---- what comes in -------------------------------------------------------------------------- */

static int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  sc_conn *conn = user_data;
  conn->heard = NULL;
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  if (sc_conn_is_greedy(conn)) {
    sc_count(&conn->counts->refused, 1);
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
  }
  sc_call *call = sc_call_new(conn, frame->hd.stream_id);
  if (!call) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  sc_count(&conn->counts->calls, 1);
  nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
  conn->heard = call;
  return 0;
}

static const sc_method *find_method(const sc_conn *conn, sc_str path)
{
  for (size_t i = 0; i < conn->options->n_methods; i++)
    if (sc_str_eq(conn->options->methods[i].path, path)) return &conn->options->methods[i];
  return NULL;
}

static int keep_trace(sc_call *call, sc_str name, sc_str value)
{
  if (!call->conn->options->keep_trace) return 0;
  size_t held = sc_buf_size(&call->trace);
  if (sc_str_eq(name, SC_LITERAL("traceparent")) && held == 0) {
    /* A version to come may say more behind it (W3C Trace Context 3.2.4); what it must not say, sc_sampling.c sees. */
    bool longer = value.len > SC_TRACEPARENT && value.data[SC_TRACEPARENT] == '-' && !sc_str_starts(value, SC_LITERAL("00"));
    if (longer) value.len = SC_TRACEPARENT;
    return value.len == SC_TRACEPARENT ? sc_buf_append(&call->trace, value) : 0;
  }
  /* A tracestate that comes first or is too long is left out, as W3C Trace Context 3.3.1.5 allows. */
  if (sc_str_eq(name, SC_LITERAL("tracestate")) && held == SC_TRACEPARENT && value.len <= MAX_TRACESTATE)
    return sc_buf_append(&call->trace, value);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_at,
                     size_t name_len, const uint8_t *value_at, size_t value_len, uint8_t flags,
                     void *user_data)
{
  (void)session, (void)frame, (void)flags;
  const sc_conn *conn = user_data;
  sc_call *call = conn->heard; /* a header block is not interrupted (RFC 9113 4.3) */
  if (!call) return 0;
  sc_str name = {name_at, name_len}, value = {value_at, value_len};
  call->header_bytes += name_len + value_len + 32;
  int rv = 0;
  switch (name_len) {
  case 5:
    if (sc_str_eq(name, SC_LITERAL(":path"))) call->method = find_method(conn, value);
    break;
  case 7:
    if (sc_str_eq(name, SC_LITERAL(":method"))) call->posted = sc_str_eq(value, SC_LITERAL("POST"));
    break;
  case 10:
  case 11:
    if (name_at[0] == 't') rv = keep_trace(call, name, value);
    break;
  case 12:
    if (sc_str_eq(name, SC_LITERAL("content-type")))
      call->grpc = sc_str_starts(value, SC_LITERAL("application/grpc"));
    break;
  case 13:
    if (sc_str_eq(name, SC_LITERAL("grpc-encoding")))
      call->compressed_calls = !sc_str_eq(value, SC_LITERAL("identity"));
    break;
  default: break;
  }
  return rv < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int judge_headers(sc_call *call)
{
  if (!call->posted) return sc_call_end_as(call, (sc_status){SC_GRPC_UNIMPLEMENTED, "a gRPC call is a POST"}, "405");
  if (!call->grpc)
    return sc_call_end_as(call, (sc_status){SC_GRPC_INVALID_ARGUMENT, "content-type is not application/grpc"}, "415");
  if (call->header_bytes > SC_CONN_MAX_HEADERS)
    return sc_call_end_as(call, (sc_status){SC_GRPC_RESOURCE_EXHAUSTED, "too many or too long headers"}, "431");
  if (!call->method) return sc_call_end_as(call, (sc_status){SC_GRPC_UNIMPLEMENTED, "unknown method"}, "200");
  /* It came before the peer heard that we go. */
  if (call->method->endless && call->conn->draining) return sc_call_end_as(call, going, "200");
  return 0;
}

static int take_message(sc_call *call, sc_str message)
{
  sc_status status = call->method->message(call->method->context, call, message);
  if (status.text) return sc_call_end_as(call, status, "200");
  return 0;
}

/* Takes the first whole message off `bytes`: 1, 0 if there is none yet, negative on failure. */
static int next_message(sc_call *call, sc_str *bytes)
{
  if (bytes->len < SC_PREFIX) return 0;
  const uint8_t *p = bytes->data;
  size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
  sc_status wrong = SC_GOES_ON;
  if (p[0] == 1 && call->compressed_calls)
    wrong = (sc_status){SC_GRPC_UNIMPLEMENTED, "compressed messages are not taken"};
  else if (p[0] != 0)
    wrong = (sc_status){SC_GRPC_INTERNAL, "a message is flagged in an unknown way"};
  else if (len > SC_CONN_MAX_MESSAGE)
    wrong = (sc_status){SC_GRPC_RESOURCE_EXHAUSTED, "a message is longer than 4 MiB"};
  if (wrong.text) return sc_call_end_as(call, wrong, "200");
  if (bytes->len - SC_PREFIX < len) return 0;
  int rv = take_message(call, sc_str_slice(*bytes, SC_PREFIX, SC_PREFIX + len));
  *bytes = sc_str_slice(*bytes, SC_PREFIX + len, bytes->len);
  return rv < 0 ? rv : 1;
}

/* Messages that came whole are read where they lie; only the rest is kept. */
static int take_data(sc_call *call, sc_str bytes)
{
  sc_conn *conn = call->conn;
  bool kept = sc_buf_size(&call->in) > 0;
  if (kept) {
    if (sc_buf_append(&call->in, bytes) < 0) return SC_ERR_NOMEM;
    sc_conn_hold(conn, bytes.len);
    bytes = sc_buf_view(&call->in);
  }
  size_t before = bytes.len;
  int rv = 1;
  while (rv > 0 && !call->ending) rv = next_message(call, &bytes);
  if (rv < 0) return rv;
  if (call->ending) bytes = (sc_str){NULL, 0};
  if (kept) {
    sc_buf_take(&call->in, before - bytes.len);
    if (sc_buf_size(&call->in) == 0) sc_buf_reset(&call->in, SC_KEEP_BUFFER);
    sc_conn_release(conn, before - bytes.len);
    return 0;
  }
  if (sc_buf_append(&call->in, bytes) < 0) return SC_ERR_NOMEM;
  sc_conn_hold(conn, bytes.len);
  return 0;
}

/* Says so, and then nothing more. */
static int break_off(sc_conn *conn)
{
  if (conn->parting) return 0;
  conn->parting = true;
  return nghttp2_session_terminate_session(conn->session, NGHTTP2_ENHANCE_YOUR_CALM) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user_data)
{
  (void)flags;
  sc_conn *conn = user_data;
  sc_call *call = nghttp2_session_get_stream_user_data(session, id);
  if (!call || call->ending) return 0;
  if (take_data(call, (sc_str){data, len}) < 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
  return sc_conn_is_greedy(conn) ? break_off(conn) : 0;
}

static int peer_ended(sc_call *call)
{
  call->half_closed = true;
  if (call->ending) return 0;
  if (sc_buf_size(&call->in) > 0)
    return sc_call_end_as(call, (sc_status){SC_GRPC_INTERNAL, "the call ends within a message"}, "200");
  return call->method->lingers ? 0 : sc_call_end_as(call, SC_DONE, "200");
}

/* The peer has heard that we go: from here on it opens no more calls, and the last word may follow. */
static int say_goodbye(sc_conn *conn)
{
  if (conn->parting) return 0;
  conn->parting = true;
  return nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                               nghttp2_session_get_last_proc_stream_id(conn->session), NGHTTP2_NO_ERROR,
                               NULL, 0);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  sc_conn *conn = user_data;
  int rv = 0;
  if (frame->hd.type == NGHTTP2_SETTINGS) conn->greeted = true;
  if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && conn->draining)
    rv = say_goodbye(conn);
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return rv;
  sc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call) return 0;
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
    rv = judge_headers(call);
  if (rv == 0 && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) rv = peer_ended(call);
  return rv < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* Whoever still sends to a call that has ended is told to stop; no error (RFC 9113 8.1). */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  sc_conn *conn = user_data;
  if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
    sc_count(&conn->counts->protocol_errors, 1);
  if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  sc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call || call->half_closed) return 0;
  return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
}

/* A reset of a call that had no answer is work thrown away: a peer we do not trust has a budget for it. */
static int count_reset(sc_conn *conn)
{
  sc_count(&conn->counts->resets_unanswered, 1);
  if (conn->options->trusted) return 0;
  const uint64_t full = SC_CONN_RESETS_BURST * token_ns;
  uint64_t spent = conn->reset_tokens_ns > conn->now_ns ? conn->reset_tokens_ns : conn->now_ns;
  conn->reset_tokens_ns = spent + token_ns;
  return conn->reset_tokens_ns - conn->now_ns <= full ? 0 : break_off(conn);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
  sc_conn *conn = user_data;
  sc_call *call = nghttp2_session_get_stream_user_data(session, id);
  if (!call) return 0;
  nghttp2_session_set_stream_user_data(session, id, NULL);
  bool wasted = error_code != NGHTTP2_NO_ERROR && !call->replied && !call->ending;
  sc_call_del(call);
  return wasted ? count_reset(conn) : 0;
}

/* ---- the connection ------------------------------------------------------------------------- */

static int open_session(sc_conn *conn)
{
  nghttp2_session_callbacks *callbacks = NULL;
  nghttp2_option *option = NULL;
  int rv = nghttp2_session_callbacks_new(&callbacks);
  if (rv == 0) rv = nghttp2_option_new(&option);
  if (rv == 0) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
    nghttp2_mem mem = sc_mem(&conn->blocks);
    rv = nghttp2_session_server_new3(&conn->session, callbacks, conn, option, &mem);
  }
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  return rv;
}

static int greet(sc_conn *conn)
{
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, SC_CONN_MAX_STREAMS},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SC_CONN_MAX_MESSAGE + SC_PREFIX},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SC_CONN_MAX_HEADERS},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  int rv = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
  if (rv != 0) return rv;
  /* So large that a window update falls due every few hundred thousand calls. */
  return nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, INT32_MAX);
}

int sc_conn_new(sc_conn **out, const sc_conn_options *options, sc_conn_counts *counts)
{
  sc_conn *conn = calloc(1, sizeof *conn);
  if (!conn) return SC_ERR_NOMEM;
  conn->options = options;
  conn->counts = counts;
  if (open_session(conn) != 0 || greet(conn) != 0) {
    conn->failed = true;
    sc_conn_del(conn);
    return SC_ERR_NOMEM;
  }
  *out = conn;
  return 0;
}

void sc_conn_del(sc_conn *conn)
{
  if (!conn) return;
  while (conn->calls) sc_call_del(conn->calls);
  if (!conn->failed) nghttp2_session_del(conn->session);
  sc_mem_free_all(&conn->blocks); /* none is left, unless it failed */
  sc_call_free_spare(conn);
  free(conn);
}

int sc_conn_input(sc_conn *conn, sc_str bytes, uint64_t now_ns)
{
  conn->now_ns = now_ns;
  ssize_t taken = nghttp2_session_mem_recv(conn->session, bytes.data, bytes.len);
  if (taken == (ssize_t)bytes.len && !conn->failed) return 0;
  conn->failed = true; /* nghttp2 asks for an end without another call (nghttp2_session_mem_recv(3)) */
  if (taken != NGHTTP2_ERR_BAD_CLIENT_MAGIC && taken != NGHTTP2_ERR_FLOODED) return SC_ERR_NOMEM;
  sc_count(&conn->counts->protocol_errors, 1);
  return SC_ERR_MALFORMED;
}

int sc_conn_output(sc_conn *conn, sc_buf *out, size_t limit)
{
  while (!conn->failed && sc_buf_size(out) < limit) {
    const uint8_t *data;
    ssize_t len = nghttp2_session_mem_send(conn->session, &data);
    if (len == 0) break;
    conn->failed = len < 0 || sc_buf_append(out, (sc_str){data, (size_t)len}) < 0;
  }
  return conn->failed ? SC_ERR_NOMEM : 0;
}

void sc_conn_drain(sc_conn *conn)
{
  if (conn->draining) return;
  conn->draining = true;
  for (sc_call *call = conn->calls; call; call = call->next)
    if (call->method && call->method->endless)
      sc_call_end(call, going);
  if (nghttp2_submit_shutdown_notice(conn->session) != 0 ||
      nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL) != 0)
    conn->failed = true;
}

bool sc_conn_done(const sc_conn *conn)
{
  return !nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session);
}

bool sc_conn_greeted(const sc_conn *conn) { return conn->greeted; }

size_t sc_conn_calls(const sc_conn *conn) { return conn->n_calls; }

size_t sc_conn_unsent(const sc_conn *conn) { return conn->unsent; }

uint64_t sc_conn_sent(const sc_conn *conn) { return conn->sent; }
