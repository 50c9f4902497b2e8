#include "sc_request.h"

#include <stdlib.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5 };
enum { MAX_GROUPS = 64 };

/* ---- the wire (https://protobuf.dev/programming-guides/encoding) ----------------------------- */

typedef struct {
  uint32_t number;
  unsigned type;
  uint64_t scalar; /* VARINT only */
  sc_str bytes;    /* BYTES only */
} field;

static int read_varint(sc_str *in, uint64_t *out)
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

static int skip(sc_str *in, uint64_t count)
{
  if (count > in->len) return SC_ERR_MALFORMED;
  *in = sc_str_slice(*in, (size_t)count, in->len);
  return 0;
}

static int read_field(sc_str *in, field *out)
{
  uint64_t tag, len;
  if (read_varint(in, &tag) < 0 || tag > UINT32_MAX || tag >> 3 == 0) return SC_ERR_MALFORMED;
  *out = (field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
  switch (out->type) {
  case VARINT: return read_varint(in, &out->scalar);
  case FIXED64: return skip(in, 8);
  case FIXED32: return skip(in, 4);
  case BYTES:
    if (read_varint(in, &len) < 0 || len > in->len) return SC_ERR_MALFORMED;
    out->bytes = sc_str_slice(*in, 0, (size_t)len);
    return skip(in, len);
  case GROUP:
  case GROUP_END: return 0;
  default: return SC_ERR_MALFORMED;
  }
}

/* Groups are long gone from proto3, but an unknown field may be one. */
static int skip_group(sc_str *in, uint32_t number)
{
  uint32_t open[MAX_GROUPS] = {number};
  size_t depth = 1;
  while (depth > 0) {
    field f;
    if (in->len == 0 || read_field(in, &f) < 0) return SC_ERR_MALFORMED;
    if (f.type == GROUP) {
      if (depth == MAX_GROUPS) return SC_ERR_MALFORMED;
      open[depth++] = f.number;
    } else if (f.type == GROUP_END && open[--depth] != f.number) {
      return SC_ERR_MALFORMED;
    }
  }
  return 0;
}

/* Reads the next field: 1, 0 at the end, or an error. Groups are skipped on the way. */
static int next_field(sc_str *in, field *out)
{
  while (in->len > 0) {
    if (read_field(in, out) < 0 || out->type == GROUP_END) return SC_ERR_MALFORMED;
    if (out->type != GROUP) return 1;
    if (skip_group(in, out->number) < 0) return SC_ERR_MALFORMED;
  }
  return 0;
}

/* Every nested message is read by a function of this shape: one call per field. */
typedef int reader(void *into, const field *f);

static int read_message(sc_str bytes, reader *each, void *into)
{
  field f;
  int rv;
  while ((rv = next_field(&bytes, &f)) > 0) {
    rv = each(into, &f);
    if (rv < 0) return rv;
  }
  return rv;
}

static bool is_bytes(const field *f, uint32_t number)
{
  return f->number == number && f->type == BYTES;
}

/* ---- headers -------------------------------------------------------------------------------- */

typedef struct {
  sc_str key, value, raw_value;
} header_value;

static int header_value_field(void *into, const field *f)
{
  header_value *header = into;
  if (is_bytes(f, 1)) header->key = f->bytes;
  if (is_bytes(f, 2)) header->value = f->bytes;
  if (is_bytes(f, 3)) header->raw_value = f->bytes;
  return 0;
}

static int add_header(sc_request *request, sc_str key, sc_str value)
{
  if (request->n_headers == request->cap) {
    size_t cap = request->cap ? 2 * request->cap : 64;
    sc_header *grown = realloc(request->headers, cap * sizeof *grown);
    if (!grown) return SC_ERR_NOMEM;
    request->headers = grown;
    request->cap = cap;
  }
  request->headers[request->n_headers++] = (sc_header){key, value};
  if (request->authority.len == 0 && sc_str_eq(key, SC_LITERAL(":authority")))
    request->authority = value;
  if (request->path.len == 0 && sc_str_eq(key, SC_LITERAL(":path"))) request->path = value;
  return 0;
}

static int header_map_field(void *into, const field *f)
{
  if (!is_bytes(f, 1)) return 0;
  header_value header = {0};
  int rv = read_message(f->bytes, header_value_field, &header);
  if (rv < 0) return rv;
  /* Envoy sends raw_value; value is the older spelling of the same thing. */
  return add_header(into, header.key, header.raw_value.len > 0 ? header.raw_value : header.value);
}

static int http_headers_field(void *into, const field *f)
{
  return is_bytes(f, 1) ? read_message(f->bytes, header_map_field, into) : 0;
}

/* ---- attributes: map<string, Struct>, the one key we ask for ---------------------------------- */

typedef struct {
  sc_str key, value;
} map_entry;

static int map_entry_field(void *into, const field *f)
{
  map_entry *entry = into;
  if (is_bytes(f, 1)) entry->key = f->bytes;
  if (is_bytes(f, 2)) entry->value = f->bytes;
  return 0;
}

static int string_value_field(void *into, const field *f)
{
  if (is_bytes(f, 3)) *(sc_str *)into = f->bytes;
  return 0;
}

static int struct_field(void *into, const field *f)
{
  if (!is_bytes(f, 1)) return 0;
  map_entry entry = {0};
  int rv = read_message(f->bytes, map_entry_field, &entry);
  if (rv < 0 || !sc_str_eq(entry.key, SC_LITERAL("source.address"))) return rv;
  return read_message(entry.value, string_value_field, &((sc_request *)into)->source_address);
}

static int attributes(sc_request *request, sc_str bytes)
{
  map_entry entry = {0};
  int rv = read_message(bytes, map_entry_field, &entry);
  if (rv < 0 || !sc_str_eq(entry.key, SC_LITERAL("envoy.filters.http.ext_proc"))) return rv;
  return read_message(entry.value, struct_field, request);
}

/* ---- the message ---------------------------------------------------------------------------- */

static int ignore_field(void *into, const field *f)
{
  (void)into;
  (void)f;
  return 0;
}

static void switch_kind(sc_request *request, sc_message_kind kind)
{
  if (request->kind == kind) return;
  request->kind = kind;
  request->n_headers = 0;
  request->authority = request->path = (sc_str){NULL, 0};
}

static int request_field(void *into, const field *f)
{
  sc_request *request = into;
  if (f->number == 10 && f->type == VARINT) request->observability_mode = f->scalar != 0;
  if (f->type != BYTES) return 0;
  if (f->number == 9) return attributes(request, f->bytes);
  if (f->number < SC_MESSAGE_REQUEST_HEADERS || f->number > SC_MESSAGE_RESPONSE_TRAILERS) return 0;
  switch_kind(request, (sc_message_kind)f->number);
  return read_message(
      f->bytes, request->kind == SC_MESSAGE_REQUEST_HEADERS ? http_headers_field : ignore_field,
      request);
}

int sc_request_parse(sc_request *request, sc_str message)
{
  *request = (sc_request){.headers = request->headers, .cap = request->cap};
  return read_message(message, request_field, request);
}

void sc_request_free(sc_request *request)
{
  free(request->headers);
  *request = (sc_request){0};
}
