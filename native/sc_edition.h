/* The table in force, and how it is exchanged under readers that never wait.
 *
 * Theory (hazard pointers; Michael, IEEE TPDS 15(6), 2004): one pointer says which edition is in
 * force. A reader writes down which one it is about to read, looks again, and reads only if that is
 * still the one in force. Whoever exchanged it frees the old one once no reader has it written
 * down. Readers never wait for anybody; the writer never waits either, it comes back later.
 */
#ifndef SC_EDITION_H
#define SC_EDITION_H

#include "sc_answer.h"

enum { SC_MAX_THREADS = 64 };

/* A table, with what each thread needs to answer by it: its buffers and its tally. */
typedef struct {
  const sc_table *table; /* not owned */
  uint64_t number;       /* 1, 2, 3, ... as they come into force */
  size_t n_threads;
  sc_scratch *scratches[]; /* by thread */
} sc_edition;

int sc_edition_new(sc_edition **out, const sc_table *table, uint64_t number, size_t n_threads);
void sc_edition_del(sc_edition *edition);

typedef struct {
  _Alignas(64) sc_edition *reading;
} sc_shelf_reader;

/* Starts from zeros: no edition. */
typedef struct {
  _Alignas(64) sc_edition *current;
  sc_shelf_reader readers[SC_MAX_THREADS];
} sc_shelf;

/* The edition in force, NULL before the first; it stays until this reader's sc_shelf_close(). */
sc_edition *sc_shelf_open(sc_shelf *shelf, size_t reader);
void sc_shelf_close(sc_shelf *shelf, size_t reader);

/* Puts `next` in force and gives back what was (NULL the first time). One thread at a time. */
sc_edition *sc_shelf_exchange(sc_shelf *shelf, sc_edition *next);

/* Whether an edition that is no longer in force may still be read. */
bool sc_shelf_is_read(const sc_shelf *shelf, const sc_edition *edition);

#endif
