/* What a request costs in instructions, ours and the floor's, for valgrind to count: `cost FOLDER ours|floor REQUESTS`. No
 * socket and no kernel is in it, so the same commit gives the same number on any machine of its kind, however busy. Both
 * are spoken to as by Envoy: calls in eights, a reset after each answer. */
#define main floor_main
#include "../../bench/contenders/floor/floor.c"
#undef main
#undef HEADER

#include "client.h"
#include "sc_conn.h"
#include "sc_extproc.h"

enum { AT_ONCE = 8 };

/* What callgrind collects is what happens within these two. */
int cost_input(void *peer, sc_str bytes);
int cost_output(void *peer, sc_buf *out);

typedef struct {
  sc_conn *conn; /* ours, or NULL */
  connection *floor;
} server;

__attribute__((noinline)) int cost_input(void *peer, sc_str bytes)
{
  server *s = peer;
  if (s->conn) return sc_conn_input(s->conn, bytes, 1);
  return nghttp2_session_mem_recv(s->floor->session, bytes.data, bytes.len) == (ssize_t)bytes.len ? 0 : -1;
}

__attribute__((noinline)) int cost_output(void *peer, sc_buf *out)
{
  server *s = peer;
  const uint8_t *bytes;
  ssize_t len;
  if (s->conn) return sc_conn_output(s->conn, out, SIZE_MAX / 2);
  while ((len = nghttp2_session_mem_send(s->floor->session, &bytes)) > 0)
    if (sc_buf_append(out, (sc_str){bytes, (size_t)len}) < 0) return -1;
  return (int)len;
}

static void converse(server *s, sc_str message, uint64_t requests)
{
  client *c = client_new(1 << 20);
  sc_buf to_us = {0}, to_peer = {0};
  while (c->answered < requests) {
    if (!c->calls)
      for (size_t i = 0; i < AT_ONCE; i++) client_open(c, PROCESS, message, CALL_RESETS);
    client_output(c, &to_us);
    CHECK(cost_input(s, sc_buf_view(&to_us)) == 0 && cost_output(s, &to_peer) == 0);
    CHECK(client_input(c, sc_buf_view(&to_peer)));
    sc_buf_take(&to_us, sc_buf_size(&to_us));
    sc_buf_take(&to_peer, sc_buf_size(&to_peer));
  }
  client_del(c);
  sc_buf_free(&to_us);
  sc_buf_free(&to_peer);
}

int main(int argc, char **argv)
{
  static answer fixed_answer;
  CHECK(argc == 4);
  check_fixed fixed = check_load(argv[1]);
  sc_shelf shelf = {0};
  sc_edition *edition;
  CHECK(sc_edition_new(&edition, fixed.tables[0], 1, 1) == 0);
  sc_shelf_exchange(&shelf, edition);
  sc_extproc extproc = {.shelf = &shelf};
  sc_method method = sc_extproc_method(&extproc);
  sc_conn_options options = {.methods = &method, .n_methods = 1, .trusted = true};
  sc_conn_counts counts = {0};
  size_t len = fixed.answers[0].len;
  fixed_answer.len = GRPC_PREFIX + len;
  memcpy(fixed_answer.bytes + GRPC_PREFIX, fixed.answers[0].data, len);
  for (size_t i = 0; i < 4; i++) fixed_answer.bytes[1 + i] = (uint8_t)(len >> (24 - 8 * i));
  connection plain = {.answer = &fixed_answer};
  server s = {.floor = &plain};
  if (strcmp(argv[2], "ours") == 0)
    CHECK(sc_conn_new(&s.conn, &options, &counts) == 0);
  else
    plain.session = new_session(&plain);
  converse(&s, fixed.message, strtoul(argv[3], NULL, 10));
  if (s.conn)
    sc_conn_del(s.conn);
  else
    nghttp2_session_del(plain.session);
  sc_edition_del(edition);
  check_free(&fixed);
  return 0;
}
