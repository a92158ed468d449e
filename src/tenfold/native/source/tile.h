// The product behind convolutions and linear layers, tile by tile.
//
//   out[r][c] = bias[r] + sum over runs and taps of left(run + tap, r) * right(run + tap, c)
//
// `left` provides single floats, each multiplied by whole vectors of `right`. The sums of a tile of
// rows and columns stay in registers, so that every loaded number is used in many products. Each
// sum is one chain of fused multiply-adds in a fixed order, with the bias at its end; how rows and
// columns are divided into tiles does not affect the bits.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <algorithm>

#include "lanes.h"

namespace tenfold {

// Offsets into `left` and `right`.
struct Offsets {
  int64_t left;
  int64_t right;
};

struct TileProduct {
  const float* left;
  int64_t left_row;  // stride between a tile's rows, in floats
  const float* right;
  int64_t right_column;  // stride between vectors, in floats
  const Offsets* runs;
  int run_count;
  const Offsets* taps;  // of each run; null for `tap_count` multiples of `step`
  int64_t tap_count;
  Offsets step;
  float* out;
  int64_t out_row;
  int64_t out_column;
  const float* bias;  // one float per row, or null for 0; unused if `add`
  bool add;           // add the sums to `out`
  bool relu;          // only in the last product that is added up
};

// `count` adjacent tiles. Loops over a tile are unrolled, so that its sums stay in registers
// throughout.
template <int kRows, int kColumns, bool kHasTaps>
void product_of_tiles(const TileProduct& p, int64_t count) {
  const int64_t left_row = p.left_row;
  const int64_t right_column = p.right_column;
  const int64_t tap_count = p.tap_count;
  const Offsets* const taps = p.taps;
  const Offsets step = p.step;
  const Offsets* const end = p.runs + p.run_count;
  const float* tile_right = p.right;
  float* tile_out = p.out;
  for (; count > 0; --count) {
    Vec sums[kRows][kColumns];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sums[r][c] = zero();
    }
    for (const Offsets* run = p.runs; run != end; ++run) {
      const float* const run_left = p.left + run->left;
      const float* const run_right = tile_right + run->right;
      const float* left = run_left;
      const float* right = run_right;
      for (int64_t tap = 0; tap < tap_count; ++tap) {
        if constexpr (kHasTaps) {
          left = run_left + taps[tap].left;
          right = run_right + taps[tap].right;
        }
        Vec columns[kColumns];
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) columns[c] = load(right + c * right_column);
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
          const Vec factor = broadcast(left[r * left_row]);
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(factor, columns[c], sums[r][c]);
        }
        if constexpr (!kHasTaps) {
          left += step.left;
          right += step.right;
        }
      }
    }
    if (p.add) {
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) {
          sums[r][c] = load(tile_out + r * p.out_row + c * p.out_column) + sums[r][c];
        }
      }
    } else if (p.bias != nullptr) {
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Vec bias = broadcast(p.bias[r]);
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sums[r][c] = sums[r][c] + bias;
      }
    }
    if (p.relu) {
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sums[r][c] = positive_part(sums[r][c]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        store(tile_out + r * p.out_row + c * p.out_column, sums[r][c]);
      }
    }
    tile_right += kColumns * right_column;
    tile_out += kColumns * p.out_column;
  }
}

using TileFunction = void (*)(const TileProduct&, int64_t);

constexpr int kMostRows = 12;
constexpr int kMostColumns = 4;

// The functions by rows and columns; null if a tile's sums would not fit in the registers.
template <int kColumns, bool kHasTaps, int kRows>
constexpr TileFunction tiles_or_null() {
  if constexpr (kRows * kColumns <= kSums) {
    return product_of_tiles<kRows, kColumns, kHasTaps>;
  } else {
    return nullptr;
  }
}

template <int kColumns, bool kHasTaps>
struct TilesOfWidth {
  static constexpr TileFunction by_rows[kMostRows] = {
      tiles_or_null<kColumns, kHasTaps, 1>(),  tiles_or_null<kColumns, kHasTaps, 2>(),
      tiles_or_null<kColumns, kHasTaps, 3>(),  tiles_or_null<kColumns, kHasTaps, 4>(),
      tiles_or_null<kColumns, kHasTaps, 5>(),  tiles_or_null<kColumns, kHasTaps, 6>(),
      tiles_or_null<kColumns, kHasTaps, 7>(),  tiles_or_null<kColumns, kHasTaps, 8>(),
      tiles_or_null<kColumns, kHasTaps, 9>(),  tiles_or_null<kColumns, kHasTaps, 10>(),
      tiles_or_null<kColumns, kHasTaps, 11>(), tiles_or_null<kColumns, kHasTaps, 12>()};
};

template <bool kHasTaps>
TileFunction tile_function(int64_t rows, int64_t columns) {
  static constexpr const TileFunction* tables[kMostColumns] = {
      TilesOfWidth<1, kHasTaps>::by_rows, TilesOfWidth<2, kHasTaps>::by_rows,
      TilesOfWidth<3, kHasTaps>::by_rows, TilesOfWidth<4, kHasTaps>::by_rows};
  return tables[columns - 1][rows - 1];
}

// Divides n items into as few parts of at most `most` items as possible, as equally as possible.
struct Parts {
  int64_t n;
  int64_t count;
  Parts(int64_t n_, int64_t most) : n(n_), count((n_ + most - 1) / most) {}
  int64_t begin(int64_t part) const { return part * n / count; }
  int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
};

struct TileSize {
  int rows;
  int columns;
};

// The tile size that is fastest for this many rows and columns.
inline TileSize best_tile(int64_t rows, int64_t columns) {
  TileSize best{1, 1};
  double least = 0;
  for (int c = 1; c <= kMostColumns; ++c) {
    const int most_rows = std::min(kMostRows, kSums / c);
    const Parts across(columns, c);
    const Parts down(rows, most_rows);
    double cost = 0;
    for (int64_t x = 0; x < across.count; ++x) {
      for (int64_t y = 0; y < down.count; ++y) {
        const auto w = static_cast<double>(across.size(x));
        const auto h = static_cast<double>(down.size(y));
        // Each cycle can start two products or two loads, a sum takes four cycles, and the loop
        // overhead is about one.
        cost += std::max({w * h / 2, (w + h) / 2, 4.0}) + 1;
      }
      if (x == 15) break;  // in wide rows, the first tiles represent the rest
    }
    cost *= static_cast<double>(across.count) /
            static_cast<double>(std::min<int64_t>(across.count, 16));
    if (c == 1 || cost < least) {
      least = cost;
      best = {most_rows, c};
    }
  }
  return best;
}

// Computes all rows and columns of a product, in tiles of at most `size`.
inline void product(const TileProduct& whole, int64_t rows, int64_t columns, TileSize size) {
  const Parts down(rows, size.rows);
  // Some tiles are one column wider than others.
  const Parts across(columns, size.columns);
  const int64_t narrow = columns / across.count;
  const int64_t wide_tiles = columns - narrow * across.count;
  for (int64_t y = 0; y < down.count; ++y) {
    TileProduct p = whole;
    const int64_t row = down.begin(y);
    p.left += row * whole.left_row;
    p.out += row * whole.out_row;
    if (whole.bias != nullptr) p.bias += row;
    const auto run_tiles = [&](int64_t width, int64_t count) {
      if (count == 0) return;
      (p.taps == nullptr ? tile_function<false> : tile_function<true>)(down.size(y), width)(p,
                                                                                            count);
      p.right += count * width * p.right_column;
      p.out += count * width * p.out_column;
    };
    run_tiles(narrow + 1, wide_tiles);
    run_tiles(narrow, across.count - wide_tiles);
  }
}

}  // namespace tenfold
