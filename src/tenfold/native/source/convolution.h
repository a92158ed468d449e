// Two-dimensional convolution.
//
// Forward and for the gradient of the input it is the product of tile.h: rows are channels of the
// result, columns the pixels of one of its rows, and the runs lead through the kernel and the
// channels that are summed over. For the gradient of the weights it is the correlation of
// correlate.h.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <vector>

#include "correlate.h"
#include "layer.h"
#include "tile.h"

namespace tenfold {

struct Window {
  int height;
  int width;
  int stride_y;
  int stride_x;
  int padding_y;
  int padding_x;

  int64_t pixels() const { return int64_t{height} * width; }
};

// Runs in a row that are summed in one chain.
struct Chain {
  int first;
  int count;
  int64_t run_length;
};

// Runs of at most `length` numbers each, all from the same steps, cut into chains.
struct Chains {
  std::vector<Run> runs;
  std::vector<Chain> chains;
  int64_t left_step = 0;
  int64_t right_step = 0;

  // Runs that begin at `starts` and are `length` long.
  Chains(const std::vector<Run>& starts, int64_t length, int64_t left_step_, int64_t right_step_)
      : left_step(left_step_), right_step(right_step_) {
    const Parts pieces(length, kLongestChain);
    for (int64_t piece = 0; piece < pieces.count; ++piece) {
      const int64_t begin = pieces.begin(piece);
      const int64_t size = pieces.size(piece);
      const int64_t per_chain = std::max<int64_t>(1, kLongestChain / size);
      const Parts groups(static_cast<int64_t>(starts.size()), per_chain);
      for (int64_t group = 0; group < groups.count; ++group) {
        chains.push_back({static_cast<int>(runs.size()), static_cast<int>(groups.size(group)), size});
        for (int64_t i = 0; i < groups.size(group); ++i) {
          const Run& start = starts[static_cast<size_t>(groups.begin(group) + i)];
          runs.push_back({start.left + begin * left_step, start.right + begin * right_step});
        }
      }
    }
    // Nothing to sum is a sum as well: 0.
    if (chains.empty()) chains.push_back({0, 0, 0});
  }
};

// All chains of a product.
inline void sum_chains(TileProduct p, const Chains& sums, int64_t rows, int64_t columns,
                       TileSize size, bool relu) {
  p.left_step = sums.left_step;
  p.right_step = sums.right_step;
  for (const Chain& chain : sums.chains) {
    p.runs = sums.runs.data() + chain.first;
    p.run_count = chain.count;
    p.run_length = chain.run_length;
    p.relu = relu && &chain == &sums.chains.back();
    product(p, rows, columns, size);
    p.add = true;
  }
}

// Rows that the gradient of a convolution's output must have around it, so that the gradient of the
// input never asks for a pixel outside.
inline int gradient_border(int input, int output, int kernel, int stride, int padding) {
  const int before = std::max(0, kernel - 1 - padding);
  const int after = (input - 1 + padding) / stride - (output - 1);
  return std::max({(before + stride - 1) / stride, after, 0});
}

class Convolution : public Layer {
 public:
  Convolution(const Window& window, const FeatureMap& input, const FeatureMap& output,
              const InputGradient& input_gradient, const FeatureMap& output_gradient, int weight,
              int bias, bool relu)
      : window_(window),
        input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        weight_(weight),
        bias_(bias),
        relu_(relu),
        inputs_(input.shape.channels),
        outputs_(output.shape.channels),
        forward_sums_(forward_chains(window, input)),
        forward_tile_(best_tile(outputs_, output.shape.width)) {
    for (int64_t channel = 0; channel < inputs_; ++channel) {
      for (int ky = 0; ky < window.height; ++ky) {
        for (int kx = 0; kx < window.width; ++kx) {
          offsets_.push_back(channel * input.channel + ky * input.row + int64_t{kx} * kLanes);
        }
      }
    }
    if (input_gradient.wanted) add_phases();
  }

  int64_t forward_jobs(const Batch& batch) const override {
    return batch.blocks * channel_parts(outputs_, forward_tile_.rows).count *
           bands(output_.shape, forward_tile_.rows * inputs_).count;
  }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    const Parts channels = channel_parts(outputs_, forward_tile_.rows);
    const Parts rows = bands(output_.shape, forward_tile_.rows * inputs_);
    const int64_t band = job % rows.count;
    const int64_t part = job / rows.count % channels.count;
    const int64_t block = job / rows.count / channels.count;
    const int64_t first = channels.begin(part);
    const int64_t count = channels.size(part);
    if (band == 0) {
      for (int64_t channel = first; channel < first + count; ++channel) {
        output_.clear_border(block, channel);
      }
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value + first * inputs_ * window_.pixels();
    p.left_row = inputs_ * window_.pixels();
    p.right_column = int64_t{window_.stride_x} * kLanes;
    p.out_row = output_.channel;
    p.out_column = kLanes;
    p.start = bias_ < 0 ? nullptr : batch.tensors[bias_].value + first;
    for (int64_t y = rows.begin(band); y < rows.begin(band + 1); ++y) {
      for (int at = 0; at < kLanes; at += kWidth) {
        p.right = input_.at(block, 0, y * window_.stride_y - window_.padding_y,
                            -window_.padding_x) + at;
        p.out = output_.at(block, first, y) + at;
        sum_chains(p, forward_sums_, count, output_.shape.width, forward_tile_, relu_);
      }
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    if (!input_gradient_.wanted) return 0;
    return batch.blocks * channel_parts(inputs_, backward_tile_.rows).count *
           bands(input_.shape, backward_tile_.rows * outputs_).count;
  }

  void backward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    const FeatureMap& gradient = input_gradient_.gradient;
    const Parts channels = channel_parts(inputs_, backward_tile_.rows);
    const Parts rows = bands(input_.shape, backward_tile_.rows * outputs_);
    const int64_t band = job % rows.count;
    const int64_t part = job / rows.count % channels.count;
    const int64_t block = job / rows.count / channels.count;
    const int64_t first = channels.begin(part);
    const int64_t count = channels.size(part);
    if (band == 0 && !input_gradient_.add) {
      for (int64_t channel = first; channel < first + count; ++channel) {
        gradient.clear_border(block, channel);
      }
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value + first * window_.pixels();
    p.left_row = window_.pixels();
    p.right_column = kLanes;
    p.out_row = gradient.channel;
    p.out_column = int64_t{window_.stride_x} * kLanes;
    p.add = input_gradient_.add;
    for (int64_t y = rows.begin(band); y < rows.begin(band + 1); ++y) {
      for (int x = 0; x < std::min(window_.stride_x, input_.shape.width); ++x) {
        const int64_t columns = (input_.shape.width - x - 1) / window_.stride_x + 1;
        const Chains& sums =
            phases_[static_cast<size_t>(y % window_.stride_y * window_.stride_x + x)];
        for (int at = 0; at < kLanes; at += kWidth) {
          p.right = output_gradient_.at(block, 0, y / window_.stride_y) + at;
          p.out = gradient.at(block, first, y, x) + at;
          sum_chains(p, sums, count, columns, backward_tile_, false);
        }
      }
      for (int64_t channel = first; channel < first + count; ++channel) {
        input_gradient_.finish_row(block, channel, y);
      }
    }
  }

  int64_t update_jobs(const Batch& batch) const override {
    return Parts(outputs_, kMostGradients).count * input_parts(batch).count;
  }

  void update(const Batch& batch, int64_t job, float* scratch) const override {
    const Parts outputs(outputs_, kMostGradients);
    const Parts inputs = input_parts(batch);
    const int64_t part = job % inputs.count;
    const int64_t first = outputs.begin(job / inputs.count);
    const int64_t count = outputs.size(job / inputs.count);
    const int64_t begin = inputs.begin(part) * window_.pixels();
    const int64_t size = inputs.size(part) * window_.pixels();
    float* gradient = scratch + kMostGradients * kMostInputs * kLanes;
    sum_gradients(batch, first, count, begin, size, scratch, gradient);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = (first + i) * inputs_ * window_.pixels();
      batch.optimizer->take(weight_, row + begin, gradient + i * size, size);
      if (bias_ >= 0 && part == 0) {
        const float sum = sum_of_channel(output_gradient_, batch.blocks, first + i);
        batch.optimizer->take(bias_, first + i, &sum, 1);
      }
    }
  }

  int64_t scratch_size() const override {
    return kMostGradients * (kMostInputs * kLanes + inputs_ * window_.pixels());
  }

 private:
  static Chains forward_chains(const Window& window, const FeatureMap& input) {
    const int64_t channels = input.shape.channels;
    std::vector<Run> starts;
    if (channels < 8) {  // along the kernel's rows, which are longer than that
      for (int64_t channel = 0; channel < channels; ++channel) {
        for (int64_t ky = 0; ky < window.height; ++ky) {
          starts.push_back({(channel * window.height + ky) * window.width,
                            channel * input.channel + ky * input.row});
        }
      }
      return {starts, window.width, 1, kLanes};
    }
    for (int64_t ky = 0; ky < window.height; ++ky) {
      for (int64_t kx = 0; kx < window.width; ++kx) {
        starts.push_back({ky * window.width + kx, ky * input.row + kx * kLanes});
      }
    }
    return {starts, channels, window.pixels(), input.channel};
  }

  // With a stride, an input pixel meets only every so-manieth row and column of the kernel: which
  // ones depends on its place between two strides, its phase.
  void add_phases() {
    const Window& w = window_;
    for (int phase_y = 0; phase_y < w.stride_y; ++phase_y) {
      for (int phase_x = 0; phase_x < w.stride_x; ++phase_x) {
        std::vector<Run> starts;
        for (int ky = 0; ky < w.height; ++ky) {
          for (int kx = 0; kx < w.width; ++kx) {
            const int y = phase_y + w.padding_y - ky;
            const int x = phase_x + w.padding_x - kx;
            if (y % w.stride_y != 0 || x % w.stride_x != 0) continue;
            starts.push_back({int64_t{ky} * w.width + kx, y / w.stride_y * output_gradient_.row +
                                                              int64_t{x / w.stride_x} * kLanes});
          }
        }
        phases_.emplace_back(starts, outputs_, inputs_ * w.pixels(), output_gradient_.channel);
      }
    }
    backward_tile_ = best_tile(inputs_, (input_.shape.width - 1) / w.stride_x + 1);
  }

  static Parts channel_parts(int64_t channels, int64_t most) { return {channels, most}; }

  // Rows of a result whose pixels take `products` times the kernel's pixels of products each.
  Parts bands(const Shape& shape, int64_t products) const {
    const int64_t row = products * window_.pixels() * shape.width * kParts;
    return {shape.height, std::max<int64_t>(1, kSmallestJob / std::max<int64_t>(1, row))};
  }

  // Input channels, in parts that make an update job neither tiny nor huge.
  Parts input_parts(const Batch& batch) const {
    const int64_t channel = kMostGradients * window_.pixels() * output_.shape.pixels() *
                            batch.blocks * kParts;
    return {inputs_, std::max<int64_t>(1, kLargestJob / channel)};
  }

  // The gradients of the weights first.. x begin.., as many rows as outputs, each `size` long.
  void sum_gradients(const Batch& batch, int64_t first, int64_t count, int64_t begin, int64_t size,
                     float* sums, float* gradient) const {
    Correlation c{};
    c.gradient_channel = output_gradient_.channel;
    c.gradient_row = output_gradient_.row;
    c.gradient_block = output_gradient_.block;
    c.input_row = window_.stride_y * input_.row;
    c.input_pixel = int64_t{window_.stride_x} * kLanes;
    c.input_block = input_.block;
    c.height = output_.shape.height;
    c.width = output_.shape.width;
    c.sums = sums;
    const Parts chains(batch.blocks,
                       std::max<int64_t>(1, 2 * kLongestChain / output_.shape.pixels()));
    const Parts tiles(size, kMostInputs);
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      c.gradients = output_gradient_.at(chains.begin(chain), first);
      c.inputs = input_.at(chains.begin(chain), 0, -window_.padding_y, -window_.padding_x);
      c.blocks = chains.size(chain);
      for (int64_t tile = 0; tile < tiles.count; ++tile) {
        const int64_t from = tiles.begin(tile);
        const int64_t width = tiles.size(tile);
        c.offsets = offsets_.data() + begin + from;
        correlate_function(static_cast<int>(count), static_cast<int>(width))(c);
        for (int64_t g = 0; g < count; ++g) {
          add_sums(sums + g * width * kLanes, width, gradient + g * size + from, chain > 0);
        }
      }
    }
  }

  // The lanes' sums, as numbers in a row.
  static void add_sums(const float* lanes, int64_t count, float* out, bool add) {
    float total[kMostInputs + 3];
    for (int64_t i = 0; i < count; i += 4) {
      if (i + 4 <= count) {
        sum_lanes_of_4(lanes + i * kLanes, total + i);
      } else {
        for (int64_t j = i; j < count; ++j) total[j] = sum_lanes(lanes + j * kLanes);
      }
    }
    for (int64_t i = 0; i < count; ++i) out[i] = add ? out[i] + total[i] : total[i];
  }

  const Window window_;
  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const int weight_;
  const int bias_;
  const bool relu_;
  const int64_t inputs_;
  const int64_t outputs_;
  const Chains forward_sums_;
  const TileSize forward_tile_;
  std::vector<int64_t> offsets_;  // of every weight's first input
  std::vector<Chains> phases_;
  TileSize backward_tile_{1, 1};
};

}  // namespace tenfold
