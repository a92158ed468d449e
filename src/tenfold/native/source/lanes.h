// How numbers lie in memory while a network works: sixteen images side by side.
//
// A block is sixteen images of a batch. Wherever a network has one number for an image, a block
// has sixteen floats next to each other, one for each of its images. So a kernel is written as for
// one image, with a vector in the place of a number: no layer needs its channels or pixels to be a
// multiple of anything, and what images do not share (a maximum's place, a loss) needs no trick.
// The last block of a batch repeats an image in lanes that are left over; their gradients are 0.
#pragma once

#include <stdint.h>

#include "simd.h"

namespace tenfold {

constexpr int kLanes = 16;
constexpr int kParts = kLanes / kWidth;  // vectors to a block's number
static_assert(kLanes % kWidth == 0, "a vector must not cross the border of two numbers");

// max(a, 0) as ReLU has it: NaN stays NaN.
inline Vec positive_part(Vec a) { return select(a <= zero(), zero(), a); }

// A gradient where a ReLU's output let it pass.
inline Vec passed(Vec output, Vec gradient) { return select(output <= zero(), zero(), gradient); }

// The sum of sixteen lanes, in one order on every processor: 8 apart, 4 apart, 2 apart, neighbors.
inline Quad halved_twice(const float* lanes) {
  return (load_quad(lanes) + load_quad(lanes + 8)) + (load_quad(lanes + 4) + load_quad(lanes + 12));
}

// Four such sums at once: out[i] is the sum of the i-th sixteen lanes.
inline void sum_lanes_of_4(const float* lanes, float* out) {
  Quad a = halved_twice(lanes);
  Quad b = halved_twice(lanes + kLanes);
  Quad c = halved_twice(lanes + 2 * kLanes);
  Quad d = halved_twice(lanes + 3 * kLanes);
  transpose(a, b, c, d);
  store_quad(out, (a + c) + (b + d));
}

inline float sum_lanes(const float* lanes) {
  float quad[4];
  store_quad(quad, halved_twice(lanes));
  return (quad[0] + quad[2]) + (quad[1] + quad[3]);
}

// From lanes to rows: rows[lane * stride + i] = lanes[i * 16 + lane] for 16 numbers i.
inline void lanes_to_rows(const float* lanes, float* rows, int64_t stride) {
  for (int i = 0; i < kLanes; i += 4) {
    for (int lane = 0; lane < kLanes; lane += 4) {
      Quad a = load_quad(lanes + (i + 0) * kLanes + lane);
      Quad b = load_quad(lanes + (i + 1) * kLanes + lane);
      Quad c = load_quad(lanes + (i + 2) * kLanes + lane);
      Quad d = load_quad(lanes + (i + 3) * kLanes + lane);
      transpose(a, b, c, d);
      store_quad(rows + (lane + 0) * stride + i, a);
      store_quad(rows + (lane + 1) * stride + i, b);
      store_quad(rows + (lane + 2) * stride + i, c);
      store_quad(rows + (lane + 3) * stride + i, d);
    }
  }
}

}  // namespace tenfold
