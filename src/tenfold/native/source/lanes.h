// Memory layout inside a network: sixteen images side by side.
//
// A block is sixteen images of a batch. For each value that a network computes per image, a block
// has sixteen adjacent floats, one per image. So a kernel is written as if for one image, with
// vectors instead of numbers: channels and pixels need not be a multiple of anything, and values
// that differ between images (the position of a maximum, a loss) need no special treatment. In the
// last block of a batch, unused lanes repeat an image; their gradients are 0.
#pragma once

#include <stdint.h>

#include "simd.h"

namespace tenfold {

constexpr int kLanes = 16;
constexpr int kParts = kLanes / kWidth;  // vectors per sixteen lanes
static_assert(kLanes % kWidth == 0, "lanes must fill whole vectors");

// ReLU: max(a, 0); NaN stays NaN.
inline Vec positive_part(Vec a) { return select(a <= zero(), zero(), a); }

// The gradient of a ReLU: 0 where its output is 0.
inline Vec passed(Vec output, Vec gradient) { return select(output <= zero(), zero(), gradient); }

// Sixteen lanes are summed in the same order on every processor: lanes 8 apart, then 4, 2 and 1.
// This does the first two steps.
inline Quad halved_twice(const float* lanes) {
  return (load_quad(lanes) + load_quad(lanes + 8)) + (load_quad(lanes + 4) + load_quad(lanes + 12));
}

// Four such sums at once: out[i] sums lanes[16 i] to lanes[16 i + 15].
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

// Transposes: to[j * to_stride + i] = from[i * from_stride + j]. `rows` and `columns` are 4, 8, 12
// or 16.
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
