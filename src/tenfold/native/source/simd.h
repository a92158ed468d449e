// Vectors of the processor's native width, with the same arithmetic on every processor.
//
// `Vec` holds `kWidth` floats: 16 with AVX-512, 8 with AVX2, 4 with NEON. Only speed may depend on
// the width: a kernel computes each number with the same operations in the same order. So sums
// across lanes have a fixed order (lanes.h), and only `fma` and `fnma` fuse products and sums.
#pragma once

#if defined(TENFOLD_AVX512)
#include "simd_avx512.h"
#elif defined(TENFOLD_AVX2)
#include "simd_avx2.h"
#elif defined(TENFOLD_NEON)
#include "simd_neon.h"
#else
#error "define TENFOLD_AVX512, TENFOLD_AVX2 or TENFOLD_NEON"
#endif
