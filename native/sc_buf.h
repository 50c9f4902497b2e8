/* A growable block of bytes that is filled at its end and taken from its front. Start from zeros. */
#ifndef SC_BUF_H
#define SC_BUF_H

#include "sc_base.h"

typedef struct {
  uint8_t *data;
  size_t from, len, cap; /* what it holds is data[from .. len) */
} sc_buf;

static inline sc_str sc_buf_view(const sc_buf *buf)
{
  return (sc_str){buf->data ? buf->data + buf->from : NULL, buf->len - buf->from};
}

static inline size_t sc_buf_size(const sc_buf *buf) { return buf->len - buf->from; }

/* Room for `more` bytes at data + len. SC_ERR_NOMEM leaves the buffer as it was. */
int sc_buf_reserve(sc_buf *buf, size_t more);

int sc_buf_append(sc_buf *buf, sc_str bytes);

/* Forgets the first `count` bytes; there must be as many. */
void sc_buf_take(sc_buf *buf, size_t count);

/* Empty again; memory above `keep` bytes is given back. */
void sc_buf_reset(sc_buf *buf, size_t keep);

void sc_buf_free(sc_buf *buf);

#endif
