/* What every other header needs: a view of bytes and the error codes. */
#ifndef SC_BASE_H
#define SC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

__extension__ typedef unsigned __int128 sc_u128;

/* Functions return 0 or one of these. */
enum {
  SC_ERR_NOMEM = -1,     /* an allocation failed; nothing was changed */
  SC_ERR_MALFORMED = -2, /* the bytes are not what they should be */
};

/* Counters that one thread writes and any may read meanwhile. */
static inline void sc_count(uint64_t *counter, uint64_t by)
{
  __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static inline uint64_t sc_counted(const uint64_t *counter)
{
  return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* A view: never owned, never terminated. `data` may be NULL when `len` is 0. */
typedef struct {
  const uint8_t *data;
  size_t len;
} sc_str;

#define SC_LITERAL(text) ((sc_str){(const uint8_t *)(text), sizeof(text) - 1})

static inline uint64_t sc_load64(const uint8_t *p)
{
  uint64_t x;
  memcpy(&x, p, sizeof x);
  return x;
}

static inline uint32_t sc_load32(const uint8_t *p)
{
  uint32_t x;
  memcpy(&x, p, sizeof x);
  return x;
}

/* Names are short, and a call of memcmp costs more than comparing them: 4 to 16 bytes are two words, which
 * may overlap. */
static inline bool sc_bytes_eq(const uint8_t *a, const uint8_t *b, size_t n)
{
  if (n > 16) return memcmp(a, b, n) == 0;
  if (n >= 8) return sc_load64(a) == sc_load64(b) && sc_load64(a + n - 8) == sc_load64(b + n - 8);
  if (n >= 4) return sc_load32(a) == sc_load32(b) && sc_load32(a + n - 4) == sc_load32(b + n - 4);
  for (size_t i = 0; i < n; i++)
    if (a[i] != b[i]) return false;
  return true;
}

static inline bool sc_str_eq(sc_str a, sc_str b) { return a.len == b.len && sc_bytes_eq(a.data, b.data, a.len); }

static inline bool sc_str_starts(sc_str text, sc_str prefix)
{
  return text.len >= prefix.len && sc_bytes_eq(text.data, prefix.data, prefix.len);
}

/* The bytes from `start` to `end` (exclusive) of `text`; both must lie within it. */
static inline sc_str sc_str_slice(sc_str text, size_t start, size_t end)
{
  return (sc_str){text.data ? text.data + start : NULL, end - start};
}

/* Where `byte` first stands at or after `start`; `text.len` if nowhere. */
static inline size_t sc_str_find(sc_str text, size_t start, char byte)
{
  const void *hit =
      start < text.len ? memchr(text.data + start, (unsigned char)byte, text.len - start) : NULL;
  return hit ? (size_t)((const uint8_t *)hit - text.data) : text.len;
}

#endif
