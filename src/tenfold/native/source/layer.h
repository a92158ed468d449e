// The interface of a layer: forward jobs, backward jobs, and jobs that update its weights.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "feature_map.h"
#include "interface.h"
#include "memory.h"
#include "optimizers.h"
#include "tile.h"

namespace tenfold {

// The values of a map as rows, one per image.
class Rows {
 public:
  Rows() = default;
  Rows(int64_t features, int64_t blocks) {
    // An odd number of cache lines: rows a power of two apart would compete for a few lines.
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
  // Pieces of whole cache lines.
  static Parts pieces(const FeatureMap& map) {
    return {(map.shape.channels + kLanes - 1) / kLanes, 32};
  }

  Array<float> numbers_;
  int64_t stride_ = 0;
};

// A layer's memory for a whole batch, shared by all threads.
struct LayerMemory {
  Array<float> slots;  // sums of gradients, one slot per group of blocks
  Rows rows;
  // The chains of sums that are computed one by one, and how many of them are done, by job place.
  Array<float> chains;
  std::unique_ptr<std::atomic<int64_t>[]> done;
  int64_t done_count = 0;

  // Allocates slots of `size` floats for up to `blocks` blocks, unless one group is always enough.
  template <typename Function>
  void want_slots(int64_t blocks, int64_t size, const Function& group_count) {
    if (slots.count() != 0) return;
    int64_t most = 1;
    // Try every number of blocks: more blocks may make fewer groups.
    for (int64_t n = 1; n <= blocks; ++n) most = std::max(most, group_count(n));
    if (most > 1) slots = Array<float>(most * size);
  }
  void want_chains(int64_t size, int64_t parts) {
    if (chains.count() != 0) return;
    chains = Array<float>(size);
    done = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(parts));
    done_count = parts;
    restart();
  }
  // A process that was forked during a step has inherited its counts.
  void restart() const {
    for (int64_t i = 0; i < done_count; ++i) done[static_cast<size_t>(i)] = 0;
  }
  void want_rows(int64_t features, int64_t blocks) {
    if (rows.is_empty()) rows = Rows(features, blocks);
  }
};

// The images currently in the network.
struct Batch {
  int64_t images;
  int64_t blocks;
  const TenfoldTensor* tensors;
  // In training:
  const int64_t* indices = nullptr;         // of the images in the data set
  const TenfoldChanges* changes = nullptr;  // one per image; null without augmentation
  int64_t step = 0;
  uint64_t dropout_seed = 0;
  const Optimizer* optimizer = nullptr;

  int64_t lanes_of(int64_t block) const {
    return block + 1 < blocks ? kLanes : images - block * kLanes;
  }
};

// Where a layer writes the gradient of its input. If several layers read the input, each adds its
// share, and the last one applies the mask of the input's own ReLU (`cut`).
struct InputGradient {
  FeatureMap gradient;
  FeatureMap value;  // the input itself
  bool wanted = false;
  bool add = false;  // other layers have already written their share
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

// Jobs of the same kind are independent. Backward jobs read the complete gradient of the output and
// write that of the input, and anything else that learn jobs will read. Learn jobs run in the next
// phase, alongside another layer's backward jobs: they sum the gradients of the weights and pass
// them to the optimizer. If they sum by groups of blocks, finish jobs add up the groups in the
// phase after that.
//
// If a thread takes a block through the whole network, jobs exist only for work that needs all
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

  // Whether blocks can pass through this layer one by one.
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

  // Scratch memory for a job, in floats.
  virtual int64_t scratch_size() const { return 0; }
};

// Some blocks of a batch, and some rows of their pixels.
struct Region {
  int64_t block;
  int64_t blocks;
  int64_t row;
  int64_t rows;
};

// The sum of vectors kLanes apart, in four chains: a single chain would wait for each addition.
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

// Maximum number of products in one chain. Longer chains would lose accuracy, so longer sums are
// split into several chains.
constexpr int64_t kLongestChain = 512;

// Job sizes in vector products; smaller jobs are not worth distributing.
constexpr int64_t kSmallestJob = 6000;
constexpr int64_t kLargestJob = 100000;
// The smallest size of a job that only moves memory, in vectors.
constexpr int64_t kSmallestWalk = 1000;

// Divides a map into jobs: by block, then by bands of rows, then, if there are too few of those, by
// channels. All layers use this order, so a thread finds its own output of the previous layer in
// its cache.
class Grid {
 public:
  // `cost`: of a block; channels are divided into multiples of `unit`.
  Grid(const Shape& shape, int64_t cost, int64_t smallest, int64_t unit = 1)
      : unit_(unit), channels_(shape.channels) {
    int64_t wanted = 1;  // a power of two, to be divided equally among most numbers of threads
    while (2 * wanted <= std::min(cost / smallest, kMostJobsOfBlock)) wanted *= 2;
    bands_.count = std::min<int64_t>(wanted, shape.height);
    bands_.n = shape.height;
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

// Maximum number of groups of blocks; a sum over a batch is the sum over its groups.
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

// A finish job: adds up one piece of all groups' slots, in order, and passes it to the optimizer. A
// slot contains weights, then biases.
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
