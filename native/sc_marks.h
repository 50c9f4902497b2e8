/* A set of 64-bit hashes of a fixed size, with two bits beside each: open addressing, eight bytes a
 * place. The lowest two bits of a hash are not kept, so two hashes are confused once in 2^62. */
#ifndef SC_MARKS_H
#define SC_MARKS_H

#include "sc_base.h"

enum { SC_MARKS_MAX = 3 };

typedef struct {
  uint64_t *places;
  size_t mask, len, room; /* `len` of at most `room` are taken */
} sc_marks;

/* Room for so many. SC_ERR_NOMEM. */
int sc_marks_init(sc_marks *set, size_t room);
void sc_marks_free(sc_marks *set);
void sc_marks_clear(sc_marks *set);

/* The marks of a hash; 0 if it is not there. */
unsigned sc_marks_get(const sc_marks *set, uint64_t hash);

/* Puts it there with these marks (1 to 3), beside those it has. False if there is no room. */
bool sc_marks_add(sc_marks *set, uint64_t hash, unsigned marks);

#endif
