#include "client.h"

enum { PREFIX = 5 };

#define HEADER(name, value) \
  {(uint8_t *)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}

static ssize_t read_message(nghttp2_session *session, int32_t id, uint8_t *into, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user_data)
{
  (void)session, (void)id, (void)user_data;
  client_call *call = source->ptr;
  size_t count = call->message.len < room ? call->message.len : room;
  if (count > 0) memcpy(into, call->message.data, count);
  call->message = sc_str_slice(call->message, count, call->message.len);
  if (call->message.len == 0 && call->manner == CALL_ENDS) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  } else if (count == 0) {
    return NGHTTP2_ERR_DEFERRED;
  }
  return (ssize_t)count;
}

client_call *client_open(client *c, const char *path, sc_str message, call_manner manner)
{
  client_call *call = calloc(1, sizeof *call);
  uint8_t *bytes = malloc(PREFIX + message.len);
  CHECK(call && bytes);
  uint8_t prefix[PREFIX] = {0, (uint8_t)(message.len >> 24), (uint8_t)(message.len >> 16),
                            (uint8_t)(message.len >> 8), (uint8_t)message.len};
  memcpy(bytes, prefix, PREFIX);
  if (message.len > 0) memcpy(bytes + PREFIX, message.data, message.len);
  *call = (client_call){.client = c, .bytes = bytes, .message = {bytes, PREFIX + message.len},
                        .grpc_status = -1, .manner = manner, .next = c->calls};
  if (strcmp(path, PROCESS) == 0) call->expected = c->expected;
  call->one_way = strcmp(path, LOG) == 0;
  nghttp2_nv headers[] = {HEADER(":method", "POST"), HEADER(":scheme", "http"), HEADER(":path", path),
                          HEADER(":authority", "sidecar"), HEADER("te", "trailers"),
                          HEADER("content-type", "application/grpc"),
                          HEADER("traceparent", c->traceparent),
                          HEADER("tracestate", "a=1")};
  nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_message};
  call->id = nghttp2_submit_request(c->session, NULL, headers, sizeof headers / sizeof *headers, &provider, call);
  CHECK(call->id > 0);
  if (call->next) call->next->previous = call;
  c->calls = call;
  c->n_waiting += manner != CALL_STAYS;
  c->opened++;
  return call;
}

static void call_del(client_call *call)
{
  client *c = call->client;
  *(call->previous ? &call->previous->next : &c->calls) = call->next;
  if (call->next) call->next->previous = call->previous;
  c->n_waiting -= call->manner != CALL_STAYS;
  sc_buf_free(&call->in);
  free(call->bytes);
  free(call);
}

/* Whether one whole answer, and nothing else, came; if it is known what it must be, that. */
static bool is_answered(const client_call *call)
{
  sc_str in = sc_buf_view(&call->in);
  if (call->one_way) return in.len == 0;
  if (in.len < PREFIX) return false;
  size_t len = (size_t)in.data[1] << 24 | (size_t)in.data[2] << 16 | (size_t)in.data[3] << 8 | in.data[4];
  if (in.len < PREFIX + len) return false;
  sc_str answer = sc_str_slice(in, PREFIX, in.len);
  const sc_str *expected = call->expected;
  CHECK(!expected || sc_str_eq(answer, expected[0]) || sc_str_eq(answer, expected[1]));
  return true;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user_data)
{
  (void)flags;
  client *c = user_data;
  client_call *call = nghttp2_session_get_stream_user_data(session, id);
  if (!call) return 0;
  CHECK(sc_buf_append(&call->in, (sc_str){data, len}) == 0);
  if (call->manner != CALL_RESETS || !is_answered(call)) return 0;
  c->answered++;
  return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
  (void)flags, (void)user_data;
  client_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call || !sc_str_eq((sc_str){name, name_len}, SC_LITERAL("grpc-status"))) return 0;
  call->grpc_status = 0;
  for (size_t i = 0; i < value_len; i++) call->grpc_status = 10 * call->grpc_status + (value[i] - '0');
  return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
  client *c = user_data;
  client_call *call = nghttp2_session_get_stream_user_data(session, id);
  if (!call) return 0;
  if (call->manner == CALL_ENDS) {
    bool well = error_code == NGHTTP2_NO_ERROR && call->grpc_status == 0 && is_answered(call);
    c->answered += well;
    if (well)
      c->ended_well++;
    else if (call->grpc_status >= 0)
      c->ended_badly++;
    else
      c->broken += error_code != NGHTTP2_REFUSED_STREAM; /* after a GOAWAY nghttp2 says so of what it did not send */
  } else if (call->manner == CALL_RESETS && !is_answered(call)) {
    c->broken += call->grpc_status < 0 && error_code != NGHTTP2_REFUSED_STREAM;
  }
  call_del(call);
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  (void)session;
  client *c = user_data;
  if (frame->hd.type == NGHTTP2_SETTINGS) c->greeted = true;
  if (frame->hd.type != NGHTTP2_GOAWAY) return 0;
  c->going = true;
  c->last_error = frame->goaway.error_code;
  if (frame->goaway.last_stream_id != INT32_MAX) c->goaway_last = frame->goaway.last_stream_id;
  return 0;
}

/* Written to the wire right behind the message. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  (void)user_data;
  if (frame->hd.type != NGHTTP2_DATA) return 0;
  client_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call || call->manner != CALL_RESETS_AT_ONCE || call->message.len > 0) return 0;
  return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
}

client *client_new(uint32_t window)
{
  client *c = calloc(1, sizeof *c);
  nghttp2_session_callbacks *callbacks;
  nghttp2_option *option;
  CHECK(c && nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
  c->goaway_last = -1;
  c->traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
  nghttp2_option_set_no_closed_streams(option, 1);
  CHECK(nghttp2_session_client_new2(&c->session, callbacks, c, option) == 0);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
                                       {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
  CHECK(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2) == 0);
  return c;
}

void client_del(client *c)
{
  while (c->calls) call_del(c->calls);
  nghttp2_session_del(c->session);
  free(c);
}

bool client_input(client *c, sc_str bytes)
{
  return nghttp2_session_mem_recv(c->session, bytes.data, bytes.len) == (ssize_t)bytes.len;
}

void client_output(client *c, sc_buf *out)
{
  const uint8_t *data;
  ssize_t len;
  while ((len = nghttp2_session_mem_send(c->session, &data)) > 0)
    CHECK(sc_buf_append(out, (sc_str){data, (size_t)len}) == 0);
  CHECK(len == 0);
}
