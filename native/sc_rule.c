#include "sc_rule.h"

/* Out of the way of what most conditions are. */
#define SC_RARE __attribute__((noinline))

static bool ends_with(sc_str text, sc_str end)
{
  return text.len >= end.len && sc_str_eq(sc_str_slice(text, text.len - end.len, text.len), end);
}

/* A bit of every byte of `x` that is 0 is set in the answer; of others only where a byte below is 0 too. */
static uint64_t zeros(uint64_t x)
{
  return (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
}

/* Eight places at a time: only where the first and the last byte of `part` stand may it begin. */
static SC_RARE bool contains(sc_str text, sc_str part)
{
  if (part.len > text.len) return false;
  const uint8_t *at = text.data, *last = text.data + (text.len - part.len);
  uint64_t every = UINT64_C(0x0101010101010101);
  uint64_t front = part.data[0] * every, back = part.data[part.len - 1] * every;
  for (; last - at >= 7; at += 8) {
    if (!zeros((sc_load64(at) ^ front) | (sc_load64(at + part.len - 1) ^ back))) continue;
    for (size_t i = 0; i < 8; i++)
      if (sc_bytes_eq(at + i, part.data, part.len)) return true;
  }
  for (; at <= last; at++)
    if (sc_bytes_eq(at, part.data, part.len)) return true;
  return false;
}

/* `low` and `high` are the order of the value against each bound: below, at or above 0. */
static bool within(uint8_t bounds, int low, int high)
{
  if (bounds & SC_LOW && (low < 0 || (low == 0 && !(bounds & SC_LOW_INCLUSIVE)))) return false;
  return !(bounds & SC_HIGH) || high < 0 || (high == 0 && bounds & SC_HIGH_INCLUSIVE);
}

static int order(sc_i128 a, sc_i128 b) { return (a > b) - (a < b); }

static SC_RARE bool in_range(const sc_test *test, sc_str value)
{
  sc_i128 x;
  if (!(test->op == SC_OP_NUMBER ? sc_number(value, &x) : sc_date(value, &x))) return false;
  return within(test->bounds, order(x, test->of.range->low), order(x, test->of.range->high));
}

static SC_RARE bool in_versions(const sc_test *test, sc_str value)
{
  sc_version x;
  if (!sc_version_read(value, &x)) return false;
  const sc_versions *v = test->of.versions;
  return within(test->bounds, test->bounds & SC_LOW ? sc_version_order(&x, &v->low) : 0,
                test->bounds & SC_HIGH ? sc_version_order(&x, &v->high) : 0);
}

static SC_RARE bool in_networks(const sc_networks *networks, sc_str value)
{
  sc_address address;
  if (!sc_address_read(value, &address)) return false;
  uint32_t from = 0, to = networks->count;
  while (from < to) {
    uint32_t middle = from + (to - from) / 2;
    const sc_address *ends = &networks->ends[2 * (size_t)middle];
    if (sc_address_order(address, ends[0]) < 0)
      to = middle;
    else if (sc_address_order(address, ends[1]) > 0)
      from = middle + 1;
    else
      return true;
  }
  return false;
}

static bool fits(const sc_test *test, sc_str value)
{
  switch ((sc_op)test->op) {
  case SC_OP_PRESENT: return true;
  case SC_OP_EXACT: return sc_str_eq(value, test->of.text);
  case SC_OP_IN: return sc_set_find(test->of.set, sc_hash(&value, 1).low, value) != NULL;
  case SC_OP_PREFIX: return sc_str_starts(value, test->of.text);
  case SC_OP_SUFFIX: return ends_with(value, test->of.text);
  case SC_OP_CONTAINS: return contains(value, test->of.text);
  case SC_OP_REGEX: return sc_regex_match(test->of.regex, value);
  case SC_OP_NUMBER:
  case SC_OP_DATE: return in_range(test, value);
  case SC_OP_SEMVER: return in_versions(test, value);
  case SC_OP_CIDR: return in_networks(test->of.networks, value);
  }
  return false;
}

static SC_RARE bool any_fits(const sc_test *test, const sc_findings *f, const sc_answered *answered)
{
  for (uint32_t i = 0; i < answered->count; i++)
    if (fits(test, sc_found_text(&f->found[answered->first + i]))) return true;
  return false;
}

uint32_t sc_first_segment(const sc_rules *rules, const sc_parts *parts, const sc_request *request,
                          sc_findings *f)
{
  uint32_t at = 0;
  while (at < rules->n_tests) {
    const sc_test *test = &rules->tests[at];
    const sc_answered *answered = sc_find(f, &parts->inputs, request, test->input);
    bool holds = answered->text.data ? fits(test, answered->text) : any_fits(test, f, answered);
    at = holds ? test->yes : test->no;
  }
  return at - rules->n_tests;
}
