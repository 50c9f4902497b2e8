#include "sc_accesslog.h"

#include "sc_wire.h"

enum { MOST_SECONDS = 1u << 31, MICROS = 1000000, NANOS = 1000000000 };
enum { NOT_SET = 0, DOWNSTREAM_END = 6 }; /* AccessLogType */
enum { UNIT_DIGITS = 16, LONGEST_NAME = 255 };

/* ---- times: google.protobuf.Timestamp and Duration ------------------------------------------- */

typedef struct {
  uint64_t seconds, nanos;
} span;

static int span_field(void *into, const sc_field *f)
{
  span *s = into;
  if (sc_is_varint(f, 1)) s->seconds = f->scalar;
  if (sc_is_varint(f, 2)) s->nanos = f->scalar;
  return 0;
}

/* Negative numbers are huge ones here, and refused like them. */
static int read_span(sc_str bytes, span *s)
{
  int rv = sc_read_message(bytes, span_field, s);
  return rv == 0 && (s->seconds >= MOST_SECONDS || s->nanos >= NANOS) ? SC_ERR_MALFORMED : rv;
}

static int read_time(sc_str bytes, uint64_t *us)
{
  span s = {0};
  int rv = read_span(bytes, &s);
  *us = s.seconds * MICROS + s.nanos / 1000;
  return rv;
}

/* To the nearest microsecond, the even one of two: as Python's timedelta does it. */
static int read_duration(sc_str bytes, uint64_t *us)
{
  span s = {0};
  int rv = read_span(bytes, &s);
  uint64_t whole = s.nanos / 1000, rest = s.nanos % 1000;
  *us = s.seconds * MICROS + whole + (rest > 500 || (rest == 500 && whole % 2));
  return rv;
}

/* ---- the decisions: Metadata { map<string, Struct> filter_metadata } --------------------------- */

static int text_of_value(void *into, const sc_field *f)
{
  if (sc_is_bytes(f, 3)) *(sc_str *)into = f->bytes;
  return 0;
}

static int struct_of_value(void *into, const sc_field *f)
{
  if (sc_is_bytes(f, 5)) *(sc_str *)into = f->bytes;
  return 0;
}

static int read_unit(sc_str text, sc_logged_decision *d)
{
  if (text.len != UNIT_DIGITS) return SC_ERR_MALFORMED;
  d->unit = 0;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return SC_ERR_MALFORMED;
    d->unit = d->unit << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  d->has_unit = true;
  return 0;
}

static int decision_field(void *into, const sc_field *f)
{
  sc_logged_decision *d = into;
  sc_map_entry entry;
  sc_str text = {0};
  if (!sc_is_bytes(f, 1)) return 0;
  if (sc_read_map_entry(f->bytes, &entry) < 0) return SC_ERR_MALFORMED;
  if (sc_read_message(entry.value, text_of_value, &text) < 0) return SC_ERR_MALFORMED;
  if (sc_str_eq(entry.key, SC_LITERAL("variant"))) d->variant = text;
  if (sc_str_eq(entry.key, SC_LITERAL("version"))) d->version = text;
  if (sc_str_eq(entry.key, SC_LITERAL("reason"))) d->reason = text;
  return sc_str_eq(entry.key, SC_LITERAL("unit")) ? read_unit(text, d) : 0;
}

static bool is_name(sc_str text) { return text.len > 0 && text.len <= LONGEST_NAME; }

static int rollout_field(void *into, const sc_field *f)
{
  sc_entry *entry = into;
  sc_map_entry rollout;
  sc_str fields = {0};
  if (!sc_is_bytes(f, 1)) return 0;
  if (sc_read_map_entry(f->bytes, &rollout) < 0) return SC_ERR_MALFORMED;
  if (sc_read_message(rollout.value, struct_of_value, &fields) < 0) return SC_ERR_MALFORMED;
  sc_logged_decision d = {.rollout = rollout.key};
  int rv = sc_read_message(fields, decision_field, &d);
  if (rv < 0) return rv;
  if (!is_name(d.rollout) || !is_name(d.variant) || !is_name(d.version) || !is_name(d.reason))
    return SC_ERR_MALFORMED;
  if (entry->n_decisions == SC_MOST_DECISIONS) entry->unread_decisions++;
  else entry->decisions[entry->n_decisions++] = d;
  return 0;
}

static int metadata_field(void *into, const sc_field *f)
{
  sc_map_entry namespace;
  if (!sc_is_bytes(f, 1)) return 0;
  if (sc_read_map_entry(f->bytes, &namespace) < 0) return SC_ERR_MALFORMED;
  if (!sc_str_eq(namespace.key, SC_LITERAL("canary"))) return 0;
  ((sc_entry *)into)->n_decisions = 0;
  ((sc_entry *)into)->unread_decisions = 0;
  return sc_read_message(namespace.value, rollout_field, into);
}

/* ---- the response --------------------------------------------------------------------------- */

static uint8_t grpc_status(sc_str text)
{
  unsigned status = 0;
  if (text.len == 0 || text.len > 2) return SC_GRPC_OTHER;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') return SC_GRPC_OTHER;
    status = status * 10 + text.data[i] - '0';
  }
  return status < SC_GRPC_OTHER ? (uint8_t)status : SC_GRPC_OTHER;
}

static int code_field(void *into, const sc_field *f)
{
  if (!sc_is_varint(f, 1)) return 0;
  if (f->scalar > UINT16_MAX) return SC_ERR_MALFORMED;
  *(uint16_t *)into = (uint16_t)f->scalar;
  return 0;
}

typedef struct {
  sc_entry *entry;
  uint8_t of_headers, of_trailers;
} response;

static int read_status(sc_str bytes, uint8_t *status)
{
  sc_map_entry header;
  if (sc_read_map_entry(bytes, &header) < 0) return SC_ERR_MALFORMED;
  if (sc_str_eq(header.key, SC_LITERAL("grpc-status"))) *status = grpc_status(header.value);
  return 0;
}

static int response_field(void *into, const sc_field *f)
{
  response *r = into;
  if (sc_is_varint(f, 3)) r->entry->bytes_sent = f->scalar;
  if (f->type != SC_WIRE_BYTES) return 0;
  switch (f->number) {
  case 1: return sc_read_message(f->bytes, code_field, &r->entry->code);
  case 4: return read_status(f->bytes, &r->of_headers);
  case 5: return read_status(f->bytes, &r->of_trailers);
  default: return 0;
  }
}

static int read_response(sc_entry *entry, sc_str bytes)
{
  response r = {entry, entry->grpc_status, SC_GRPC_NONE};
  int rv = sc_read_message(bytes, response_field, &r);
  entry->grpc_status = r.of_trailers == SC_GRPC_NONE ? r.of_headers : r.of_trailers;
  return rv;
}

static int request_field(void *into, const sc_field *f)
{
  if (sc_is_varint(f, 12)) ((sc_entry *)into)->bytes_received = f->scalar;
  return 0;
}

/* ---- what all entries have ------------------------------------------------------------------ */

/* All are booleans, but one: unauthorized_details is a message, and its presence says it. */
static int flag_field(void *into, const sc_field *f)
{
  uint32_t *flags = into;
  if (f->number < 32 && (f->type == SC_WIRE_BYTES || (f->type == SC_WIRE_VARINT && f->scalar)))
    *flags |= 1u << f->number;
  return 0;
}

typedef struct {
  sc_entry *entry;
  uint64_t whole_us, type;
  bool said_intermediate;
} common;

static int common_field(void *into, const sc_field *f)
{
  common *c = into;
  if (sc_is_varint(f, 27)) c->said_intermediate = f->scalar != 0;
  if (sc_is_varint(f, 33)) c->type = f->scalar;
  if (f->type != SC_WIRE_BYTES) return 0;
  switch (f->number) {
  case 5: c->entry->has_start = true; return read_time(f->bytes, &c->entry->start_us);
  case 12: return read_duration(f->bytes, &c->entry->duration_us);
  case 16: return sc_read_message(f->bytes, flag_field, &c->entry->flags);
  case 17: return sc_read_message(f->bytes, metadata_field, c->entry);
  case 23: return read_duration(f->bytes, &c->whole_us);
  default: return 0;
  }
}

static int read_common(sc_entry *entry, sc_str bytes)
{
  common c = {.entry = entry, .whole_us = SC_NO_DURATION, .type = NOT_SET};
  int rv = sc_read_message(bytes, common_field, &c);
  if (entry->duration_us == SC_NO_DURATION) entry->duration_us = c.whole_us;
  entry->intermediate = c.said_intermediate || (c.type != NOT_SET && c.type != DOWNSTREAM_END);
  return rv;
}

/* ---- entries -------------------------------------------------------------------------------- */

static int entry_field(void *into, const sc_field *f)
{
  if (f->type != SC_WIRE_BYTES) return 0;
  switch (f->number) {
  case 1: return read_common(into, f->bytes);
  case 3: return sc_read_message(f->bytes, request_field, into);
  case 4: return read_response(into, f->bytes);
  default: return 0;
  }
}

int sc_entry_parse(sc_entry *entry, sc_str bytes)
{
  /* Field by field: the list of decisions is long, and counted. */
  entry->start_us = 0;
  entry->duration_us = SC_NO_DURATION;
  entry->bytes_sent = entry->bytes_received = 0;
  entry->flags = 0;
  entry->code = 0;
  entry->grpc_status = SC_GRPC_NONE;
  entry->has_start = entry->intermediate = false;
  entry->n_decisions = 0;
  entry->unread_decisions = 0;
  int rv = sc_read_message(bytes, entry_field, entry);
  return rv < 0 || entry->has_start ? rv : SC_ERR_MALFORMED;
}

typedef struct {
  sc_entry_reader *each;
  void *into;
} reading;

static int entries_field(void *into, const sc_field *f)
{
  const reading *r = into;
  return sc_is_bytes(f, 1) ? r->each(r->into, f->bytes) : 0;
}

static int message_field(void *into, const sc_field *f)
{
  return sc_is_bytes(f, 2) ? sc_read_message(f->bytes, entries_field, into) : 0;
}

int sc_accesslog_read(sc_str message, sc_entry_reader *each, void *into)
{
  reading r = {each, into};
  return sc_read_message(message, message_field, &r);
}
