// Random numbers that are the same on every machine, unlike those of <random>'s distributions.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>

// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
  }

  // 0 <= x < 1.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  bool chance(double probability) { return uniform() < probability; }

  // low <= x <= high.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }

  // Approximately normal. Uses only additions, so that the bits do not depend on a math library.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

  // From 2**low to 2**(high + 1), with all powers of two equally likely.
  double of_magnitude(int64_t low, int64_t high) {
    const int power = static_cast<int>(between(low, high));
    return std::ldexp(uniform(1, 2), power);
  }

  template <typename T>
  T pick(std::initializer_list<T> choices) {
    return choices.begin()[between(0, static_cast<int64_t>(choices.size()) - 1)];
  }

 private:
  uint64_t state_;
};
