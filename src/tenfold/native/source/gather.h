// Prepares the network's input: picks a batch's images, augments them, and scales the pixels.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "feature_map.h"
#include "interface.h"
#include "layer.h"
#include "tile.h"

namespace tenfold {

// pixel / 255, correctly rounded: multiplies by the rounded reciprocal, then corrects by the
// remainder.
inline Vec divided_by_255(Vec pixel) {
  const Vec reciprocal = broadcast(1.0F / 255.0F);
  const Vec quotient = pixel * reciprocal;
  return fma(fnma(quotient, broadcast(255.0F), pixel), reciprocal, quotient);
}

// Transposes sixteen rows of sixteen bytes: each round interleaves the two halves.
inline void transpose_bytes(Bytes (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    Bytes dealt[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      dealt[2 * i] = interleave_first(rows[i], rows[i + kLanes / 2]);
      dealt[2 * i + 1] = interleave_second(rows[i], rows[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = dealt[i];
  }
}

// Makes an image's augmented copy, of the same shape.
class Augmenter {
 public:
  Augmenter(const TenfoldAugmentation& how, const Shape& shape) : how_(how), shape_(shape) {}

  void run(const uint8_t* image, const TenfoldChanges& c, uint8_t* out) const {
    for (int64_t y = 0; y < shape_.height; ++y) {
      const bool in_hole = y >= c.hole_row && y < c.hole_row + how_.cutout;
      const int64_t from_y = y + c.crop_row - how_.crop_padding;
      for (int64_t x = 0; x < shape_.width; ++x) {
        uint8_t* pixel = out + y * shape_.width + x;
        const int64_t column = c.mirrored != 0 ? shape_.width - 1 - x : x;
        const int64_t from_x = column + c.crop_column - how_.crop_padding;
        const bool is_cut = in_hole && x >= c.hole_column && x < c.hole_column + how_.cutout;
        const bool is_inside =
            from_y >= 0 && from_y < shape_.height && from_x >= 0 && from_x < shape_.width;
        if (is_cut || !is_inside) {
          for (int channel = 0; channel < shape_.channels; ++channel) {
            pixel[channel * shape_.pixels()] = 0;
          }
        } else {
          copy(image, c, from_y, from_x, pixel);
        }
      }
    }
  }

 private:
  // Writes the pixel that the warped and recolored image has there, in every channel.
  void copy(const uint8_t* image, const TenfoldChanges& c, int64_t y, int64_t x,
            uint8_t* pixel) const {
    Corners corners{{y * shape_.width + x, 0, 0, 0}, {1, 0, 0, 0}};
    if (how_.warps != 0) corners = around(c, y, x);
    for (int channel = 0; channel < shape_.channels; ++channel) {
      const uint8_t* plane = image + channel * shape_.pixels();
      int64_t value = plane[corners.place[0]];
      if (how_.warps != 0) {
        int64_t sum = kHalf;
        for (int i = 0; i < 4; ++i) sum += corners.weight[i] * plane[corners.place[i]];
        value = sum >> 16;
      }
      if (how_.recolors != 0) {
        value = (value * c.gain + c.offset + kHalf) >> 16;
        value = std::clamp<int64_t>(value, 0, 255);
      }
      pixel[channel * shape_.pixels()] = static_cast<uint8_t>(value);
    }
  }

  // Four neighboring pixels, and their weights, which add up to 2^16.
  struct Corners {
    int64_t place[4];
    int64_t weight[4];
  };

  Corners around(const TenfoldChanges& c, int64_t y, int64_t x) const {
    const int64_t rows = 2 * y - shape_.height + 1;
    const int64_t columns = 2 * x - shape_.width + 1;
    const int64_t from_y = c.row + c.along * rows - c.across * columns;
    const int64_t from_x = c.column + c.across * rows + c.along * columns;
    const int64_t down = (from_y >> 9) & 255;
    const int64_t right = (from_x >> 9) & 255;
    const auto row = [&](int64_t at) {
      return std::clamp<int64_t>(at, 0, shape_.height - 1) * shape_.width;
    };
    const auto column = [&](int64_t at) { return std::clamp<int64_t>(at, 0, shape_.width - 1); };
    const int64_t top = row(from_y >> 17);
    const int64_t bottom = row((from_y >> 17) + 1);
    const int64_t left = column(from_x >> 17);
    const int64_t other = column((from_x >> 17) + 1);
    return {
        {top + left, top + other, bottom + left, bottom + other},
        {(256 - down) * (256 - right), (256 - down) * right, down * (256 - right), down * right}};
  }

  static constexpr int64_t kHalf = int64_t{1} << 15;

  const TenfoldAugmentation& how_;
  const Shape shape_;
};

class Gather {
 public:
  Gather(const TenfoldImages& images, const TenfoldAugmentation* augmentation,
         const FeatureMap& input)
      : images_(images), augmentation_(augmentation), input_(input), shape_(input.shape) {
    if (input.is_dense() && input.is_contiguous()) {  // treat the image as one long row
      shape_.width *= shape_.height;
      shape_.height = 1;
    }
  }

  // Floats that `run` needs as scratch memory.
  static int64_t scratch_size(const TenfoldAugmentation* augmentation, const Shape& shape) {
    if (augmentation == nullptr) return 0;
    return (kLanes * shape.numbers() + kLanes) / static_cast<int64_t>(sizeof(float)) + 1;
  }

  int64_t jobs(int64_t blocks) const { return prepares() ? blocks : grid().jobs(blocks); }

  void run(const Batch& batch, int64_t job, float* scratch) const {
    if (prepares()) return run_block(batch, job, scratch);
    fill(sources(batch, grid().place(job).block), grid().place(job));
  }

  void run_block(const Batch& batch, int64_t block, float* scratch) const {
    Sources s = sources(batch, block);
    if (augmentation_ != nullptr) augment(batch, block, s, reinterpret_cast<uint8_t*>(scratch));
    if (images_.by_image != 0) measure(s);
    fill(s, {block, 0, shape_.height, 0, shape_.channels});
  }

 private:
  // Whether something about an image has to be known before any of it is written.
  bool prepares() const { return augmentation_ != nullptr || images_.by_image != 0; }

  // The images of a block, lane by lane; unused lanes repeat the first.
  struct Sources {
    int64_t lanes;
    const uint8_t* pixels[kLanes];
    const uint8_t* end;  // of the memory that the last of them is in
    float mean[kLanes];  // of each image; only if it is normalized by them
    float deviation[kLanes];
  };

  Sources sources(const Batch& batch, int64_t block) const {
    Sources s;
    s.lanes = batch.lanes_of(block);
    s.end = images_.pixels + images_.count * input_.shape.numbers();
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t index = batch.indices[block * kLanes + (lane < s.lanes ? lane : 0)];
      s.pixels[lane] = images_.pixels + index * input_.shape.numbers();
    }
    return s;
  }

  void augment(const Batch& batch, int64_t block, Sources& s, uint8_t* copies) const {
    const Augmenter augmenter(*augmentation_, input_.shape);
    for (int64_t lane = 0; lane < s.lanes; ++lane) {
      uint8_t* const copy = copies + lane * input_.shape.numbers();
      augmenter.run(s.pixels[lane], batch.changes[block * kLanes + lane], copy);
      s.pixels[lane] = copy;
    }
    for (int64_t lane = s.lanes; lane < kLanes; ++lane) s.pixels[lane] = s.pixels[0];
    s.end = copies + kLanes * input_.shape.numbers() + kLanes;
  }

  // See `Preprocessing` in models/preprocessing.py.
  void measure(Sources& s) const {
    const int64_t size = input_.shape.numbers();
    const auto n = static_cast<double>(size);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      uint64_t sum = 0;
      uint64_t squares = 0;
      for (int64_t i = 0; i < size; ++i) {
        const uint32_t pixel = s.pixels[lane][i];
        sum += pixel;
        squares += pixel * pixel;
      }
      const auto total = static_cast<double>(sum);
      const double spread = n * static_cast<double>(squares) - total * total;
      s.mean[lane] = static_cast<float>(total / (n * 255));
      s.deviation[lane] = static_cast<float>(std::max(sqrt(std::max(spread, 0.0)) / n, 1.0) / 255);
    }
  }

  void fill(const Sources& s, const Grid::Place& p) const {
    for (int64_t channel = p.channel; channel < p.channel_end; ++channel) {
      input_.clear_border(p.block, channel, p.row, p.row_end);
      for (int64_t y = p.row; y < p.row_end; ++y) {
        fill_row(s, channel, y, input_.at(p.block, channel, y));
      }
    }
  }

  Grid grid() const { return {shape_, shape_.numbers(), kSmallestWalk / 4}; }

  void fill_row(const Sources& s, int64_t channel, int64_t y, float* out) const {
    for (int64_t x = 0; x < shape_.width; x += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, shape_.width - x);
      const int64_t place = (channel * shape_.height + y) * shape_.width + x;
      Bytes bytes[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        bytes[lane] = sixteen_pixels(s.pixels[lane] + place, s.end, count);
      }
      transpose_bytes(bytes);
      uint8_t pixels[kLanes * kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store_16_bytes(pixels + i * kLanes, bytes[i]);
      for (int64_t at = 0; at < count * kLanes; at += kWidth) {
        store(out + x * kLanes + at, scaled(load_bytes(pixels + at), s, channel, at % kLanes));
      }
    }
  }

  Vec scaled(Vec pixels, const Sources& s, int64_t channel, int64_t lane) const {
    const Vec share = divided_by_255(pixels);
    if (images_.by_image != 0) return (share - load(s.mean + lane)) / load(s.deviation + lane);
    if (images_.mean == nullptr) return share;
    return (share - broadcast(images_.mean[channel])) / broadcast(images_.deviation[channel]);
  }

  // `count` pixels; the remaining bytes are arbitrary.
  static Bytes sixteen_pixels(const uint8_t* from, const uint8_t* end, int64_t count) {
    if (end - from >= kLanes) return load_16_bytes(from);
    uint8_t pixels[kLanes] = {};
    memcpy(pixels, from, static_cast<size_t>(count));
    return load_16_bytes(pixels);
  }

  const TenfoldImages& images_;
  const TenfoldAugmentation* augmentation_;
  const FeatureMap input_;
  Shape shape_;
};

}  // namespace tenfold
