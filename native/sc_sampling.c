#include "sc_sampling.h"

/* version-traceid-parentid-flags, https://www.w3.org/TR/trace-context-1/#traceparent-header */
enum { LENGTH = 55, TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53 };

static bool read_hex(sc_str text, size_t at, size_t digits, uint64_t *out)
{
  uint64_t x = 0;
  for (size_t i = at; i < at + digits; i++) {
    uint8_t b = text.data[i];
    if (b >= '0' && b <= '9')
      x = x << 4 | (uint64_t)(b - '0');
    else if (b >= 'a' && b <= 'f')
      x = x << 4 | (uint64_t)(b - 'a' + 10);
    else
      return false;
  }
  *out = x;
  return true;
}

static bool read_parent(sc_str text, sc_span_context *out, bool *sampled)
{
  uint64_t version, flags;
  if (text.len != LENGTH || text.data[2] != '-' || text.data[35] != '-' || text.data[52] != '-') return false;
  if (!read_hex(text, 0, 2, &version) || version == 0xff) return false;
  if (!read_hex(text, TRACE_AT, 16, &out->trace_high) || !read_hex(text, TRACE_AT + 16, 16, &out->trace_low) ||
      !read_hex(text, PARENT_AT, 16, &out->parent) || !read_hex(text, FLAGS_AT, 2, &flags))
    return false;
  *sampled = flags & 1;
  return out->parent != 0 && (out->trace_high | out->trace_low) != 0;
}

/* SplitMix64 (Steele, Lea & Flood, OOPSLA 2014). */
uint64_t sc_sampling_draw(uint64_t *random)
{
  uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  z ^= z >> 31;
  return z ? z : 1;
}

bool sc_sampling_decide(const sc_sampling *sampling, sc_str traceparent, uint64_t *random, sc_span_context *out)
{
  if (!sampling->on) return false;
  bool sampled = false;
  if (read_parent(traceparent, out, &sampled)) {
    if (sampling->follow_parent) return sampled;
  } else {
    *out = (sc_span_context){.trace_high = sc_sampling_draw(random), .trace_low = sc_sampling_draw(random)};
  }
  return sampling->always || out->trace_low < sampling->bound;
}
