#include "sc_rule.h"

/* Out of the way of what most conditions are. */
#define SC_RARE __attribute__((noinline))

static bool ends_with(sc_str text, sc_str end)
{
  return text.len >= end.len && sc_str_eq(sc_str_slice(text, text.len - end.len, text.len), end);
}

static bool contains(sc_str text, sc_str part)
{
  if (part.len > text.len) return false;
  sc_str starts = sc_str_slice(text, 0, text.len - part.len + 1);
  for (size_t at = 0;; at++) {
    at = sc_str_find(starts, at, (char)part.data[0]);
    if (at == starts.len) return false;
    if (sc_bytes_eq(text.data + at, part.data, part.len)) return true;
  }
}

/* `low` and `high` are the order of the value against each bound: below, at or above 0. */
static bool within(uint8_t bounds, int low, int high)
{
  if (bounds & SC_LOW && (low < 0 || (low == 0 && !(bounds & SC_LOW_INCLUSIVE)))) return false;
  return !(bounds & SC_HIGH) || high < 0 || (high == 0 && bounds & SC_HIGH_INCLUSIVE);
}

static int order(sc_i128 a, sc_i128 b) { return (a > b) - (a < b); }

static SC_RARE bool in_range(const sc_node *node, sc_str value)
{
  sc_i128 x;
  if (!(node->op == SC_OP_NUMBER ? sc_number(value, &x) : sc_date(value, &x))) return false;
  return within(node->bounds, order(x, node->of.range->low), order(x, node->of.range->high));
}

static SC_RARE bool in_versions(const sc_node *node, sc_str value)
{
  sc_version x;
  if (!sc_version_read(value, &x)) return false;
  const sc_versions *v = node->of.versions;
  return within(node->bounds, node->bounds & SC_LOW ? sc_version_order(&x, &v->low) : 0,
                node->bounds & SC_HIGH ? sc_version_order(&x, &v->high) : 0);
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

static bool fits(const sc_node *node, sc_str value)
{
  switch ((sc_op)node->op) {
  case SC_OP_PRESENT: return true;
  case SC_OP_EXACT: return sc_str_eq(value, node->of.text);
  case SC_OP_IN: return sc_set_find(node->of.set, sc_hash(&value, 1).low, value) != NULL;
  case SC_OP_PREFIX: return sc_str_starts(value, node->of.text);
  case SC_OP_SUFFIX: return ends_with(value, node->of.text);
  case SC_OP_CONTAINS: return contains(value, node->of.text);
  case SC_OP_REGEX: return sc_regex_match(node->of.regex, value);
  case SC_OP_NUMBER:
  case SC_OP_DATE: return in_range(node, value);
  case SC_OP_SEMVER: return in_versions(node, value);
  case SC_OP_CIDR: return in_networks(node->of.networks, value);
  }
  return false;
}

static bool test(const sc_node *node, const sc_parts *parts, const sc_request *request, sc_findings *f)
{
  uint32_t count;
  const sc_found *found = sc_find(f, &parts->inputs, request, node->number, &count);
  for (uint32_t i = 0; i < count; i++)
    if (fits(node, sc_found_text(&found[i]))) return true;
  return false;
}

bool sc_holds(const sc_node *node, const sc_parts *parts, const sc_request *request, sc_findings *f)
{
  if (node->kind == SC_NODE_TEST) return test(node, parts, request, f);
  if (node->kind == SC_NODE_NOT) return !sc_holds(node->of.nodes, parts, request, f);
  bool all = node->kind == SC_NODE_ALL;
  for (uint32_t i = 0; i < node->number; i++) {
    const sc_node *one = &node->of.nodes[i];
    bool holds = one->kind == SC_NODE_TEST ? test(one, parts, request, f) : sc_holds(one, parts, request, f);
    if (holds != all) return !all;
  }
  return all;
}
