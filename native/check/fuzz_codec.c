/* Any bytes are a ProcessingRequest or are refused; an answer is the same every time, by whole or used scratch. */
#include "fuzz.h"

static check_fixed fixed;
static sc_scratch scratch;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  fixed = check_load(FIXED);
  CHECK(sc_scratch_init(&scratch, fixed.tables[0]) == 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  sc_scratch fresh = {0};
  sc_str used_out, fresh_out;
  CHECK(sc_scratch_init(&fresh, fixed.tables[0]) == 0);
  int used = check_answer(fixed.tables[0], (sc_str){data, size}, &scratch, &used_out);
  int first = check_answer(fixed.tables[0], (sc_str){data, size}, &fresh, &fresh_out);
  CHECK(used == first && (used == 0 || used == SC_ERR_MALFORMED) && sc_str_eq(used_out, fresh_out));
  sc_scratch_free(&fresh);
  return 0;
}
