#include "sc_decide.h"

#include "sc_hash.h"

enum { LOG_BITS = 48 };

sc_str sc_reason_name(sc_reason reason)
{
  return reason == SC_REASON_WEIGHT ? SC_LITERAL("weight") : SC_LITERAL("no_unit");
}

/* ---- the unit ------------------------------------------------------------------------------- */

/* The value of `name` in a list like "a=1; b=2"; the first that is not empty. */
static sc_str in_pairs(sc_str text, char separator, sc_str name)
{
  for (size_t at = 0; at < text.len;) {
    size_t end = sc_str_find(text, at, separator);
    while (separator == ';' && at < end && (text.data[at] == ' ' || text.data[at] == '\t')) at++;
    size_t equals = sc_str_find(text, at, '=');
    if (equals + 1 < end && sc_str_eq(sc_str_slice(text, at, equals), name))
      return sc_str_slice(text, equals + 1, end);
    at = end + 1;
  }
  return (sc_str){NULL, 0};
}

static sc_str in_headers(const sc_request *request, sc_source_kind kind, sc_str name)
{
  sc_str wanted = kind == SC_SOURCE_COOKIE ? SC_LITERAL("cookie") : name;
  for (size_t i = 0; i < request->n_headers; i++) {
    if (!sc_str_eq(request->headers[i].key, wanted)) continue;
    sc_str value = request->headers[i].value;
    if (kind == SC_SOURCE_COOKIE) value = in_pairs(value, ';', name);
    if (value.len > 0) return value;
  }
  return (sc_str){NULL, 0};
}

static sc_str in_query(sc_str path, sc_str name)
{
  size_t mark = sc_str_find(path, 0, '?');
  if (mark == path.len) return (sc_str){NULL, 0};
  return in_pairs(sc_str_slice(path, mark + 1, path.len), '&', name);
}

/* "10.1.2.3:4567" and "[::1]:4567" without the port; an address with several colons has none. */
static sc_str without_port(sc_str address)
{
  if (address.len > 0 && address.data[0] == '[')
    return sc_str_slice(address, 1, sc_str_find(address, 1, ']'));
  size_t colon = sc_str_find(address, 0, ':');
  if (sc_str_find(address, colon + 1, ':') < address.len) return address;
  return sc_str_slice(address, 0, colon);
}

static sc_str find_unit(const sc_rollout *rollout, const sc_request *request)
{
  for (unsigned i = 0; i < rollout->n_sources; i++) {
    const sc_source *source = &rollout->sources[i];
    sc_str unit;
    if (source->kind == SC_SOURCE_QUERY)
      unit = in_query(request->path, source->name);
    else if (source->kind == SC_SOURCE_CLIENT_ADDRESS)
      unit = without_port(request->source_address);
    else
      unit = in_headers(request, source->kind, source->name);
    if (unit.len > 0) return unit;
  }
  return (sc_str){NULL, 0};
}

/* ---- the middle of the hash line ------------------------------------------------------------ */

/* floor-like log2(x) in 48 fractional bits, x > 0, by repeated squaring: integers only, the same
 * on every machine, one line of Python in the twin. The error stays below 2^-46. */
static uint64_t log2_fixed(uint64_t x)
{
  unsigned exponent = 63 - (unsigned)__builtin_clzll(x);
  uint64_t mantissa = x << (63 - exponent);
  uint64_t result = exponent;
  for (int i = 0; i < LOG_BITS; i++) {
    sc_u128 square = (sc_u128)mantissa * mantissa;
    unsigned bit = (unsigned)(square >> 127);
    mantissa = (uint64_t)(square >> (63 + bit));
    result = result << 1 | bit;
  }
  return result;
}

/* -log2(u) for the uniform u of this unit and variant: an exponential waiting time. */
static uint64_t waiting_time(uint64_t second, sc_str name)
{
  uint8_t key[8];
  for (unsigned i = 0; i < 8; i++) key[i] = (uint8_t)(second >> (8 * i));
  uint64_t uniform = sc_hash((sc_str[]){{key, sizeof key}, name}, 2).low | 1;
  return ((uint64_t)64 << LOG_BITS) - log2_fixed(uniform);
}

/* Weighted rendezvous as a race of exponential clocks: the smallest time / share wins. A variant's
 * own clock depends on nothing but the unit and its name, so only a change of ratios moves people. */
static uint8_t race(const sc_rollout *rollout, uint64_t second)
{
  const sc_variant *v = rollout->variants;
  /* Flooring may leave a point between candidates that have everything: 0 % stays exact. */
  uint8_t best = rollout->n_variants > 2 && v[2].share > 0 ? 2 : 1;
  uint64_t best_time = 0;
  bool found = false;
  for (uint8_t slot = 0; slot < rollout->n_variants; slot = slot ? (uint8_t)(slot + 1) : 3) {
    if (v[slot].share == 0) continue;
    uint64_t time = waiting_time(second, v[slot].name);
    if (!found || (sc_u128)time * v[best].share < (sc_u128)best_time * v[slot].share) {
      best = slot;
      best_time = time;
      found = true;
    }
  }
  return best;
}

uint8_t sc_decide_slot(const sc_rollout *rollout, uint64_t position, uint64_t second)
{
  const sc_variant *v = rollout->variants;
  if (rollout->whole != SC_NO_SLOT) return rollout->whole;
  if (rollout->n_variants > 1 && position < v[1].share) return 1;
  if (rollout->n_variants > 2 && v[2].share > 0 && position >= 0 - v[2].share) return 2;
  if (rollout->n_variants <= 3 && v[0].share > 0) return 0;
  return race(rollout, second);
}

sc_decision sc_decide(const sc_rollout *rollout, const sc_request *request)
{
  sc_decision decision = {.rollout = rollout, .reason = SC_REASON_NO_UNIT};
  sc_str unit = find_unit(rollout, request);
  if (unit.len == 0) return decision;
  sc_digest digest = sc_hash((sc_str[]){rollout->salt, {(const uint8_t *)"", 1}, unit}, 3);
  decision.position = digest.low;
  decision.second = digest.high;
  decision.slot = sc_decide_slot(rollout, digest.low, digest.high);
  decision.reason = SC_REASON_WEIGHT;
  return decision;
}
