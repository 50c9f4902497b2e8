#include "sc_wire.h"

enum { MAX_GROUPS = 64 };

static int read_long_varint(sc_str *in, uint64_t *out)
{
  uint64_t x = 0;
  for (size_t i = 0; i < in->len && i < 10; i++) {
    uint8_t b = in->data[i];
    if (i == 9 && b > 1) return SC_ERR_MALFORMED;
    x |= (uint64_t)(b & 0x7f) << (7 * i);
    if (b < 0x80) {
      *in = sc_str_slice(*in, i + 1, in->len);
      *out = x;
      return 0;
    }
  }
  return SC_ERR_MALFORMED;
}

/* Nearly every tag and length is one byte. */
static inline int read_varint(sc_str *in, uint64_t *out)
{
  if (in->len == 0 || in->data[0] >= 0x80) return read_long_varint(in, out);
  *out = in->data[0];
  *in = sc_str_slice(*in, 1, in->len);
  return 0;
}

static inline int skip(sc_str *in, uint64_t count)
{
  if (count > in->len) return SC_ERR_MALFORMED;
  *in = sc_str_slice(*in, (size_t)count, in->len);
  return 0;
}

static int read_fixed64(sc_str *in, uint64_t *out)
{
  *out = 0;
  for (unsigned i = 0; i < 8 && i < in->len; i++) *out |= (uint64_t)in->data[i] << (8 * i);
  return skip(in, 8);
}

static int read_field(sc_str *in, sc_field *out)
{
  uint64_t tag, len;
  if (read_varint(in, &tag) < 0 || tag > UINT32_MAX || tag >> 3 == 0) return SC_ERR_MALFORMED;
  *out = (sc_field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
  switch (out->type) {
  case SC_WIRE_VARINT: return read_varint(in, &out->scalar);
  case SC_WIRE_FIXED64: return read_fixed64(in, &out->scalar);
  case SC_WIRE_FIXED32: return skip(in, 4);
  case SC_WIRE_BYTES:
    if (read_varint(in, &len) < 0 || len > in->len) return SC_ERR_MALFORMED;
    out->bytes = sc_str_slice(*in, 0, (size_t)len);
    return skip(in, len);
  case SC_WIRE_GROUP:
  case SC_WIRE_GROUP_END: return 0;
  default: return SC_ERR_MALFORMED;
  }
}

/* Groups are long gone from proto3, but an unknown field may be one. */
static int skip_group(sc_str *in, uint32_t number)
{
  uint32_t open[MAX_GROUPS] = {number};
  size_t depth = 1;
  while (depth > 0) {
    sc_field f;
    if (in->len == 0 || read_field(in, &f) < 0) return SC_ERR_MALFORMED;
    if (f.type == SC_WIRE_GROUP) {
      if (depth == MAX_GROUPS) return SC_ERR_MALFORMED;
      open[depth++] = f.number;
    } else if (f.type == SC_WIRE_GROUP_END && open[--depth] != f.number) {
      return SC_ERR_MALFORMED;
    }
  }
  return 0;
}

int sc_next_field(sc_str *in, sc_field *out)
{
  while (in->len > 0) {
    if (read_field(in, out) < 0 || out->type == SC_WIRE_GROUP_END) return SC_ERR_MALFORMED;
    if (out->type != SC_WIRE_GROUP) return 1;
    if (skip_group(in, out->number) < 0) return SC_ERR_MALFORMED;
  }
  return 0;
}

int sc_read_message(sc_str bytes, sc_reader *each, void *into)
{
  sc_field f;
  int rv;
  while ((rv = sc_next_field(&bytes, &f)) > 0) {
    rv = each(into, &f);
    if (rv < 0) return rv;
  }
  return rv;
}

static int map_entry_field(void *into, const sc_field *f)
{
  sc_map_entry *entry = into;
  if (sc_is_bytes(f, 1)) entry->key = f->bytes;
  if (sc_is_bytes(f, 2)) entry->value = f->bytes;
  return 0;
}

int sc_read_map_entry(sc_str bytes, sc_map_entry *out)
{
  *out = (sc_map_entry){0};
  return sc_read_message(bytes, map_entry_field, out);
}
