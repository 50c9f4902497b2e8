/* Texts that are compared as what they mean. Each reader is false for a text that is not of its
 * form. sidecar/rollout/values.py is their specification. */
#ifndef SC_VALUE_H
#define SC_VALUE_H

#include "sc_base.h"

__extension__ typedef __int128 sc_i128;

/* Up to 18 digits and 9 decimals, no exponent: in billionths. */
bool sc_number(sc_str text, sc_i128 *billionths);

/* RFC 3339 date-time: nanoseconds since 1970 UTC, leap seconds uncounted. */
bool sc_date(sc_str text, sc_i128 *nanoseconds);

/* A semantic version (semver.org), views into its text. */
typedef struct {
  sc_str numbers[3]; /* major, minor, patch */
  sc_str pre;        /* "" for a release */
} sc_version;

bool sc_version_read(sc_str text, sc_version *out);

/* Below, at or above 0, by semver.org's precedence. */
int sc_version_order(const sc_version *a, const sc_version *b);

typedef struct {
  uint8_t family; /* 4 or 6 */
  sc_u128 number;
} sc_address;

/* An IPv4 address written as IPv6 (::ffff:10.0.0.1) is IPv4. */
bool sc_address_read(sc_str text, sc_address *out);
int sc_address_order(sc_address a, sc_address b);

/* A double as text, in at most SC_DIGITS bytes: whole numbers below 2^63, others below 2^33 rounded to
 * billionths. 0 for the rest. */
enum { SC_DIGITS = 24 };
size_t sc_number_write(double x, uint8_t digits[SC_DIGITS]);

#endif
