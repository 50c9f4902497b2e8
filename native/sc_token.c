#include "sc_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { SIGNATURE = 32, MAX_EXPIRY_DIGITS = 12, MAX_LABEL = 63 };

sc_str sc_token_refusal_name(sc_token_refusal refusal)
{
  switch (refusal) {
  case SC_TOKEN_MALFORMED: return SC_LITERAL("malformed");
  case SC_TOKEN_UNKNOWN_KEY: return SC_LITERAL("unknown_key");
  case SC_TOKEN_BAD_SIGNATURE: return SC_LITERAL("bad_signature");
  case SC_TOKEN_EXPIRED: return SC_LITERAL("expired");
  default: return SC_LITERAL("");
  }
}

static bool is_label(sc_str text)
{
  for (size_t i = 0; i < text.len; i++) {
    uint8_t b = text.data[i];
    if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-')) return false;
  }
  return text.len >= 1 && text.len <= MAX_LABEL;
}

/* Takes what stands before the next `separator`, or all the rest. */
static sc_str take_until(sc_str *rest, char separator)
{
  size_t end = sc_str_find(*rest, 0, separator);
  sc_str piece = sc_str_slice(*rest, 0, end);
  *rest = sc_str_slice(*rest, end < rest->len ? end + 1 : end, rest->len);
  return piece;
}

static bool read_expiry(sc_str text, int64_t *seconds)
{
  *seconds = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
    *seconds = *seconds * 10 + (text.data[i] - '0');
  }
  return text.len >= 1;
}

/* 64 lower-case hex digits. */
static bool read_signature(sc_str text, uint8_t out[SIGNATURE])
{
  static const char digits[] = "0123456789abcdef";
  if (text.len != 2 * SIGNATURE) return false;
  for (size_t i = 0; i < text.len; i++) {
    const char *at = memchr(digits, text.data[i], 16);
    if (!at) return false;
    unsigned digit = (unsigned)(at - digits);
    out[i / 2] = (uint8_t)(i % 2 ? (unsigned)out[i / 2] << 4 | (unsigned)digit : (unsigned)digit);
  }
  return true;
}

static bool read_pairs(sc_str text, sc_force *out)
{
  bool more = true;
  while (more) {
    size_t end = sc_str_find(text, 0, '+');
    more = end < text.len;
    sc_str variant = take_until(&text, '+');
    sc_str rollout = take_until(&variant, '=');
    if (out->n_pairs == SC_MAX_PAIRS || !is_label(rollout) || !is_label(variant)) return false;
    out->pairs[out->n_pairs].rollout = rollout;
    out->pairs[out->n_pairs++].variant = variant;
  }
  return true;
}

static const sc_key *find_key(sc_str id, const sc_key *keys, size_t n_keys)
{
  for (size_t i = 0; i < n_keys; i++)
    if (sc_str_eq(keys[i].id, id)) return &keys[i];
  return NULL;
}

static bool is_signed(sc_str text, const sc_key *key, const uint8_t signature[SIGNATURE])
{
  uint8_t right[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  if (!HMAC(EVP_sha256(), key->secret.data, (int)key->secret.len, text.data, text.len, right, &len))
    return false;
  return len == SIGNATURE && CRYPTO_memcmp(right, signature, SIGNATURE) == 0;
}

static sc_token_refusal check(sc_str token, const sc_key *keys, size_t n_keys, int64_t now_s,
                              sc_force *out)
{
  uint8_t signature[SIGNATURE];
  int64_t expires_s;
  sc_str rest = token;
  if (token.len > SC_MAX_TOKEN || !sc_str_eq(take_until(&rest, '.'), SC_LITERAL("v1")))
    return SC_TOKEN_MALFORMED;
  sc_str id = take_until(&rest, '.'), expiry = take_until(&rest, '.'), pairs = take_until(&rest, '.');
  if (!is_label(id) || expiry.len > MAX_EXPIRY_DIGITS || !read_expiry(expiry, &expires_s) ||
      !read_pairs(pairs, out) || !read_signature(rest, signature))
    return SC_TOKEN_MALFORMED;
  const sc_key *key = find_key(id, keys, n_keys);
  if (!key) return SC_TOKEN_UNKNOWN_KEY;
  sc_str text = sc_str_slice(token, 0, token.len - rest.len - 1);
  if (!is_signed(text, key, signature)) return SC_TOKEN_BAD_SIGNATURE;
  return expires_s <= now_s ? SC_TOKEN_EXPIRED : SC_TOKEN_FINE;
}

void sc_token_read(sc_str token, const sc_key *keys, size_t n_keys, int64_t now_s, sc_force *out)
{
  out->refusal = SC_TOKEN_FINE;
  out->n_pairs = 0;
  if (token.len == 0) return;
  out->refusal = check(token, keys, n_keys, now_s, out);
  if (out->refusal != SC_TOKEN_FINE) out->n_pairs = 0;
}

sc_str sc_force_variant(const sc_force *force, sc_str rollout)
{
  for (unsigned i = 0; i < force->n_pairs; i++)
    if (sc_str_eq(force->pairs[i].rollout, rollout)) return force->pairs[i].variant;
  return (sc_str){NULL, 0};
}
