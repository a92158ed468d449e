// What every layer does: jobs forward, jobs backward, jobs that update its weights.
#pragma once

#include <stdint.h>

#include <algorithm>

#include "feature_map.h"
#include "interface.h"
#include "memory.h"
#include "optimizers.h"
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

  bool is_empty() const { return numbers_.count() == 0; }
  int64_t stride() const { return stride_; }
  const float* row(int64_t image) const { return numbers_.data() + image * stride_; }

  static int64_t jobs(const FeatureMap& map, int64_t blocks) { return blocks * pieces(map).count; }

  void fill(const FeatureMap& map, int64_t job) const {
    const Parts parts = pieces(map);
    const int64_t block = job / parts.count;
    const int64_t features = map.shape.channels;
    float* rows = numbers_.data() + block * kLanes * stride_;
    const int64_t begin = parts.begin(job % parts.count) * kLanes;
    const int64_t end = std::min(features, parts.begin(job % parts.count + 1) * kLanes);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      transpose_lanes(map.at(block, i), kLanes, rows + i, stride_);
    }
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

// What a layer keeps of a whole batch, whichever threads work on it.
struct LayerMemory {
  Array<float> slots;  // sums of gradients, one for each group of blocks
  Rows rows;

  // Slots of so many numbers for batches of up to `blocks` blocks, if there are ever several.
  template <typename Function>
  void want_slots(int64_t blocks, int64_t size, const Function& group_count) {
    if (slots.count() != 0) return;
    int64_t most = 1;
    // For each size of batch: more blocks may make fewer groups.
    for (int64_t n = 1; n <= blocks; ++n) most = std::max(most, group_count(n));
    if (most > 1) slots = Array<float>(most * size);
  }
  void want_rows(int64_t features, int64_t blocks) {
    if (rows.is_empty()) rows = Rows(features, blocks);
  }
};

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
  FeatureMap value;  // the input itself
  bool wanted = false;
  bool add = false;  // others have put their share there before
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
// complete and give that of the input, and what learn jobs will read besides. Learn jobs run in the
// phase after them, beside another layer's backward jobs: they sum the gradients of the weights,
// and give them to the optimizer. Where they sum over groups of blocks only, finish jobs put the
// groups together in the phase after that.
//
// Where a thread takes a block through the whole network, there are jobs only for what needs all
// blocks: learn jobs of layers that do not learn by block, and finish jobs.
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

  virtual int64_t learn_jobs(const Batch& /*batch*/) const { return 0; }
  virtual void learn(const Batch& /*batch*/, int64_t /*job*/, float* /*scratch*/) const {}

  virtual int64_t finish_jobs(const Batch& /*batch*/) const { return 0; }
  virtual void finish(const Batch& /*batch*/, int64_t /*job*/, float* /*scratch*/) const {}

  // Whether blocks can be taken through this layer one by one.
  virtual bool suits_blocks(int64_t /*blocks*/) const { return true; }
  virtual void forward_block(const Batch& batch, int64_t block, float* scratch) const {
    const int64_t of_block = forward_jobs(batch) / batch.blocks;
    for (int64_t i = 0; i < of_block; ++i) forward(batch, block * of_block + i, scratch);
  }
  virtual void backward_block(const Batch& batch, int64_t block, float* scratch) const {
    const int64_t of_block = backward_jobs(batch) / batch.blocks;
    for (int64_t i = 0; i < of_block; ++i) backward(batch, block * of_block + i, scratch);
  }
  virtual bool learns_by_block() const { return false; }
  virtual void learn_block(const Batch& /*batch*/, int64_t /*block*/, float* /*scratch*/) const {}

  // Floats of scratch memory that a job may use.
  virtual int64_t scratch_size() const { return 0; }
};

// Some blocks of a batch, and some rows of their pixels.
struct Region {
  int64_t block;
  int64_t blocks;
  int64_t row;
  int64_t rows;
};

// The sum of numbers that are kLanes apart, in four chains at once: a single one would wait for
// each addition.
template <typename Function>
Vec sum_of_row(int64_t count, const Function& number) {
  Vec sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sums[j] = sums[j] + number((i + j) * kLanes);
  }
  for (; i < count; ++i) sums[0] = sums[0] + number(i * kLanes);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// The sum of a channel's gradients over a region.
inline float sum_of_channel(const FeatureMap& map, const Region& region, int64_t channel) {
  float lanes[kLanes];
  for (int part = 0; part < kParts; ++part) {
    Vec sum = zero();
    for (int64_t block = region.block; block < region.block + region.blocks; ++block) {
      Vec sum_of_block = zero();
      for (int64_t y = region.row; y < region.row + region.rows; ++y) {
        const float* row = map.at(block, channel, y) + part * kWidth;
        sum_of_block =
            sum_of_block + sum_of_row(map.shape.width, [&](int64_t at) { return load(row + at); });
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
// The same for jobs that only walk through memory, in vectors.
constexpr int64_t kSmallestWalk = 1000;

// How the pixels of a map are shared out: blocks, then bands of rows, then, where these are too
// few, channels. All layers cut in this order, so a thread finds in its cache what it made of the
// same place in the layer before.
class Grid {
 public:
  // `cost`: of a block; channels are cut in multiples of `unit` only.
  Grid(const Shape& shape, int64_t cost, int64_t smallest, int64_t unit = 1)
      : unit_(unit), channels_(shape.channels) {
    const int64_t wanted = std::clamp<int64_t>(cost / smallest, 1, kMostJobsOfBlock);
    bands_ = Parts(shape.height, (shape.height + wanted - 1) / wanted);
    const int64_t units = (channels_ + unit - 1) / unit;
    const int64_t parts = std::clamp<int64_t>(wanted / bands_.count, 1, units);
    parts_ = Parts(units, (units + parts - 1) / parts);
  }

  int64_t jobs(int64_t blocks) const { return blocks * bands_.count * parts_.count; }

  struct Place {
    int64_t block;
    int64_t row;
    int64_t row_end;
    int64_t channel;
    int64_t channel_end;
  };

  Place place(int64_t job) const {
    const int64_t part = job % parts_.count;
    const int64_t band = job / parts_.count % bands_.count;
    return {job / parts_.count / bands_.count, bands_.begin(band), bands_.begin(band + 1),
            std::min(parts_.begin(part) * unit_, channels_),
            std::min(parts_.begin(part + 1) * unit_, channels_)};
  }

 private:
  static constexpr int64_t kMostJobsOfBlock = 16;

  Parts bands_{1, 1};
  Parts parts_{1, 1};
  int64_t unit_;
  int64_t channels_;
};

// A sum over a batch is made of at most so many sums, each over a group of blocks.
constexpr int64_t kMostGroups = 8;

class Groups {
 public:
  explicit Groups(int64_t blocks) : parts_(blocks, (blocks + kMostGroups - 1) / kMostGroups) {}
  int64_t count() const { return parts_.count; }
  int64_t begin(int64_t group) const { return parts_.begin(group); }
  int64_t end(int64_t group) const { return parts_.begin(group + 1); }

 private:
  Parts parts_;
};

constexpr int64_t kFinishPiece = 1024;

// A finish job: adds a piece of the groups' sums, each a slot of weights and then biases, in their
// order, and gives it to the optimizer.
inline void finish_slots(const float* slots, int64_t groups, int64_t weights, int weight,
                         int64_t slot_size, int bias, int64_t job, const Optimizer& optimizer,
                         float* sum) {
  const Parts pieces(slot_size, kFinishPiece);
  const int64_t begin = pieces.begin(job);
  const int64_t size = pieces.size(job);
  for (int64_t i = 0; i < size; ++i) {
    float total = slots[begin + i];
    for (int64_t group = 1; group < groups; ++group) total += slots[group * slot_size + begin + i];
    sum[i] = total;
  }
  const int64_t of_weight = std::clamp<int64_t>(weights - begin, 0, size);
  if (of_weight > 0) optimizer.take(weight, begin, sum, of_weight);
  if (of_weight < size) {
    optimizer.take(bias, begin + of_weight - weights, sum + of_weight, size - of_weight);
  }
}

}  // namespace tenfold
