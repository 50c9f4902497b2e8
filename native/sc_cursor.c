#include "sc_cursor.h"

bool sc_refuse(sc_cursor *c, const char *reason)
{
  if (!c->reason) c->reason = reason;
  return false;
}

uint64_t sc_read_uint(sc_cursor *c, size_t width)
{
  if (c->rest.len < width) {
    c->rest.len = 0;
    sc_refuse(c, "the bytes end early");
    return 0;
  }
  uint64_t x = 0;
  for (size_t i = 0; i < width; i++) x |= (uint64_t)c->rest.data[i] << (8 * i);
  c->rest = sc_str_slice(c->rest, width, c->rest.len);
  return x;
}

sc_str sc_read_str(sc_cursor *c)
{
  size_t len = (size_t)sc_read_uint(c, 2);
  if (c->rest.len < len) {
    sc_refuse(c, "the bytes end early");
    len = 0;
  }
  sc_str text = sc_str_slice(c->rest, 0, len);
  c->rest = sc_str_slice(c->rest, len, c->rest.len);
  return text;
}

sc_str sc_read_label(sc_cursor *c)
{
  sc_str text = sc_read_str(c);
  for (size_t i = 0; i < text.len; i++) {
    uint8_t b = text.data[i];
    if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-'))
      sc_refuse(c, "a name is not a DNS label");
  }
  if (text.len < 1 || text.len > 63) sc_refuse(c, "a name is empty or too long");
  return text;
}

void *sc_read_list(sc_cursor *c, size_t count, size_t size, size_t least)
{
  if (count > c->rest.len / least) {
    sc_refuse(c, "more announced than there are bytes");
    return NULL;
  }
  void *list = sc_arena_get(c->arena, count, size);
  if (!list) c->no_memory = true;
  return list;
}
