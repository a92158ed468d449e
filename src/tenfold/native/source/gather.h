// Prepares the network's input: picks a batch's images, augments them, and scales the pixels.
#pragma once

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "feature_map.h"
#include "interface.h"
#include "layer.h"
#include "random.h"
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

class Gather {
 public:
  Gather(const TenfoldImages& images, const TenfoldAugmentation* augmentation,
         const FeatureMap& input)
      : images_(images), augmentation_(augmentation), input_(input), shape_(input.shape) {
    if (augmentation == nullptr && input.is_dense() &&
        input.is_contiguous()) {  // treat the image as one long row
      shape_.width *= shape_.height;
      shape_.height = 1;
    }
  }

  int64_t jobs(int64_t blocks) const { return grid().jobs(blocks); }

  void run(const Batch& batch, int64_t job) const { fill(batch, grid().place(job)); }

  void run_block(const Batch& batch, int64_t block) const {
    fill(batch, {block, 0, shape_.height, 0, shape_.channels});
  }

 private:
  // An image and its augmentation.
  struct Source {
    const uint8_t* pixels;
    int64_t rows_down;  // start of the crop within the padded image
    int64_t columns_right;
    bool mirrored;
    int64_t hole_top;  // blacked out: rows [top, top + cutout), columns [left, left + cutout)
    int64_t hole_left;
  };

  void fill(const Batch& batch, const Grid::Place& p) const {
    const int64_t lanes = batch.lanes_of(p.block);
    Source sources[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sources[lane] = source(batch.indices[p.block * kLanes + (lane < lanes ? lane : 0)]);
    }
    for (int64_t channel = p.channel; channel < p.channel_end; ++channel) {
      input_.clear_border(p.block, channel, p.row, p.row_end);
      for (int64_t y = p.row; y < p.row_end; ++y) {
        fill_row(sources, channel, y, input_.at(p.block, channel, y));
      }
    }
  }

  Source source(int64_t index) const {
    Source s{images_.pixels + index * input_.shape.numbers(), 0, 0, false, 0, 0};
    if (augmentation_ == nullptr) return s;
    const TenfoldAugmentation& a = *augmentation_;
    if (a.crop_padding > 0) {
      const int64_t places = 2 * int64_t{a.crop_padding} + 1;
      s.rows_down = keyed_choice(a.crop_rows_key, index, places);
      s.columns_right = keyed_choice(a.crop_columns_key, index, places);
    }
    s.mirrored = a.flip != 0 && keyed_choice(a.flip_key, index, 2) == 0;
    if (a.cutout > 0) {
      s.hole_top = keyed_choice(a.cutout_rows_key, index, shape_.height) - a.cutout / 2;
      s.hole_left = keyed_choice(a.cutout_columns_key, index, shape_.width) - a.cutout / 2;
    }
    return s;
  }

  Grid grid() const { return {shape_, shape_.numbers(), kSmallestWalk / 4}; }

  void fill_row(const Source* sources, int64_t channel, int64_t y, float* out) const {
    for (int64_t x = 0; x < shape_.width; x += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, shape_.width - x);
      Bytes bytes[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        bytes[lane] = sixteen_pixels(sources[lane], channel, y, x, count);
      }
      transpose_bytes(bytes);
      uint8_t pixels[kLanes * kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store_16_bytes(pixels + i * kLanes, bytes[i]);
      for (int64_t at = 0; at < count * kLanes; at += kWidth) {
        store(out + x * kLanes + at, scaled(load_bytes(pixels + at), channel));
      }
    }
  }

  Vec scaled(Vec pixels, int64_t channel) const {
    const Vec share = divided_by_255(pixels);
    if (images_.mean == nullptr) return share;
    return (share - broadcast(images_.mean[channel])) / broadcast(images_.deviation[channel]);
  }

  // `count` pixels of a row, starting at x; the remaining bytes are arbitrary.
  Bytes sixteen_pixels(const Source& s, int64_t channel, int64_t y, int64_t x,
                       int64_t count) const {
    uint8_t pixels[kLanes] = {};
    if (augmentation_ == nullptr) {
      const uint8_t* row = s.pixels + (channel * shape_.height + y) * shape_.width + x;
      const uint8_t* end = images_.pixels + images_.count * input_.shape.numbers();
      if (end - row >= kLanes) return load_16_bytes(row);
      memcpy(pixels, row, static_cast<size_t>(count));
    } else {
      for (int64_t i = 0; i < count; ++i) pixels[i] = augmented(s, channel, y, x + i);
    }
    return load_16_bytes(pixels);
  }

  // A pixel of the image after crop, flip and cutout.
  uint8_t augmented(const Source& s, int64_t channel, int64_t y, int64_t x) const {
    const TenfoldAugmentation& a = *augmentation_;
    if (y >= s.hole_top && y < s.hole_top + a.cutout && x >= s.hole_left &&
        x < s.hole_left + a.cutout) {
      return 0;
    }
    const int64_t column = s.mirrored ? shape_.width - 1 - x : x;
    const int64_t from_y = y + s.rows_down - a.crop_padding;
    const int64_t from_x = column + s.columns_right - a.crop_padding;
    if (from_y < 0 || from_y >= shape_.height || from_x < 0 || from_x >= shape_.width) return 0;
    return s.pixels[(channel * shape_.height + from_y) * shape_.width + from_x];
  }

  const TenfoldImages& images_;
  const TenfoldAugmentation* augmentation_;
  const FeatureMap input_;
  Shape shape_;
};

}  // namespace tenfold
