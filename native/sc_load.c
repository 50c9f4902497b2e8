/* The bytes of a rollout's rules, as sidecar/routing/writing_rules.py writes them:
 *
 *   u8 flags (1 killed, 2 holdout, 4 layer)
 *   if holdout: str salt, u64 last     if layer: str salt, u64 first, u64 last
 *   u8 n, n x prerequisite {str rollout, u8 n, n x str variant}
 *   u32 n, n x listed unit {u8 slot (255: excluded), str unit}
 *   u16 n, n x input {u8 kind, u8 n, n x str}
 *   u8 n, u32 tests
 *   n x segment {str reason, u8 kind, (own salt: str salt), (outright: u8 slot | split), condition}
 *   split: u8 whole, a u64 share per variant
 *   condition: u8 kind; test: u16 input, u8 operator, operand; not: condition; all, any: u16 n, n x condition
 *   operand: nothing | str | in: u32 n, n x str | number, date: u8 bounds, 2 x i128
 *            | semver: u8 bounds, 2 x str | cidr: u32 n, n x {u8 family, u128 low, u128 high}
 */
#include <stdlib.h>

#include "sc_rule.h"

enum { KILLED = 1, HOLDOUT = 2, LAYER = 4 };

typedef struct {
  sc_cursor *c;
  sc_loading *loading;
  const uint32_t *inputs; /* this rollout's inputs as the table numbers them */
  sc_test *tests;
  uint32_t n_inputs, n_tests, cap_tests;
} reader;

static sc_u128 read_wide(sc_cursor *c)
{
  sc_u128 low = sc_read_uint(c, 8);
  return low | (sc_u128)sc_read_uint(c, 8) << 64;
}

/* ---- operands ------------------------------------------------------------------------------- */

static void read_text(reader *r, sc_test *test)
{
  test->of.text = sc_read_str(r->c);
  if (test->of.text.len == 0) sc_refuse(r->c, "a condition on an empty text");
}

static void read_set(reader *r, sc_test *test)
{
  uint32_t n = (uint32_t)sc_read_uint(r->c, 4);
  sc_set *set = sc_read_list(r->c, 1, sizeof *set, 1);
  if (!set || !sc_set_init(set, r->c, n, r->loading->base)) return;
  for (uint32_t i = 0; i < n && sc_fine(r->c); i++) {
    const uint8_t *at = r->c->rest.data;
    sc_str text = sc_read_str(r->c);
    if (sc_fine(r->c) && !sc_set_add(set, sc_hash(&text, 1).low, at))
      sc_refuse(r->c, "a value stands twice");
  }
  test->of.set = set;
}

static bool keep_regex(sc_parts *parts, sc_regex *regex)
{
  if (parts->n_regexes == parts->cap_regexes) {
    uint32_t cap = parts->cap_regexes ? 2 * parts->cap_regexes : 16;
    sc_regex **grown = realloc(parts->regexes, cap * sizeof *grown);
    if (!grown) return false;
    parts->regexes = grown;
    parts->cap_regexes = cap;
  }
  parts->regexes[parts->n_regexes++] = regex;
  return true;
}

/* The same expression in many rules is compiled once. */
static void read_regex(reader *r, sc_test *test)
{
  sc_parts *parts = r->loading->parts;
  sc_str pattern = sc_read_str(r->c);
  uint32_t number = sc_intern_number(&r->loading->regexes, pattern);
  if (number == SC_NONE) r->c->no_memory = true;
  if (!sc_fine(r->c)) return;
  if (number == parts->n_regexes) {
    sc_regex *regex = sc_regex_new(pattern);
    if (!regex) {
      sc_refuse(r->c, "a regular expression that RE2 refuses");
      return;
    }
    if (!keep_regex(parts, regex)) {
      sc_regex_del(regex);
      r->c->no_memory = true;
      return;
    }
  }
  test->of.regex = parts->regexes[number];
}

static void read_range(reader *r, sc_test *test)
{
  sc_range *range = sc_read_list(r->c, 1, sizeof *range, 33);
  test->bounds = (uint8_t)sc_read_uint(r->c, 1);
  if (!range) return;
  range->low = (sc_i128)read_wide(r->c);
  range->high = (sc_i128)read_wide(r->c);
  test->of.range = range;
}

static void read_versions(reader *r, sc_test *test)
{
  sc_versions *versions = sc_read_list(r->c, 1, sizeof *versions, 5);
  test->bounds = (uint8_t)sc_read_uint(r->c, 1);
  if (!versions) return;
  sc_str low = sc_read_str(r->c), high = sc_read_str(r->c);
  if ((test->bounds & SC_LOW && !sc_version_read(low, &versions->low)) ||
      (test->bounds & SC_HIGH && !sc_version_read(high, &versions->high)))
    sc_refuse(r->c, "a bound is not a version");
  test->of.versions = versions;
}

static sc_address read_address(sc_cursor *c, uint8_t family)
{
  sc_address address = {family, read_wide(c)};
  if ((family != 4 && family != 6) || (family == 4 && address.number > UINT32_MAX))
    sc_refuse(c, "not an address");
  return address;
}

static void read_networks(reader *r, sc_test *test)
{
  uint32_t n = (uint32_t)sc_read_uint(r->c, 4);
  sc_networks *networks = sc_read_list(r->c, 1, sizeof *networks, 1);
  sc_address *ends = sc_read_list(r->c, n, 2 * sizeof *ends, 33);
  if (!networks || !ends) return;
  for (size_t i = 0; i < 2 * (size_t)n && sc_fine(r->c); i += 2) {
    uint8_t family = (uint8_t)sc_read_uint(r->c, 1);
    ends[i] = read_address(r->c, family);
    ends[i + 1] = read_address(r->c, family);
    if (sc_address_order(ends[i], ends[i + 1]) > 0 ||
        (i > 0 && sc_address_order(ends[i - 1], ends[i]) >= 0))
      sc_refuse(r->c, "networks out of order");
  }
  *networks = (sc_networks){ends, n};
  test->of.networks = networks;
}

static void read_operand(reader *r, sc_test *test)
{
  switch (test->op) {
  case SC_OP_PRESENT: return;
  case SC_OP_IN: read_set(r, test); return;
  case SC_OP_REGEX: read_regex(r, test); return;
  case SC_OP_NUMBER:
  case SC_OP_DATE: read_range(r, test); return;
  case SC_OP_SEMVER: read_versions(r, test); return;
  case SC_OP_CIDR: read_networks(r, test); return;
  case SC_OP_EXACT:
  case SC_OP_PREFIX:
  case SC_OP_SUFFIX:
  case SC_OP_CONTAINS: read_text(r, test); return;
  default: sc_refuse(r->c, "an unknown operator");
  }
}

/* ---- conditions ----------------------------------------------------------------------------- */

typedef enum { TEST, NOT, ALL, ANY } condition_kind;

/* Ways that leave the condition that is being read: it holds, or it does not. */
enum { YES = UINT32_MAX, NO = UINT32_MAX - 1 };

/* What left the tests since `from` by one way or the other now leads elsewhere. */
static void lead(reader *r, uint32_t from, uint32_t yes, uint32_t no)
{
  for (uint32_t i = from; i < r->n_tests; i++) {
    sc_test *test = &r->tests[i];
    test->yes = test->yes == YES ? yes : test->yes == NO ? no : test->yes;
    test->no = test->no == YES ? yes : test->no == NO ? no : test->no;
  }
}

static void read_test(reader *r)
{
  uint64_t input = sc_read_uint(r->c, 2);
  if (r->n_tests == r->cap_tests) {
    sc_refuse(r->c, "more tests than announced");
  } else if (input >= r->n_inputs) {
    sc_refuse(r->c, "a condition on an input that is not there");
  } else {
    sc_test *test = &r->tests[r->n_tests++];
    *test = (sc_test){.op = (uint8_t)sc_read_uint(r->c, 1), .input = r->inputs[input], .yes = YES, .no = NO};
    if (sc_fine(r->c)) read_operand(r, test);
  }
}

static void read_condition(reader *r, unsigned depth);

/* All: each that holds leads to the next. Any: each that does not. The last one speaks for the group. */
static void read_group(reader *r, condition_kind kind, unsigned depth)
{
  size_t n = (size_t)sc_read_uint(r->c, 2);
  if (n == 0) sc_refuse(r->c, "a group without conditions");
  for (size_t i = 0; i < n && sc_fine(r->c); i++) {
    uint32_t from = r->n_tests;
    read_condition(r, depth + 1);
    if (i + 1 < n) lead(r, from, kind == ALL ? r->n_tests : YES, kind == ALL ? NO : r->n_tests);
  }
}

static void read_condition(reader *r, unsigned depth)
{
  uint32_t from = r->n_tests;
  uint64_t kind = sc_read_uint(r->c, 1);
  if (depth > SC_MAX_DEPTH) {
    sc_refuse(r->c, "conditions nest too deep");
  } else if (kind == TEST) {
    read_test(r);
  } else if (kind == NOT) {
    read_condition(r, depth + 1);
    lead(r, from, NO, YES);
  } else if (kind == ALL || kind == ANY) {
    read_group(r, (condition_kind)kind, depth);
  } else {
    sc_refuse(r->c, "an unknown kind of condition");
  }
}

/* ---- segments ------------------------------------------------------------------------------- */

void sc_split_read(sc_split *split, sc_cursor *c, uint8_t n)
{
  split->whole = (uint8_t)sc_read_uint(c, 1);
  uint64_t *shares = sc_read_list(c, n, sizeof *shares, 8);
  if (!shares) return;
  split->shares = shares;
  sc_u128 sum = 0, line = (sc_u128)1 << 64;
  for (unsigned i = 0; i < n; i++) sum += shares[i] = sc_read_uint(c, 8);
  if (split->whole != SC_NO_SLOT && split->whole >= n)
    sc_refuse(c, "the slot with all the weight does not exist");
  if (sum > line) sc_refuse(c, "the shares overlap");
  /* Flooring loses less than one point per variant; more is missing only if the bytes are wrong. */
  if (sum + SC_MAX_VARIANTS < line) sc_refuse(c, "the shares do not fill the line");
}

static void read_reason(reader *r, sc_segment *segment)
{
  sc_str prefix = SC_LITERAL("segment:");
  segment->reason = sc_read_str(r->c);
  if (!sc_str_starts(segment->reason, prefix) || segment->reason.len > prefix.len + 63)
    sc_refuse(r->c, "a segment without its name");
}

static void read_segment(reader *r, sc_segment *segment, uint8_t n_variants)
{
  read_reason(r, segment);
  segment->kind = (sc_segment_kind)sc_read_uint(r->c, 1);
  if (segment->kind > SC_SEGMENT_OUTRIGHT) sc_refuse(r->c, "an unknown kind of segment");
  if (segment->kind == SC_SEGMENT_OWN_SALT) segment->salt = sc_read_str(r->c);
  if (segment->kind == SC_SEGMENT_OUTRIGHT) {
    segment->slot = (uint8_t)sc_read_uint(r->c, 1);
    if (segment->slot >= n_variants) sc_refuse(r->c, "a segment's variant does not exist");
  } else {
    sc_split_read(&segment->split, r->c, n_variants);
  }
  if (sc_fine(r->c)) read_condition(r, 0);
}

static void read_segments(reader *r, sc_rules *rules, uint8_t n_variants)
{
  rules->n_segments = (uint8_t)sc_read_uint(r->c, 1);
  r->cap_tests = (uint32_t)sc_read_uint(r->c, 4);
  sc_segment *segments = sc_read_list(r->c, rules->n_segments, sizeof *segments, 5);
  r->tests = sc_read_list(r->c, r->cap_tests, sizeof *r->tests, 4);
  for (uint32_t i = 0; segments && i < rules->n_segments && sc_fine(r->c); i++) {
    uint32_t from = r->n_tests;
    read_segment(r, &segments[i], n_variants);
    lead(r, from, r->cap_tests + 1 + i, r->n_tests);
  }
  if (sc_fine(r->c) && r->n_tests < r->cap_tests) sc_refuse(r->c, "fewer tests than announced");
  rules->segments = segments;
  rules->tests = r->tests;
  rules->n_tests = r->cap_tests;
}

static void read_inputs(reader *r)
{
  r->n_inputs = (uint32_t)sc_read_uint(r->c, 2);
  uint32_t *inputs = sc_read_list(r->c, r->n_inputs, sizeof *inputs, 2);
  for (uint32_t i = 0; inputs && i < r->n_inputs && sc_fine(r->c); i++)
    sc_input_read(r->c, &r->loading->inputs, &inputs[i]);
  r->inputs = inputs;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static const sc_slice *read_slice(sc_cursor *c, bool from_zero)
{
  sc_slice *slice = sc_read_list(c, 1, sizeof *slice, 10);
  if (!slice) return NULL;
  slice->salt = sc_read_str(c);
  slice->first = from_zero ? 0 : sc_read_uint(c, 8);
  slice->last = sc_read_uint(c, 8);
  if (slice->last < slice->first) sc_refuse(c, "a slice ends before it begins");
  return slice;
}

static void read_requirement(sc_cursor *c, sc_requirement *one)
{
  one->rollout = sc_read_label(c);
  one->n_variants = (uint8_t)sc_read_uint(c, 1);
  sc_str *variants = sc_read_list(c, one->n_variants, sizeof *variants, 2);
  for (unsigned i = 0; variants && i < one->n_variants; i++) variants[i] = sc_read_label(c);
  one->variants = variants;
  one->at = SC_NONE;
}

static void read_requires(sc_cursor *c, sc_rules *rules)
{
  rules->n_requires = (uint8_t)sc_read_uint(c, 1);
  rules->requires = sc_read_list(c, rules->n_requires, sizeof *rules->requires, 3);
  for (unsigned i = 0; rules->requires && i < rules->n_requires && sc_fine(c); i++)
    read_requirement(c, &rules->requires[i]);
}

/* Filed under the very hash that a request's unit has anyway. */
static void read_listed(sc_rules *rules, sc_cursor *c, const uint8_t *base, sc_str salt, uint8_t n_variants)
{
  uint32_t n = (uint32_t)sc_read_uint(c, 4);
  if (!sc_set_init(&rules->listed, c, n, base)) return;
  for (uint32_t i = 0; i < n && sc_fine(c); i++) {
    uint64_t slot = sc_read_uint(c, 1);
    const uint8_t *at = c->rest.data;
    sc_str unit = sc_read_str(c);
    if (slot != SC_NO_SLOT && slot >= n_variants) sc_refuse(c, "a listed unit's variant does not exist");
    if (unit.len == 0) sc_refuse(c, "a listed unit is empty");
    if (!sc_fine(c)) return;
    uint64_t hash = sc_hash((sc_str[]){salt, {(const uint8_t *)"", 1}, unit}, 3).low;
    if (!sc_set_add(&rules->listed, hash, at)) sc_refuse(c, "a unit is listed twice");
  }
}

void sc_rules_read(sc_rules *rules, sc_cursor *c, sc_loading *loading, sc_str salt, uint8_t n)
{
  uint64_t flags = sc_read_uint(c, 1);
  if (flags > (KILLED | HOLDOUT | LAYER)) sc_refuse(c, "an unknown flag");
  rules->killed = flags & KILLED;
  if (flags & HOLDOUT) rules->holdout = read_slice(c, true);
  if (flags & LAYER) rules->layer = read_slice(c, false);
  read_requires(c, rules);
  if (sc_fine(c)) read_listed(rules, c, loading->base, salt, n);
  reader r = {.c = c, .loading = loading};
  if (sc_fine(c)) read_inputs(&r);
  if (sc_fine(c)) read_segments(&r, rules, n);
}

void sc_loading_free(sc_loading *loading)
{
  sc_intern_free(&loading->inputs);
  sc_intern_free(&loading->regexes);
}

void sc_parts_free(sc_parts *parts)
{
  for (uint32_t i = 0; i < parts->n_regexes; i++) sc_regex_del(parts->regexes[i]);
  free(parts->regexes);
  *parts = (sc_parts){0};
}
