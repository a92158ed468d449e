// Batch normalization (Ioffe and Szegedy, arXiv:1502.03167).
//
// A job is one channel: its mean and variance need all images of the batch but no other channel.
#pragma once

#include <math.h>
#include <stdint.h>

#include "layer.h"
#include "memory.h"

namespace tenfold {

class BatchNorm final : public Layer {
 public:
  struct Tensors {
    int weight;
    int bias;
    int running_mean;
    int running_var;
  };

  BatchNorm(const FeatureMap& input, const FeatureMap& output, const InputGradient& input_gradient,
            const FeatureMap& output_gradient, const Tensors& tensors, double eps, double momentum,
            bool relu)
      : input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        tensors_(tensors),
        eps_(eps),
        momentum_(momentum),
        relu_(relu),
        means_(input.shape.channels),
        scales_(input.shape.channels),
        sums_(input.shape.channels) {}

  int64_t forward_jobs(const Batch& /*batch*/) const override { return input_.shape.channels; }

  void forward(const Batch& batch, int64_t channel, float* /*scratch*/) const override {
    if (batch.optimizer != nullptr) take_statistics(batch, channel);
    normalize(batch, channel, 0, batch.blocks);
  }

  // In training, a channel needs all blocks at once.
  bool suits_blocks(int64_t /*blocks*/) const override { return output_gradient_.data == nullptr; }
  void forward_block(const Batch& batch, int64_t block, float* /*scratch*/) const override {
    for (int64_t channel = 0; channel < input_.shape.channels; ++channel) {
      normalize(batch, channel, block, block + 1);
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return input_gradient_.wanted ? forward_jobs(batch) : 0;
  }

  // With x' = (x - mean) / deviation, the gradient of x is
  // weight / deviation * (g - mean of g - x' * mean of (g x')).
  void backward(const Batch& batch, int64_t channel, float* /*scratch*/) const override {
    const FeatureMap& gradient = input_gradient_.gradient;
    const auto count = static_cast<double>(batch.images * input_.shape.pixels());
    sum_gradients(batch, channel);
    const Sums sums = sums_[channel];
    const float weight = batch.tensors[tensors_.weight].value[channel];
    const Vec mean = broadcast(means_[channel]);
    const Vec scale = broadcast(scales_[channel]);
    const Vec mean_gradient = broadcast(static_cast<float>(sums.gradient / count));
    const Vec mean_product = broadcast(static_cast<float>(sums.product / count));
    const Vec factor = broadcast(weight * scales_[channel]);
    for (int64_t block = 0; block < batch.blocks; ++block) {
      if (!input_gradient_.add) gradient.clear_border(block, channel);
      float used[kLanes];
      fill_used(batch, block, used);
      for (int y = 0; y < input_.shape.height; ++y) {
        const float* in = input_.at(block, channel, y);
        const float* g = output_gradient_.at(block, channel, y);
        float* out = gradient.at(block, channel, y);
        for (int64_t at = 0; at < row_length(); at += kWidth) {
          const Vec normal = (load(in + at) - mean) * scale;
          const Vec rest = fnma(normal, mean_product, load(g + at) - mean_gradient);
          // Select instead of multiplying by 0: an unused lane must be 0 even if it holds NaN.
          const Vec share = select(zero() < load(used + at % kLanes), factor * rest, zero());
          store(out + at, input_gradient_.add ? load(out + at) + share : share);
        }
        input_gradient_.finish_row(block, channel, y);
      }
    }
  }

  int64_t learn_jobs(const Batch& batch) const override { return forward_jobs(batch); }

  void learn(const Batch& batch, int64_t channel, float* /*scratch*/) const override {
    if (!input_gradient_.wanted) sum_gradients(batch, channel);
    const Sums sums = sums_[channel];
    const auto weight = static_cast<float>(sums.product);
    const auto bias = static_cast<float>(sums.gradient);
    batch.optimizer->take(tensors_.weight, channel, &weight, 1);
    batch.optimizer->take(tensors_.bias, channel, &bias, 1);
  }

 private:
  int64_t row_length() const { return int64_t{kLanes} * input_.shape.width; }

  static void fill_used(const Batch& batch, int64_t block, float* used) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      used[lane] = lane < batch.lanes_of(block) ? 1.0F : 0.0F;
    }
  }

  // Sums `term(block, y, at)` over a channel's pixels and images: each row in single precision, the
  // rows in double.
  template <typename Function>
  double sum_rows(const Batch& batch, const Function& term) const {
    double sum = 0;
    for (int64_t block = 0; block < batch.blocks; ++block) {
      float used[kLanes];
      fill_used(batch, block, used);
      for (int y = 0; y < input_.shape.height; ++y) {
        float lanes[kLanes];
        for (int part = 0; part < kLanes; part += kWidth) {
          const Vec sum =
              sum_of_row(input_.shape.width, [&](int64_t at) { return term(block, y, at + part); });
          store(lanes + part, select(zero() < load(used + part), sum, zero()));
        }
        sum += static_cast<double>(sum_lanes(lanes));
      }
    }
    return sum;
  }

  void take_statistics(const Batch& batch, int64_t channel) const {
    const auto count = static_cast<double>(batch.images * input_.shape.pixels());
    const double mean =
        sum_rows(batch, [&](int64_t block, int y,
                            int64_t at) { return load(input_.at(block, channel, y) + at); }) /
        count;
    const Vec center = broadcast(static_cast<float>(mean));
    const double squares = sum_rows(batch, [&](int64_t block, int y, int64_t at) {
      const Vec distance = load(input_.at(block, channel, y) + at) - center;
      return distance * distance;
    });
    means_[channel] = static_cast<float>(mean);
    scales_[channel] = static_cast<float>(1 / sqrt(squares / count + eps_));
    float& running_mean = batch.tensors[tensors_.running_mean].value[channel];
    float& running_var = batch.tensors[tensors_.running_var].value[channel];
    running_mean =
        static_cast<float>((1 - momentum_) * static_cast<double>(running_mean) + momentum_ * mean);
    running_var = static_cast<float>((1 - momentum_) * static_cast<double>(running_var) +
                                     momentum_ * squares / (count - 1));
  }

  void normalize(const Batch& batch, int64_t channel, int64_t begin, int64_t end) const {
    float center = means_[channel];
    float spread = scales_[channel];
    if (batch.optimizer == nullptr) {
      center = batch.tensors[tensors_.running_mean].value[channel];
      const double variance = batch.tensors[tensors_.running_var].value[channel];
      spread = static_cast<float>(1 / sqrt(variance + eps_));
    }
    const Vec mean = broadcast(center);
    const Vec scale = broadcast(spread * batch.tensors[tensors_.weight].value[channel]);
    const Vec bias = broadcast(batch.tensors[tensors_.bias].value[channel]);
    for (int64_t block = begin; block < end; ++block) {
      output_.clear_border(block, channel);
      for (int y = 0; y < input_.shape.height; ++y) {
        const float* in = input_.at(block, channel, y);
        float* out = output_.at(block, channel, y);
        for (int64_t at = 0; at < row_length(); at += kWidth) {
          const Vec value = fma(load(in + at) - mean, scale, bias);
          store(out + at, relu_ ? positive_part(value) : value);
        }
      }
    }
  }

  struct Sums {
    double gradient;
    double product;  // of the gradient and the normalized input
  };

  void sum_gradients(const Batch& batch, int64_t channel) const {
    const Vec mean = broadcast(means_[channel]);
    const Vec scale = broadcast(scales_[channel]);
    Sums& sums = sums_[channel];
    sums.gradient = sum_rows(batch, [&](int64_t block, int y, int64_t at) {
      return load(output_gradient_.at(block, channel, y) + at);
    });
    sums.product = sum_rows(batch, [&](int64_t block, int y, int64_t at) {
      const Vec normal = (load(input_.at(block, channel, y) + at) - mean) * scale;
      return load(output_gradient_.at(block, channel, y) + at) * normal;
    });
  }

  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const Tensors tensors_;
  const double eps_;
  const double momentum_;
  const bool relu_;
  // For the current batch, by channel.
  const Array<float> means_;
  const Array<float> scales_;
  const Array<Sums> sums_;
};

}  // namespace tenfold
