#include "sc_input.h"

#include "sc_lines.h"
#include "sc_struct.h"
#include "sc_wire.h"

/* ---- the single places ---------------------------------------------------------------------- */

/* The value of `name` in a list like "a=1; b=2"; the first that is not empty. */
static sc_str in_pairs(sc_str text, char separator, sc_str name)
{
  for (size_t at = 0; at < text.len;) {
    size_t end = sc_str_find(text, at, separator);
    while (separator == ';' && at < end && (text.data[at] == ' ' || text.data[at] == '\t')) at++;
    size_t equals = sc_str_find(text, at, '=');
    if (equals + 1 < end && sc_str_eq(sc_str_slice(text, at, equals), name))
      return sc_str_slice(text, equals + 1, end);
    at = end + 1;
  }
  return (sc_str){NULL, 0};
}

sc_str sc_find_header(const sc_request *request, sc_str name)
{
  for (size_t i = 0; i < request->n_headers; i++) {
    const sc_header *header = &request->headers[i];
    if (header->value.len > 0 && sc_str_eq(header->key, name)) return header->value;
  }
  return (sc_str){NULL, 0};
}

sc_str sc_find_cookie(const sc_request *request, sc_str name)
{
  for (size_t i = 0; i < request->n_headers; i++) {
    if (!sc_str_eq(request->headers[i].key, SC_LITERAL("cookie"))) continue;
    sc_str value = in_pairs(request->headers[i].value, ';', name);
    if (value.len > 0) return value;
  }
  return (sc_str){NULL, 0};
}

sc_str sc_find_query(const sc_request *request, sc_str name)
{
  sc_str path = request->path;
  size_t mark = sc_str_find(path, 0, '?');
  if (mark == path.len) return (sc_str){NULL, 0};
  return in_pairs(sc_str_slice(path, mark + 1, path.len), '&', name);
}

/* "10.1.2.3:4567" and "[::1]:4567" without the port; an address with several colons has none. */
sc_str sc_find_client_address(const sc_request *request)
{
  sc_str address = request->source_address;
  if (address.len > 0 && address.data[0] == '[')
    return sc_str_slice(address, 1, sc_str_find(address, 1, ']'));
  size_t colon = sc_str_find(address, 0, ':');
  if (sc_str_find(address, colon + 1, ':') < address.len) return address;
  return sc_str_slice(address, 0, colon);
}

sc_str sc_plain_host(sc_str authority, uint8_t buffer[SC_MAX_HOST])
{
  size_t from = authority.len > 0 && authority.data[0] == '[' ? sc_str_find(authority, 0, ']') : 0;
  size_t len = sc_str_find(authority, from, ':');
  if (len > SC_MAX_HOST) len = 0;
  for (size_t i = 0; i < len; i++) {
    uint8_t b = authority.data[i];
    buffer[i] = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
  }
  return (sc_str){buffer, len};
}

/* ---- loading -------------------------------------------------------------------------------- */

static bool names_fit(sc_input_kind kind, size_t n)
{
  if (kind == SC_INPUT_METADATA) return n >= 2 && n <= 17;
  bool named = kind != SC_INPUT_CLIENT_ADDRESS && kind != SC_INPUT_PATH && kind != SC_INPUT_HOST;
  return n == (named ? 1 : 0);
}

static bool read_input(sc_cursor *c, sc_input *input)
{
  uint64_t kind = sc_read_uint(c, 1), n = sc_read_uint(c, 1);
  if (kind < SC_INPUT_HEADER || kind > SC_INPUT_ATTRIBUTE || !names_fit((sc_input_kind)kind, n))
    return sc_refuse(c, "an unknown kind of input");
  sc_str *names = sc_read_list(c, (size_t)n, sizeof *names, 2);
  for (size_t i = 0; names && i < n; i++) {
    names[i] = sc_read_str(c);
    if (names[i].len == 0) sc_refuse(c, "an input without a name");
  }
  *input = (sc_input){(sc_input_kind)kind, (uint8_t)n, names};
  return sc_fine(c);
}

bool sc_input_read(sc_cursor *c, sc_intern *known, uint32_t *number)
{
  sc_input input;
  const uint8_t *from = c->rest.data;
  if (!read_input(c, &input)) return false;
  *number = sc_intern_number(known, (sc_str){from, (size_t)(c->rest.data - from)});
  c->no_memory |= *number == SC_NONE;
  return sc_fine(c);
}

/* Names of headers differ in their length, or near one of their ends: 16 bytes tell enough. */
static uint32_t name_hash(sc_str name)
{
  uint64_t front = 0, back = 0;
  if (name.len >= 8) {
    front = sc_load64(name.data);
    back = sc_load64(name.data + name.len - 8);
  } else if (name.len >= 4) {
    front = sc_load32(name.data);
    back = sc_load32(name.data + name.len - 4);
  } else {
    for (size_t i = 0; i < name.len; i++) front = front << 8 | name.data[i];
  }
  uint64_t mixed = (front ^ name.len) * UINT64_C(0x9e3779b97f4a7c15) ^ back;
  mixed ^= mixed >> 32; /* or names that differ in their last letters alone would meet in one slot */
  return (uint32_t)((mixed * UINT64_C(0xd6e8feb86659fd93)) >> 32);
}

static sc_header_slot *header_slot(const sc_inputs *inputs, sc_str name)
{
  uint32_t hash = name_hash(name);
  for (uint32_t i = hash;; i++) {
    sc_header_slot *slot = &inputs->header_slots[i & inputs->header_mask];
    if (slot->number == SC_NONE || (slot->hash == hash && sc_str_eq(slot->name, name))) return slot;
  }
}

bool sc_inputs_load(sc_inputs *inputs, sc_cursor *c, const sc_intern *known)
{
  uint32_t headers = 0;
  inputs->inputs = sc_arena_get(c->arena, known->count, sizeof *inputs->inputs);
  for (uint32_t i = 0; inputs->inputs && i < known->count; i++) {
    sc_cursor again = {.rest = known->texts[i], .arena = c->arena};
    if (!read_input(&again, &inputs->inputs[i])) return !(c->no_memory = true);
    headers += inputs->inputs[i].kind == SC_INPUT_HEADER;
  }
  uint32_t slots = 2;
  while (slots < 4 * headers) slots *= 2;
  inputs->header_mask = slots - 1;
  inputs->header_slots = sc_arena_get(c->arena, slots, sizeof *inputs->header_slots);
  if (!inputs->inputs || !inputs->header_slots) return !(c->no_memory = true);
  inputs->count = known->count;
  for (uint32_t i = 0; i < slots; i++) inputs->header_slots[i].number = SC_NONE;
  for (uint32_t i = 0; i < known->count; i++) {
    if (inputs->inputs[i].kind != SC_INPUT_HEADER) continue;
    sc_str name = inputs->inputs[i].names[0];
    *header_slot(inputs, name) = (sc_header_slot){name, name_hash(name), i};
  }
  return true;
}

/* ---- answering ------------------------------------------------------------------------------ */

int sc_findings_init(sc_findings *f, const sc_inputs *inputs)
{
  f->answered = sc_lines_new(((size_t)inputs->count + 1) * sizeof *f->answered);
  return f->answered ? 0 : SC_ERR_NOMEM;
}

void sc_findings_next(sc_findings *f)
{
  f->stamp++;
  f->n_found = 0;
  f->headers_read = f->no_memory = false;
}

static sc_found *add(sc_findings *f)
{
  if (f->n_found == f->cap) {
    size_t cap = f->cap ? 2 * f->cap : 32;
    sc_found *grown = realloc(f->found, cap * sizeof *grown);
    if (!grown) {
      f->no_memory = true;
      return NULL;
    }
    f->found = grown;
    f->cap = cap;
  }
  return &f->found[f->n_found++];
}

static void add_plain(sc_findings *f, const sc_plain *plain)
{
  uint8_t digits[SC_DIGITS];
  sc_str text = sc_plain_text(plain, digits);
  sc_found *found = text.len > 0 ? add(f) : NULL;
  if (!found) return;
  *found = (sc_found){.text = text};
  if (text.data != digits) return;
  found->text.data = NULL;
  found->n_digits = (uint8_t)text.len;
  memcpy(found->digits, digits, text.len);
}

/* A list gives its plain entries, all else what it is itself. */
static void add_value(sc_findings *f, sc_str value)
{
  sc_plain plain = sc_plain_read(value);
  if (plain.kind != SC_PLAIN_LIST) {
    add_plain(f, &plain);
    return;
  }
  sc_field entry;
  sc_str rest = plain.bytes;
  while (sc_next_field(&rest, &entry) > 0) {
    if (!sc_is_bytes(&entry, 1)) continue;
    sc_plain one = sc_plain_read(entry.bytes);
    if (one.kind != SC_PLAIN_LIST) add_plain(f, &one);
  }
}

static void add_metadata(sc_findings *f, const sc_input *input, const sc_request *request)
{
  sc_str map = sc_struct_entry(request->metadata, input->names[0]);
  for (unsigned i = 1; map.data && i < input->n_names; i++) {
    sc_str value = sc_struct_entry(map, input->names[i]);
    if (!value.data) return;
    if (i == input->n_names - 1u) {
      add_value(f, value);
      return;
    }
    sc_plain plain = sc_plain_read(value);
    if (plain.kind != SC_PLAIN_STRUCT) return;
    map = plain.bytes;
  }
}

static sc_str attribute(sc_findings *f, sc_str name, const sc_request *request)
{
  if (sc_str_eq(name, SC_LITERAL("source.address"))) return request->source_address;
  sc_str value = sc_struct_entry(request->attributes, name);
  if (value.data) add_value(f, value);
  return (sc_str){NULL, 0};
}

static void read_headers(sc_findings *f, const sc_inputs *inputs, const sc_request *request)
{
  f->headers_read = true;
  for (size_t i = 0; i < request->n_headers; i++) {
    const sc_header *header = &request->headers[i];
    if (header->value.len == 0) continue;
    uint32_t number = header_slot(inputs, header->key)->number;
    if (number == SC_NONE || f->answered[number].stamp == f->stamp) continue;
    f->answered[number] = (sc_answered){.stamp = f->stamp, .text = header->value};
  }
}

/* The one value of an input; those of a list are added to what was found. */
static sc_str look(sc_findings *f, const sc_input *input, const sc_request *request)
{
  switch (input->kind) {
  case SC_INPUT_HEADER: break; /* read_headers would have seen it */
  case SC_INPUT_COOKIE: return sc_find_cookie(request, input->names[0]);
  case SC_INPUT_QUERY: return sc_find_query(request, input->names[0]);
  case SC_INPUT_CLIENT_ADDRESS: return sc_find_client_address(request);
  case SC_INPUT_PATH: return sc_str_slice(request->path, 0, sc_str_find(request->path, 0, '?'));
  case SC_INPUT_HOST: return sc_plain_host(request->authority, f->host);
  case SC_INPUT_METADATA: add_metadata(f, input, request); break;
  case SC_INPUT_ATTRIBUTE: return attribute(f, input->names[0], request);
  }
  return (sc_str){NULL, 0};
}

void sc_find_first(sc_findings *f, const sc_inputs *inputs, const sc_request *request, uint32_t number)
{
  const sc_input *input = &inputs->inputs[number];
  sc_answered *answered = &f->answered[number];
  if (input->kind == SC_INPUT_HEADER && !f->headers_read) read_headers(f, inputs, request);
  if (answered->stamp == f->stamp) return;
  uint32_t first = (uint32_t)f->n_found;
  sc_str text = look(f, input, request);
  if (text.len == 0) text.data = NULL;
  *answered = (sc_answered){f->stamp, text, first, (uint32_t)f->n_found - first};
}

void sc_findings_free(sc_findings *f)
{
  free(f->answered);
  free(f->found);
  *f = (sc_findings){0};
}
