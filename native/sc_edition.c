#include "sc_edition.h"

#include "sc_lines.h"

int sc_edition_new(sc_edition **out, const sc_table *table, uint64_t number, size_t n_threads)
{
  sc_edition *edition = calloc(1, sizeof *edition + n_threads * sizeof *edition->scratches);
  if (!edition) return SC_ERR_NOMEM;
  *edition = (sc_edition){.table = table, .number = number, .n_threads = n_threads};
  for (size_t i = 0; i < n_threads; i++) {
    sc_scratch *scratch = edition->scratches[i] = sc_lines_new(sizeof *scratch);
    int rv = scratch ? sc_scratch_init(scratch, table) : SC_ERR_NOMEM;
    if (rv < 0) {
      sc_edition_del(edition);
      return rv;
    }
  }
  *out = edition;
  return 0;
}

void sc_edition_del(sc_edition *edition)
{
  if (!edition) return;
  for (size_t i = 0; i < edition->n_threads; i++) {
    if (edition->scratches[i]) sc_scratch_free(edition->scratches[i]);
    free(edition->scratches[i]);
  }
  free(edition);
}

sc_edition *sc_shelf_open(sc_shelf *shelf, size_t reader)
{
  sc_edition *edition = __atomic_load_n(&shelf->current, __ATOMIC_ACQUIRE);
#ifdef SC_SEED_RACE /* `make sanitize` must catch what happens without the note */
  (void)reader;
  return edition;
#else
  for (;;) {
    /* The note must be seen before the second look: both are sequentially consistent. */
    __atomic_store_n(&shelf->readers[reader].reading, edition, __ATOMIC_SEQ_CST);
    sc_edition *again = __atomic_load_n(&shelf->current, __ATOMIC_SEQ_CST);
    if (again == edition) return edition;
    edition = again;
  }
#endif
}

void sc_shelf_close(sc_shelf *shelf, size_t reader)
{
  __atomic_store_n(&shelf->readers[reader].reading, NULL, __ATOMIC_RELEASE);
}

sc_edition *sc_shelf_exchange(sc_shelf *shelf, sc_edition *next)
{
  return __atomic_exchange_n(&shelf->current, next, __ATOMIC_SEQ_CST);
}

bool sc_shelf_is_read(const sc_shelf *shelf, const sc_edition *edition)
{
  for (size_t i = 0; i < SC_MAX_THREADS; i++)
    if (__atomic_load_n(&shelf->readers[i].reading, __ATOMIC_SEQ_CST) == edition) return true;
  return false;
}
