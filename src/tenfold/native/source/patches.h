// Lists of gradients, each with its patch: the pixels of the padded image that its output was
// computed from.
//
// Here, a vector holds several channels of one image's pixel, so rows of a patch are adjacent
// vectors. Lists omit gradients that are 0.
#pragma once

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "layer.h"

namespace tenfold {

struct GradientList {
  float* values = nullptr;
  float* places = nullptr;  // offsets of the patches: integers, in the bits of floats
  int64_t count = 0;

  int32_t place(int64_t i) const {
    int32_t place;
    memcpy(&place, places + i, sizeof place);
    return place;
  }
};

// The size of a patch.
struct PatchSize {
  int64_t rows;
  int64_t columns;    // vectors
  int64_t image_row;  // stride between the images' rows, in floats

  int64_t row() const { return columns * kWidth; }  // the same in weights and sums
  int64_t floats() const { return rows * row(); }
};

// sums = the sum of gradient * patch over part of a list; `add`: added to the existing sums.
struct Collection {
  GradientList list;
  int64_t begin;
  int64_t end;
  const float* images;
  int64_t image_row;
  float* sums;
  int64_t sums_row;
  bool add;
};

// For some rows and columns of the patches, with their sums in registers.
template <int kRows, int kColumns>
void collect_tile(const Collection& c) {
  const GradientList list = c.list;
  const float* const images = c.images;
  const int64_t row = c.image_row;
  Vec sums[kRows][kColumns];
#pragma GCC unroll 4
  for (int y = 0; y < kRows; ++y) {
#pragma GCC unroll 12
    for (int x = 0; x < kColumns; ++x) sums[y][x] = zero();
  }
  for (int64_t i = c.begin; i < c.end; ++i) {
    const float* const patch = images + list.place(i);
    const Vec gradient = broadcast(list.values[i]);
#pragma GCC unroll 4
    for (int y = 0; y < kRows; ++y) {
#pragma GCC unroll 12
      for (int x = 0; x < kColumns; ++x) {
        sums[y][x] = fma(gradient, load(patch + y * row + x * kWidth), sums[y][x]);
      }
    }
  }
#pragma GCC unroll 4
  for (int y = 0; y < kRows; ++y) {
#pragma GCC unroll 12
    for (int x = 0; x < kColumns; ++x) {
      float* const to = c.sums + y * c.sums_row + x * kWidth;
      store(to, c.add ? load(to) + sums[y][x] : sums[y][x]);
    }
  }
}

// patch += gradient * weights, for a whole list.
struct Spreading {
  GradientList list;
  const float* weights;
  int64_t rows;
  int64_t columns;
  float* images;
  int64_t image_row;
  const float* outside;  // for the lanes of the last column: nonzero outside the patch
};

// `kColumns`: vectors in a row; 0 for any number. Each patch is finished before the next, which may
// overlap it. Going column by column would change the order of the sums, and differently on each
// processor, since columns are as wide as its vectors. Lanes outside a patch are left unchanged,
// not multiplied by 0: NaN times 0 is NaN.
template <int kColumns>
void spread_rows(const Spreading& s) {
  const GradientList list = s.list;
  const int64_t rows = s.rows;
  const int64_t row = s.image_row;
  const int64_t columns = kColumns > 0 ? kColumns : s.columns;
  const Mask inside = load(s.outside) == zero();
  for (int64_t i = 0; i < list.count; ++i) {
    float* patch = s.images + list.place(i);
    const float* weights = s.weights;
    const Vec gradient = broadcast(list.values[i]);
    for (int64_t y = 0; y < rows; ++y) {
#pragma GCC unroll 12
      for (int64_t x = 0; x < columns; ++x) {
        float* const to = patch + x * kWidth;
        const Vec sum = fma(gradient, load(weights + x * kWidth), load(to));
        store(to, x + 1 < columns ? sum : select(inside, sum, load(to)));
      }
      patch += row;
      weights += columns * kWidth;
    }
  }
}

constexpr int kMostPatchRows = 4;
constexpr int kMostPatchColumns = 12;

using CollectFunction = void (*)(const Collection&);
using SpreadFunction = void (*)(const Spreading&);

template <int kRows, int kColumns>
constexpr CollectFunction collect_or_null() {
  if constexpr (kRows * kColumns <= kSums) {
    return collect_tile<kRows, kColumns>;
  } else {
    return nullptr;
  }
}

template <int... kColumns>
struct FunctionsOfWidths {
  static constexpr CollectFunction collect[sizeof...(kColumns)][kMostPatchRows] = {
      {collect_or_null<1, kColumns>(), collect_or_null<2, kColumns>(),
       collect_or_null<3, kColumns>(), collect_or_null<4, kColumns>()}...};
  static constexpr SpreadFunction spread[sizeof...(kColumns)] = {spread_rows<kColumns>...};
};
using PatchFunctions = FunctionsOfWidths<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>;

// sums = the sum of gradient * patch, in chains.
inline void collect(const GradientList& list, const PatchSize& size, const float* images,
                    float* sums) {
  Collection c{};
  c.list = list;
  c.image_row = size.image_row;
  c.sums_row = size.row();
  const Parts across(size.columns, kMostPatchColumns);
  for (int64_t x = 0; x < across.count; ++x) {
    const int64_t columns = across.size(x);
    const Parts down(size.rows, std::min<int64_t>(kMostPatchRows, kSums / columns));
    for (int64_t y = 0; y < down.count; ++y) {
      c.images = images + down.begin(y) * c.image_row + across.begin(x) * kWidth;
      c.sums = sums + down.begin(y) * c.sums_row + across.begin(x) * kWidth;
      c.end = 0;
      do {  // also for an empty list, whose sums are 0
        c.begin = c.end;
        c.end = std::min(list.count, c.begin + kLongestChain);
        c.add = c.begin > 0;
        PatchFunctions::collect[columns - 1][down.size(y) - 1](c);
      } while (c.end < list.count);
    }
  }
}

// patch += gradient * weights. The patch covers the first `floats` of each row.
inline void spread(const GradientList& list, const PatchSize& size, int64_t floats,
                   const float* weights, float* images) {
  float outside[kWidth] = {};
  for (int64_t lane = floats - (size.columns - 1) * kWidth; lane < kWidth; ++lane) {
    outside[lane] = 1;
  }
  Spreading s{};
  s.list = list;
  s.weights = weights;
  s.rows = size.rows;
  s.columns = size.columns;
  s.images = images;
  s.image_row = size.image_row;
  s.outside = outside;
  (size.columns > kMostPatchColumns ? spread_rows<0> : PatchFunctions::spread[size.columns - 1])(s);
}

}  // namespace tenfold
