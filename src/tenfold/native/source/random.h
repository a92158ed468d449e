// Keyed random numbers: each is a function of its purpose, not drawn from a stream.
#pragma once

#include <stdint.h>

namespace tenfold {

// One of 0..choices-1, determined by key and index, as `keyed_choice` in training/augment.py:
// SplitMix64's mixing (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
// 2014).
inline int64_t keyed_choice(uint64_t key, int64_t index, int64_t choices) {
  uint64_t mixed = static_cast<uint64_t>(index) * 0x9E3779B97F4A7C15U + key;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
  mixed ^= mixed >> 31;
  return static_cast<int64_t>(((mixed >> 40) * static_cast<uint64_t>(choices)) >> 24);
}

struct Philox {
  uint32_t word[4];
};

// Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// 2011): four random words from a counter of four and a key of two.
inline Philox philox(Philox counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53U} * counter.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57U} * counter.word[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

}  // namespace tenfold
