// Unit tests of the kernels' building blocks, against scalar arithmetic and published numbers.
// Compiled once per instruction set, with the flags of its kernels.
//
//     pieces 2000
//
// The number of rounds is optional.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "bits.h"
#include "exponential.h"
#include "gather.h"
#include "lanes.h"
#include "patches.h"
#include "random.h"
#include "random_numbers.h"
#include "simd.h"
#include "sparse.h"
#include "tile.h"

namespace {

using tenfold::IntVec;
using tenfold::kLanes;
using tenfold::kWidth;
using tenfold::Vec;

int rounds = 20000;  // of random numbers, and in proportion how many floats are tried

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "wrong: %s\n", what.c_str());
}

// Whether two numbers have the same bits; all NaN count as equal.
bool same(float one, float other) {
  return bits_of(one) == bits_of(other) || (std::isnan(one) && std::isnan(other));
}

// ---- Vectors ------------------------------------------------------------------------------------

// Arbitrary bits, numbers of ordinary size, and edge cases.
float some_number(Random& random) {
  const float largest = std::numeric_limits<float>::max();
  switch (random.between(0, 3)) {
    case 0:
      return number_of(static_cast<uint32_t>(random.next()));
    case 1:
      return random.pick({0.0F, -0.0F, 1.0F, -1.0F, HUGE_VALF, -HUGE_VALF, std::nanf(""), largest,
                          0x1p-126F, 0x1p-149F, -0x1p-130F, 0.5F, 1.5F, 2.5F});
    default:
      return static_cast<float>(4 * random.normal());
  }
}

struct Numbers {
  float lane[kWidth];

  explicit Numbers(Random& random) {
    for (float& number : lane) number = some_number(random);
  }
  explicit Numbers(Vec vector) { tenfold::store(lane, vector); }
  Vec vector() const { return tenfold::load(lane); }
};

template <typename Vectors, typename Scalars>
void check_lanes(const char* what, const Vectors& vectors, const Scalars& scalars) {
  Random random(1);
  for (int round = 0; round < rounds; ++round) {
    const Numbers a(random), b(random), c(random);
    const Numbers found(vectors(a.vector(), b.vector(), c.vector()));
    for (int i = 0; i < kWidth; ++i) {
      const float wanted = scalars(a.lane[i], b.lane[i], c.lane[i]);
      if (same(found.lane[i], wanted)) continue;
      check(false, std::string(what) + " of " + std::to_string(a.lane[i]) + ", " +
                       std::to_string(b.lane[i]) + " and " + std::to_string(c.lane[i]) + " is " +
                       std::to_string(found.lane[i]) + ", wanted " + std::to_string(wanted));
      return;
    }
  }
}

void check_arithmetic() {
  using tenfold::fma, tenfold::fnma;
  check_lanes(
      "sum", [](Vec a, Vec b, Vec) { return a + b; },
      [](float a, float b, float) { return a + b; });
  check_lanes(
      "difference", [](Vec a, Vec b, Vec) { return a - b; },
      [](float a, float b, float) { return a - b; });
  check_lanes(
      "product", [](Vec a, Vec b, Vec) { return a * b; },
      [](float a, float b, float) { return a * b; });
  check_lanes(
      "quotient", [](Vec a, Vec b, Vec) { return a / b; },
      [](float a, float b, float) { return a / b; });
  check_lanes(
      "fma", [](Vec a, Vec b, Vec c) { return fma(a, b, c); },
      [](float a, float b, float c) { return std::fma(a, b, c); });
  check_lanes(
      "fnma", [](Vec a, Vec b, Vec c) { return fnma(a, b, c); },
      [](float a, float b, float c) { return std::fma(-a, b, c); });
  check_lanes(
      "root", [](Vec a, Vec, Vec) { return tenfold::square_root(a); },
      [](float a, float, float) { return std::sqrt(a); });
  check_lanes(
      "absolute value", [](Vec a, Vec, Vec) { return tenfold::absolute(a); },
      [](float a, float, float) { return std::fabs(a); });
  check_lanes(
      "positive part", [](Vec a, Vec, Vec) { return tenfold::positive_part(a); },
      [](float a, float, float) { return a <= 0 ? 0 : a; });
  check_lanes(
      "passed gradient", [](Vec a, Vec b, Vec) { return tenfold::passed(a, b); },
      [](float a, float b, float) { return a <= 0 ? 0 : b; });
}

void check_comparisons() {
  using tenfold::select;
  check_lanes(
      "less", [](Vec a, Vec b, Vec c) { return select(a < b, c, b); },
      [](float a, float b, float c) { return a < b ? c : b; });
  check_lanes(
      "less or equal", [](Vec a, Vec b, Vec c) { return select(a <= b, c, b); },
      [](float a, float b, float c) { return a <= b ? c : b; });
  check_lanes(
      "equal", [](Vec a, Vec b, Vec c) { return select(a == b, c, b); },
      [](float a, float b, float c) { return a == b ? c : b; });
  check_lanes(
      "NaN", [](Vec a, Vec b, Vec c) { return select(tenfold::is_nan(a), c, b); },
      [](float a, float b, float c) { return std::isnan(a) ? c : b; });
  check_lanes(
      "or", [](Vec a, Vec b, Vec c) { return select((a < b) | (b < c), a, b); },
      [](float a, float b, float c) { return a < b || b < c ? a : b; });
  check_lanes(
      "and", [](Vec a, Vec b, Vec c) { return select((a < b) & (b < c), a, b); },
      [](float a, float b, float c) { return a < b && b < c ? a : b; });
  check_lanes(
      "not", [](Vec a, Vec b, Vec c) { return select(!(a < b), b, c); },
      [](float a, float b, float c) { return !(a < b) ? b : c; });
}

void check_whole_numbers() {
  Random random(2);
  for (int round = 0; round < rounds; ++round) {
    float a[kWidth], b[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      a[i] = random.chance(0.3) ? static_cast<float>(random.between(-40, 40)) / 2
                                : static_cast<float>(1e4 * random.normal());
      b[i] = static_cast<float>(random.between(-1000, 1000));
    }
    const IntVec x = tenfold::round_to_int(tenfold::load(a));
    const IntVec y = tenfold::round_to_int(tenfold::load(b));
    const Numbers rounded(tenfold::to_float(x)), sum(tenfold::to_float(x + y)),
        difference(tenfold::to_float(x - y)), common(tenfold::to_float(x & y)),
        left(tenfold::to_float(tenfold::shift_left<3>(y))),
        right(tenfold::to_float(tenfold::shift_right<2>(y))),
        again(tenfold::from_bits(tenfold::bits_of(tenfold::load(a))));
    for (int i = 0; i < kWidth; ++i) {
      const int32_t p = static_cast<int32_t>(std::nearbyint(a[i]));
      const int32_t q = static_cast<int32_t>(b[i]);
      check(rounded.lane[i] == static_cast<float>(p), "a number rounded to an integer");
      check(sum.lane[i] == static_cast<float>(p + q), "a sum of integers");
      check(difference.lane[i] == static_cast<float>(p - q), "a difference of integers");
      check(common.lane[i] == static_cast<float>(p & q), "bits in common");
      check(left.lane[i] == static_cast<float>(q * 8), "a shift to the left");
      check(right.lane[i] == static_cast<float>(q >> 2), "a shift to the right");
      check(same(again.lane[i], a[i]), "bits of a number");
    }
    if (failures > 0) return;
  }
}

void check_bytes() {
  uint8_t bytes[256];
  for (int i = 0; i < 256; ++i) bytes[i] = static_cast<uint8_t>(i);
  for (int start = 0; start + kWidth <= 256; ++start) {
    const Numbers loaded(tenfold::load_bytes(bytes + start));
    const Numbers scaled(tenfold::divided_by_255(tenfold::load_bytes(bytes + start)));
    for (int i = 0; i < kWidth; ++i) {
      const float byte = static_cast<float>(bytes[start + i]);
      check(loaded.lane[i] == byte, "byte " + std::to_string(start + i) + " as a number");
      check(same(scaled.lane[i], byte / 255.0F),
            "byte " + std::to_string(start + i) + " divided by 255");
    }
  }
  tenfold::Bytes rows[kLanes];
  for (int row = 0; row < kLanes; ++row) {
    rows[row] = tenfold::load_16_bytes(bytes + row * kLanes);
  }
  tenfold::transpose_bytes(rows);
  for (int row = 0; row < kLanes; ++row) {
    uint8_t column[kLanes];
    tenfold::store_16_bytes(column, rows[row]);
    for (int i = 0; i < kLanes; ++i) {
      check(column[i] == bytes[i * kLanes + row], "sixteen rows of bytes transposed");
    }
  }
}

// ---- Lanes --------------------------------------------------------------------------------------

// Adds lanes 8 apart, then 4, 2 and 1.
float sum_in_order(const float* lanes) {
  float sums[kLanes];
  std::memcpy(sums, lanes, sizeof sums);
  for (int apart = kLanes / 2; apart > 0; apart /= 2) {
    for (int i = 0; i < apart; ++i) sums[i] += sums[i + apart];
  }
  return sums[0];
}

void check_lane_sums() {
  Random random(3);
  float lanes[4 * kLanes], sums[4], rows[kLanes * 20];
  for (int round = 0; round < 1000; ++round) {
    for (float& number : lanes) number = static_cast<float>(random.normal());
    tenfold::sum_lanes_of_4(lanes, sums);
    for (int i = 0; i < 4; ++i) {
      check(same(sums[i], sum_in_order(lanes + i * kLanes)), "four sums of lanes");
      check(same(tenfold::sum_lanes(lanes + i * kLanes), sums[i]), "a sum of lanes");
    }
  }
  float numbers[kLanes * kLanes];
  for (float& number : numbers) number = static_cast<float>(random.normal());
  tenfold::transpose_lanes(numbers, tenfold::kLanes, rows, 20);
  for (int i = 0; i < kLanes; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) {
      check(same(rows[lane * 20 + i], numbers[i * kLanes + lane]), "lanes transposed into rows");
    }
  }
  for (int height : {8, kLanes}) {
    for (int width : {8, kLanes}) {
      std::fill(rows, rows + kLanes * 20, 7.0F);
      tenfold::transpose_lanes(numbers, kLanes, height, rows, 20, width);
      for (int i = 0; i < 20; ++i) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const bool is_written = i < height && lane < width;
          const float wanted = is_written ? numbers[i * kLanes + lane] : 7.0F;
          check(same(rows[lane * 20 + i], wanted), "some lanes transposed into some rows");
        }
      }
    }
  }
}

void check_packing() {
  Random random(11);
  for (int choice = 0; choice < 1 << kWidth; ++choice) {
    const Numbers from(random);
    float marks[kWidth];
    for (int lane = 0; lane < kWidth; ++lane) {
      marks[lane] = (choice >> lane & 1) != 0 ? 1.0F : 0.0F;
    }
    float packed[kWidth] = {};
    const int count =
        tenfold::pack(tenfold::zero() < tenfold::load(marks), tenfold::load(from.lane), packed);
    int wanted = 0;
    for (int lane = 0; lane < kWidth; ++lane) {
      if (marks[lane] > 0) check(same(packed[wanted++], from.lane[lane]), "a packed lane");
    }
    check(count == wanted, "the number of packed lanes");
  }
}

// ---- Patches ------------------------------------------------------------------------------------

// An image with a list of places in it where patches begin.
struct Patches {
  std::vector<float> image;
  std::vector<float> values;
  std::vector<float> places;
  std::vector<int32_t> begins;
  tenfold::GradientList list;

  // `odd`: how often a gradient is NaN or infinite.
  Patches(Random& random, const tenfold::PatchSize& size, int64_t count, double odd)
      : image(static_cast<size_t>(size.image_row * (size.rows + 7) + kLanes)) {
    for (float& number : image) number = static_cast<float>(random.normal());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t column = random.between(0, (size.image_row - size.row()) / 8) * 8;
      begins.push_back(static_cast<int32_t>(random.between(0, 7) * size.image_row + column));
      places.push_back(number_of(static_cast<uint32_t>(begins.back())));
      values.push_back(random.chance(odd) ? random.pick({std::nanf(""), HUGE_VALF})
                                          : static_cast<float>(random.normal()));
    }
    list.values = values.data();
    list.places = places.data();
    list.count = count;
  }
};

void check_collecting(Random& random, const tenfold::PatchSize& size, int64_t count) {
  const Patches p(random, size, count, 0);
  std::vector<float> sums(static_cast<size_t>(size.floats()), 5.0F);
  tenfold::collect(p.list, size, p.image.data(), sums.data());
  for (int64_t y = 0; y < size.rows; ++y) {
    for (int64_t x = 0; x < size.row(); ++x) {
      float wanted = 0;
      for (int64_t begin = 0; begin < count; begin += tenfold::kLongestChain) {
        float chain = 0;
        for (int64_t i = begin; i < std::min(count, begin + tenfold::kLongestChain); ++i) {
          const auto place = static_cast<size_t>(i);
          const int64_t at = p.begins[place] + y * size.image_row + x;
          chain = std::fma(p.values[place], p.image[static_cast<size_t>(at)], chain);
        }
        wanted = begin == 0 ? chain : wanted + chain;
      }
      check(same(sums[static_cast<size_t>(y * size.row() + x)], wanted), "a sum over patches");
    }
  }
}

void check_spreading(Random& random, const tenfold::PatchSize& size, int64_t count,
                     int64_t floats) {
  Patches p(random, size, count, 0.02);
  std::vector<float> weights(static_cast<size_t>(size.floats()));
  std::vector<float> wanted = p.image;
  for (int64_t i = 0; i < size.floats(); ++i) {
    const bool is_inside = i % size.row() < floats;
    weights[static_cast<size_t>(i)] = is_inside ? static_cast<float>(random.normal()) : 0.0F;
  }
  tenfold::spread(p.list, size, floats, weights.data(), p.image.data());
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t y = 0; y < size.rows; ++y) {
      for (int64_t x = 0; x < floats; ++x) {
        const auto place = static_cast<size_t>(i);
        const auto at = static_cast<size_t>(p.begins[place] + y * size.image_row + x);
        wanted[at] =
            std::fma(p.values[place], weights[static_cast<size_t>(y * size.row() + x)], wanted[at]);
      }
    }
  }
  for (size_t i = 0; i < wanted.size(); ++i) check(same(p.image[i], wanted[i]), "a spread patch");
}

void check_patches() {
  Random random(12);
  for (int64_t rows : {1, 2, 3, 4, 5, 7, 11}) {
    for (int64_t pixels : {1, 2, 3, 5, 7, 13, 27}) {
      for (int64_t channels : {8, 16}) {
        const int64_t floats = pixels * channels;
        const int64_t columns = (floats + kWidth - 1) / kWidth;
        const tenfold::PatchSize size{rows, columns, (pixels + 9) * channels};
        for (int64_t count : {0, 1, 30, 600}) {
          check_collecting(random, size, count);
          check_spreading(random, size, count, floats);
        }
      }
    }
  }
}

// Other tests' networks that are meant for sparse.h must actually use it.
void check_what_suits_lists() {
  using tenfold::Shape;
  using tenfold::SparseBackward;
  using tenfold::Window;
  const auto suits = [](int inputs, int outputs, int kernel, int padding, int side, int pooled) {
    const int to = side + 2 * padding - kernel + 1;
    return SparseBackward::suits(Window{kernel, kernel, 1, 1, padding, padding},
                                 Shape{inputs, side, side}, Shape{outputs, to, to},
                                 int64_t{pooled} * pooled);
  };
  check(suits(12, 11, 3, 0, 6, 2), "infinity behind a ReLU");
  check(suits(7, 11, 5, 0, 8, 2), "few channels");
  check(suits(37, 11, 3, 1, 8, 4), "many channels");
  check(suits(12, 11, 3, 1, 8, 4), "a convolution of the images");
  check(suits(14, 11, 3, 1, 6, 3), "a convolution and another reader");
  check(suits(7, 12, 5, 2, 7, 3), "a digest's second convolution");
  check(suits(12, 20, 3, 1, 3, 1), "a digest's third convolution");
  check(suits(6, 16, 5, 0, 14, 5), "LeNet's second convolution");
  check(!suits(1, 6, 5, 2, 28, 14), "LeNet's first convolution");
  check(!suits(64, 64, 3, 1, 16, 12), "a pool that leaves many gradients");
  check(!suits(64, 64, 1, 0, 16, 8), "a kernel of one pixel");
  check(!suits(64, 64, 3, 1, 64, 32), "large images");
}

void check_parts() {
  for (int64_t n = 1; n < 60; ++n) {
    for (int64_t most = 1; most < 20; ++most) {
      const tenfold::Parts parts(n, most);
      int64_t end = 0;
      for (int64_t part = 0; part < parts.count; ++part) {
        check(parts.begin(part) == end, "consecutive parts");
        check(parts.size(part) >= 1 && parts.size(part) <= most, "the size of a part");
        end += parts.size(part);
      }
      check(end == n && parts.count == (n + most - 1) / most, "the number of parts");
    }
  }
}

// ---- Functions ----------------------------------------------------------------------------------

// With 20000 rounds, every 3001st float is tried.
uint32_t step_between_floats() { return 3001U * 20000U / static_cast<uint32_t>(rounds); }

// In units of the spacing between floats near the exact value.
double error_in_ulp(float found, long double exact) {
  int exponent = 0;
  std::frexp(static_cast<double>(exact), &exponent);
  const long double ulp = std::ldexp(1.0L, std::max(exponent, -125) - 24);
  return static_cast<double>(std::fabs(static_cast<long double>(found) - exact) / ulp);
}

template <typename Vectors, typename Exact>
void check_function(const char* what, uint32_t first, uint32_t last, uint32_t step, double allowed,
                    const Vectors& vectors, const Exact& exact) {
  double worst = 0;
  float worst_at = 0;
  float x[kWidth];
  for (uint64_t bits = first; bits < last; bits += uint64_t{step} * kWidth) {
    for (uint32_t i = 0; i < kWidth; ++i) {
      x[i] = number_of(static_cast<uint32_t>(std::min<uint64_t>(bits + i * step, last)));
    }
    const Numbers found(vectors(tenfold::load(x)));
    for (int i = 0; i < kWidth; ++i) {
      const double error = error_in_ulp(found.lane[i], exact(static_cast<long double>(x[i])));
      if (error <= worst) continue;
      worst = error;
      worst_at = x[i];
    }
  }
  std::printf("%s: %.3f ulp at most, at %.9g\n", what, worst, static_cast<double>(worst_at));
  check(worst <= allowed, std::string(what) + " exceeds its tolerance");
}

void check_exponential() {
  const auto vectors = [](Vec x) { return tenfold::exponential(x); };
  const auto exact = [](long double x) { return std::exp(x); };
  const uint32_t sign = 0x80000000U;
  check_function("exp(x), 2^-30 < x < 88", bits_of(0x1p-30F), bits_of(88.0F), step_between_floats(),
                 1.5, vectors, exact);
  check_function("exp(x), -87 < x < -2^-30", sign | bits_of(0x1p-30F), sign | bits_of(87.0F),
                 step_between_floats(), 1.5, vectors, exact);
  const auto at = [&](float x) { return Numbers(vectors(tenfold::broadcast(x))).lane[0]; };
  check(at(0.0F) == 1 && at(-0.0F) == 1 && at(1e-30F) == 1, "exp of zero");
  check(at(-87.5F) == 0 && at(-1e30F) == 0 && at(-HUGE_VALF) == 0, "exp of a very negative number");
  check(std::isnan(at(std::nanf(""))), "exp of NaN");
}

void check_logarithm() {
  const auto vectors = [](Vec x) { return tenfold::logarithm(x); };
  const auto exact = [](long double x) { return std::log(x); };
  check_function("log(x), x < 1", bits_of(0x1p-126F), bits_of(1.0F) - 1, step_between_floats(), 1.5,
                 vectors, exact);
  check_function("log(x), x > 1", bits_of(1.0F) + 1, bits_of(std::numeric_limits<float>::max()),
                 step_between_floats(), 1.5, vectors, exact);
  const auto at = [&](float x) { return Numbers(vectors(tenfold::broadcast(x))).lane[0]; };
  check(at(1.0F) == 0, "log of one");
  check(std::isnan(at(std::nanf(""))), "log of NaN");
}

// ---- Random numbers -----------------------------------------------------------------------------

// Random123's known answers for philox4x32 with 10 rounds: for zeros, ones, and the digits of pi.
void check_philox() {
  struct Known {
    tenfold::Philox counter;
    uint32_t key[2];
    tenfold::Philox words;
  };
  const Known all[] = {
      {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {0xffffffff, 0xffffffff},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {0xa4093822, 0x299f31d0},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const Known& known : all) {
    const tenfold::Philox found = tenfold::philox(known.counter, known.key[0], known.key[1]);
    check(std::memcmp(&found, &known.words, sizeof found) == 0, "Philox's known answers");
  }
}

// ---- Denormals ----------------------------------------------------------------------------------

float halved(float number) {
  volatile float half = 0.5F;
  return number * half;
}

#if defined(TENFOLD_NEON)

using Control = uint64_t;
constexpr Control kFlushing = Control{1} << 24;

Control control() {
  Control word;
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(word));
  return word;
}

void set_control(Control word) { __asm__ __volatile__("msr fpcr, %0" : : "r"(word)); }

#else

using Control = unsigned;
constexpr Control kFlushing = 0x8040;  // results and operands

Control control() { return _mm_getcsr(); }
void set_control(Control word) { _mm_setcsr(word); }

#endif

// A caller may flush denormals to zero; the kernels still compute with them.
void check_plain_arithmetic() {
  const float smallest = 0x1p-126F;
  const Control before = control();
  for (bool flushing : {false, true}) {
    if (flushing) set_control(before | kFlushing);
    check((halved(smallest) == 0) == flushing, "the caller's treatment of denormals");
    {
      const tenfold::PlainArithmetic plain;
      check(halved(smallest) == 0x1p-127F, "a denormal in plain arithmetic");
    }
    check((halved(smallest) == 0) == flushing, "the caller's treatment of denormals, restored");
  }
  set_control(before);
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2) rounds = std::max(1, std::atoi(arguments[1]));
  check_arithmetic();
  check_comparisons();
  check_whole_numbers();
  check_bytes();
  check_lane_sums();
  check_packing();
  check_patches();
  check_what_suits_lists();
  check_parts();
  check_exponential();
  check_logarithm();
  check_philox();
  check_plain_arithmetic();
  return failures == 0 ? 0 : 1;
}
