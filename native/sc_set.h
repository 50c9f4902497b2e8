/* A set of texts that stand in a table's bytes, each after its length (u16, little endian).
 *
 * Nothing is copied: a slot is where the text stands. So a member costs its own bytes and 8 to 16
 * more, a look-up one probe on average, and equality is of all bytes, never of hashes. */
#ifndef SC_SET_H
#define SC_SET_H

#include "sc_cursor.h"
#include "sc_hash.h"

typedef struct {
  const uint8_t *base;
  uint32_t *slots; /* 1 + the offset of a member from base; 0: free */
  uint32_t mask;
  uint32_t count;
} sc_set;

/* Room for `count` members that stand behind `base`. False, with the cursor's word, if there is none. */
bool sc_set_init(sc_set *set, sc_cursor *c, uint32_t count, const uint8_t *base);

/* Adds the member whose length stands at `at`. False if it was there. */
bool sc_set_add(sc_set *set, uint64_t hash, const uint8_t *at);

/* Where the member's length stands, or NULL. `hash` is that of the text, by whatever function filled the set. */
const uint8_t *sc_set_find(const sc_set *set, uint64_t hash, sc_str text);

#endif
