/* RE2 behind a face that C can see: linear time, bounded memory, any number of threads at once. */
#ifndef SC_REGEX_H
#define SC_REGEX_H

#include "sc_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sc_regex sc_regex;

/* NULL if RE2 refuses the pattern, or there is no memory. */
sc_regex *sc_regex_new(sc_str pattern);

/* Whether the whole text matches; bytes that are not UTF-8 match nothing but what says so. */
bool sc_regex_match(const sc_regex *regex, sc_str text);
void sc_regex_del(sc_regex *regex);

#ifdef __cplusplus
}
#endif
#endif
