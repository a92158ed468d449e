// Vectors of the processor's own width, with the same arithmetic on every processor.
//
// `Vec` holds `kWidth` floats: 16 with AVX-512, 8 with AVX2, 4 with NEON. Nothing in this engine
// may depend on that number but its speed: a kernel computes each number from the same operations
// in the same order, whatever the width. Sums across lanes therefore have an order of their own
// (lanes.h), and products are fused with additions only where `fma` says so.
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
