/* MurmurHash3_x64_128 (Austin Appleby, public domain algorithm), seed 0, over several parts. */
#ifndef SC_HASH_H
#define SC_HASH_H

#include "sc_base.h"

typedef struct {
  uint64_t low;  /* the first 64 bits of the digest, little endian */
  uint64_t high; /* the last 64 bits */
} sc_digest;

/* The hash of the parts as if they stood in one buffer. No allocation, no limit of length. */
sc_digest sc_hash(const sc_str *parts, size_t n_parts);

#endif
