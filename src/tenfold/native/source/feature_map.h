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

// Blocks x channels x rows x columns x lanes, or blocks x rows x channels x columns x lanes if
// threads divide a block's rows among themselves: what a thread works on should be contiguous,
// because processors fetch what follows in memory, even from another thread's cache. With a border
// of zeros, a convolution needs no special case at edges. The layer that writes a channel clears
// its border, because maps that are not needed at the same time share memory.
struct FeatureMap {
  Shape shape;
  Border border;
  int64_t row = 0;  // stride in floats, like the next two
  int64_t channel = 0;
  int64_t block = 0;
  float* data = nullptr;

  FeatureMap() = default;
  FeatureMap(Shape shape_, Border border_, bool rows_first = false)
      : shape(shape_), border(border_) {
    const int64_t rows = shape.height + 2 * border.rows;
    const int64_t width = int64_t{kLanes} * (shape.width + 2 * border.columns);
    if (rows_first) {
      channel = apart(width);
      row = channel * shape.channels;
      block = row * rows;
    } else {
      row = width;
      channel = channel_size();
      block = channel * shape.channels;
    }
  }

  // Floats in a channel, if its rows are contiguous.
  int64_t channel_size() const {
    return apart(int64_t{kLanes} * (shape.width + 2 * border.columns) *
                 (shape.height + 2 * border.rows));
  }

  // Whether there is no border.
  bool is_dense() const { return border.rows == 0 && border.columns == 0; }

  // Whether rows follow one another.
  bool is_contiguous() const { return row == int64_t{kLanes} * shape.width; }

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
    const int64_t width = int64_t{shape.width} * kLanes + 2 * side;
    for (int64_t y = begin == 0 ? -border.rows : 0; y < 0; ++y) clear(y, -border.columns, width);
    for (int64_t y = begin; y < end; ++y) {
      clear(y, -border.columns, side);
      clear(y, shape.width, side);
    }
    for (int64_t y = end; y < (end == shape.height ? end + border.rows : end); ++y) {
      clear(y, -border.columns, width);
    }
  }

  // The same values as a vector of features; only for a dense map, channels first.
  FeatureMap flattened() const {
    FeatureMap features(Shape{static_cast<int>(shape.numbers()), 1, 1}, Border{});
    features.block = block;
    features.data = data;
    return features;
  }

 private:
  // Channels a multiple of 4 KiB apart would compete for the same few cache lines.
  int64_t apart(int64_t distance) const {
    return !is_dense() && distance % 1024 == 0 ? distance + kLanes : distance;
  }
};

}  // namespace tenfold
