#include "sc_request.h"

#include <stdlib.h>

#include "sc_wire.h"

/* ---- headers -------------------------------------------------------------------------------- */

typedef struct {
  sc_str key, value, raw_value;
} header_value;

static int header_value_field(void *into, const sc_field *f)
{
  header_value *header = into;
  if (sc_is_bytes(f, 1)) header->key = f->bytes;
  if (sc_is_bytes(f, 2)) header->value = f->bytes;
  if (sc_is_bytes(f, 3)) header->raw_value = f->bytes;
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

static int header_map_field(void *into, const sc_field *f)
{
  if (!sc_is_bytes(f, 1)) return 0;
  header_value header = {0};
  int rv = sc_read_message(f->bytes, header_value_field, &header);
  if (rv < 0) return rv;
  /* Envoy sends raw_value; value is the older spelling of the same thing. */
  return add_header(into, header.key, header.raw_value.len > 0 ? header.raw_value : header.value);
}

static int http_headers_field(void *into, const sc_field *f)
{
  return sc_is_bytes(f, 1) ? sc_read_message(f->bytes, header_map_field, into) : 0;
}

/* ---- attributes: map<string, Struct>, the one key we ask for ---------------------------------- */

static int string_value_field(void *into, const sc_field *f)
{
  if (sc_is_bytes(f, 3)) *(sc_str *)into = f->bytes;
  return 0;
}

static int struct_field(void *into, const sc_field *f)
{
  if (!sc_is_bytes(f, 1)) return 0;
  sc_map_entry entry;
  int rv = sc_read_map_entry(f->bytes, &entry);
  if (rv < 0 || !sc_str_eq(entry.key, SC_LITERAL("source.address"))) return rv;
  return sc_read_message(entry.value, string_value_field, &((sc_request *)into)->source_address);
}

static int attributes(sc_request *request, sc_str bytes)
{
  sc_map_entry entry;
  int rv = sc_read_map_entry(bytes, &entry);
  if (rv < 0 || !sc_str_eq(entry.key, SC_LITERAL("envoy.filters.http.ext_proc"))) return rv;
  request->attributes = entry.value;
  request->source_address = (sc_str){NULL, 0};
  return sc_read_message(entry.value, struct_field, request);
}

/* ---- the message ---------------------------------------------------------------------------- */

static int ignore_field(void *into, const sc_field *f)
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

static int request_field(void *into, const sc_field *f)
{
  sc_request *request = into;
  if (sc_is_varint(f, 10)) request->observability_mode = f->scalar != 0;
  if (f->type != SC_WIRE_BYTES) return 0;
  if (f->number == 8) request->metadata = f->bytes;
  if (f->number == 9) return attributes(request, f->bytes);
  if (f->number < SC_MESSAGE_REQUEST_HEADERS || f->number > SC_MESSAGE_RESPONSE_TRAILERS) return 0;
  switch_kind(request, (sc_message_kind)f->number);
  return sc_read_message(
      f->bytes, request->kind == SC_MESSAGE_REQUEST_HEADERS ? http_headers_field : ignore_field,
      request);
}

int sc_request_parse(sc_request *request, sc_str message)
{
  *request = (sc_request){.headers = request->headers, .cap = request->cap};
  return sc_read_message(message, request_field, request);
}

void sc_request_free(sc_request *request)
{
  free(request->headers);
  *request = (sc_request){0};
}
