#include "sc_hash.h"

#define C1 UINT64_C(0x87c37b91114253d5)
#define C2 UINT64_C(0x4cf5ad432745937f)

static uint64_t rotl(uint64_t x, unsigned bits) { return (x << bits) | (x >> (64 - bits)); }

/* At most 16 bytes, which a call of memcpy costs more than: two words that may overlap. */
static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
  if (n >= 8) {
    uint64_t front = sc_load64(from), back = sc_load64(from + n - 8);
    memcpy(to, &front, 8);
    memcpy(to + n - 8, &back, 8);
  } else if (n >= 4) {
    uint32_t front = sc_load32(from), back = sc_load32(from + n - 4);
    memcpy(to, &front, 4);
    memcpy(to + n - 4, &back, 4);
  } else {
    for (size_t i = 0; i < n; i++) to[i] = from[i];
  }
}

static uint64_t load_le(const uint8_t *p)
{
  uint64_t x = sc_load64(p);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap64(x);
}

static uint64_t scramble_low(uint64_t k) { return rotl(k * C1, 31) * C2; }

static uint64_t scramble_high(uint64_t k) { return rotl(k * C2, 33) * C1; }

static uint64_t avalanche(uint64_t k)
{
  k = (k ^ (k >> 33)) * UINT64_C(0xff51afd7ed558ccd);
  k = (k ^ (k >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
  return k ^ (k >> 33);
}

static void mix_block(sc_digest *h, const uint8_t *block)
{
  h->low ^= scramble_low(load_le(block));
  h->low = (rotl(h->low, 27) + h->high) * 5 + 0x52dce729;
  h->high ^= scramble_high(load_le(block + 8));
  h->high = (rotl(h->high, 31) + h->low) * 5 + 0x38495ab5;
}

/* A tail padded with zeros mixes like the reference's byte-wise switch: zero scrambles to zero. */
static void mix_tail(sc_digest *h, const uint8_t *block)
{
  h->high ^= scramble_high(load_le(block + 8));
  h->low ^= scramble_low(load_le(block));
}

static sc_digest finish(sc_digest h, uint64_t total)
{
  h.low ^= total;
  h.high ^= total;
  h.low += h.high;
  h.high += h.low;
  h.low = avalanche(h.low);
  h.high = avalanche(h.high);
  h.low += h.high;
  h.high += h.low;
  return h;
}

sc_digest sc_hash(const sc_str *parts, size_t n_parts)
{
  sc_digest h = {0, 0};
  uint8_t block[16] = {0};
  size_t fill = 0;
  uint64_t total = 0;
  for (size_t i = 0; i < n_parts; i++) {
    sc_str part = parts[i];
    total += part.len;
    while (part.len > 0) {
      size_t take = part.len < 16 - fill ? part.len : 16 - fill;
      copy(block + fill, part.data, take);
      fill += take;
      part = sc_str_slice(part, take, part.len);
      if (fill == 16) {
        mix_block(&h, block);
        memset(block, 0, sizeof block);
        fill = 0;
      }
    }
  }
  mix_tail(&h, block);
  return finish(h, total);
}
