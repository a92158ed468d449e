// The linear layer, and any convolution whose kernel covers the whole image.
//
// Forward and for the gradient of the input, rows of the product are features and columns are
// blocks. For the gradient of the weights the columns are features too, so one of the factors has
// to lie in rows, an image each; the gradient of a tile of weights then goes to the optimizer while
// it is still in the cache, which spares large layers a walk through memory.
#pragma once

#include <stdint.h>

#include <algorithm>

#include "layer.h"
#include "memory.h"
#include "tile.h"

namespace tenfold {

// The numbers of a map as rows, one for each image.
class Rows {
 public:
  Rows() = default;
  Rows(int64_t features, int64_t blocks) {
    // An odd number of cache lines: rows a power of two apart would share a few lines of the cache.
    const int64_t lines = (features + kLanes - 1) / kLanes;
    stride_ = (lines | 1) * kLanes;
    numbers_ = Array<float>(stride_ * blocks * kLanes);
  }

  int64_t stride() const { return stride_; }
  const float* row(int64_t image) const { return numbers_.data() + image * stride_; }

  static int64_t jobs(const FeatureMap& map, int64_t blocks) {
    return blocks * pieces(map).count;
  }

  void fill(const FeatureMap& map, int64_t job) const {
    const Parts parts = pieces(map);
    const int64_t block = job / parts.count;
    const int64_t features = map.shape.channels;
    float* rows = numbers_.data() + block * kLanes * stride_;
    const int64_t begin = parts.begin(job % parts.count) * kLanes;
    const int64_t end = std::min(features, parts.begin(job % parts.count + 1) * kLanes);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) lanes_to_rows(map.at(block, i), rows + i, stride_);
    for (; i < end; ++i) {
      const float* lanes = map.at(block, i);
      for (int64_t lane = 0; lane < kLanes; ++lane) rows[lane * stride_ + i] = lanes[lane];
    }
  }

 private:
  // In pieces of whole cache lines.
  static Parts pieces(const FeatureMap& map) {
    return {(map.shape.channels + kLanes - 1) / kLanes, 32};
  }

  Array<float> numbers_;
  int64_t stride_ = 0;
};

class Linear : public Layer {
 public:
  // `blocks`: of the largest batch; 0 where nothing is trained.
  Linear(const FeatureMap& input, const FeatureMap& output, const InputGradient& input_gradient,
         const FeatureMap& output_gradient, int weight, int bias, bool transposed, bool relu,
         int64_t blocks)
      : input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        weight_(weight),
        bias_(bias),
        transposed_(transposed),
        relu_(relu),
        inputs_(input.shape.channels),
        outputs_(output.shape.channels) {
    if (blocks > 0) rows_ = Rows(transposed ? outputs_ : inputs_, blocks);
  }

  int64_t forward_jobs(const Batch& batch) const override {
    return product_jobs(batch, outputs_) + (in_training(batch) && !transposed_
                                                ? Rows::jobs(input_, batch.blocks)
                                                : 0);
  }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    if (job >= product_jobs(batch, outputs_)) {
      rows_.fill(input_, job - product_jobs(batch, outputs_));
      return;
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value;
    p.left_row = transposed_ ? 1 : inputs_;
    p.left_step = transposed_ ? outputs_ : 1;
    p.start = bias_ < 0 ? nullptr : batch.tensors[bias_].value;
    multiply(batch, job, p, input_, output_, outputs_, inputs_, kForwardChain, relu_);
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return input_jobs(batch) + (transposed_ ? Rows::jobs(output_gradient_, batch.blocks) : 0);
  }

  void backward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    if (job >= input_jobs(batch)) {
      rows_.fill(output_gradient_, job - input_jobs(batch));
      return;
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value;
    p.left_row = transposed_ ? outputs_ : 1;
    p.left_step = transposed_ ? 1 : inputs_;
    p.add = input_gradient_.add;
    multiply(batch, job, p, output_gradient_, input_gradient_.gradient, inputs_, outputs_,
             kBackwardChain, false);
    const JobPlace place(batch, job, inputs_);
    for (int64_t block = place.block; block < place.block + place.blocks; ++block) {
      for (int64_t row = place.row; row < place.row + place.rows; ++row) {
        input_gradient_.finish_row(block, row, 0);
      }
    }
  }

  int64_t update_jobs(const Batch& /*batch*/) const override {
    return Parts(weight_rows(), kUpdateRows).count * Parts(weight_columns(), kUpdateColumns).count;
  }

  void update(const Batch& batch, int64_t job, float* scratch) const override {
    const Parts down(weight_rows(), kUpdateRows);
    const Parts across(weight_columns(), kUpdateColumns);
    const int64_t part = job % across.count;
    const int64_t first = down.begin(job / across.count);
    const int64_t count = down.size(job / across.count);
    const int64_t begin = across.begin(part);
    const int64_t size = across.size(part);
    const int64_t stride = (size + kLanes - 1) / kLanes * kLanes;
    sum_gradients(batch, first, count, begin, stride, scratch);
    for (int64_t i = 0; i < count; ++i) {
      batch.optimizer->take(weight_, (first + i) * weight_columns() + begin, scratch + i * stride,
                            size);
    }
    if (bias_ < 0 || (transposed_ ? first : begin) != 0) return;
    const int64_t first_bias = transposed_ ? begin : first;
    const int64_t biases = transposed_ ? size : count;
    for (int64_t i = first_bias; i < first_bias + biases; ++i) {
      const float sum = sum_of_channel(output_gradient_, batch.blocks, i);
      batch.optimizer->take(bias_, i, &sum, 1);
    }
  }

  int64_t scratch_size() const override { return kUpdateRows * kUpdateColumns; }

 private:
  // Short enough that what `right` gives stays in the first cache for all rows of a job.
  static constexpr int64_t kForwardChain = 128;
  // And that walking down the columns of the weights does not touch too many pages.
  static constexpr int64_t kBackwardChain = 32;
  static constexpr int64_t kBlocksOfJob = 4;
  static constexpr int64_t kUpdateRows = kMostRows;
  static constexpr int64_t kUpdateColumns = 512;

  static bool in_training(const Batch& batch) { return batch.optimizer != nullptr; }

  int64_t weight_rows() const { return transposed_ ? inputs_ : outputs_; }
  int64_t weight_columns() const { return transposed_ ? outputs_ : inputs_; }

  // Jobs take some features of up to four blocks.
  static Parts rows_of_jobs(const Batch& batch, int64_t rows) {
    return {rows, 48 / std::min(batch.blocks, kBlocksOfJob)};
  }

  static int64_t product_jobs(const Batch& batch, int64_t rows) {
    return rows_of_jobs(batch, rows).count * Parts(batch.blocks, kBlocksOfJob).count;
  }

  int64_t input_jobs(const Batch& batch) const {
    return input_gradient_.wanted ? product_jobs(batch, inputs_) : 0;
  }

  struct JobPlace {
    int64_t row;
    int64_t rows;
    int64_t block;
    int64_t blocks;
    JobPlace(const Batch& batch, int64_t job, int64_t all_rows) {
      const Parts down = rows_of_jobs(batch, all_rows);
      const Parts across(batch.blocks, kBlocksOfJob);
      row = down.begin(job / across.count);
      rows = down.size(job / across.count);
      block = across.begin(job % across.count);
      blocks = across.size(job % across.count);
    }
  };

  // A job's share of a product whose columns are blocks, in chains of at most `longest`.
  static void multiply(const Batch& batch, int64_t job, TileProduct p, const FeatureMap& from,
                       const FeatureMap& to, int64_t rows, int64_t terms, int64_t longest,
                       bool relu) {
    const JobPlace place(batch, job, rows);
    const TileSize tile = best_tile(place.rows, place.blocks);
    const Parts chains(terms, longest);
    const Run run{0, 0};
    const float* left = p.left + place.row * p.left_row;
    if (p.start != nullptr) p.start += place.row;
    p.right_column = from.block;
    p.right_step = kLanes;
    p.runs = &run;
    p.run_count = 1;
    p.out_row = kLanes;
    p.out_column = to.block;
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      p.left = left + chains.begin(chain) * p.left_step;
      p.run_length = chains.size(chain);
      p.relu = relu && chain + 1 == chains.count;
      for (int at = 0; at < kLanes; at += kWidth) {
        p.right = from.at(place.block, chains.begin(chain)) + at;
        p.out = to.at(place.block, place.row) + at;
        product(p, place.rows, place.blocks, tile);
      }
      p.add = true;
    }
  }

  // gradient[row][column] = sum over images of one factor's lane and the other's row.
  void sum_gradients(const Batch& batch, int64_t first, int64_t count, int64_t begin,
                     int64_t stride, float* gradient) const {
    const FeatureMap& factor = transposed_ ? input_ : output_gradient_;
    const TileSize tile = best_tile(count, stride / kWidth);
    const int64_t full = batch.images / kLanes;
    TileProduct p{};
    p.left_row = kLanes;
    p.left_step = 1;
    p.right_column = kWidth;
    p.right_step = rows_.stride();
    p.out = gradient;
    p.out_row = stride;
    p.out_column = kWidth;
    p.run_count = 1;
    const Run run{0, 0};
    p.runs = &run;
    for (int64_t block = 0; block < batch.blocks; ++block) {
      p.left = factor.at(block, first);
      p.right = rows_.row(block * kLanes) + begin;
      p.run_length = block < full ? kLanes : batch.lanes_of(block);
      product(p, count, stride / kWidth, tile);
      p.add = true;
    }
  }

  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const int weight_;
  const int bias_;
  const bool transposed_;
  const bool relu_;
  const int64_t inputs_;
  const int64_t outputs_;
  Rows rows_;  // of the input; where the weight is transposed, of the output's gradient
};

}  // namespace tenfold
