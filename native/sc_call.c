/* A call's life, and what it says. Who is spoken to comes in by sc_conn.c. */
#include <stdlib.h>

#include "sc_conn_inside.h"

enum { MAX_SPARE_CALLS = 1024 };

/* ---- a call's life -------------------------------------------------------------------------- */

uint64_t sc_call_began_ns(const sc_call *call) { return call->began_ns; }

void **sc_call_data(sc_call *call) { return &call->data; }

sc_str sc_call_traceparent(const sc_call *call)
{
  sc_str trace = sc_buf_view(&call->trace);
  return sc_str_slice(trace, 0, trace.len < SC_TRACEPARENT ? 0 : SC_TRACEPARENT);
}

sc_str sc_call_tracestate(const sc_call *call)
{
  sc_str trace = sc_buf_view(&call->trace);
  return sc_str_slice(trace, trace.len < SC_TRACEPARENT ? trace.len : SC_TRACEPARENT, trace.len);
}

sc_call *sc_call_new(sc_conn *conn, int32_t id)
{
  sc_call *call = conn->spare;
  if (call) {
    conn->spare = call->next;
    conn->n_spare--;
    sc_buf in = call->in, out = call->out, trace = call->trace;
    *call = (sc_call){.in = in, .out = out, .trace = trace};
  } else {
    call = calloc(1, sizeof *call);
    if (!call) return NULL;
  }
  call->conn = conn;
  call->id = id;
  call->began_ns = conn->now_ns;
  call->status = SC_GOES_ON;
  call->next = conn->calls;
  if (call->next) call->next->previous = call;
  conn->calls = call;
  conn->n_calls++;
  sc_count(&conn->counts->held, SC_CONN_CALL_COST);
  return call;
}

static void call_free(sc_call *call)
{
  sc_buf_free(&call->in);
  sc_buf_free(&call->out);
  sc_buf_free(&call->trace);
  free(call);
}

void sc_call_del(sc_call *call)
{
  sc_conn *conn = call->conn;
  call->gone = true;
  if (conn->heard == call) conn->heard = NULL;
  if (call->method && call->method->closed) call->method->closed(call->method->context, call);
  *(call->previous ? &call->previous->next : &conn->calls) = call->next;
  if (call->next) call->next->previous = call->previous;
  conn->n_calls--;
  sc_count(&conn->counts->held, 0 - (uint64_t)SC_CONN_CALL_COST);
  sc_conn_release(conn, sc_buf_size(&call->in) + sc_buf_size(&call->out));
  conn->unsent -= sc_buf_size(&call->out);
  if (conn->n_spare >= MAX_SPARE_CALLS) {
    call_free(call);
    return;
  }
  sc_buf_reset(&call->in, SC_KEEP_BUFFER);
  sc_buf_reset(&call->out, SC_KEEP_BUFFER);
  sc_buf_reset(&call->trace, SC_KEEP_BUFFER);
  call->next = conn->spare;
  conn->spare = call;
  conn->n_spare++;
}

void sc_call_free_spare(sc_conn *conn)
{
  for (sc_call *call; (call = conn->spare);) {
    conn->spare = call->next;
    call_free(call);
  }
}

/* ---- what goes out -------------------------------------------------------------------------- */

#define HEADER(name, value) \
  {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, \
   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static const nghttp2_nv ok_headers[] = {
    HEADER(":status", "200"), HEADER("content-type", "application/grpc"),
    HEADER("grpc-accept-encoding", "identity")};
/* The last one only where a compressed message was refused: it costs bytes in every answer. */
enum { N_OK_HEADERS = 2 };

/* The texts are static, so nothing is copied; the number is written by hand. */
static size_t status_fields(const sc_call *call, nghttp2_nv out[2], uint8_t number[2])
{
  static const char name_status[] = "grpc-status", name_message[] = "grpc-message";
  size_t digits = 0;
  if (call->status.code >= 10) number[digits++] = (uint8_t)('0' + call->status.code / 10);
  number[digits++] = (uint8_t)('0' + call->status.code % 10);
  out[0] = (nghttp2_nv){(uint8_t *)name_status, number, sizeof name_status - 1, digits,
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
  out[1] = (nghttp2_nv){(uint8_t *)name_message, (uint8_t *)call->status.text,
                        sizeof name_message - 1, strlen(call->status.text),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
  return out[1].valuelen > 0 ? 2 : 1;
}

static int say_status(nghttp2_session *session, int32_t id, const sc_call *call)
{
  nghttp2_nv fields[2];
  uint8_t number[2];
  size_t n = status_fields(call, fields, number);
  return nghttp2_submit_trailer(session, id, fields, n);
}

static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *into, size_t room,
                          uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
  (void)user_data;
  sc_call *call = source->ptr;
  sc_str ready = sc_buf_view(&call->out);
  size_t count = ready.len < room ? ready.len : room;
  if (count > 0) {
    memcpy(into, ready.data, count);
    sc_buf_take(&call->out, count);
    if (sc_buf_size(&call->out) == 0) sc_buf_reset(&call->out, SC_KEEP_BUFFER);
    sc_conn_release(call->conn, count);
    call->conn->unsent -= count;
    call->conn->sent += count;
  }
  if (sc_buf_size(&call->out) > 0) return (ssize_t)count;
  /* Not to be asked again until there is more. */
  *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  call->reading = false;
  return call->ending && say_status(session, id, call) != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)count;
}

static int check(sc_conn *conn, int rv)
{
  if (rv == 0) return 0;
  conn->failed = true;
  return SC_ERR_NOMEM;
}

/* Sees to it that what there is to say is said, by read_reply() or at once. */
static int respond(sc_call *call)
{
  sc_conn *conn = call->conn;
  nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_reply};
  bool first = !call->responding;
  if (call->reading) return 0;
  if (!first && sc_buf_size(&call->out) == 0) return check(conn, say_status(conn->session, call->id, call));
  call->reading = call->responding = true;
  return check(conn, first ? nghttp2_submit_response(conn->session, call->id, ok_headers, N_OK_HEADERS, &provider)
                           : nghttp2_submit_data(conn->session, NGHTTP2_FLAG_NONE, call->id, &provider));
}

int sc_call_reply(sc_call *call, sc_str message)
{
  if (call->gone || call->ending || message.len > UINT32_MAX) return 0;
  uint8_t prefix[SC_PREFIX] = {0, (uint8_t)(message.len >> 24), (uint8_t)(message.len >> 16),
                            (uint8_t)(message.len >> 8), (uint8_t)message.len};
  int rv = sc_buf_reserve(&call->out, SC_PREFIX + message.len);
  if (rv < 0) return rv;
  sc_buf_append(&call->out, (sc_str){prefix, SC_PREFIX});
  sc_buf_append(&call->out, message);
  sc_conn_hold(call->conn, SC_PREFIX + message.len);
  call->conn->unsent += SC_PREFIX + message.len;
  sc_count(&call->conn->counts->replies, 1);
  call->replied = true;
  return respond(call);
}

/* No message was sent and none will be: status and headers in one frame ("Trailers-Only"). */
static int respond_only(sc_call *call, const char *http_status)
{
  sc_conn *conn = call->conn;
  nghttp2_nv fields[5];
  uint8_t number[2];
  memcpy(fields, ok_headers, sizeof ok_headers);
  fields[0].value = (uint8_t *)http_status;
  size_t at = call->status.code == SC_GRPC_UNIMPLEMENTED ? N_OK_HEADERS + 1 : N_OK_HEADERS;
  at += status_fields(call, fields + at, number);
  call->responding = true;
  return check(conn, nghttp2_submit_response(conn->session, call->id, fields, at, NULL));
}

int sc_call_end_as(sc_call *call, sc_status status, const char *http_status)
{
  if (call->gone || call->ending) return 0;
  call->ending = true;
  call->status = status;
  if (status.code != SC_GRPC_OK) sc_count(&call->conn->counts->refused, 1);
  return call->responding || status.code == SC_GRPC_OK ? respond(call)
                                                       : respond_only(call, http_status);
}

void sc_call_end(sc_call *call, sc_status status) { sc_call_end_as(call, status, "200"); }
