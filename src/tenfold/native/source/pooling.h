// Max and average pooling; global average pooling uses one large window.
#pragma once

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "layer.h"
#include "window.h"

namespace tenfold {

// The part of a window inside the image.
struct Overlap {
  int64_t y0;
  int64_t y1;
  int64_t x0;
  int64_t x1;
  Overlap(const Window& w, const Shape& shape, int64_t y, int64_t x)
      : y0(std::max<int64_t>(0, y * w.stride_y - w.padding_y)),
        y1(std::min<int64_t>(shape.height, y * w.stride_y - w.padding_y + w.height)),
        x0(std::max<int64_t>(0, x * w.stride_x - w.padding_x)),
        x1(std::min<int64_t>(shape.width, x * w.stride_x - w.padding_x + w.width)) {}
};

// `Kind` defines how a window's pixels are pooled and how a gradient is passed back to them.
template <typename Kind>
class Pooling final : public Layer {
 public:
  Pooling(const Window& window, const FeatureMap& input, const FeatureMap& output,
          const InputGradient& input_gradient, const FeatureMap& output_gradient, bool relu)
      : window_(window),
        input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        relu_(relu) {}

  int64_t forward_jobs(const Batch& batch) const override { return rows().jobs(batch.blocks); }

  void forward(const Batch& /*batch*/, int64_t job, float* /*scratch*/) const override {
    const Grid::Place p = rows().place(job);
    for (int64_t c = p.channel; c < p.channel_end; ++c) {
      output_.clear_border(p.block, c, p.row, p.row_end);
      const float* in = input_.at(p.block, c);
      for (int64_t y = p.row; y < p.row_end; ++y) {
        float* out = output_.at(p.block, c, y);
        for (int x = 0; x < output_.shape.width; ++x) {
          const Overlap overlap(window_, input_.shape, y, x);
          for (int at = 0; at < kLanes; at += kWidth) {
            const Vec value = Kind::pooled(in + at, input_.row, overlap, window_);
            store(out + x * kLanes + at, relu_ ? positive_part(value) : value);
          }
        }
      }
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return input_gradient_.wanted ? backward_grid().jobs(batch.blocks) : 0;
  }

  void backward(const Batch& /*batch*/, int64_t job, float* /*scratch*/) const override {
    const Grid::Place p = backward_grid().place(job);
    const int64_t row_end = rows_are_separate() ? p.row_end : output_.shape.height;
    const int64_t from = first_row(p.row);
    const int64_t to = first_row(row_end);
    for (int64_t c = p.channel; c < p.channel_end; ++c) {
      if (!input_gradient_.add) input_gradient_.gradient.clear_border(p.block, c, from, to);
      if (fills_image()) {
        spread_rows<false>(p.block, c, p.row, row_end);
        if (Kind::kCutsItself) continue;
      } else {
        if (!input_gradient_.add) clear(p.block, c, from, to);
        spread_rows<true>(p.block, c, p.row, row_end);
      }
      for (int64_t y = from; y < to; ++y) input_gradient_.finish_row(p.block, c, y);
    }
  }

 private:
  // Whether windows below one another do not overlap, so that each row of windows writes separate
  // rows.
  bool rows_are_separate() const { return window_.stride_y >= window_.height; }

  // The first row of an output row's windows, so that all rows of the image are before some.
  int64_t first_row(int64_t y) const {
    if (y == 0) return 0;
    if (y == output_.shape.height) return input_.shape.height;
    return std::clamp<int64_t>(y * window_.stride_y - window_.padding_y, 0, input_.shape.height);
  }

  // Whether every pixel is in exactly one window, and no other layer reads the input.
  bool fills_image() const {
    const Window& w = window_;
    return !input_gradient_.add && w.padding_y == 0 && w.padding_x == 0 && w.stride_y == w.height &&
           w.stride_x == w.width && output_.shape.height * w.height == input_.shape.height &&
           output_.shape.width * w.width == input_.shape.width;
  }

  void clear(int64_t block, int64_t channel, int64_t row, int64_t row_end) const {
    for (int64_t y = row; y < row_end; ++y) {
      memset(input_gradient_.gradient.at(block, channel, y), 0,
             static_cast<size_t>(input_.shape.width) * kLanes * sizeof(float));
    }
  }

  template <bool kAdd>
  void spread_rows(int64_t block, int64_t channel, int64_t row, int64_t row_end) const {
    // A ReLU's output is above 0 where it is the maximum of a window whose maximum is above 0.
    const bool cut = Kind::kCutsItself && input_gradient_.cut && !kAdd;
    const float* in = input_.at(block, channel);
    float* to = input_gradient_.gradient.at(block, channel);
    for (int64_t y = row; y < row_end; ++y) {
      const float* out = output_.at(block, channel, y);
      const float* gradient = output_gradient_.at(block, channel, y);
      for (int x = 0; x < output_.shape.width; ++x) {
        const Overlap overlap(window_, input_.shape, y, x);
        for (int at = 0; at < kLanes; at += kWidth) {
          const Vec value = load(out + x * kLanes + at);
          const Vec arrived = load(gradient + x * kLanes + at);
          Kind::template spread<kAdd>(value, cut ? passed(value, arrived) : arrived, in + at,
                                      input_.row, to + at, input_gradient_.gradient.row, overlap,
                                      window_);
        }
      }
    }
  }

  Grid rows() const { return {output_.shape, input_.shape.numbers() * kParts, kSmallestWalk}; }
  Grid backward_grid() const {
    if (rows_are_separate()) return rows();
    const Shape channels{input_.shape.channels, 1, 1};
    return {channels, input_.shape.numbers() * kParts, kSmallestWalk};
  }

  const Window window_;
  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const bool relu_;
};

template <bool kAdd>
inline void put(float* place, Vec share) {
  store(place, kAdd ? load(place) + share : share);
}

struct Maximum {
  static constexpr bool kCutsItself = true;

  // The first maximum wins, and NaN is larger than any number.
  static Vec pooled(const float* channel, int64_t row, const Overlap& o, const Window& /*window*/) {
    Vec most = load(channel + o.y0 * row + o.x0 * kLanes);
    for (int64_t y = o.y0; y < o.y1; ++y) {
      for (int64_t x = o.x0; x < o.x1; ++x) {
        const Vec value = load(channel + y * row + x * kLanes);
        most = select((most < value) | is_nan(value), value, most);
      }
    }
    return most;
  }

  // The gradient goes to the first pixel that equals the maximum.
  template <bool kAdd>
  static void spread(Vec most, Vec gradient, const float* channel, int64_t row, float* to,
                     int64_t to_row, const Overlap& o, const Window& /*window*/) {
    for (int64_t y = o.y0; y < o.y1; ++y) {
      for (int64_t x = o.x0; x < o.x1; ++x) {
        const Vec value = load(channel + y * row + x * kLanes);
        const Mask here = (value == most) | is_nan(value);
        put<kAdd>(to + y * to_row + x * kLanes, select(here, gradient, zero()));
        gradient = select(here, zero(), gradient);
      }
    }
  }
};

struct Average {
  static constexpr bool kCutsItself = false;

  // Padding counts as zeros.
  static Vec pooled(const float* channel, int64_t row, const Overlap& o, const Window& window) {
    Vec sum = zero();
    for (int64_t y = o.y0; y < o.y1; ++y) {
      Vec sum_of_row = zero();
      for (int64_t x = o.x0; x < o.x1; ++x) {
        sum_of_row = sum_of_row + load(channel + y * row + x * kLanes);
      }
      sum = sum + sum_of_row;
    }
    return sum / broadcast(static_cast<float>(window.pixels()));
  }

  template <bool kAdd>
  static void spread(Vec /*average*/, Vec gradient, const float* /*channel*/, int64_t /*row*/,
                     float* to, int64_t to_row, const Overlap& o, const Window& window) {
    const Vec share = gradient / broadcast(static_cast<float>(window.pixels()));
    for (int64_t y = o.y0; y < o.y1; ++y) {
      for (int64_t x = o.x0; x < o.x1; ++x) put<kAdd>(to + y * to_row + x * kLanes, share);
    }
  }
};

using MaxPooling = Pooling<Maximum>;
using AveragePooling = Pooling<Average>;

}  // namespace tenfold
