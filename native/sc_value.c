#include "sc_value.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

enum { MAX_VERSION = 256, NANO = 1000000000 };

static bool is_digit(uint8_t b) { return b >= '0' && b <= '9'; }

/* Takes `n` digits off the front. */
static bool take_digits(sc_str *text, size_t n, int64_t *out)
{
  int64_t x = 0;
  if (text->len < n) return false;
  for (size_t i = 0; i < n; i++) {
    if (!is_digit(text->data[i])) return false;
    x = x * 10 + (text->data[i] - '0');
  }
  *text = sc_str_slice(*text, n, text->len);
  *out = x;
  return true;
}

static size_t digits_in_front(sc_str text)
{
  size_t n = 0;
  while (n < text.len && is_digit(text.data[n])) n++;
  return n;
}

static bool take(sc_str *text, const char *any_of)
{
  if (text->len == 0 || text->data[0] == 0 || !strchr(any_of, text->data[0])) return false;
  *text = sc_str_slice(*text, 1, text->len);
  return true;
}

/* "" is 0; a '.' and 1 to 9 digits are so many billionths. */
static bool take_fraction(sc_str *text, int64_t *billionths)
{
  *billionths = 0;
  if (!take(text, ".")) return true;
  size_t n = digits_in_front(*text);
  if (n < 1 || n > 9 || !take_digits(text, n, billionths)) return false;
  for (; n < 9; n++) *billionths *= 10;
  return true;
}

bool sc_number(sc_str text, sc_i128 *billionths)
{
  bool negative = text.len > 0 && text.data[0] == '-';
  take(&text, "+-");
  int64_t whole, fraction;
  size_t n = digits_in_front(text);
  if (n < 1 || n > 18 || !take_digits(&text, n, &whole) || !take_fraction(&text, &fraction) ||
      text.len > 0)
    return false;
  sc_i128 value = (sc_i128)whole * NANO + fraction;
  *billionths = negative ? -value : value;
  return true;
}

/* ---- dates ---------------------------------------------------------------------------------- */

static bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/* Days from 1970-01-01; false where the month has no such day. */
static bool days_since_1970(int64_t year, int64_t month, int64_t day, int64_t *days)
{
  static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
  if (month < 1 || month > 12 || day < 1) return false;
  int64_t length = before[month] - before[month - 1] + (month == 2 && is_leap(year));
  if (day > length) return false;
  int64_t past = year - 1;
  int64_t leaps = year > 0 ? past / 4 - past / 100 + past / 400 + 1 : 0;
  *days = 365 * year + leaps - 719528 + before[month - 1] + (month > 2 && is_leap(year)) + day - 1;
  return true;
}

/* "Z", or an offset such as "+02:00" in minutes. */
static bool take_offset(sc_str *text, int64_t *minutes)
{
  *minutes = 0;
  if (take(text, "Zz")) return true;
  bool behind = text->len > 0 && text->data[0] == '-';
  int64_t hour, minute;
  if (!take(text, "+-") || !take_digits(text, 2, &hour) || !take(text, ":") ||
      !take_digits(text, 2, &minute) || hour > 23 || minute > 59)
    return false;
  *minutes = (hour * 60 + minute) * (behind ? -1 : 1);
  return true;
}

bool sc_date(sc_str text, sc_i128 *nanoseconds)
{
  int64_t year, month, day, hour, minute, second, fraction, offset, days;
  if (!take_digits(&text, 4, &year) || !take(&text, "-") || !take_digits(&text, 2, &month) ||
      !take(&text, "-") || !take_digits(&text, 2, &day) || !take(&text, "Tt") ||
      !take_digits(&text, 2, &hour) || !take(&text, ":") || !take_digits(&text, 2, &minute) ||
      !take(&text, ":") || !take_digits(&text, 2, &second) || !take_fraction(&text, &fraction) ||
      !take_offset(&text, &offset) || text.len > 0)
    return false;
  if (hour > 23 || minute > 59 || second > 60 || !days_since_1970(year, month, day, &days))
    return false;
  int64_t seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
  *nanoseconds = (sc_i128)seconds * NANO + fraction;
  return true;
}

/* ---- versions ------------------------------------------------------------------------------- */

static bool is_word(uint8_t b)
{
  return is_digit(b) || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || b == '-';
}

static bool is_numeric(sc_str text) { return digits_in_front(text) == text.len; }

/* Identifiers between dots: none is empty and, where `strict`, no number begins with a 0. */
static bool are_identifiers(sc_str text, bool strict)
{
  for (size_t at = 0; at <= text.len;) {
    size_t end = sc_str_find(text, at, '.');
    sc_str one = sc_str_slice(text, at, end);
    for (size_t i = 0; i < one.len; i++)
      if (!is_word(one.data[i])) return false;
    if (one.len == 0 || (strict && one.len > 1 && one.data[0] == '0' && is_numeric(one)))
      return false;
    at = end + 1;
  }
  return true;
}

bool sc_version_read(sc_str text, sc_version *out)
{
  if (text.len > MAX_VERSION) return false;
  size_t build = sc_str_find(text, 0, '+');
  if (build < text.len && !are_identifiers(sc_str_slice(text, build + 1, text.len), false))
    return false;
  text = sc_str_slice(text, 0, build);
  size_t dash = sc_str_find(text, 0, '-');
  out->pre = (sc_str){NULL, 0};
  if (dash < text.len) {
    out->pre = sc_str_slice(text, dash + 1, text.len);
    if (!are_identifiers(out->pre, true)) return false;
  }
  sc_str core = sc_str_slice(text, 0, dash);
  for (unsigned i = 0; i < 3; i++) {
    size_t end = i < 2 ? sc_str_find(core, 0, '.') : core.len;
    if (i < 2 && end == core.len) return false;
    sc_str number = sc_str_slice(core, 0, end);
    if (number.len == 0 || !is_numeric(number) || (number.len > 1 && number.data[0] == '0'))
      return false;
    out->numbers[i] = number;
    core = sc_str_slice(core, i < 2 ? end + 1 : end, core.len);
  }
  return true;
}

static int text_order(sc_str a, sc_str b)
{
  size_t both = a.len < b.len ? a.len : b.len;
  int order = both > 0 ? memcmp(a.data, b.data, both) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Of numbers without leading zeros, the longer is the larger. */
static int number_order(sc_str a, sc_str b)
{
  return a.len != b.len ? (a.len > b.len) - (a.len < b.len) : text_order(a, b);
}

static int identifier_order(sc_str a, sc_str b)
{
  bool a_numeric = is_numeric(a), b_numeric = is_numeric(b);
  if (a_numeric != b_numeric) return a_numeric ? -1 : 1;
  return a_numeric ? number_order(a, b) : text_order(a, b);
}

static int pre_order(sc_str a, sc_str b)
{
  if (a.len == 0 || b.len == 0) return (a.len == 0) - (b.len == 0);
  for (size_t i = 0, j = 0;;) {
    if (i > a.len || j > b.len) return (i <= a.len) - (j <= b.len);
    size_t a_end = sc_str_find(a, i, '.'), b_end = sc_str_find(b, j, '.');
    int order = identifier_order(sc_str_slice(a, i, a_end), sc_str_slice(b, j, b_end));
    if (order) return order;
    i = a_end + 1;
    j = b_end + 1;
  }
}

int sc_version_order(const sc_version *a, const sc_version *b)
{
  for (unsigned i = 0; i < 3; i++) {
    int order = number_order(a->numbers[i], b->numbers[i]);
    if (order) return order;
  }
  return pre_order(a->pre, b->pre);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static sc_u128 big_endian(const uint8_t *bytes, size_t n)
{
  sc_u128 x = 0;
  for (size_t i = 0; i < n; i++) x = x << 8 | bytes[i];
  return x;
}

bool sc_address_read(sc_str text, sc_address *out)
{
  char copy[INET6_ADDRSTRLEN];
  uint8_t bytes[16];
  if (text.len == 0 || text.len >= sizeof copy || sc_str_find(text, 0, 0) < text.len) return false;
  memcpy(copy, text.data, text.len);
  copy[text.len] = 0;
  if (inet_pton(AF_INET, copy, bytes) == 1) {
    *out = (sc_address){4, big_endian(bytes, 4)};
    return true;
  }
  if (inet_pton(AF_INET6, copy, bytes) != 1) return false;
  *out = (sc_address){6, big_endian(bytes, 16)};
  if (out->number >> 32 == 0xffff) *out = (sc_address){4, out->number & UINT32_MAX};
  return true;
}

int sc_address_order(sc_address a, sc_address b)
{
  if (a.family != b.family) return a.family < b.family ? -1 : 1;
  return (a.number > b.number) - (a.number < b.number);
}

/* ---- doubles -------------------------------------------------------------------------------- */

size_t sc_number_write(double x, uint8_t digits[SC_DIGITS])
{
  char text[32];
  int len;
  if (fabs(x) < 0x1p63 && x == trunc(x)) {
    len = snprintf(text, sizeof text, "%lld", (long long)x);
  } else if (fabs(x) < 0x1p33) {
    long long billionths = llrint(x * 1e9);
    long long size = billionths < 0 ? -billionths : billionths;
    len = snprintf(text, sizeof text, "%s%lld.%09lld", billionths < 0 ? "-" : "", size / NANO,
                   size % NANO);
    while (text[len - 1] == '0') len--;
    if (text[len - 1] == '.') len--;
  } else {
    return 0;
  }
  memcpy(digits, text, (size_t)len);
  return (size_t)len;
}
