// Elementwise layers: ReLU, dropout, addition, and a change of layout.
#pragma once

#include <stdint.h>
#include <string.h>

#include "layer.h"
#include "random.h"

namespace tenfold {

class Elementwise : public Layer {
 public:
  Elementwise(const FeatureMap& input, const FeatureMap& output,
              const InputGradient& input_gradient, const FeatureMap& output_gradient)
      : input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient) {}

  int64_t forward_jobs(const Batch& batch) const override { return grid().jobs(batch.blocks); }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    const Grid::Place p = grid().place(job);
    for (int64_t c = p.channel; c < p.channel_end; ++c) {
      output_.clear_border(p.block, c, p.row, p.row_end);
      for (int64_t y = p.row; y < p.row_end; ++y) forward_row(batch, p.block, c, y);
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return gives_gradients() ? forward_jobs(batch) : 0;
  }

  void backward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    const Grid::Place p = grid().place(job);
    for (int64_t c = p.channel; c < p.channel_end; ++c) {
      begin_rows(p.block, c, p.row, p.row_end);
      for (int64_t y = p.row; y < p.row_end; ++y) backward_row(batch, p.block, c, y);
    }
  }

 protected:
  virtual void forward_row(const Batch& batch, int64_t block, int64_t channel, int64_t y) const = 0;
  virtual void backward_row(const Batch& batch, int64_t block, int64_t channel,
                            int64_t y) const = 0;
  virtual bool gives_gradients() const { return input_gradient_.wanted; }
  virtual void begin_rows(int64_t block, int64_t channel, int64_t row, int64_t row_end) const {
    begin(input_gradient_, block, channel, row, row_end);
  }

  static void begin(const InputGradient& to, int64_t block, int64_t channel, int64_t row,
                    int64_t row_end) {
    if (to.wanted && !to.add) to.gradient.clear_border(block, channel, row, row_end);
  }

  // Writes a row of an input's gradients; `part(at)` is the vector at offset `at` in the row.
  template <typename Function>
  static void give(const InputGradient& to, int64_t block, int64_t channel, int64_t y,
                   const Function& part) {
    float* out = to.gradient.at(block, channel, y);
    const int64_t count = int64_t{kLanes} * to.gradient.shape.width;
    for (int64_t at = 0; at < count; at += kWidth) {
      store(out + at, to.add ? load(out + at) + part(at) : part(at));
    }
    to.finish_row(block, channel, y);
  }

  Grid grid() const { return {output_.shape, output_.shape.numbers() * kParts, kSmallestWalk}; }

  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
};

// A ReLU that the layer before it could not absorb. Its gradient arrives already masked.
class Relu final : public Elementwise {
 public:
  using Elementwise::Elementwise;

 private:
  void forward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                   int64_t y) const override {
    const float* in = input_.at(block, channel, y);
    float* out = output_.at(block, channel, y);
    const int64_t count = int64_t{kLanes} * output_.shape.width;
    for (int64_t at = 0; at < count; at += kWidth) store(out + at, positive_part(load(in + at)));
  }

  void backward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                    int64_t y) const override {
    const float* gradient = output_gradient_.at(block, channel, y);
    give(input_gradient_, block, channel, y, [&](int64_t at) { return load(gradient + at); });
  }
};

class Add final : public Elementwise {
 public:
  Add(const FeatureMap& input, const FeatureMap& other, const FeatureMap& output,
      const InputGradient& input_gradient, const InputGradient& other_gradient,
      const FeatureMap& output_gradient, bool relu)
      : Elementwise(input, output, input_gradient, output_gradient),
        other_(other),
        other_gradient_(other_gradient),
        relu_(relu) {}

 private:
  void forward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                   int64_t y) const override {
    const float* in = input_.at(block, channel, y);
    const float* other = other_.at(block, channel, y);
    float* out = output_.at(block, channel, y);
    const int64_t count = int64_t{kLanes} * output_.shape.width;
    for (int64_t at = 0; at < count; at += kWidth) {
      const Vec sum = load(in + at) + load(other + at);
      store(out + at, relu_ ? positive_part(sum) : sum);
    }
  }

  bool gives_gradients() const override { return input_gradient_.wanted || other_gradient_.wanted; }

  void begin_rows(int64_t block, int64_t channel, int64_t row, int64_t row_end) const override {
    begin(input_gradient_, block, channel, row, row_end);
    begin(other_gradient_, block, channel, row, row_end);
  }

  void backward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                    int64_t y) const override {
    const float* gradient = output_gradient_.at(block, channel, y);
    for (const InputGradient* to : {&input_gradient_, &other_gradient_}) {
      if (!to->wanted) continue;
      give(*to, block, channel, y, [&](int64_t at) { return load(gradient + at); });
    }
  }

  const FeatureMap other_;
  const InputGradient other_gradient_;
  const bool relu_;
};

// Dropout with keyed randomness: whether a unit is dropped is a function of the run's seed, the
// layer's index in the network, the step, the image's index in the data set, and the unit.
class Dropout final : public Elementwise {
 public:
  Dropout(const FeatureMap& input, const FeatureMap& output, const InputGradient& input_gradient,
          const FeatureMap& output_gradient, double p, int place)
      : Elementwise(input, output, input_gradient, output_gradient),
        // A word below this drops the unit; p is at most 1 - 2^-32.
        threshold_(static_cast<uint32_t>(p * 4294967296.0)),
        scale_(static_cast<float>(1 / (1 - p))),
        place_(place) {}

 private:
  void forward_row(const Batch& batch, int64_t block, int64_t channel, int64_t y) const override {
    const float* in = input_.at(block, channel, y);
    float* out = output_.at(block, channel, y);
    if (batch.optimizer == nullptr) {  // predicting with a network that can also train
      memcpy(out, in, static_cast<size_t>(output_.shape.width) * kLanes * sizeof(float));
      return;
    }
    each_scale(batch, block, channel, y, [&](int64_t at, const float* scales) {
      for (int part = 0; part < kLanes; part += kWidth) {
        store(out + at + part, load(in + at + part) * load(scales + part));
      }
    });
  }

  void backward_row(const Batch& batch, int64_t block, int64_t channel, int64_t y) const override {
    const float* gradient = output_gradient_.at(block, channel, y);
    float* out = input_gradient_.gradient.at(block, channel, y);
    each_scale(batch, block, channel, y, [&](int64_t at, const float* scales) {
      for (int part = 0; part < kLanes; part += kWidth) {
        const Vec share = load(gradient + at + part) * load(scales + part);
        float* place = out + at + part;
        store(place, input_gradient_.add ? load(place) + share : share);
      }
    });
    input_gradient_.finish_row(block, channel, y);
  }

  // Calls `use(offset in the row, a factor for each lane)` for every unit of a row. Four
  // neighboring units share a counter.
  template <typename Function>
  void each_scale(const Batch& batch, int64_t block, int64_t channel, int64_t y,
                  const Function& use) const {
    const int64_t width = output_.shape.width;
    const int64_t first = (channel * output_.shape.height + y) * width;
    const int64_t lanes = batch.lanes_of(block);
    float scales[4][kLanes];
    for (int64_t unit = first; unit < first + width;) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t image = batch.indices[block * kLanes + (lane < lanes ? lane : 0)];
        const Philox words =
            philox({{static_cast<uint32_t>(unit / 4), static_cast<uint32_t>(image),
                     static_cast<uint32_t>(batch.step),
                     static_cast<uint32_t>(place_) ^ (static_cast<uint32_t>(image >> 32) << 16) ^
                         (static_cast<uint32_t>(batch.step >> 32) << 24)}},
                   static_cast<uint32_t>(batch.dropout_seed),
                   static_cast<uint32_t>(batch.dropout_seed >> 32));
        for (int i = 0; i < 4; ++i) {
          scales[i][lane] = words.word[i] < threshold_ ? 0.0F : scale_;
        }
      }
      for (int64_t i = unit % 4; i < 4 && unit < first + width; ++i, ++unit) {
        use((unit - first) * kLanes, scales[i]);
      }
    }
  }

  const uint32_t threshold_;
  const float scale_;
  const int place_;
};

// The same values without a border, as a vector of features.
class Flatten final : public Elementwise {
 public:
  using Elementwise::Elementwise;  // `output` is a dense map of the input's shape

 private:
  void forward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                   int64_t y) const override {
    memcpy(output_.at(block, channel, y), input_.at(block, channel, y),
           static_cast<size_t>(output_.shape.width) * kLanes * sizeof(float));
  }

  void backward_row(const Batch& /*batch*/, int64_t block, int64_t channel,
                    int64_t y) const override {
    const float* gradient = output_gradient_.at(block, channel, y);
    give(input_gradient_, block, channel, y, [&](int64_t at) { return load(gradient + at); });
  }
};

}  // namespace tenfold
