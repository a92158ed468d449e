// What every layer does: jobs forward, jobs backward, jobs that update its weights.
#pragma once

#include <stdint.h>

#include "feature_map.h"
#include "interface.h"
#include "optimizers.h"

namespace tenfold {

// The images that are in the network now.
struct Batch {
  int64_t images;
  int64_t blocks;
  const TenfoldTensor* tensors;
  // In training:
  const int64_t* indices = nullptr;  // of the images in the data set
  int64_t step = 0;
  uint64_t dropout_seed = 0;
  const Optimizer* optimizer = nullptr;

  int64_t lanes_of(int64_t block) const {
    return block + 1 < blocks ? kLanes : images - block * kLanes;
  }
};

// Where a layer puts the gradient of its input. An input that several layers read gets a share
// from each; the last of them cuts off what the input's own ReLU did not let pass.
struct InputGradient {
  FeatureMap gradient;
  FeatureMap value;   // the input itself
  bool wanted = false;
  bool add = false;   // others have put their share there before
  bool cut = false;

  void finish_row(int64_t block, int64_t channel, int64_t y) const {
    if (!cut) return;
    float* g = gradient.at(block, channel, y);
    const float* v = value.at(block, channel, y);
    for (int64_t i = 0; i < int64_t{kLanes} * gradient.shape.width; i += kWidth) {
      store(g + i, passed(load(v + i), load(g + i)));
    }
  }
};

// Jobs of one kind need nothing of each other. Backward jobs find the gradient of the output
// complete and give that of the input; update jobs run later, beside other layers' backward jobs.
class Layer {
 public:
  Layer() = default;
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  virtual int64_t forward_jobs(const Batch& batch) const = 0;
  virtual void forward(const Batch& batch, int64_t job, float* scratch) const = 0;

  virtual int64_t backward_jobs(const Batch& /*batch*/) const { return 0; }
  virtual void backward(const Batch& /*batch*/, int64_t /*job*/, float* /*scratch*/) const {}

  virtual int64_t update_jobs(const Batch& /*batch*/) const { return 0; }
  virtual void update(const Batch& /*batch*/, int64_t /*job*/, float* /*scratch*/) const {}

  // Floats of scratch memory that a job may use.
  virtual int64_t scratch_size() const { return 0; }
};

// The sum of a channel's gradients over all pixels and images.
inline float sum_of_channel(const FeatureMap& map, int64_t blocks, int64_t channel) {
  float lanes[kLanes];
  for (int part = 0; part < kParts; ++part) {
    Vec sum = zero();
    for (int64_t block = 0; block < blocks; ++block) {
      Vec sum_of_block = zero();
      for (int y = 0; y < map.shape.height; ++y) {
        const float* row = map.at(block, channel, y) + part * kWidth;
        Vec sum_of_row = zero();
        for (int x = 0; x < map.shape.width; ++x) sum_of_row = sum_of_row + load(row + x * kLanes);
        sum_of_block = sum_of_block + sum_of_row;
      }
      sum = sum + sum_of_block;
    }
    store(lanes + part * kWidth, sum);
  }
  return sum_lanes(lanes);
}

// Products in one chain of a sum: longer chains would lose accuracy, so a sum of more products is
// made of several chains.
constexpr int64_t kLongestChain = 512;

// Jobs smaller than this, in products of vectors, are not worth sharing out.
constexpr int64_t kSmallestJob = 6000;
constexpr int64_t kLargestJob = 100000;

}  // namespace tenfold
