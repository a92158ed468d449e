// Max- and average pooling; the mean over all pixels is an average over one large window.
#pragma once

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "convolution.h"
#include "layer.h"

namespace tenfold {

// The part of a window that lies on the image.
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

class Pooling : public Layer {
 public:
  Pooling(const Window& window, const FeatureMap& input, const FeatureMap& output,
          const InputGradient& input_gradient, const FeatureMap& output_gradient, bool relu)
      : window_(window),
        input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        relu_(relu) {}

  int64_t forward_jobs(const Batch& batch) const override {
    return batch.blocks * channels().count;
  }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    (void)batch;
    const int64_t block = job / channels().count;
    const int64_t part = job % channels().count;
    for (int64_t c = channels().begin(part); c < channels().begin(part + 1); ++c) {
      output_.clear_border(block, c);
      for (int y = 0; y < output_.shape.height; ++y) {
        for (int x = 0; x < output_.shape.width; ++x) {
          const Overlap overlap(window_, input_.shape, y, x);
          float* out = output_.at(block, c, y, x);
          for (int at = 0; at < kLanes; at += kWidth) {
            const Vec value = pooled(input_.at(block, c) + at, overlap);
            store(out + at, relu_ ? positive_part(value) : value);
          }
        }
      }
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return input_gradient_.wanted ? forward_jobs(batch) : 0;
  }

  void backward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    (void)batch;
    const FeatureMap& gradient = input_gradient_.gradient;
    const int64_t block = job / channels().count;
    const int64_t part = job % channels().count;
    for (int64_t c = channels().begin(part); c < channels().begin(part + 1); ++c) {
      if (!input_gradient_.add) {
        gradient.clear_border(block, c);
        for (int y = 0; y < gradient.shape.height; ++y) {
          memset(gradient.at(block, c, y), 0,
                 static_cast<size_t>(gradient.shape.width) * kLanes * sizeof(float));
        }
      }
      for (int y = 0; y < output_.shape.height; ++y) {
        for (int x = 0; x < output_.shape.width; ++x) {
          const Overlap overlap(window_, input_.shape, y, x);
          for (int at = 0; at < kLanes; at += kWidth) {
            spread(block, c, y, x, at, overlap);
          }
        }
      }
      for (int y = 0; y < gradient.shape.height; ++y) input_gradient_.finish_row(block, c, y);
    }
  }

 protected:
  // What a window makes of the pixels that it sees, and back.
  virtual Vec pooled(const float* channel, const Overlap& overlap) const = 0;
  virtual void spread(int64_t block, int64_t channel, int64_t y, int64_t x, int part,
                      const Overlap& overlap) const = 0;

  Parts channels() const {
    const int64_t pixels = input_.shape.pixels() * kParts;
    return {input_.shape.channels, std::max<int64_t>(1, kSmallestJob / pixels)};
  }

  const Window window_;
  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const bool relu_;
};

class MaxPooling final : public Pooling {
 public:
  using Pooling::Pooling;

 private:
  // The first maximum wins, and NaN is larger than everything.
  Vec pooled(const float* channel, const Overlap& o) const override {
    const float* first = channel + o.y0 * input_.row + o.x0 * kLanes;
    Vec most = load(first);
    for (int64_t y = o.y0; y < o.y1; ++y) {
      const float* row = channel + y * input_.row;
      for (int64_t x = o.x0; x < o.x1; ++x) {
        const Vec value = load(row + x * kLanes);
        most = select((most < value) | is_nan(value), value, most);
      }
    }
    return most;
  }

  // The gradient goes to the first pixel that equals the maximum.
  void spread(int64_t block, int64_t channel, int64_t y, int64_t x, int part,
              const Overlap& o) const override {
    const Vec most = load(output_.at(block, channel, y, x) + part);
    Vec gradient = load(output_gradient_.at(block, channel, y, x) + part);
    for (int64_t iy = o.y0; iy < o.y1; ++iy) {
      for (int64_t ix = o.x0; ix < o.x1; ++ix) {
        const Vec value = load(input_.at(block, channel, iy, ix) + part);
        const Mask here = (value == most) | is_nan(value);
        float* place = input_gradient_.gradient.at(block, channel, iy, ix) + part;
        store(place, load(place) + select(here, gradient, zero()));
        gradient = select(here, zero(), gradient);
      }
    }
  }
};

class AveragePooling final : public Pooling {
 public:
  using Pooling::Pooling;

 private:
  // Padding counts as zeros.
  Vec pooled(const float* channel, const Overlap& o) const override {
    Vec sum = zero();
    for (int64_t y = o.y0; y < o.y1; ++y) {
      const float* row = channel + y * input_.row;
      Vec sum_of_row = zero();
      for (int64_t x = o.x0; x < o.x1; ++x) sum_of_row = sum_of_row + load(row + x * kLanes);
      sum = sum + sum_of_row;
    }
    return sum / broadcast(static_cast<float>(window_.pixels()));
  }

  void spread(int64_t block, int64_t channel, int64_t y, int64_t x, int part,
              const Overlap& o) const override {
    const Vec gradient = load(output_gradient_.at(block, channel, y, x) + part) /
                         broadcast(static_cast<float>(window_.pixels()));
    for (int64_t iy = o.y0; iy < o.y1; ++iy) {
      for (int64_t ix = o.x0; ix < o.x1; ++ix) {
        float* place = input_gradient_.gradient.at(block, channel, iy, ix) + part;
        store(place, load(place) + gradient);
      }
    }
  }
};

}  // namespace tenfold
