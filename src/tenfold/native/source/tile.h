// The product that convolutions and linear layers are made of, tile by tile.
//
//   out[r][c] = start + sum over runs, over i < run_length of left(run, r, i) * right(run, c, i)
//
// `left` gives single floats, each multiplied with whole vectors of `right`. A tile of rows and
// columns stays in registers while its sums grow, so that every number loaded serves many
// products. Each sum is one chain of fused multiplications and additions in a fixed order; how the
// rows and columns are cut into tiles changes no bit.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <algorithm>

#include "lanes.h"

namespace tenfold {

// Where the products of a run begin, from `left` and `right`.
struct Run {
  int64_t left;
  int64_t right;
};

struct TileProduct {
  const float* left;
  int64_t left_row;   // floats from a tile's row to the next
  int64_t left_step;  // and along a run
  const float* right;
  int64_t right_column;  // floats from a vector to the next
  int64_t right_step;
  const Run* runs;
  int run_count;
  int64_t run_length;
  float* out;
  int64_t out_row;
  int64_t out_column;
  const float* start;  // one float a row, or null for 0; unused where sums are added to `out`
  bool add;
  bool relu;  // of the whole: set where no more is added
};

// Loops over a tile are unrolled, so that its sums have registers from the first to the last line.
template <int kRows, int kColumns>
void product_of_tile(const TileProduct& p) {
  const int64_t left_row = p.left_row;
  const int64_t left_step = p.left_step;
  const int64_t right_column = p.right_column;
  const int64_t right_step = p.right_step;
  const int64_t run_length = p.run_length;
  Vec sums[kRows][kColumns];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) sums[r][c] = zero();
  }
  const Run* const end = p.runs + p.run_count;
  for (const Run* run = p.runs; run != end; ++run) {
    const float* left = p.left + run->left;
    const float* right = p.right + run->right;
    for (int64_t i = 0; i < run_length; ++i) {
      Vec columns[kColumns];
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) columns[c] = load(right + c * right_column);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Vec factor = broadcast(left[r * left_row]);
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(factor, columns[c], sums[r][c]);
      }
      left += left_step;
      right += right_step;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    float* out = p.out + r * p.out_row;
    const Vec start = broadcast(p.start == nullptr ? 0.0F : p.start[r]);
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      const Vec sum = (p.add ? load(out) : start) + sums[r][c];
      store(out, p.relu ? positive_part(sum) : sum);
      out += p.out_column;
    }
  }
}

using TileFunction = void (*)(const TileProduct&);

constexpr int kMostRows = 12;
constexpr int kMostColumns = 4;

// A tile's functions by rows and columns; null where its sums would not fit into the registers.
template <int kColumns, int kRows>
constexpr TileFunction tile_or_null() {
  if constexpr (kRows * kColumns <= kSums) {
    return product_of_tile<kRows, kColumns>;
  } else {
    return nullptr;
  }
}

template <int kColumns>
struct TilesOfWidth {
  static constexpr TileFunction by_rows[kMostRows] = {
      tile_or_null<kColumns, 1>(),  tile_or_null<kColumns, 2>(),  tile_or_null<kColumns, 3>(),
      tile_or_null<kColumns, 4>(),  tile_or_null<kColumns, 5>(),  tile_or_null<kColumns, 6>(),
      tile_or_null<kColumns, 7>(),  tile_or_null<kColumns, 8>(),  tile_or_null<kColumns, 9>(),
      tile_or_null<kColumns, 10>(), tile_or_null<kColumns, 11>(), tile_or_null<kColumns, 12>()};
};

inline TileFunction tile_function(int rows, int columns) {
  static constexpr const TileFunction* tables[kMostColumns] = {
      TilesOfWidth<1>::by_rows, TilesOfWidth<2>::by_rows, TilesOfWidth<3>::by_rows,
      TilesOfWidth<4>::by_rows};
  return tables[columns - 1][rows - 1];
}

// n things in as few parts of at most `most` as there can be, as equal as they can be.
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

// The largest tile that serves so many rows and columns best.
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
        // Two products or two loads begin in a cycle, a sum is ready four cycles later, and going
        // round costs about one.
        cost += std::max({w * h / 2, (w + h) / 2, 4.0}) + 1;
      }
      if (x == 15) break;  // wide rows: the first tiles speak for the rest
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

// All rows and columns of a product, in tiles of at most `size`.
inline void product(const TileProduct& whole, int64_t rows, int64_t columns, TileSize size) {
  const Parts down(rows, size.rows);
  const Parts across(columns, size.columns);
  for (int64_t y = 0; y < down.count; ++y) {
    for (int64_t x = 0; x < across.count; ++x) {
      TileProduct tile = whole;
      const int64_t row = down.begin(y);
      const int64_t column = across.begin(x);
      tile.left += row * whole.left_row;
      tile.right += column * whole.right_column;
      tile.out += row * whole.out_row + column * whole.out_column;
      if (whole.start != nullptr) tile.start += row;
      tile_function(static_cast<int>(down.size(y)), static_cast<int>(across.size(x)))(tile);
    }
  }
}

}  // namespace tenfold
