/* Any bytes are a table or are refused with a reason; by what loads, every request is answered. */
#include "fuzz.h"

static check_fixed fixed;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  fixed = check_load(FIXED);
  return 0;
}

static void answer_by(const sc_table *table)
{
  static const uint8_t nothing[] = {0x12, 0}; /* request_headers {} */
  sc_scratch scratch = {0};
  sc_str out;
  CHECK(sc_scratch_init(&scratch, table) == 0);
  CHECK(check_answer(table, (sc_str){nothing, sizeof nothing}, &scratch, &out) == 0 && out.len > 0);
  CHECK(check_answer(table, fixed.message, &scratch, &out) == 0 && out.len > 0);
  for (uint32_t i = 0; i < sc_table_len(table); i++) CHECK(sc_table_rollout(table, i)->name.len > 0);
  sc_scratch_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  sc_table *table;
  const char *reason = NULL;
  int rv = sc_table_new(&table, (sc_str){data, size}, &reason);
  CHECK(rv == 0 || (rv == SC_ERR_MALFORMED && reason));
  if (rv < 0) return 0;
  answer_by(table);
  sc_table_del(table);
  return 0;
}
