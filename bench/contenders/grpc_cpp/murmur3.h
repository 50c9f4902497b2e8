// MurmurHash3_x64_128, seed 0 (Austin Appleby's public domain algorithm); Debian has it in no library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace murmur3 {

inline std::uint64_t Rotated(std::uint64_t x, int by) { return x << by | x >> (64 - by); }

inline std::uint64_t Finished(std::uint64_t k)
{
  k = (k ^ k >> 33) * 0xff51afd7ed558ccdU;
  k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53U;
  return k ^ k >> 33;
}

struct State {
  std::uint64_t low = 0, high = 0;

  void MixLow(std::uint64_t k) { low ^= Rotated(k * kFirst, 31) * kSecond; }
  void MixHigh(std::uint64_t k) { high ^= Rotated(k * kSecond, 33) * kFirst; }

  void MixBlock(std::uint64_t first, std::uint64_t second)
  {
    MixLow(first);
    low = (Rotated(low, 27) + high) * 5 + 0x52dce729;
    MixHigh(second);
    high = (Rotated(high, 31) + low) * 5 + 0x38495ab5;
  }

private:
  static constexpr std::uint64_t kFirst = 0x87c37b91114253d5U, kSecond = 0x4cf5ad432745937fU;
};

// The low and the high half of the digest. Blocks are read as they lie in memory: little endian only.
inline std::pair<std::uint64_t, std::uint64_t> Hash(std::string_view key)
{
  State state;
  std::uint64_t halves[2];
  std::size_t at = 0;
  for (; key.size() - at >= sizeof halves; at += sizeof halves) {
    std::memcpy(halves, key.data() + at, sizeof halves);
    state.MixBlock(halves[0], halves[1]);
  }
  halves[0] = halves[1] = 0;
  if (at < key.size()) {
    std::memcpy(halves, key.data() + at, key.size() - at);
  }
  // What is all zeros changes nothing.
  state.MixHigh(halves[1]);
  state.MixLow(halves[0]);
  std::uint64_t low = state.low ^ key.size(), high = state.high ^ key.size();
  low += high;
  high += low;
  low = Finished(low);
  high = Finished(high);
  low += high;
  return {low, high + low};
}

}  // namespace murmur3
