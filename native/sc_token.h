/* The signed force token in the header canary-force (sidecar/routing/force.py says its form). */
#ifndef SC_TOKEN_H
#define SC_TOKEN_H

#include "sc_base.h"

enum { SC_MAX_TOKEN = 4096, SC_MAX_PAIRS = 16 };

typedef struct {
  sc_str id, secret;
} sc_key;

typedef enum {
  SC_TOKEN_FINE, /* or there is none */
  SC_TOKEN_MALFORMED,
  SC_TOKEN_UNKNOWN_KEY,
  SC_TOKEN_BAD_SIGNATURE,
  SC_TOKEN_EXPIRED,
  SC_TOKEN_REFUSALS, /* how many there are */
} sc_token_refusal;

/* As it stands in metrics; "" for SC_TOKEN_FINE. */
sc_str sc_token_refusal_name(sc_token_refusal refusal);

typedef struct {
  sc_token_refusal refusal;
  unsigned n_pairs; /* 0 if it is refused */
  struct {
    sc_str rollout, variant;
  } pairs[SC_MAX_PAIRS]; /* views into the token */
} sc_force;

/* Checks a token at a time (Unix seconds). An empty one asks for nothing and is fine. */
void sc_token_read(sc_str token, const sc_key *keys, size_t n_keys, int64_t now_s, sc_force *out);

/* The variant it names for a rollout, or "". */
sc_str sc_force_variant(const sc_force *force, sc_str rollout);

#endif
