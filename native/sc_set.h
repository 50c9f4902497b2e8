/* A set of 64-bit hashes of a fixed size, with two bits beside each: open addressing, eight bytes a
 * place. The lowest two bits of a hash are not kept, so two hashes are confused once in 2^62. */
#ifndef SC_SET_H
#define SC_SET_H

#include "sc_base.h"

enum { SC_SET_MARKS = 3 };

typedef struct {
  uint64_t *places;
  size_t mask, len, room; /* `len` of at most `room` are taken */
} sc_set;

/* Room for so many. SC_ERR_NOMEM. */
int sc_set_init(sc_set *set, size_t room);
void sc_set_free(sc_set *set);
void sc_set_clear(sc_set *set);

/* The marks of a hash; 0 if it is not there. */
unsigned sc_set_get(const sc_set *set, uint64_t hash);

/* Puts it there with these marks (1 to 3), beside those it has. False if there is no room. */
bool sc_set_add(sc_set *set, uint64_t hash, unsigned marks);

#endif
