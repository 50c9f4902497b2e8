/* google.protobuf.Struct and Value, read where they stand: for dynamic metadata and attributes. */
#ifndef SC_STRUCT_H
#define SC_STRUCT_H

#include "sc_value.h"

typedef enum {
  SC_PLAIN_NONE, /* absent, null, or not readable */
  SC_PLAIN_NUMBER,
  SC_PLAIN_STRING,
  SC_PLAIN_BOOL,
  SC_PLAIN_STRUCT,
  SC_PLAIN_LIST,
} sc_plain_kind;

typedef struct {
  sc_plain_kind kind;
  double number;
  bool truth;
  sc_str bytes; /* of a string, a Struct or a ListValue */
} sc_plain;

/* The bytes under `key` in a message whose field 1 is a map, the last if there are several; a Struct
 * is such a message, and so is envoy.config.core.v3.Metadata. NULL data: there are none. */
sc_str sc_struct_entry(sc_str map, sc_str key);

/* Reads a Value. */
sc_plain sc_plain_read(sc_str value);

/* A number, a string or a truth as text: a view of the value or of `digits`. "" for all else. */
sc_str sc_plain_text(const sc_plain *plain, uint8_t digits[SC_DIGITS]);

#endif
