/* What the programs of this folder share: they drive our C without Python, under sanitizers. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "sc_answer.h"

/* An assertion that no build leaves out. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

_Noreturn void check_failed(const char *condition, const char *file, int line);

/* SplitMix64: the same numbers from the same seed. */
uint64_t check_random(uint64_t *state);

uint64_t check_now_ns(void);

/* A whole file; freed by the caller. */
sc_str check_read(const char *folder, const char *name);

/* What native/check/seeds.py wrote to `folder`: two tables of the same rollouts, a message that both answer, and an access
 * log of two requests that end just now, for one rollout with one version. */
typedef struct {
  sc_table *tables[2];
  sc_str message;
  sc_str answers[2]; /* by table */
  sc_str log;
} check_fixed;

check_fixed check_load(const char *folder);
void check_free(check_fixed *fixed);

/* The one place that knows how sc_answer() is called. */
int check_answer(const sc_table *table, sc_str message, sc_scratch *scratch, sc_str *out);

#endif
