// A layer's output, or its gradient, for all blocks of a batch.
#pragma once

#include <stdint.h>
#include <string.h>

#include "lanes.h"

namespace tenfold {

struct Shape {
  int channels = 0;
  int height = 1;  // 1 x 1 for features
  int width = 1;

  int64_t pixels() const { return int64_t{height} * width; }
  int64_t numbers() const { return channels * pixels(); }
};

// Zeros around the pixels: rows above and below, columns on the left and right.
struct Border {
  int rows = 0;
  int columns = 0;
};

// Blocks x channels x rows x columns x lanes. With a border of zeros, a convolution needs no
// special case at edges. The layer that writes a channel clears its border, because maps that are
// not needed at the same time share memory.
struct FeatureMap {
  Shape shape;
  Border border;
  int64_t row = 0;  // stride in floats, like the next two
  int64_t channel = 0;
  int64_t block = 0;
  float* data = nullptr;

  FeatureMap() = default;
  FeatureMap(Shape shape_, Border border_) : shape(shape_), border(border_) {
    row = int64_t{kLanes} * (shape.width + 2 * border.columns);
    channel = row * (shape.height + 2 * border.rows);
    // Channels a multiple of 4 KiB apart would compete for the same few cache lines.
    if (!is_dense() && channel % 1024 == 0) channel += kLanes;
    block = channel * shape.channels;
  }

  bool is_dense() const { return border.rows == 0 && border.columns == 0; }

  // The lanes of a pixel, which may be in the border.
  float* at(int64_t block_, int64_t channel_, int64_t y = 0, int64_t x = 0) const {
    return data + block_ * block + channel_ * channel + (y + border.rows) * row +
           (x + border.columns) * kLanes;
  }

  void clear_border(int64_t block_, int64_t channel_) const {
    clear_border(block_, channel_, 0, shape.height);
  }

  // The border next to some rows, including what is above the first or below the last row. A thread
  // that writes only these rows should not touch what others keep in their caches.
  void clear_border(int64_t block_, int64_t channel_, int64_t begin, int64_t end) const {
    if (is_dense()) return;
    const auto clear = [&](int64_t y, int64_t x, int64_t floats) {
      memset(at(block_, channel_, y, x), 0, static_cast<size_t>(floats) * sizeof(float));
    };
    const int64_t side = int64_t{border.columns} * kLanes;
    if (begin == 0) clear(-border.rows, -border.columns, border.rows * row);
    for (int64_t y = begin; y < end; ++y) {
      clear(y, -border.columns, side);
      clear(y, shape.width, side);
    }
    if (end == shape.height) clear(shape.height, -border.columns, border.rows * row);
  }

  // The same values as a vector of features; only for a dense map.
  FeatureMap flattened() const {
    FeatureMap features(Shape{static_cast<int>(shape.numbers()), 1, 1}, Border{});
    features.block = block;
    features.data = data;
    return features;
  }
};

}  // namespace tenfold
