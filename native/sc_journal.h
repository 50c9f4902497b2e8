/* Two halves of somebody's memory, written by turns: one takes records while the other is read.
 *
 * In a file mapped into memory, what was committed outlives the process that wrote it, SIGKILL
 * included: a record counts from the moment its length is added, which is one store. No locks here. */
#ifndef SC_JOURNAL_H
#define SC_JOURNAL_H

#include "sc_base.h"

typedef struct sc_journal_head sc_journal_head;

typedef struct {
  sc_journal_head *head; /* at the start of the memory, which must be aligned for it */
  uint8_t *halves[2];
  size_t half_len;
} sc_journal;

/* Takes up what the memory holds; all zeros is an empty journal. SC_ERR_MALFORMED if it is too small or
 * holds something else. The memory stays the caller's. */
int sc_journal_open(sc_journal *journal, uint8_t *memory, size_t len);

/* Where the next record of this length may be written; NULL if the half is full. Commit it, or not. */
uint8_t *sc_journal_room(sc_journal *journal, size_t len);
void sc_journal_commit(sc_journal *journal, size_t len);

/* Closes the half that is being written, unless an earlier one still waits for its release: returns
 * the number of the half to read, or 0 where there is nothing. Numbers grow by one. */
uint64_t sc_journal_turn(sc_journal *journal);

/* The records of a closed half, and their end. */
sc_str sc_journal_records(const sc_journal *journal, uint64_t number);
void sc_journal_release(sc_journal *journal, uint64_t number);

#endif
