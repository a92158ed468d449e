// The backward pass of a convolution that feeds a max-pool.
//
// A pool passes each gradient to one pixel of a window and 0 to the others, and the pixel differs
// between images. So the sixteen images of a block are treated separately here: each is stored with
// its channels adjacent and combined only with the gradients that are not 0.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "layer.h"
#include "memory.h"
#include "patches.h"
#include "window.h"

namespace tenfold {

class SparseBackward {
 public:
  // `blocks`: in the largest batch, or 1 if a thread takes blocks through the network one by one.
  SparseBackward(const Window& window, const FeatureMap& input, const InputGradient& input_gradient,
                 const FeatureMap& output_gradient, int64_t blocks)
      : window_(window),
        input_(input),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        inputs_(input.shape.channels),
        outputs_(output_gradient.shape.channels),
        blocks_(blocks),
        pixel_(pixel_size(inputs_)),
        groups_(group_count(inputs_)),
        row_(pixel_ * (input.shape.width + 2 * window.padding_x)),
        image_(row_ * (input.shape.height + 2 * window.padding_y)),
        patch_{window.height, (window.width * pixel_ + kWidth - 1) / kWidth, row_},
        images_(blocks * groups_ * kLanes * image_ + kOverrun),
        weights_(input_gradient.wanted ? outputs_ * groups_ * patch_.floats() : 0),
        images_are_finite_(blocks * groups_),
        weights_are_finite_(outputs_ * groups_) {
    for (int32_t lane = 0; lane < kLanes; ++lane) {
      const auto place = static_cast<int32_t>(lane * image_);
      memcpy(lane_places_ + lane, &place, sizeof place);
    }
  }

  // Whether this is faster than summing over all pixels if a pool with `pooled_pixels` outputs
  // follows: there must be few gradients, and enough work for each to outweigh the cost of finding
  // them and copying the images.
  static bool suits(const Window& window, const Shape& input, const Shape& output,
                    int64_t pooled_pixels) {
    const int64_t floats = group_count(input.channels) * pixel_size(input.channels);
    const int64_t padded = (int64_t{input.height} + 2 * window.padding_y) *
                           (int64_t{input.width} + 2 * window.padding_x);
    return kSparsity * pooled_pixels <= output.pixels() &&
           3 * int64_t{input.channels} >= 2 * floats && window.pixels() >= kSmallestWindow &&
           window.pixels() * std::min(input.channels, output.channels) >= kSmallestPatch &&
           padded <= std::min(kMostPixels, 4 * input.pixels());
  }

  // Copies the weights of some outputs, with the inputs adjacent.
  int64_t weight_jobs() const { return input_gradient_.wanted ? weight_pieces().count : 0; }
  void copy_weights(const float* weights, int64_t job) const {
    const Parts pieces = weight_pieces();
    for (int64_t output = pieces.begin(job); output < pieces.begin(job + 1); ++output) {
      for (int64_t group = 0; group < groups_; ++group) {
        float* const to = weights_of(output, group);
        float zeros = 0;  // or NaN
        for (int64_t i = 0; i < group_size(group); ++i) {
          const float* from = weights + (output * inputs_ + group * pixel_ + i) * window_.pixels();
          for (int y = 0; y < window_.height; ++y) {
            for (int x = 0; x < window_.width; ++x, ++from) {
              to[y * patch_.row() + x * pixel_ + i] = *from;
              zeros += *from * 0;
            }
          }
        }
        weights_are_finite_[output * groups_ + group] = zeros == 0;
      }
    }
  }

  // A job handles one group of channels of a block: it copies the input, with the channels
  // adjacent, and computes its gradient if wanted.
  int64_t jobs(int64_t blocks) const { return blocks * groups_; }
  void run(int64_t job, float* scratch) const {
    copy_input(job / groups_, job % groups_);
    if (input_gradient_.wanted) spread_gradients(job / groups_, job % groups_, scratch);
  }

  // Computes the gradients of an output's weights over some rows of a block, or adds them up.
  void collect_gradients(const Region& rows, int64_t output, bool add, float* gradients,
                         float* scratch) const {
    bool all = false;
    for (int64_t group = 0; group < groups_; ++group) {
      all = all || !images_are_finite_[place_of(rows.block, group)];
    }
    const GradientList list = list_of(rows, output, all, scratch);
    float* const sums = scratch + list_size();
    for (int64_t group = 0; group < groups_; ++group) {
      collect(list, patch_, images_of(rows.block, group), sums);
      for (int64_t i = 0; i < group_size(group); ++i) {
        float* to = gradients + (group * pixel_ + i) * window_.pixels();
        for (int y = 0; y < window_.height; ++y) {
          for (int x = 0; x < window_.width; ++x, ++to) {
            const float sum = sums[y * patch_.row() + x * pixel_ + i];
            *to = add ? *to + sum : sum;
          }
        }
      }
    }
  }

  int64_t scratch_size() const {
    return list_size() + std::max(kLanes * image_ + kOverrun, patch_.floats());
  }

 private:
  static constexpr int64_t kSparsity = 3;  // at most one gradient in this many is nonzero
  static constexpr int64_t kSmallestWindow = 5;
  static constexpr int64_t kSmallestPatch = 96;
  // Keeps the sums of sixteen images in the L2 cache, and offsets within an integer.
  static constexpr int64_t kMostPixels = 1600;
  // The last vector of a patch's row may extend this far past it.
  static constexpr int64_t kOverrun = kLanes;

  // A pixel has 8 or 16 adjacent channels; the last group is padded with zeros.
  static int64_t pixel_size(int64_t channels) { return channels <= 8 ? 8 : 16; }
  static int64_t group_count(int64_t channels) { return (channels - 1) / pixel_size(channels) + 1; }
  int64_t group_size(int64_t group) const { return std::min(pixel_, inputs_ - group * pixel_); }

  int64_t place_of(int64_t block, int64_t group) const {
    return (blocks_ == 1 ? 0 : block) * groups_ + group;
  }
  float* images_of(int64_t block, int64_t group) const {
    return images_.data() + place_of(block, group) * kLanes * image_;
  }
  template <typename Number>
  Number* first_pixel(Number* image) const {
    return image + window_.padding_y * row_ + window_.padding_x * pixel_;
  }

  Parts weight_pieces() const { return {outputs_, 8}; }
  float* weights_of(int64_t output, int64_t group) const {
    return weights_.data() + (output * groups_ + group) * patch_.floats();
  }

  int64_t list_capacity() const { return output_gradient_.shape.pixels() * kLanes; }
  int64_t list_size() const { return 2 * list_capacity(); }

  void copy_input(int64_t block, int64_t group) const {
    float* const to = first_pixel(images_of(block, group));
    Vec zeros = zero();  // or NaN
    float channels[kLanes * kLanes] = {};
    for (int y = 0; y < input_.shape.height; ++y) {
      for (int x = 0; x < input_.shape.width; ++x) {
        for (int64_t i = 0; i < group_size(group); ++i) {
          for (int at = 0; at < kLanes; at += kWidth) {
            const Vec value = load(input_.at(block, group * pixel_ + i, y, x) + at);
            store(channels + i * kLanes + at, value);
            zeros = fma(value, zero(), zeros);
          }
        }
        transpose_lanes(channels, kLanes, static_cast<int>(pixel_), to + y * row_ + x * pixel_,
                        image_, kLanes);
      }
    }
    float lanes[kLanes] = {};
    store(lanes, zeros);
    images_are_finite_[place_of(block, group)] = sum_lanes(lanes) == 0;
  }

  void spread_gradients(int64_t block, int64_t group, float* scratch) const {
    const Region rows{block, 1, 0, output_gradient_.shape.height};
    float* const sums = scratch + list_size();
    // As many outputs per chain as keep it within kLongestChain, at least one.
    const Parts chains(outputs_,
                       std::max(int64_t{1}, kSparsity * kLongestChain / window_.pixels()));
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      memset(sums, 0, static_cast<size_t>(kLanes * image_) * sizeof(float));
      for (int64_t output = chains.begin(chain); output < chains.begin(chain + 1); ++output) {
        const bool all = !weights_are_finite_[output * groups_ + group];
        spread(list_of(rows, output, all, scratch), patch_, window_.width * pixel_,
               weights_of(output, group), sums);
      }
      put(block, group, sums, input_gradient_.add || chain > 0);
    }
    for (int64_t i = group * pixel_; i < group * pixel_ + group_size(group); ++i) {
      if (!input_gradient_.add) input_gradient_.gradient.clear_border(block, i);
      for (int y = 0; y < input_.shape.height; ++y) input_gradient_.finish_row(block, i, y);
    }
  }

  // The nonzero gradients of an output; or all of them if the other factor has NaN or infinity,
  // which give NaN when multiplied by 0.
  GradientList list_of(const Region& rows, int64_t output, bool all, float* memory) const {
    GradientList list;
    list.values = memory;
    list.places = memory + list_capacity();
    const Vec unwanted = broadcast(all ? NAN : 0.0F);  // nothing equals NaN
    for (int64_t y = rows.row; y < rows.row + rows.rows; ++y) {
      const float* lanes = output_gradient_.at(rows.block, output, y);
      int64_t patch = y * window_.stride_y * row_;
      for (int x = 0; x < output_gradient_.shape.width; ++x) {
        for (int at = 0; at < kLanes; at += kWidth) {
          const Vec values = load(lanes + at);
          const Mask wanted = !(values == unwanted);
          const IntVec places =
              bits_of(load(lane_places_ + at)) + broadcast_int(static_cast<int32_t>(patch));
          pack(wanted, from_bits(places), list.places + list.count);
          list.count += pack(wanted, values, list.values + list.count);
        }
        lanes += kLanes;
        patch += window_.stride_x * pixel_;
      }
    }
    return list;
  }

  // Writes a group of channels' sums, with the images side by side again.
  void put(int64_t block, int64_t group, const float* sums, bool add) const {
    const float* const from = first_pixel(sums);
    float channels[kLanes * kLanes];
    for (int y = 0; y < input_.shape.height; ++y) {
      for (int x = 0; x < input_.shape.width; ++x) {
        transpose_lanes(from + y * row_ + x * pixel_, image_, kLanes, channels, kLanes,
                        static_cast<int>(pixel_));
        for (int64_t i = 0; i < group_size(group); ++i) {
          float* const to = input_gradient_.gradient.at(block, group * pixel_ + i, y, x);
          for (int at = 0; at < kLanes; at += kWidth) {
            const Vec sum = load(channels + i * kLanes + at);
            store(to + at, add ? load(to + at) + sum : sum);
          }
        }
      }
    }
  }

  const Window window_;
  const FeatureMap input_;
  const InputGradient input_gradient_;
  const FeatureMap output_gradient_;
  const int64_t inputs_;
  const int64_t outputs_;
  const int64_t blocks_;
  const int64_t pixel_;
  const int64_t groups_;
  const int64_t row_;  // floats in a padded image's row
  const int64_t image_;
  const PatchSize patch_;
  const Array<float> images_;
  const Array<float> weights_;
  const Array<bool> images_are_finite_;
  const Array<bool> weights_are_finite_;
  float lane_places_[kLanes];  // offsets of the images: integers, in the bits of floats
};

}  // namespace tenfold
