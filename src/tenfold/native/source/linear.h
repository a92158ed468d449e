// The linear layer, and any convolution whose kernel covers the whole image.
//
// In the forward pass and for the gradient of the input, rows of the product are features and
// columns are blocks. For the gradient of the weights, columns are features too, so one factor must
// be stored in rows, one per image. Each tile of that gradient goes to the optimizer while it is
// still in the cache, which saves large layers a pass over memory.
#pragma once

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "layer.h"
#include "memory.h"
#include "tile.h"

namespace tenfold {

class Linear final : public Layer {
 public:
  // `blocks`: in the largest batch; 0 for prediction only.
  Linear(const FeatureMap& input, const FeatureMap& output, const InputGradient& input_gradient,
         const FeatureMap& output_gradient, int weight, int bias, bool transposed, bool relu,
         int64_t blocks, LayerMemory& memory)
      : input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        weight_(weight),
        bias_(bias),
        transposed_(transposed),
        relu_(relu),
        memory_(memory),
        inputs_(input.shape.channels),
        outputs_(output.shape.channels) {
    if (blocks == 0) return;
    if (input_gradient.wanted && !transposed && is_cached()) {
      memory.want_chains(row_chains().count * kLanes * whole_vectors(), backward_rows(1).count);
    }
    memory.want_rows(transposed ? outputs_ : inputs_, blocks);
    memory.want_slots(blocks, slot_size(), [this](int64_t n) { return group_count(n); });
  }

  int64_t forward_jobs(const Batch& batch) const override {
    return output_jobs(batch) + fill_jobs(batch);
  }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    // Half of the fill jobs are first and half are last, so that threads have equal shares of both
    // kinds.
    const int64_t first = fill_jobs(batch) / 2;
    if (job < first) return memory_.rows.fill(input_, job);
    job -= first;
    if (job >= output_jobs(batch)) {
      return memory_.rows.fill(input_, first + job - output_jobs(batch));
    }
    multiply_forward(batch, JobPlace(batch, job, forward_rows(batch.blocks)));
  }

  int64_t backward_jobs(const Batch& batch) const override {
    return input_jobs(batch) + (transposed_ ? Rows::jobs(output_gradient_, batch.blocks) : 0);
  }

  void backward(const Batch& batch, int64_t job, float* scratch) const override {
    if (job >= input_jobs(batch)) {
      memory_.rows.fill(output_gradient_, job - input_jobs(batch));
      return;
    }
    if (goes_back_in_rows(batch) && is_cached()) {
      run_chain_in_rows(batch, job, scratch);
    } else if (goes_back_in_rows(batch)) {
      run_chains_in_rows(batch, job, scratch);
    } else {
      multiply_backward(batch, backward_place(batch, job));
    }
  }

  // As long as its weights stay in the L2 cache from one block to the next.
  bool suits_blocks(int64_t /*blocks*/) const override { return is_cached(); }

  void forward_block(const Batch& batch, int64_t block, float* /*scratch*/) const override {
    multiply_forward(batch, JobPlace(outputs_, block));
    if (!in_training(batch) || transposed_) return;
    const int64_t pieces = Rows::jobs(input_, 1);
    for (int64_t i = 0; i < pieces; ++i) memory_.rows.fill(input_, block * pieces + i);
  }

  void backward_block(const Batch& batch, int64_t block, float* scratch) const override {
    if (input_gradient_.wanted && goes_back_in_rows(batch)) {
      for (int64_t part = 0; part < backward_rows(1).count; ++part) {
        run_chains_in_rows(batch, part, scratch);
      }
    } else if (input_gradient_.wanted) {
      multiply_backward(batch, JobPlace(inputs_, block));
    }
    if (!transposed_) return;
    const int64_t pieces = Rows::jobs(output_gradient_, 1);
    for (int64_t i = 0; i < pieces; ++i) memory_.rows.fill(output_gradient_, block * pieces + i);
  }

  int64_t learn_jobs(const Batch& batch) const override {
    return group_count(batch.blocks) * Tiling(*this, batch.blocks).count();
  }

  void learn(const Batch& batch, int64_t job, float* scratch) const override {
    const int64_t groups = group_count(batch.blocks);
    const Tiling tiling(*this, batch.blocks);
    const int64_t group = job / tiling.count();
    const Part part(*this, tiling, job % tiling.count());
    Region region{0, batch.blocks, 0, 1};
    if (groups > 1) {
      region.block = Groups(batch.blocks).begin(group);
      region.blocks = Groups(batch.blocks).end(group) - region.block;
    }
    float* slot = memory_.slots.data() + group * slot_size();
    // A few rows at a time, so that their gradients stay in the L1 cache. If they go straight to
    // the optimizer, the next weights are prefetched meanwhile.
    const Parts pieces(part.rows, update_tile_.rows);
    for (int64_t piece = 0; piece < pieces.count; ++piece) {
      const int64_t row = part.row + pieces.begin(piece);
      sum_gradients(batch, region, part, row, pieces.size(piece), scratch);
      const int64_t ahead = groups == 1 ? to_next(tiling, job % tiling.count(), pieces, piece) : 0;
      for (int64_t i = 0; i < pieces.size(piece); ++i) {
        const int64_t offset = (row + i) * weight_columns() + part.column;
        const float* gradient = scratch + i * part.stride;
        if (groups == 1) {
          batch.optimizer->take(weight_, offset, gradient, part.columns, ahead);
        } else {
          memcpy(slot + offset, gradient, static_cast<size_t>(part.columns) * sizeof(float));
        }
      }
    }
    for (int64_t i = part.bias; i < part.bias_end; ++i) {
      const float sum = sum_of_channel(output_gradient_, region, i);
      if (groups == 1) {
        batch.optimizer->take(bias_, i, &sum, 1);
      } else {
        slot[inputs_ * outputs_ + i] = sum;
      }
    }
  }

  int64_t finish_jobs(const Batch& batch) const override {
    return group_count(batch.blocks) > 1 ? Parts(slot_size(), kFinishPiece).count : 0;
  }

  void finish(const Batch& batch, int64_t job, float* scratch) const override {
    finish_slots(memory_.slots.data(), group_count(batch.blocks), inputs_ * outputs_, weight_,
                 slot_size(), bias_, job, *batch.optimizer, scratch);
  }

  int64_t scratch_size() const override { return std::max(kWeightsOfPart, kColumnsOfJob * kLanes); }

 private:
  // Short enough that the vectors of `right` stay in the L1 cache for all rows of a job.
  static constexpr int64_t kForwardChain = 128;
  // Also short enough that walking down the columns of the weights does not touch too many pages.
  static constexpr int64_t kBackwardChain = 64;
  static constexpr int64_t kBlocksOfJob = 4;
  // Backward, for one block: features per job, whose sums stay in the L1 or L2 cache, and outputs
  // summed before the sums are stored.
  static constexpr int64_t kColumnsOfJob = 640;
  static constexpr int64_t kRowsChain = 32;
  // Weights in the tile of one learn job.
  static constexpr int64_t kWeightsOfPart = 12 * 512;

  static bool in_training(const Batch& batch) { return batch.optimizer != nullptr; }

  int64_t weight_rows() const { return transposed_ ? inputs_ : outputs_; }
  int64_t weight_columns() const { return transposed_ ? outputs_ : inputs_; }
  int64_t slot_size() const { return inputs_ * outputs_ + (bias_ < 0 ? 0 : outputs_); }
  // Whether the weights stay in the L2 cache from one use to the next.
  bool is_cached() const { return slot_size() <= 100000; }

  // With few weights and many images, each thread sums over the images in its cache.
  int64_t group_count(int64_t blocks) const {
    const int64_t groups = Groups(blocks).count();
    return groups * slot_size() <= blocks * kLanes * (inputs_ + outputs_) ? groups : 1;
  }

  // Divides the weights into tiles for learn jobs. With several blocks, a tile has enough rows to
  // reuse the images' columns while they are in the L1 cache; with one block, its rows are long.
  // Columns are divided into whole cache lines.
  struct Tiling {
    Parts down;
    Parts across;
    Tiling(const Linear& layer, int64_t blocks)
        : down(layer.weight_rows(), rows_of_part(blocks)),
          across((layer.weight_columns() + kLanes - 1) / kLanes,
                 kWeightsOfPart / rows_of_part(blocks) / kLanes) {}
    static int64_t rows_of_part(int64_t blocks) { return blocks > 1 ? 4 * kMostRows : kMostRows; }
    int64_t count() const { return down.count * across.count; }
  };

  // A tile of the weights and its biases.
  struct Part {
    int64_t row;
    int64_t rows;
    int64_t column;
    int64_t columns;
    int64_t stride;  // between rows of the tile's gradients
    int64_t bias = 0;
    int64_t bias_end = 0;

    Part(const Linear& layer, const Tiling& tiling, int64_t job) {
      row = tiling.down.begin(job / tiling.across.count);
      rows = tiling.down.size(job / tiling.across.count);
      column = tiling.across.begin(job % tiling.across.count) * kLanes;
      columns = std::min(layer.weight_columns(),
                         tiling.across.begin(job % tiling.across.count + 1) * kLanes) -
                column;
      stride = (columns + kLanes - 1) / kLanes * kLanes;
      if (layer.bias_ < 0 || (layer.transposed_ ? row : column) != 0) return;
      bias = layer.transposed_ ? column : row;
      bias_end = bias + (layer.transposed_ ? columns : rows);
    }
  };

  // Distance from a piece's weights to those of the next piece, which may be in the next part; 0
  // after the last.
  int64_t to_next(const Tiling& tiling, int64_t job, const Parts& pieces, int64_t piece) const {
    if (piece + 1 < pieces.count) return pieces.size(piece) * weight_columns();
    if (job + 1 == tiling.count()) return 0;
    const Part part(*this, tiling, job);
    const Part next(*this, tiling, job + 1);
    return (next.row - part.row - pieces.begin(piece)) * weight_columns() + next.column -
           part.column;
  }

  // A job takes some features of up to four blocks. In the forward pass, features are rows of the
  // weights: few for one block, so that each is read from end to end. In the backward pass, they
  // are columns: many, so that each row is read in long stretches; for one block, whole cache
  // lines.
  Parts forward_rows(int64_t blocks) const { return {outputs_, blocks == 1 ? kMostRows : 64}; }
  Parts backward_rows(int64_t blocks) const {
    if (blocks == 1) return {(inputs_ + kLanes - 1) / kLanes, kColumnsOfJob / kLanes};
    return {inputs_, 384 / std::min(blocks, kBlocksOfJob)};
  }

  int64_t output_jobs(const Batch& batch) const {
    return forward_rows(batch.blocks).count * Parts(batch.blocks, kBlocksOfJob).count;
  }

  int64_t fill_jobs(const Batch& batch) const {
    return in_training(batch) && !transposed_ ? Rows::jobs(input_, batch.blocks) : 0;
  }

  int64_t input_jobs(const Batch& batch) const {
    if (!input_gradient_.wanted) return 0;
    const int64_t of_chain =
        backward_rows(batch.blocks).count * Parts(batch.blocks, kBlocksOfJob).count;
    return goes_back_in_rows(batch) && is_cached() ? of_chain * row_chains().count : of_chain;
  }

  struct JobPlace {
    int64_t row;
    int64_t rows;
    int64_t block;
    int64_t blocks;
    JobPlace(int64_t row_, int64_t rows_, int64_t block_, int64_t blocks_)
        : row(row_), rows(rows_), block(block_), blocks(blocks_) {}
    // All rows of one block.
    JobPlace(int64_t all_rows, int64_t block_) : row(0), rows(all_rows), block(block_), blocks(1) {}
    JobPlace(const Batch& batch, int64_t job, const Parts& down) {
      const Parts across(batch.blocks, kBlocksOfJob);
      row = down.begin(job / across.count);
      rows = down.size(job / across.count);
      block = across.begin(job % across.count);
      blocks = across.size(job % across.count);
    }
  };

  JobPlace backward_place(const Batch& batch, int64_t job) const {
    JobPlace place(batch, job, backward_rows(batch.blocks));
    if (batch.blocks > 1) return place;
    place.row *= kLanes;
    place.rows = std::min(place.rows * kLanes, inputs_ - place.row);
    return place;
  }

  void multiply_forward(const Batch& batch, const JobPlace& place) const {
    TileProduct p{};
    p.left = batch.tensors[weight_].value;
    p.left_row = transposed_ ? 1 : inputs_;
    p.step.left = transposed_ ? outputs_ : 1;
    p.bias = bias_ < 0 ? nullptr : batch.tensors[bias_].value;
    multiply(place, p, input_, output_, inputs_, kForwardChain, relu_);
  }

  void multiply_backward(const Batch& batch, const JobPlace& place) const {
    TileProduct p{};
    p.left = batch.tensors[weight_].value;
    p.left_row = transposed_ ? outputs_ : 1;
    p.step.left = transposed_ ? 1 : inputs_;
    p.add = input_gradient_.add;
    multiply(place, p, output_gradient_, input_gradient_.gradient, outputs_, kBackwardChain, false);
    finish_rows(place);
  }

  // For one block, the gradient of the input is computed with the images in rows: the weights are
  // read as contiguous vectors, and unused lanes cost nothing.
  //
  // If the weights are in the cache, a job sums one chain for some features, so a thread reads the
  // rows of the weights that it also reads in the forward pass and updates. The last to finish a
  // chain for these features adds them all up. Otherwise, a job sums all chains.
  bool goes_back_in_rows(const Batch& batch) const { return batch.blocks == 1 && !transposed_; }
  Parts row_chains() const { return {outputs_, kRowsChain}; }
  // The others are computed as for several blocks.
  int64_t whole_vectors() const { return inputs_ / kLanes * kLanes; }

  void run_chains_in_rows(const Batch& batch, int64_t part, float* scratch) const {
    const JobPlace place = backward_place(batch, part);
    for (int64_t chain = 0; chain < row_chains().count; ++chain) {
      sum_chain_in_rows(batch, place, chain, scratch, place.rows / kLanes * kLanes, chain > 0);
    }
    finish_in_rows(batch, place, scratch);
  }

  void run_chain_in_rows(const Batch& batch, int64_t job, float* scratch) const {
    const int64_t part = job % backward_rows(1).count;
    const int64_t chain = job / backward_rows(1).count;
    const int64_t chains = row_chains().count;
    const JobPlace place = backward_place(batch, part);
    const auto sums_of = [&](int64_t i) {
      return memory_.chains.data() + i * kLanes * whole_vectors() + place.row;
    };
    sum_chain_in_rows(batch, place, chain, sums_of(chain), whole_vectors(), false);
    std::atomic<int64_t>& done = memory_.done[static_cast<size_t>(part)];
    if (done.fetch_add(1, std::memory_order_acq_rel) + 1 < chains) return;
    done.store(0, std::memory_order_relaxed);
    const int64_t whole = place.rows / kLanes * kLanes;
    for (int64_t image = 0; image < batch.images; ++image) {
      for (int64_t at = 0; at < whole; at += kWidth) {
        const int64_t offset = image * whole_vectors() + at;
        Vec sum = load(sums_of(0) + offset);
        for (int64_t i = 1; i < chains; ++i) sum = sum + load(sums_of(i) + offset);
        store(scratch + image * whole + at, sum);
      }
    }
    finish_in_rows(batch, place, scratch);
  }

  // Sums for the whole vectors of a place's features, `stride` floats apart for each image.
  void sum_chain_in_rows(const Batch& batch, const JobPlace& place, int64_t chain, float* sums,
                         int64_t stride, bool add) const {
    const int64_t vectors = place.rows / kLanes * kParts;
    if (vectors == 0) return;
    const Parts chains = row_chains();
    const Offsets run{0, 0};
    TileProduct p{};
    p.left = output_gradient_.at(0, chains.begin(chain));
    p.left_row = 1;
    p.right = batch.tensors[weight_].value + chains.begin(chain) * inputs_ + place.row;
    p.right_column = kWidth;
    p.runs = &run;
    p.run_count = 1;
    p.tap_count = chains.size(chain);
    p.step = {kLanes, inputs_};
    p.out = sums;
    p.out_row = stride;
    p.out_column = kWidth;
    p.add = add;
    if (is_cached()) fetch(p.right, inputs_, p.tap_count, vectors * kWidth);
    product(p, batch.images, vectors, best_tile(batch.images, vectors));
  }

  // Writes the gradient, from contiguous sums for the features in whole vectors.
  void finish_in_rows(const Batch& batch, JobPlace place, float* sums) const {
    const int64_t whole = place.rows / kLanes * kLanes;
    memset(sums + batch.images * whole, 0,
           static_cast<size_t>((kLanes - batch.images) * whole) * sizeof(float));
    for (int64_t i = 0; i < whole; i += kLanes) {
      float lanes[kLanes * kLanes];
      float* out = input_gradient_.gradient.at(0, place.row + i);
      transpose_lanes(sums + i, whole, input_gradient_.add ? lanes : out, kLanes);
      for (int64_t j = 0; input_gradient_.add && j < kLanes * kLanes; j += kWidth) {
        store(out + j, load(out + j) + load(lanes + j));
      }
    }
    finish_rows({place.row, whole, 0, 1});
    place.row += whole;
    place.rows -= whole;
    if (place.rows > 0) multiply_backward(batch, place);
  }

  void finish_rows(const JobPlace& place) const {
    for (int64_t block = place.block; block < place.block + place.blocks; ++block) {
      for (int64_t row = place.row; row < place.row + place.rows; ++row) {
        input_gradient_.finish_row(block, row, 0);
      }
    }
  }

  // Prefetches some columns of the weights: the hardware prefetcher would not recognize the pattern
  // of walking down columns.
  static void fetch(const float* first, int64_t stride, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* begin = first + row * stride;
      for (int64_t i = 0; i < columns; i += kLanes) __builtin_prefetch(begin + i);
    }
  }

  // A product whose columns are blocks, in chains of at most `longest`.
  void multiply(const JobPlace& place, TileProduct p, const FeatureMap& from, const FeatureMap& to,
                int64_t terms, int64_t longest, bool relu) const {
    const TileSize tile = tiles_[place.blocks - 1];
    const Parts chains(terms, longest);
    const Offsets run{0, 0};
    const float* left = p.left + place.row * p.left_row;
    if (p.bias != nullptr) p.bias += place.row;
    p.right_column = from.block;
    p.step.right = kLanes;
    p.runs = &run;
    p.run_count = 1;
    p.out_row = kLanes;
    p.out_column = to.block;
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      if (p.left_row == 1 && chain + 1 < chains.count) {
        fetch(left + chains.begin(chain + 1) * p.step.left, p.step.left, chains.size(chain + 1),
              place.rows);
      }
      p.left = left + chains.begin(chain) * p.step.left;
      p.tap_count = chains.size(chain);
      p.relu = relu && chain + 1 == chains.count;
      for (int at = 0; at < kLanes; at += kWidth) {
        p.right = from.at(place.block, chains.begin(chain)) + at;
        p.out = to.at(place.block, place.row) + at;
        product(p, place.rows, place.blocks, tile);
      }
      p.add = true;
    }
  }

  // gradient[row][column] = sum over images of one factor's lane times the other's row.
  void sum_gradients(const Batch& batch, const Region& region, const Part& part, int64_t row,
                     int64_t rows, float* gradient) const {
    const FeatureMap& factor = transposed_ ? input_ : output_gradient_;
    Offsets runs[kLongestChain / kLanes];  // one per block
    TileProduct p{};
    p.left_row = kLanes;
    p.step.left = 1;
    p.right_column = kWidth;
    p.step.right = memory_.rows.stride();
    p.runs = runs;
    p.out = gradient;
    p.out_row = part.stride;
    p.out_column = kWidth;
    const int64_t end = region.block + region.blocks;
    for (int64_t block = region.block; block < end;) {
      // Consecutive blocks with the same number of images.
      p.left = factor.at(block, row);
      p.right = memory_.rows.row(block * kLanes) + part.column;
      p.tap_count = batch.lanes_of(block);
      p.run_count = 0;
      const int64_t chain_end = std::min(end, block + kLongestChain / kLanes);
      for (; block < chain_end && batch.lanes_of(block) == p.tap_count; ++block) {
        const int64_t run = p.run_count++;
        runs[run] = {run * factor.block, run * kLanes * memory_.rows.stride()};
      }
      product(p, rows, part.stride / kWidth, update_tile_);
      p.add = true;
    }
  }

  static TileSize product_tile(int64_t blocks) { return best_tile(64, blocks); }

  const FeatureMap input_;
  const FeatureMap output_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const int weight_;
  const int bias_;
  const bool transposed_;
  const bool relu_;
  const LayerMemory& memory_;
  const int64_t inputs_;
  const int64_t outputs_;
  const TileSize tiles_[kBlocksOfJob] = {product_tile(1), product_tile(2), product_tile(3),
                                         product_tile(4)};
  const TileSize update_tile_ = best_tile(4 * kMostRows, 128 / kWidth);
};

}  // namespace tenfold
