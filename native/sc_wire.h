/* Protobuf's encoding, read without copying (https://protobuf.dev/programming-guides/encoding).
 *
 * A message is read field by field by one function per message type. Unknown fields of any wire
 * type are skipped, groups included; whoever reads decides what a repeated field means. */
#ifndef SC_WIRE_H
#define SC_WIRE_H

#include "sc_base.h"

typedef enum {
  SC_WIRE_VARINT = 0,
  SC_WIRE_FIXED64 = 1,
  SC_WIRE_BYTES = 2,
  SC_WIRE_GROUP = 3,
  SC_WIRE_GROUP_END = 4,
  SC_WIRE_FIXED32 = 5,
} sc_wire_type;

typedef struct {
  uint32_t number;
  unsigned type;
  uint64_t scalar; /* VARINT and FIXED64 */
  sc_str bytes;    /* BYTES only; a view into the message */
} sc_field;

/* Reads the next field of `*in` and moves on: 1, 0 at the end, or SC_ERR_MALFORMED. */
int sc_next_field(sc_str *in, sc_field *out);

/* Every nested message is read by a function of this shape: one call per field, 0 or an error. */
typedef int sc_reader(void *into, const sc_field *f);

/* Calls `each` for every field of a message; stops at the first error, its own or of `each`. */
int sc_read_message(sc_str bytes, sc_reader *each, void *into);

static inline bool sc_is_bytes(const sc_field *f, uint32_t number)
{
  return f->number == number && f->type == SC_WIRE_BYTES;
}

static inline bool sc_is_varint(const sc_field *f, uint32_t number)
{
  return f->number == number && f->type == SC_WIRE_VARINT;
}

/* An entry of a map whose keys and values are strings, bytes or messages. */
typedef struct {
  sc_str key, value;
} sc_map_entry;

/* Reads one; a key or a value that is missing is empty. */
int sc_read_map_entry(sc_str bytes, sc_map_entry *out);

#endif
