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

// Rows become columns: to[j * to_stride + i] = from[i * from_stride + j]. There are 4, 8, 12 or 16
// of each.
inline void transpose_lanes(const float* from, int64_t from_stride, int rows, float* to,
                            int64_t to_stride, int columns) {
  for (int i = 0; i < rows; i += 4) {
    for (int j = 0; j < columns; j += 4) {
      Quad a = load_quad(from + (i + 0) * from_stride + j);
      Quad b = load_quad(from + (i + 1) * from_stride + j);
      Quad c = load_quad(from + (i + 2) * from_stride + j);
      Quad d = load_quad(from + (i + 3) * from_stride + j);
      transpose(a, b, c, d);
      store_quad(to + (j + 0) * to_stride + i, a);
      store_quad(to + (j + 1) * to_stride + i, b);
      store_quad(to + (j + 2) * to_stride + i, c);
      store_quad(to + (j + 3) * to_stride + i, d);
    }
  }
}

inline void transpose_lanes(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  transpose_lanes(from, from_stride, kLanes, to, to_stride, kLanes);
}

}  // namespace tenfold
