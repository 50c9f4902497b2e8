/* The rules of a rollout: who is listed, which conditions make a segment, and whether they hold.
 * sidecar/routing/twin_rules.py is the specification of sc_first_segment; sc_load.c reads the bytes.
 *
 * Theory. Conditions nest, but whether they hold is found without a tree: all tests of a rollout stand
 * in one row, in the order in which they are made, and each knows which one is next if it holds and
 * which if not. That is how a compiler writes `(a && !b) || c`: what is within another condition says
 * itself by where the ways lead. They lead onwards only, so no test is made twice. */
#ifndef SC_RULE_H
#define SC_RULE_H

#include "sc_input.h"
#include "sc_regex.h"
#include "sc_set.h"
#include "sc_value.h"

enum { SC_MAX_VARIANTS = 64, SC_NO_SLOT = 255, SC_MAX_DEPTH = 8, SC_MAX_CHAIN = 16 };

/* What the rules of a table share. `inputs` are there once all rollouts are read. Start from zeros. */
typedef struct {
  sc_inputs inputs;
  sc_regex **regexes;
  uint32_t n_regexes, cap_regexes;
} sc_parts;

/* ---- conditions ----------------------------------------------------------------------------- */

typedef enum {
  SC_OP_PRESENT,
  SC_OP_EXACT,
  SC_OP_IN,
  SC_OP_PREFIX,
  SC_OP_SUFFIX,
  SC_OP_CONTAINS,
  SC_OP_REGEX,
  SC_OP_NUMBER,
  SC_OP_SEMVER,
  SC_OP_DATE,
  SC_OP_CIDR,
} sc_op;

enum { SC_LOW = 1, SC_LOW_INCLUSIVE = 2, SC_HIGH = 4, SC_HIGH_INCLUSIVE = 8 };

typedef struct {
  sc_i128 low, high;
} sc_range;

typedef struct {
  sc_version low, high;
} sc_versions;

/* Ranges of addresses, ascending and without overlap. */
typedef struct {
  const sc_address *ends; /* low and high of each in turn */
  uint32_t count;
} sc_networks;

/* A way leads to a test of the rollout by its number; behind them, at n_tests, stands "no segment", and
 * then the segments in their order. */
typedef struct {
  uint8_t op;     /* sc_op */
  uint8_t bounds; /* SC_LOW... */
  uint32_t input; /* by its number in the table */
  uint32_t yes, no;
  union {
    sc_str text;
    const sc_set *set;
    const sc_regex *regex;
    const sc_range *range;
    const sc_versions *versions;
    const sc_networks *networks;
  } of;
} sc_test;

/* ---- what stands beside them ---------------------------------------------------------------- */

/* How a hash line is shared out: a share per slot, or one slot that has it all. */
typedef struct {
  const uint64_t *shares; /* floor(weight * 2^64 / sum); meaningless where it is the whole line */
  uint8_t whole;          /* the slot that has all the weight, or SC_NO_SLOT */
} sc_split;

typedef enum { SC_SEGMENT_WEIGHTS, SC_SEGMENT_OWN_SALT, SC_SEGMENT_OUTRIGHT } sc_segment_kind;

typedef struct {
  sc_str reason; /* "segment:<name>" */
  sc_segment_kind kind;
  uint8_t slot;   /* OUTRIGHT */
  sc_str salt;    /* OWN_SALT */
  sc_split split; /* all but OUTRIGHT */
} sc_segment;

/* The points `first` to `last` of a line of its own; a holdout begins at 0. */
typedef struct {
  sc_str salt;
  uint64_t first, last;
} sc_slice;

typedef struct {
  sc_str rollout;
  const sc_str *variants;
  uint8_t n_variants;
  uint32_t at;    /* the other rollout in this table, or SC_NONE */
  uint64_t slots; /* a bit per slot of it that will do */
} sc_requirement;

typedef struct {
  bool killed;
  const sc_slice *holdout, *layer; /* NULL: none */
  sc_requirement *requires;
  const sc_segment *segments;
  const sc_test *tests; /* of all segments */
  uint32_t n_tests;
  sc_set listed; /* by the rollout's own hash; the slot stands in the byte before a member */
  uint8_t n_requires, n_segments;
} sc_rules;

/* The first segment whose conditions hold for the request at hand, counted from 1; 0: none. */
uint32_t sc_first_segment(const sc_rules *rules, const sc_parts *parts, const sc_request *request,
                          sc_findings *f);

/* ---- loading -------------------------------------------------------------------------------- */

/* What is known while a table is loaded. Start from zeros. */
typedef struct {
  sc_parts *parts;
  const uint8_t *base; /* where the table's bytes begin */
  sc_intern inputs, regexes;
} sc_loading;

/* Reads how a line is shared out among `n` variants. */
void sc_split_read(sc_split *split, sc_cursor *c, uint8_t n);

/* Reads the rules of one rollout that has this salt and `n` variants. */
void sc_rules_read(sc_rules *rules, sc_cursor *c, sc_loading *loading, sc_str salt, uint8_t n);

void sc_loading_free(sc_loading *loading);
void sc_parts_free(sc_parts *parts);

#endif
