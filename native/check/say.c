/* What a client of client.c says, as inputs of fuzz_conn.c: the services, the endings and the mistakes that an Envoy seldom shows. */
#include "client.h"

static const check_fixed *fixed;

static void store(const char *folder, const char *name, uint8_t options, sc_str bytes)
{
  char path[4096];
  CHECK((size_t)snprintf(path, sizeof path, "%s/made-%s", folder, name) < sizeof path);
  FILE *file = fopen(path, "wb");
  uint8_t head[] = {options, 7};
  CHECK(file && fwrite(head, 1, 2, file) == 2 && fwrite(bytes.data, 1, bytes.len, file) == bytes.len && fclose(file) == 0);
}

static void decisions(client *c)
{
  for (size_t i = 0; i < 4; i++) client_open(c, PROCESS, fixed->message, i % 2 ? CALL_ENDS : CALL_STAYS);
}

static void resets(client *c)
{
  for (size_t i = 0; i < 8; i++) client_open(c, PROCESS, fixed->message, CALL_RESETS_AT_ONCE);
}

static void health(client *c)
{
  client_open(c, WATCH, SC_LITERAL(""), CALL_STAYS);
  client_open(c, WATCH, SC_LITERAL("\x0a\x05other"), CALL_STAYS);
  client_open(c, HEALTH_CHECK, SC_LITERAL("\x0a\x06" "canary"), CALL_ENDS);
  client_open(c, HEALTH_CHECK, SC_LITERAL("\xff"), CALL_ENDS);
}

static void strangers(client *c)
{
  client_open(c, "/unknown.Service/Method", SC_LITERAL("?"), CALL_ENDS);
  client_open(c, PROCESS, SC_LITERAL("\xff\xff"), CALL_ENDS);
  client_open(c, PROCESS, SC_LITERAL(""), CALL_ENDS);
  client_open(c, PROCESS, SC_LITERAL("\x1a\x00"), CALL_ENDS);
}

static void peers_ways(client *c)
{
  nghttp2_settings_entry none = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
  client_open(c, PROCESS, fixed->message, CALL_ENDS);
  CHECK(nghttp2_submit_ping(c->session, 0, NULL) == 0 && nghttp2_submit_settings(c->session, 0, &none, 1) == 0);
  CHECK(nghttp2_submit_window_update(c->session, 0, 0, 100000) == 0);
  CHECK(nghttp2_submit_goaway(c->session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0) == 0);
}

int main(int argc, char **argv)
{
  CHECK(argc == 3);
  check_fixed loaded = check_load(argv[1]);
  fixed = &loaded;
  const struct {
    const char *name;
    void (*open)(client *c);
  } all[] = {{"decisions", decisions}, {"resets", resets}, {"health", health}, {"strangers", strangers}, {"ways", peers_ways}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    client *c = client_new(65535);
    sc_buf out = {0};
    all[i].open(c);
    client_output(c, &out);
    store(argv[2], all[i].name, (uint8_t)(1 + 2 * i), sc_buf_view(&out));
    client_del(c);
    sc_buf_free(&out);
  }
  store(argv[2], "http1", 1, SC_LITERAL("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  store(argv[2], "rolled", 0x83, SC_LITERAL("\0\0\4\1\5\0\0\0\1\x83\x86\x84\x41\0\0\4\10\0\0\0\0\0\0\0\0\1"));
  check_free(&loaded);
  return 0;
}
