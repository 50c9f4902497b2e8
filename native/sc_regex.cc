#include "sc_regex.h"

#include <re2/re2.h>

#include <new>

// The same as REGEX_MEMORY of sidecar/rollout/names.py.
static const int64_t kMemory = 1 << 20;

struct sc_regex {
  sc_regex(re2::StringPiece pattern, const RE2::Options &options) : compiled(pattern, options) {}
  RE2 compiled;
};

static re2::StringPiece piece(sc_str text)
{
  return re2::StringPiece(reinterpret_cast<const char *>(text.data), text.len);
}

sc_regex *sc_regex_new(sc_str pattern)
{
  RE2::Options options;
  options.set_max_mem(kMemory);
  options.set_log_errors(false);
  sc_regex *regex = nullptr;
  try {
    regex = new sc_regex(piece(pattern), options);
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
  if (regex->compiled.ok()) return regex;
  delete regex;
  return nullptr;
}

bool sc_regex_match(const sc_regex *regex, sc_str text)
{
  return RE2::FullMatchN(piece(text), regex->compiled, nullptr, 0);
}

void sc_regex_del(sc_regex *regex) { delete regex; }
