// The gradient of a convolution's weights, each a sum over all pixels of all images.
//
//   sums[g][x][lane] = sum over rows and columns of gradient(g, pixel) * input(x, pixel)
//
// Both factors are vectors over the images of a block, so each lane has its own sum. The sixteen
// lanes are added once all pixels are in. As in tile.h, a tile of sums stays in registers.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lanes.h"

namespace tenfold {

struct Correlation {
  const float* gradients;
  int64_t gradient_channel;  // stride between the tile's gradients, in floats
  int64_t gradient_row;      // stride between rows of pixels; a pixel is kLanes floats
  const float* inputs;
  const int64_t* offsets;  // of the tile's inputs
  int64_t input_row;       // stride between the inputs of the gradient's rows, in floats
  int64_t input_pixel;     // the same for its pixels
  int64_t height;          // of the gradient
  int64_t width;
  float* sums;  // kGradients x kInputs x kLanes
  bool add;     // continue from the existing sums
};

template <int kGradients, int kInputs>
void correlate_tile(const Correlation& c) {
  const int64_t gradient_channel = c.gradient_channel;
  const int64_t input_pixel = c.input_pixel;
  const int64_t width = c.width;
  for (int part = 0; part < kLanes; part += kWidth) {
    float* const place = c.sums + part;
    Vec sums[kGradients][kInputs];
#pragma GCC unroll 4
    for (int g = 0; g < kGradients; ++g) {
#pragma GCC unroll 6
      for (int x = 0; x < kInputs; ++x) {
        sums[g][x] = c.add ? load(place + (g * kInputs + x) * kLanes) : zero();
      }
    }
    for (int64_t row = 0; row < c.height; ++row) {
      const float* gradient = c.gradients + row * c.gradient_row + part;
      const float* inputs = c.inputs + row * c.input_row + part;
      const float* input[kInputs];
#pragma GCC unroll 6
      for (int x = 0; x < kInputs; ++x) input[x] = inputs + c.offsets[x];
      int64_t at = 0;
      for (int64_t pixel = 0; pixel < width; ++pixel) {
        Vec factors[kGradients];
#pragma GCC unroll 4
        for (int g = 0; g < kGradients; ++g) factors[g] = load(gradient + g * gradient_channel);
#pragma GCC unroll 6
        for (int x = 0; x < kInputs; ++x) {
          const Vec value = load(input[x] + at);
#pragma GCC unroll 4
          for (int g = 0; g < kGradients; ++g) sums[g][x] = fma(factors[g], value, sums[g][x]);
        }
        gradient += kLanes;
        at += input_pixel;
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < kGradients; ++g) {
#pragma GCC unroll 6
      for (int x = 0; x < kInputs; ++x) {
        store(place + (g * kInputs + x) * kLanes, sums[g][x]);
      }
    }
  }
}

using CorrelateFunction = void (*)(const Correlation&);

constexpr int kMostGradients = kSums == 24 ? 4 : 3;
constexpr int kMostInputs = kSums == 24 ? 6 : 4;

inline CorrelateFunction correlate_function(int gradients, int inputs) {
  static constexpr CorrelateFunction functions[4][6] = {
      {correlate_tile<1, 1>, correlate_tile<1, 2>, correlate_tile<1, 3>, correlate_tile<1, 4>,
       correlate_tile<1, 5>, correlate_tile<1, 6>},
      {correlate_tile<2, 1>, correlate_tile<2, 2>, correlate_tile<2, 3>, correlate_tile<2, 4>,
       correlate_tile<2, 5>, correlate_tile<2, 6>},
      {correlate_tile<3, 1>, correlate_tile<3, 2>, correlate_tile<3, 3>, correlate_tile<3, 4>,
       correlate_tile<3, 5>, correlate_tile<3, 6>},
      {correlate_tile<4, 1>, correlate_tile<4, 2>, correlate_tile<4, 3>, correlate_tile<4, 4>,
       correlate_tile<4, 5>, correlate_tile<4, 6>}};
  return functions[gradients - 1][inputs - 1];
}

}  // namespace tenfold
