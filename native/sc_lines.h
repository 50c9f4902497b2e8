/* Memory for what one thread writes all the time: whoever shared a cache line with it would wait for the other's writes. */
#ifndef SC_LINES_H
#define SC_LINES_H

#include <stdlib.h>

#include "sc_base.h"

enum { SC_LINE = 64 };

/* Zeroed, and a cache line longer than asked for: what is allocated next, by the same means for another thread, begins in
 * another line. Not aligned, so that large ones are the kernel's untouched pages as with calloc(). free() it. */
static inline void *sc_lines_new(size_t size) { return size < SIZE_MAX - SC_LINE ? calloc(1, size + SC_LINE) : NULL; }

#endif
