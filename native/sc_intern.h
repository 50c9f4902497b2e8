/* Numbers for distinct texts, in the order they are first met. For the time a table is loaded. */
#ifndef SC_INTERN_H
#define SC_INTERN_H

#include "sc_base.h"

enum { SC_NONE = UINT32_MAX };

/* Start from zeros. The texts are views: what they point into must stay. */
typedef struct {
  sc_str *texts;
  uint32_t *slots; /* 1 + a number; 0: free */
  uint32_t count, cap;
} sc_intern;

/* The number of `text`, a new one if it is new; SC_NONE: there is no memory. */
uint32_t sc_intern_number(sc_intern *known, sc_str text);
void sc_intern_free(sc_intern *known);

#endif
