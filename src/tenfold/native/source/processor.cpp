// Functions that may be called before anything else in the library. Compiled without the flags of
// an instruction set, so that every processor of the architecture can run them.
#include "interface.h"

int32_t tenfold_runs_here(void) {
#if defined(TENFOLD_AVX512) || defined(TENFOLD_AVX2)
  // For AVX2 and AVX-512, the runtime libraries of GCC (7.4 and later) and Clang report a feature
  // only if XGETBV says that the operating system saves its registers. Clang's does not check this
  // for FMA, which uses the same registers as AVX2. (macOS saves the AVX-512 registers from their
  // first use on; Clang's library accounts for that.)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
#if defined(TENFOLD_AVX512)
  const bool avx512 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  return avx2 && avx512 ? 1 : 0;
#else
  return avx2 ? 1 : 0;
#endif
#elif defined(TENFOLD_NEON)
  return 1;  // every 64-bit ARM processor has NEON
#else
#error "wanted one of TENFOLD_AVX512, TENFOLD_AVX2 and TENFOLD_NEON"
#endif
}

const char* tenfold_source_digest(void) { return TENFOLD_SOURCE_DIGEST; }
