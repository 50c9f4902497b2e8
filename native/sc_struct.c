#include "sc_struct.h"

#include "sc_wire.h"

typedef struct {
  sc_str key, found;
} wanted;

static int entry_field(void *into, const sc_field *f)
{
  wanted *w = into;
  if (!sc_is_bytes(f, 1)) return 0;
  sc_map_entry entry;
  int rv = sc_read_map_entry(f->bytes, &entry);
  if (rv == 0 && sc_str_eq(entry.key, w->key))
    w->found = entry.value.data ? entry.value : SC_LITERAL("");
  return rv;
}

sc_str sc_struct_entry(sc_str map, sc_str key)
{
  wanted w = {.key = key};
  if (sc_read_message(map, entry_field, &w) < 0) return (sc_str){NULL, 0};
  return w.found;
}

static int value_field(void *into, const sc_field *f)
{
  sc_plain *plain = into;
  if (f->number == 1 && f->type == SC_WIRE_VARINT) plain->kind = SC_PLAIN_NONE;
  if (f->number == 2 && f->type == SC_WIRE_FIXED64) {
    plain->kind = SC_PLAIN_NUMBER;
    memcpy(&plain->number, &f->scalar, sizeof plain->number);
  }
  if (f->number == 4 && f->type == SC_WIRE_VARINT) {
    plain->kind = SC_PLAIN_BOOL;
    plain->truth = f->scalar != 0;
  }
  if (f->type == SC_WIRE_BYTES && (f->number == 3 || f->number == 5 || f->number == 6)) {
    plain->kind = f->number == 3   ? SC_PLAIN_STRING
                  : f->number == 5 ? SC_PLAIN_STRUCT
                                   : SC_PLAIN_LIST;
    plain->bytes = f->bytes;
  }
  return 0;
}

sc_plain sc_plain_read(sc_str value)
{
  sc_plain plain = {.kind = SC_PLAIN_NONE};
  if (sc_read_message(value, value_field, &plain) < 0) plain.kind = SC_PLAIN_NONE;
  return plain;
}

sc_str sc_plain_text(const sc_plain *plain, uint8_t digits[SC_DIGITS])
{
  switch (plain->kind) {
  case SC_PLAIN_NUMBER: return (sc_str){digits, sc_number_write(plain->number, digits)};
  case SC_PLAIN_STRING: return plain->bytes;
  case SC_PLAIN_BOOL: return plain->truth ? SC_LITERAL("true") : SC_LITERAL("false");
  default: return (sc_str){NULL, 0};
  }
}
