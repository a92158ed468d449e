// The way back through a convolution whose output a max-pool reads.
//
// A pool hands each gradient to one pixel of a window and 0 to the others, and which pixel it is
// differs from image to image. So the sixteen images of a block part ways here: each has its
// channels beside each other, and meets only the gradients that are not 0.
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
  // `blocks`: of the largest batch.
  SparseBackward(const Window& window, const FeatureMap& input, const InputGradient& input_gradient,
                 const FeatureMap& output_gradient, int64_t blocks)
      : window_(window),
        input_(input),
        input_gradient_(input_gradient),
        output_gradient_(output_gradient),
        inputs_(input.shape.channels),
        outputs_(output_gradient.shape.channels),
        pixel_(pixel_size(inputs_)),
        groups_(group_count(inputs_)),
        row_(pixel_ * (input.shape.width + 2 * window.padding_x)),
        image_(row_ * (input.shape.height + 2 * window.padding_y)),
        patch_{window.height, (window.width * pixel_ + kWidth - 1) / kWidth, row_},
        places_((input.block == 0 ? 1 : blocks) * groups_),
        images_(places_ * kLanes * image_ + kLanes),
        weights_(groups_ * outputs_ * patch_.floats()),
        odd_images_(places_),
        odd_weights_(groups_ * outputs_) {
    for (int32_t lane = 0; lane < kLanes; ++lane) {
      const auto place = static_cast<int32_t>(lane * image_);
      memcpy(lane_places_ + lane, &place, sizeof place);
    }
  }

  // Whether this is faster than sums over all pixels, where a pool of so many pixels follows:
  // whether few gradients are left, and each meets so many numbers that finding it is not what
  // takes time.
  static bool suits(const Window& window, const Shape& input, const Shape& output,
                    int64_t pooled_pixels) {
    const int64_t floats = group_count(input.channels) * pixel_size(input.channels);
    const int64_t padded = (int64_t{input.height} + 2 * window.padding_y) *
                           (int64_t{input.width} + 2 * window.padding_x);
    return 3 * pooled_pixels <= output.pixels() && 3 * int64_t{input.channels} >= 2 * floats &&
           window.pixels() * input.channels >= kSmallestPatch &&
           padded <= std::min(kMostPixels, 4 * input.pixels());
  }

  // Copies the weights of some outputs, with the inputs beside each other.
  int64_t weight_jobs() const { return weight_pieces().count; }
  void copy_weights(const float* weights, int64_t job) const {
    const Parts pieces = weight_pieces();
    for (int64_t output = pieces.begin(job); output < pieces.begin(job + 1); ++output) {
      for (int64_t group = 0; group < groups_; ++group) {
        float* const to = weights_of(output, group);
        float odd = 0;
        for (int64_t i = 0; i < group_size(group); ++i) {
          const float* from = weights + (output * inputs_ + group * pixel_ + i) * window_.pixels();
          for (int y = 0; y < window_.height; ++y) {
            for (int x = 0; x < window_.width; ++x, ++from) {
              to[y * patch_.row() + x * pixel_ + i] = *from;
              odd += *from * 0;
            }
          }
        }
        odd_weights_[output * groups_ + group] = odd;
      }
    }
  }

  // The jobs of `copy_input` and `spread_gradients`: each has a group of channels in a block.
  int64_t jobs(int64_t blocks) const { return blocks * groups_; }

  // Copies the input, with the channels beside each other.
  void copy_input(int64_t job) const {
    const int64_t block = job / groups_;
    const int64_t group = job % groups_;
    float* const to = first_pixel(images_of(block, group));
    Vec odd = zero();
    float channels[kLanes * kLanes] = {};
    for (int y = 0; y < input_.shape.height; ++y) {
      for (int x = 0; x < input_.shape.width; ++x) {
        for (int64_t i = 0; i < group_size(group); ++i) {
          for (int at = 0; at < kLanes; at += kWidth) {
            const Vec value = load(input_.at(block, group * pixel_ + i, y, x) + at);
            store(channels + i * kLanes + at, value);
            odd = fma(value, zero(), odd);
          }
        }
        transpose_lanes(channels, kLanes, static_cast<int>(pixel_), to + y * row_ + x * pixel_,
                        image_, kLanes);
      }
    }
    float lanes[kLanes] = {};
    store(lanes, odd);
    odd_images_[place_of(block, group)] = sum_lanes(lanes);
  }

  // The gradient of the input.
  void spread_gradients(int64_t job, float* scratch) const {
    const int64_t block = job / groups_;
    const int64_t group = job % groups_;
    const Region rows{block, 1, 0, output_gradient_.shape.height};
    float* const sums = scratch + list_size();
    // In chains that are as long as others if a fourth of the gradients is not 0.
    const Parts chains(outputs_, std::max<int64_t>(1, 4 * kLongestChain / window_.pixels()));
    for (int64_t chain = 0; chain < chains.count; ++chain) {
      memset(sums, 0, static_cast<size_t>(kLanes * image_) * sizeof(float));
      for (int64_t output = chains.begin(chain); output < chains.begin(chain + 1); ++output) {
        const bool all = !(odd_weights_[output * groups_ + group] == 0);
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

  // The gradients of an output's weights over some rows of a block, or adds them to what is there.
  void collect_gradients(const Region& rows, int64_t output, bool add, float* gradients,
                         float* scratch) const {
    bool all = false;
    for (int64_t group = 0; group < groups_; ++group) {
      all = all || !(odd_images_[place_of(rows.block, group)] == 0);
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
    return list_size() + std::max(kLanes * image_ + kLanes, patch_.floats());
  }

 private:
  static constexpr int64_t kSmallestPatch = 96;
  static constexpr int64_t kMostPixels = 4096;

  // Channels come in groups: floats of a pixel that are beside each other.
  static int64_t pixel_size(int64_t channels) { return channels <= 8 ? 8 : 16; }
  static int64_t group_count(int64_t channels) { return (channels - 1) / pixel_size(channels) + 1; }
  int64_t group_size(int64_t group) const { return std::min(pixel_, inputs_ - group * pixel_); }

  // Where a thread takes blocks through the network one by one, there is room for one.
  int64_t place_of(int64_t block, int64_t group) const {
    return input_.block == 0 ? group : block * groups_ + group;
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

  int64_t list_capacity() const { return (output_gradient_.shape.pixels() + 1) * kLanes; }
  int64_t list_size() const { return 2 * list_capacity(); }

  // The gradients of an output that are not 0; or all, where NaN or infinity shall not be lost:
  // times 0 they are NaN.
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

  // A group of channels' sums, with the images beside each other again.
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
  const int64_t pixel_;
  const int64_t groups_;
  const int64_t row_;  // floats of an image's row, with the padding
  const int64_t image_;
  const PatchSize patch_;
  const int64_t places_;
  const Array<float> images_;
  const Array<float> weights_;
  const Array<float> odd_images_;  // not 0 where some are NaN or infinite
  const Array<float> odd_weights_;
  float lane_places_[kLanes];  // where the images begin: integers, in the bits of floats
};

}  // namespace tenfold
