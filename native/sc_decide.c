#include "sc_decide.h"

#include "sc_hash.h"

enum { LOG_BITS = 48 };

sc_str sc_reason_name(const sc_rollout *rollout, uint32_t reason)
{
  switch (reason) {
  case SC_REASON_WEIGHT: return SC_LITERAL("weight");
  case SC_REASON_NO_UNIT: return SC_LITERAL("no_unit");
  case SC_REASON_KILLED: return SC_LITERAL("killed");
  case SC_REASON_HOLDOUT: return SC_LITERAL("holdout");
  case SC_REASON_EXCLUDED: return SC_LITERAL("excluded");
  case SC_REASON_PREREQUISITE: return SC_LITERAL("prerequisite");
  case SC_REASON_FORCED: return SC_LITERAL("forced");
  case SC_REASON_OVERRIDE: return SC_LITERAL("override");
  case SC_REASON_LAYER: return SC_LITERAL("layer");
  default: return rollout->rules.segments[reason - SC_REASONS].reason;
  }
}

/* ---- the unit ------------------------------------------------------------------------------- */

static sc_str look(const sc_source *source, const sc_request *request)
{
  switch (source->kind) {
  case SC_SOURCE_HEADER: return sc_find_header(request, source->name);
  case SC_SOURCE_COOKIE: return sc_find_cookie(request, source->name);
  case SC_SOURCE_QUERY: return sc_find_query(request, source->name);
  case SC_SOURCE_CLIENT_ADDRESS: return sc_find_client_address(request);
  }
  return (sc_str){NULL, 0};
}

static sc_str find_unit(const sc_rollout *rollout, const sc_request *request)
{
  for (unsigned i = 0; i < rollout->n_sources; i++) {
    sc_str unit = look(&rollout->sources[i], request);
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
static uint8_t race(const sc_rollout *rollout, const uint64_t *share, uint64_t second)
{
  /* Flooring may leave a point between candidates that have everything: 0 % stays exact. */
  uint8_t best = rollout->n_variants > 2 && share[2] > 0 ? 2 : 1;
  uint64_t best_time = 0;
  bool found = false;
  for (uint8_t slot = 0; slot < rollout->n_variants; slot = slot ? (uint8_t)(slot + 1) : 3) {
    if (share[slot] == 0) continue;
    uint64_t time = waiting_time(second, rollout->variants[slot].name);
    if (!found || (sc_u128)time * share[best] < (sc_u128)best_time * share[slot]) {
      best = slot;
      best_time = time;
      found = true;
    }
  }
  return best;
}

uint8_t sc_decide_slot(const sc_rollout *rollout, const sc_split *split, uint64_t position,
                       uint64_t second)
{
  const uint64_t *share = split->shares;
  if (split->whole != SC_NO_SLOT) return split->whole;
  if (rollout->n_variants > 1 && position < share[1]) return 1;
  if (rollout->n_variants > 2 && share[2] > 0 && position >= 0 - share[2]) return 2;
  if (rollout->n_variants <= 3 && share[0] > 0) return 0;
  return race(rollout, share, second);
}

/* ---- the table of precedence (docs/assignment.md) --------------------------------------------- */

enum { KEEP_ON = UINT32_MAX };

typedef struct {
  const sc_rollout *rollout;
  const sc_asked *asked;
  sc_str unit;
  sc_digest digest;
  sc_decision *out;
} state;

static sc_digest hash_unit(sc_str salt, sc_str unit)
{
  return sc_hash((sc_str[]){salt, {(const uint8_t *)"", 1}, unit}, 3);
}

static bool within(const sc_slice *slice, sc_str unit)
{
  uint64_t position = hash_unit(slice->salt, unit).low;
  return slice->first <= position && position <= slice->last;
}

/* The slot a unit is listed for, SC_NO_SLOT for an exclusion; -1: it is not listed. */
static int listed_slot(const state *s)
{
  const sc_set *listed = &s->rollout->rules.listed;
  if (listed->count == 0 || s->unit.len == 0) return -1;
  const uint8_t *at = sc_set_find(listed, s->digest.low, s->unit);
  return at ? at[-1] : -1;
}

static int forced_slot(const state *s)
{
  sc_str variant = sc_force_variant(s->asked->force, s->rollout->name);
  for (unsigned slot = 0; variant.len > 0 && slot < s->rollout->n_variants; slot++)
    if (sc_str_eq(s->rollout->variants[slot].name, variant)) return (int)slot;
  return -1;
}

static uint32_t keep_out(const state *s, int listed, bool met)
{
  const sc_rules *rules = &s->rollout->rules;
  if (rules->killed) return SC_REASON_KILLED;
  if (rules->holdout && s->unit.len > 0 && within(rules->holdout, s->unit)) return SC_REASON_HOLDOUT;
  if (listed == SC_NO_SLOT) return SC_REASON_EXCLUDED;
  return met ? KEEP_ON : SC_REASON_PREREQUISITE;
}

static uint32_t let_in(const state *s, int listed)
{
  int forced = forced_slot(s);
  if (forced < 0 && listed < 0) return KEEP_ON;
  s->out->slot = (uint8_t)(forced >= 0 ? forced : listed);
  return forced >= 0 ? SC_REASON_FORCED : SC_REASON_OVERRIDE;
}

static uint32_t draw_segment(const state *s, uint32_t number)
{
  const sc_segment *segment = &s->rollout->rules.segments[number];
  if (segment->kind == SC_SEGMENT_OUTRIGHT) {
    s->out->slot = segment->slot;
    return SC_REASONS + number;
  }
  if (s->unit.len == 0) return SC_REASON_NO_UNIT;
  sc_digest digest = s->digest;
  if (segment->kind == SC_SEGMENT_OWN_SALT) digest = hash_unit(segment->salt, s->unit);
  s->out->position = digest.low;
  s->out->slot = sc_decide_slot(s->rollout, &segment->split, digest.low, digest.high);
  return SC_REASONS + number;
}

static uint32_t draw(const state *s)
{
  const sc_rules *rules = &s->rollout->rules;
  const sc_asked *asked = s->asked;
  if (rules->layer && s->unit.len == 0) return SC_REASON_NO_UNIT;
  if (rules->layer && !within(rules->layer, s->unit)) return SC_REASON_LAYER;
  uint32_t segment = sc_first_segment(rules, asked->parts, asked->request, asked->findings);
  if (segment > 0) return draw_segment(s, segment - 1);
  if (s->unit.len == 0) return SC_REASON_NO_UNIT;
  s->out->slot = sc_decide_slot(s->rollout, &s->rollout->split, s->digest.low, s->digest.high);
  return SC_REASON_WEIGHT;
}

sc_decision sc_decide(const sc_rollout *rollout, const sc_asked *asked, bool met)
{
  sc_decision decision = {.rollout = rollout};
  state s = {.rollout = rollout, .asked = asked, .out = &decision};
  s.unit = find_unit(rollout, asked->request);
  decision.has_unit = s.unit.len > 0;
  if (decision.has_unit) s.digest = hash_unit(rollout->salt, s.unit);
  decision.position = s.digest.low;
  decision.second = s.digest.high;
  int listed = listed_slot(&s);
  decision.reason = keep_out(&s, listed, met);
  if (decision.reason == KEEP_ON) decision.reason = let_in(&s, listed);
  if (decision.reason == KEEP_ON) decision.reason = draw(&s);
  return decision;
}
