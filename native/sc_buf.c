#include "sc_buf.h"

#include <stdlib.h>

int sc_buf_reserve(sc_buf *buf, size_t more)
{
  if (buf->cap - buf->len >= more) return 0;
  size_t held = sc_buf_size(buf);
  if (buf->from > 0) {
    memmove(buf->data, buf->data + buf->from, held);
    buf->from = 0;
    buf->len = held;
    if (buf->cap - held >= more) return 0;
  }
  if (more > SIZE_MAX / 4 - held) return SC_ERR_NOMEM;
  size_t cap = buf->cap ? buf->cap : 256;
  while (cap - held < more) cap *= 2;
  uint8_t *grown = realloc(buf->data, cap);
  if (!grown) return SC_ERR_NOMEM;
  buf->data = grown;
  buf->cap = cap;
  return 0;
}

int sc_buf_append(sc_buf *buf, sc_str bytes)
{
  if (bytes.len == 0) return 0;
  int rv = sc_buf_reserve(buf, bytes.len);
  if (rv < 0) return rv;
  memcpy(buf->data + buf->len, bytes.data, bytes.len);
  buf->len += bytes.len;
  return 0;
}

void sc_buf_take(sc_buf *buf, size_t count)
{
  buf->from += count;
  if (buf->from == buf->len) buf->from = buf->len = 0;
}

void sc_buf_reset(sc_buf *buf, size_t keep)
{
  if (buf->cap > keep)
    sc_buf_free(buf);
  else
    buf->from = buf->len = 0;
}

void sc_buf_free(sc_buf *buf)
{
  free(buf->data);
  *buf = (sc_buf){0};
}
