#include "sc_span.h"

/* https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto: tags of Span,
 * and of the spans of ScopeSpans. */
enum { TRACE_ID = 0x0a, SPAN_ID = 0x12, TRACE_STATE = 0x1a, PARENT_ID = 0x22, START = 0x39, END = 0x41, SPANS = 0x12 };
static const uint8_t flags_tag[] = {0x85, 0x01};
/* SpanFlags: it is known whether the parent is remote, and it is. */
enum { REMOTE_PARENT = 0x300 };
enum { OWN_SIZE = 18 + 10 + 9 + 9, UNIT_DIGITS = 16, PARENT_SIZE = 10 + 6 };

/* ---- sizes ---------------------------------------------------------------------------------- */

static size_t varint_size(size_t x)
{
  size_t size = 1;
  for (; x >= 0x80; x >>= 7) size++;
  return size;
}

static size_t body_size(const sc_sample *s, const sc_span_template *t)
{
  size_t size = t->common.len + OWN_SIZE;
  if (t->unit.len > 0) size += t->unit.len + UNIT_DIGITS;
  if (s->parent) size += PARENT_SIZE + 1 + varint_size(s->tracestate_len) + s->tracestate_len;
  return size;
}

size_t sc_span_size(const sc_sample *s, const sc_span_template *t)
{
  size_t body = body_size(s, t);
  return 1 + varint_size(body) + body;
}

/* ---- bytes: every function gives where the next one writes ------------------------------------ */

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
  if (len > 0) memcpy(at, bytes, len);
  return at + len;
}

static uint8_t *put_len(uint8_t *at, uint8_t tag, size_t len)
{
  *at++ = tag;
  for (; len >= 0x80; len >>= 7) *at++ = (uint8_t)(len | 0x80);
  *at++ = (uint8_t)len;
  return at;
}

static uint8_t *put_big(uint8_t *at, uint64_t x)
{
  for (unsigned i = 0; i < 8; i++) at[i] = (uint8_t)(x >> (56 - 8 * i));
  return at + 8;
}

static uint8_t *put_fixed64(uint8_t *at, uint8_t tag, uint64_t x)
{
  *at++ = tag;
  for (unsigned i = 0; i < 8; i++) at[i] = (uint8_t)(x >> (8 * i));
  return at + 8;
}

static uint8_t *put_fixed32(uint8_t *at, uint32_t x)
{
  for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(x >> (8 * i));
  return at + 4;
}

static uint8_t *put_parent(uint8_t *at, const sc_sample *s)
{
  at = put_big(put_len(at, PARENT_ID, 8), s->parent);
  at = put_fixed32(put(at, flags_tag, sizeof flags_tag), REMOTE_PARENT);
  return put(put_len(at, TRACE_STATE, s->tracestate_len), s->tracestate, s->tracestate_len);
}

static uint8_t *put_unit(uint8_t *at, sc_str attribute, uint64_t second)
{
  at = put(at, attribute.data, attribute.len);
  for (unsigned i = 0; i < UNIT_DIGITS; i++) at[i] = (uint8_t)"0123456789abcdef"[second >> (60 - 4 * i) & 15];
  return at + UNIT_DIGITS;
}

void sc_span_write(const sc_sample *s, const sc_span_template *t, uint8_t *out)
{
  uint8_t *at = put_len(out, SPANS, body_size(s, t));
  at = put(at, t->common.data, t->common.len);
  at = put_big(put_big(put_len(at, TRACE_ID, 16), s->trace_high), s->trace_low);
  at = put_big(put_len(at, SPAN_ID, 8), s->span);
  at = put_fixed64(at, START, s->end_ns - s->took_ns);
  at = put_fixed64(at, END, s->end_ns);
  if (t->unit.len > 0) at = put_unit(at, t->unit, s->second);
  if (s->parent) put_parent(at, s);
}
