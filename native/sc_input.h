/* What the rules of a table look at, and what a request holds there.
 *
 * Theory. The same few inputs are asked for by many conditions, so each distinct one has a number in
 * its table, and a request answers for each at most once: the answer is kept under that number
 * until the next request. All headers that anything asks for are found in one pass over the
 * request, each by one look-up of its name. */
#ifndef SC_INPUT_H
#define SC_INPUT_H

#include "sc_cursor.h"
#include "sc_intern.h"
#include "sc_request.h"
#include "sc_value.h"

typedef enum {
  SC_INPUT_HEADER = 1,
  SC_INPUT_COOKIE = 2,
  SC_INPUT_QUERY = 3,
  SC_INPUT_CLIENT_ADDRESS = 4,
  SC_INPUT_PATH = 5,
  SC_INPUT_HOST = 6,
  SC_INPUT_METADATA = 7,
  SC_INPUT_ATTRIBUTE = 8,
} sc_input_kind;

typedef struct {
  sc_input_kind kind;
  uint8_t n_names;
  const sc_str *names; /* of metadata: the filter, then the keys; else one or none */
} sc_input;

typedef struct {
  sc_str name;
  uint32_t hash;   /* of the name: what tells others apart without looking at theirs */
  uint32_t number; /* SC_NONE: the slot is free */
} sc_header_slot;

/* The inputs of a table, immutable once it is loaded. Start from zeros. */
typedef struct {
  sc_input *inputs;
  uint32_t count;
  sc_header_slot *header_slots;
  uint32_t header_mask;
} sc_inputs;

/* Reads one input and gives its number through `*number`; `known` numbers the bytes that say it. */
bool sc_input_read(sc_cursor *c, sc_intern *known, uint32_t *number);

/* Makes the inputs out of all that `known` has met. */
bool sc_inputs_load(sc_inputs *inputs, sc_cursor *c, const sc_intern *known);

/* ---- a request's answers -------------------------------------------------------------------- */

enum { SC_MAX_HOST = 255 };

typedef struct {
  sc_str text; /* NULL data: the digits */
  uint8_t digits[SC_DIGITS];
  uint8_t n_digits;
} sc_found;

/* One value that stands in the request, or any number of them among what was found. */
typedef struct {
  uint64_t stamp; /* the request that was answered for */
  sc_str text;    /* NULL data: the values are found[first .. first + count) */
  uint32_t first, count;
} sc_answered;

/* What one thread keeps of the request at hand. */
typedef struct {
  sc_answered *answered; /* by number of input */
  sc_found *found;
  size_t n_found, cap;
  uint64_t stamp;
  bool headers_read, no_memory;
  uint8_t host[SC_MAX_HOST];
} sc_findings;

int sc_findings_init(sc_findings *f, const sc_inputs *inputs);

/* Forgets the last request. */
void sc_findings_next(sc_findings *f);

/* Answers for an input that was not asked for yet. Without memory it has no values, and `no_memory` says so. */
void sc_find_first(sc_findings *f, const sc_inputs *inputs, const sc_request *request, uint32_t number);

/* The values of an input, none empty; `found` may move with the next call. */
static inline const sc_answered *sc_find(sc_findings *f, const sc_inputs *inputs,
                                         const sc_request *request, uint32_t number)
{
  const sc_answered *answered = &f->answered[number];
  if (answered->stamp != f->stamp) sc_find_first(f, inputs, request, number);
  return answered;
}

static inline sc_str sc_found_text(const sc_found *found)
{
  return found->text.data ? found->text : (sc_str){found->digits, found->n_digits};
}

void sc_findings_free(sc_findings *f);

/* ---- the single places, for the unit too ---------------------------------------------------- */

sc_str sc_find_header(const sc_request *request, sc_str name);
sc_str sc_find_cookie(const sc_request *request, sc_str name);
sc_str sc_find_query(const sc_request *request, sc_str name);
sc_str sc_find_client_address(const sc_request *request);

/* The host without its port, lower case, in `buffer`. A host too long to match any becomes "". */
sc_str sc_plain_host(sc_str authority, uint8_t buffer[SC_MAX_HOST]);

#endif
