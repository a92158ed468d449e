// Two-dimensional convolution.
//
// The forward pass and the gradient of the input use the product in tile.h: rows are the result's
// channels, columns the pixels of one of its rows, runs the channels summed over, and taps the
// pixels of the kernel. The gradient of the weights uses the correlation in correlate.h. If most
// gradients are 0, sparse.h computes both gradients.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "correlate.h"
#include "layer.h"
#include "memory.h"
#include "sparse.h"
#include "tile.h"
#include "window.h"

namespace tenfold {

// The terms of a convolution's sums: a run per channel, with a tap per pixel of the kernel. They
// are summed in chains.
struct Terms {
  std::vector<Offsets> runs;
  std::vector<Offsets> taps;

  struct Chain {
    int64_t run;
    int64_t runs;
    int64_t tap;
    int64_t taps;
  };
  std::vector<Chain> chains;

  Terms(int64_t channels, const Offsets& channel, std::vector<Offsets> taps_)
      : taps(std::move(taps_)) {
    for (int64_t i = 0; i < channels; ++i) runs.push_back({i * channel.left, i * channel.right});
    const auto tap_count = static_cast<int64_t>(taps.size());
    const Parts pieces(tap_count, kLongestChain);
    for (int64_t piece = 0; piece < pieces.count; ++piece) {
      const Parts groups(channels, std::max<int64_t>(1, kLongestChain / pieces.size(piece)));
      for (int64_t group = 0; group < groups.count; ++group) {
        chains.push_back(
            {groups.begin(group), groups.size(group), pieces.begin(piece), pieces.size(piece)});
      }
    }
    // An empty sum still has to be written: 0.
    if (chains.empty()) chains.push_back({0, 0, 0, 0});
  }
};

inline void sum_terms(TileProduct p, const Terms& terms, int64_t rows, int64_t columns,
                      TileSize size, bool relu) {
  for (const Terms::Chain& chain : terms.chains) {
    p.runs = terms.runs.data() + chain.run;
    p.run_count = static_cast<int>(chain.runs);
    p.taps = terms.taps.data() + chain.tap;
    p.tap_count = chain.taps;
    p.relu = relu && &chain == &terms.chains.back();
    product(p, rows, columns, size);
    p.add = true;
  }
}

// Border columns that the gradient of a convolution's output needs, so that the gradient of the
// input never reads outside. (Rows outside are left out of the sums instead.)
inline int gradient_border(int input, int output, int kernel, int stride, int padding) {
  const int before = std::max(0, kernel - 1 - padding);
  const int after = (input - 1 + padding) / stride - (output - 1);
  return std::max({(before + stride - 1) / stride, after, 0});
}

class Convolution final : public Layer {
 public:
  // `blocks`: in the largest batch; 0 for prediction only. `sparse_blocks`: blocks that sparse.h
  // allocates for; 0 if it is not used.
  Convolution(const Window& window, const FeatureMap& input, const FeatureMap& output,
              const InputGradient& input_gradient, const FeatureMap& output_gradient, int weight,
              int bias, bool relu, int64_t sparse_blocks, int64_t blocks, LayerMemory& memory)
      : window_(window),
        input_(input),
        output_(output),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        weight_(weight),
        bias_(bias),
        relu_(relu),
        memory_(memory),
        inputs_(input.shape.channels),
        outputs_(output.shape.channels),
        forward_terms_(forward_terms(window, input)),
        forward_tile_(best_tile(outputs_, output.shape.width)) {
    for (int64_t channel = 0; channel < inputs_; ++channel) {
      for (int ky = 0; ky < window.height; ++ky) {
        for (int kx = 0; kx < window.width; ++kx) {
          offsets_.push_back(channel * input.channel + ky * input.row + int64_t{kx} * kLanes);
        }
      }
    }
    if (sparse_blocks > 0) {
      sparse_ = std::make_unique<SparseBackward>(window, input, input_gradient, output_gradient,
                                                 sparse_blocks);
    } else if (input_gradient.wanted) {
      find_backward_terms();
    }
    memory.want_slots(blocks, slot_size(), [this](int64_t n) { return group_count(n); });
  }

  int64_t forward_jobs(const Batch& batch) const override {
    return forward_grid().jobs(batch.blocks) + weight_copies(batch);
  }

  void forward(const Batch& batch, int64_t job, float* /*scratch*/) const override {
    const int64_t copies = weight_copies(batch);
    if (job < copies) return sparse_->copy_weights(batch.tensors[weight_].value, job);
    job -= copies;
    const Grid::Place place = forward_grid().place(job);
    const int64_t count = place.channel_end - place.channel;
    for (int64_t channel = place.channel; channel < place.channel_end; ++channel) {
      output_.clear_border(place.block, channel, place.row, place.row_end);
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value + place.channel * inputs_ * window_.pixels();
    p.left_row = inputs_ * window_.pixels();
    p.right_column = int64_t{window_.stride_x} * kLanes;
    p.out_row = output_.channel;
    p.out_column = kLanes;
    p.bias = bias_ < 0 ? nullptr : batch.tensors[bias_].value + place.channel;
    for (int64_t y = place.row; y < place.row_end; ++y) {
      for (int at = 0; at < kLanes; at += kWidth) {
        p.right = input_.at(place.block, 0, y * window_.stride_y - window_.padding_y,
                            -window_.padding_x) +
                  at;
        p.out = output_.at(place.block, place.channel, y) + at;
        sum_terms(p, forward_terms_, count, output_.shape.width, forward_tile_, relu_);
      }
    }
  }

  int64_t backward_jobs(const Batch& batch) const override {
    if (sparse_ != nullptr) return sparse_->jobs(batch.blocks);
    return input_gradient_.wanted ? backward_grid().jobs(batch.blocks) : 0;
  }

  void backward(const Batch& batch, int64_t job, float* scratch) const override {
    if (sparse_ != nullptr) return sparse_->run(job, scratch);
    const FeatureMap& gradient = input_gradient_.gradient;
    const Grid::Place place = backward_grid().place(job);
    const int64_t count = place.channel_end - place.channel;
    for (int64_t channel = place.channel; channel < place.channel_end; ++channel) {
      if (input_gradient_.add) break;
      gradient.clear_border(place.block, channel, place.row, place.row_end);
    }
    TileProduct p{};
    p.left = batch.tensors[weight_].value + place.channel * window_.pixels();
    p.left_row = window_.pixels();
    p.right_column = kLanes;
    p.out_row = gradient.channel;
    p.out_column = int64_t{window_.stride_x} * kLanes;
    p.add = input_gradient_.add;
    for (int64_t y = place.row; y < place.row_end; ++y) {
      for (int x = 0; x < std::min(window_.stride_x, input_.shape.width); ++x) {
        const int64_t columns = (input_.shape.width - x - 1) / window_.stride_x + 1;
        const Terms& terms =
            backward_terms_[static_cast<size_t>(terms_of_row_[static_cast<size_t>(y)] + x)];
        for (int at = 0; at < kLanes; at += kWidth) {
          p.right = output_gradient_.at(place.block, 0, y / window_.stride_y) + at;
          p.out = gradient.at(place.block, place.channel, y, x) + at;
          sum_terms(p, terms, count, columns, backward_tile_, false);
        }
      }
      for (int64_t channel = place.channel; channel < place.channel_end; ++channel) {
        input_gradient_.finish_row(place.block, channel, y);
      }
    }
  }

  int64_t learn_jobs(const Batch& batch) const override {
    return group_count(batch.blocks) * parts(batch).jobs();
  }

  void learn(const Batch& batch, int64_t job, float* scratch) const override {
    const Part part = parts(batch).part(job % parts(batch).jobs());
    const int64_t group = job / parts(batch).jobs();
    if (group_count(batch.blocks) > 1) return sum_group(batch.blocks, group, part, scratch);
    float* gradient = scratch + sums_size();
    float biases[kMostGradients];
    const Region all{0, batch.blocks, 0, output_.shape.height};
    sum_gradients(all, part, false, scratch, gradient, part.weights, biases);
    for (int64_t i = 0; i < part.outputs; ++i) {
      batch.optimizer->take(weight_, part.offset(weights_of_output()) + i * weights_of_output(),
                            gradient + i * part.weights, part.weights);
      if (part.has_bias) batch.optimizer->take(bias_, part.output + i, biases + i, 1);
    }
  }

  bool suits_blocks(int64_t blocks) const override {
    return output_gradient_.data == nullptr || group_count(blocks) > 1;
  }
  void forward_block(const Batch& batch, int64_t block, float* scratch) const override {
    const int64_t copies = weight_copies(batch);
    const int64_t jobs = forward_grid().jobs(1);
    for (int64_t i = 0; i < copies; ++i) forward(batch, i, scratch);
    for (int64_t i = 0; i < jobs; ++i) forward(batch, copies + block * jobs + i, scratch);
  }
  bool learns_by_block() const override { return true; }

  void learn_block(const Batch& batch, int64_t block, float* scratch) const override {
    const PartList list = parts(batch);
    for (int64_t job = 0; job < list.jobs(); ++job) {
      const Part part = list.part(job);
      if (batch.blocks > 1) {
        add_to_group(batch.blocks, block, part, scratch);
      } else {
        for (int64_t i = 0; i < group_count(1); ++i) sum_group(1, i, part, scratch);
      }
    }
  }

  int64_t finish_jobs(const Batch& batch) const override {
    return group_count(batch.blocks) > 1 ? Parts(slot_size(), kFinishPiece).count : 0;
  }

  void finish(const Batch& batch, int64_t job, float* scratch) const override {
    finish_slots(memory_.slots.data(), group_count(batch.blocks), outputs_ * weights_of_output(),
                 weight_, slot_size(), bias_, job, *batch.optimizer, scratch);
  }

  int64_t scratch_size() const override {
    return std::max(kFinishPiece, sums_size() + kMostGradients * weights_of_output());
  }

 private:
  static constexpr int64_t kMostBands = 4;
  static constexpr int64_t kLongestBand = 2 * kLongestChain;  // pixels
  static constexpr int64_t kPixelsInCache = 96;

  // Some of the weights: those of a tile of outputs and some inputs.
  struct Part {
    int64_t output;
    int64_t outputs;
    int64_t weight;   // first weight, within an output
    int64_t weights;  // per output
    bool has_bias;    // whether the outputs' biases are included
    int64_t offset(int64_t weights_of_output) const { return output * weights_of_output + weight; }
  };

  class PartList {
   public:
    PartList(int64_t outputs, int64_t inputs, int64_t most_inputs, int64_t pixels, bool has_bias)
        : outputs_(outputs, kMostGradients),
          inputs_(inputs, most_inputs),
          pixels_(pixels),
          has_bias_(has_bias) {}
    int64_t jobs() const { return outputs_.count * inputs_.count; }
    Part part(int64_t job) const {
      const int64_t y = job / inputs_.count;
      const int64_t x = job % inputs_.count;
      return {outputs_.begin(y), outputs_.size(y), inputs_.begin(x) * pixels_,
              inputs_.size(x) * pixels_, has_bias_ && x == 0};
    }

   private:
    const Parts outputs_;
    const Parts inputs_;
    const int64_t pixels_;
    const bool has_bias_;
  };

  static Terms forward_terms(const Window& window, const FeatureMap& input) {
    std::vector<Offsets> taps;
    for (int64_t ky = 0; ky < window.height; ++ky) {
      for (int64_t kx = 0; kx < window.width; ++kx) {
        taps.push_back({ky * window.width + kx, ky * input.row + kx * kLanes});
      }
    }
    return {input.shape.channels, {window.pixels(), input.channel}, std::move(taps)};
  }

  // An input pixel meets only the kernel rows and columns that reach it from an output pixel: with
  // a stride of n, every n-th, and fewer near the top and bottom edges.
  void find_backward_terms() {
    const Window& w = window_;
    std::map<std::vector<int>, int64_t> known;  // by row phase and kernel rows
    for (int y = 0; y < input_.shape.height; ++y) {
      std::vector<int> rows = {y % w.stride_y};
      for (int ky = 0; ky < w.height; ++ky) {
        const int from = y + w.padding_y - ky;
        if (from >= 0 && from % w.stride_y == 0 && from / w.stride_y < output_.shape.height) {
          rows.push_back(ky);
        }
      }
      const auto place = static_cast<int64_t>(backward_terms_.size());
      const auto [found, is_new] = known.emplace(rows, place);
      terms_of_row_.push_back(found->second);
      if (!is_new) continue;
      for (int x = 0; x < std::min(w.stride_x, input_.shape.width); ++x) {
        std::vector<Offsets> taps;
        for (size_t i = 1; i < rows.size(); ++i) add_taps(y % w.stride_y, rows[i], x, taps);
        backward_terms_.push_back(
            {outputs_, {weights_of_output(), output_gradient_.channel}, std::move(taps)});
      }
    }
    backward_tile_ = best_tile(inputs_, (input_.shape.width - 1) / w.stride_x + 1);
  }

  // The columns of a kernel row that meet input pixels of column phase x.
  void add_taps(int phase_y, int ky, int x, std::vector<Offsets>& taps) const {
    const Window& w = window_;
    const int64_t row = (phase_y + w.padding_y - ky) / w.stride_y;
    for (int kx = 0; kx < w.width; ++kx) {
      const int from = x + w.padding_x - kx;
      if (from % w.stride_x != 0) continue;
      taps.push_back({int64_t{ky} * w.width + kx,
                      row * output_gradient_.row + int64_t{from / w.stride_x} * kLanes});
    }
  }

  // Extra jobs of a forward pass that will be followed by a backward pass.
  int64_t weight_copies(const Batch& batch) const {
    return sparse_ != nullptr && batch.optimizer != nullptr ? sparse_->weight_jobs() : 0;
  }

  int64_t weights_of_output() const { return inputs_ * window_.pixels(); }
  int64_t slot_size() const { return outputs_ * weights_of_output() + (bias_ < 0 ? 0 : outputs_); }

  // Scratch memory for the sums behind a part's gradients.
  int64_t sums_size() const {
    return sparse_ != nullptr ? sparse_->scratch_size()
                              : kMostGradients * kLanes * weights_of_output();
  }

  Grid forward_grid() const {
    return {output_.shape, output_.shape.numbers() * weights_of_output() * kParts, kSmallestJob,
            forward_tile_.rows};
  }
  Grid backward_grid() const {
    return {input_.shape, output_.shape.numbers() * weights_of_output() * kParts, kSmallestJob,
            backward_tile_.rows};
  }

  // The gradient of the weights is summed in groups of blocks, or of rows if there is only one
  // block, so that each thread works on what is in its cache. There is a single group if the
  // weights outnumber the values that they are summed over.
  int64_t group_count(int64_t blocks) const {
    const int64_t groups =
        blocks > 1 ? Groups(blocks).count() : std::min<int64_t>(output_.shape.height, kMostBands);
    const int64_t numbers =
        (inputs_ * input_.channel_size() + outputs_ * output_gradient_.channel_size()) * blocks;
    return groups * slot_size() <= numbers ? groups : 1;
  }

  void sum_group(int64_t blocks, int64_t group, const Part& part, float* scratch) const {
    const int64_t height = output_.shape.height;
    Region region{0, 1, 0, height};
    if (blocks > 1) {
      region.block = Groups(blocks).begin(group);
      region.blocks = Groups(blocks).end(group) - region.block;
    } else {
      region.row = height * group / group_count(1);
      region.rows = height * (group + 1) / group_count(1) - region.row;
    }
    sum_into_slot(region, part, false, group, scratch);
  }

  // Adds a block's share to its group's sums, which start with the group's first block.
  void add_to_group(int64_t blocks, int64_t block, const Part& part, float* scratch) const {
    const Groups groups(blocks);
    int64_t group = 0;
    while (groups.end(group) <= block) ++group;
    const Region region{block, 1, 0, output_.shape.height};
    sum_into_slot(region, part, block > groups.begin(group), group, scratch);
  }

  void sum_into_slot(const Region& region, const Part& part, bool add, int64_t group,
                     float* scratch) const {
    float* slot = memory_.slots.data() + group * slot_size();
    sum_gradients(region, part, add, scratch, slot + part.offset(weights_of_output()),
                  weights_of_output(), slot + outputs_ * weights_of_output() + part.output);
  }

  // Splits the weights into parts that make reasonably sized jobs.
  PartList parts(const Batch& batch) const {
    const int64_t input = kMostGradients * window_.pixels() * output_.shape.pixels() *
                          batch.blocks * kParts / group_count(batch.blocks);
    const int64_t most_inputs =
        sparse_ != nullptr ? inputs_
                           : std::max<int64_t>(1, kLargestJob / std::max<int64_t>(1, input));
    return {outputs_, inputs_, most_inputs, window_.pixels(), bias_ >= 0};
  }

  // The gradients of a part's weights over a region; `stride` separates the outputs.
  void sum_gradients(const Region& region, const Part& part, bool add, float* sums, float* gradient,
                     int64_t stride, float* biases) const {
    // Large images are split into bands of rows; a lane sums a band (at least a row) in one chain.
    const Parts bands(region.rows, std::max<int64_t>(1, kLongestBand / output_.shape.width));
    for (int64_t i = 0; i < region.blocks * bands.count; ++i) {
      const int64_t band = i % bands.count;
      const Region rows{region.block + i / bands.count, 1, region.row + bands.begin(band),
                        bands.size(band)};
      const bool adds = add || i > 0;
      if (sparse_ == nullptr) {
        sum_all_pixels(rows, part, adds, sums, gradient, stride);
      } else {
        for (int64_t g = 0; g < part.outputs; ++g) {
          sparse_->collect_gradients(rows, part.output + g, adds, gradient + g * stride, sums);
        }
      }
      for (int64_t g = 0; part.has_bias && g < part.outputs; ++g) {
        const float sum = sum_of_channel(output_gradient_, rows, part.output + g);
        biases[g] = adds ? biases[g] + sum : sum;
      }
    }
  }

  void sum_all_pixels(const Region& rows, const Part& part, bool add, float* sums, float* gradient,
                      int64_t stride) const {
    const Parts tiles(part.weights, kMostInputs);
    correlate_rows(rows, part, tiles, sums);
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      const int64_t from = tiles.begin(tile);
      const int64_t width = tiles.size(tile);
      const float* lanes = sums + part.outputs * from * kLanes;
      for (int64_t g = 0; g < part.outputs; ++g) {
        add_sums(lanes + g * width * kLanes, width, gradient + g * stride + from, add);
      }
    }
  }

  // Sums by lane over some rows of a block, tile by tile.
  void correlate_rows(const Region& rows, const Part& part, const Parts& tiles, float* sums) const {
    Correlation c{};
    c.gradient_channel = output_gradient_.channel;
    c.gradient_row = output_gradient_.row;
    c.input_row = window_.stride_y * input_.row;
    c.input_pixel = int64_t{window_.stride_x} * kLanes;
    c.width = output_.shape.width;
    // In bands that stay in the L1 cache for all tiles.
    const Parts bands(rows.rows, std::max<int64_t>(1, kPixelsInCache / c.width));
    for (int64_t band = 0; band < bands.count; ++band) {
      const int64_t row = rows.row + bands.begin(band);
      c.gradients = output_gradient_.at(rows.block, part.output, row);
      c.inputs =
          input_.at(rows.block, 0, row * window_.stride_y - window_.padding_y, -window_.padding_x);
      c.height = bands.size(band);
      c.add = band > 0;
      for (int64_t tile = 0; tile < tiles.count; ++tile) {
        c.offsets = offsets_.data() + part.weight + tiles.begin(tile);
        c.sums = sums + part.outputs * tiles.begin(tile) * kLanes;
        correlate_function(static_cast<int>(part.outputs), static_cast<int>(tiles.size(tile)))(c);
      }
    }
  }

  // Reduces each sum over its lanes.
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
  const LayerMemory& memory_;
  const int64_t inputs_;
  const int64_t outputs_;
  const Terms forward_terms_;
  const TileSize forward_tile_;
  std::vector<int64_t> offsets_;       // of each weight's first input
  std::vector<Terms> backward_terms_;  // for each kind of row, one per column phase
  std::vector<int64_t> terms_of_row_;  // index of the first of them, by row of the input
  TileSize backward_tile_{1, 1};
  std::unique_ptr<SparseBackward> sparse_;  // or null
};

}  // namespace tenfold
