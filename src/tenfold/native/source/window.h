// The window of a convolution or a pool.
#pragma once

#include <stdint.h>

namespace tenfold {

struct Window {
  int height;
  int width;
  int stride_y;
  int stride_x;
  int padding_y;
  int padding_x;

  int64_t pixels() const { return int64_t{height} * width; }
};

}  // namespace tenfold
