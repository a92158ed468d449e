// What may be asked of a library before anything else in it is run. Compiled without the flags of
// an instruction set, so that every processor of the architecture can run it.
#include "interface.h"

int32_t tenfold_runs_here(void) {
#if defined(TENFOLD_AVX512) || defined(TENFOLD_AVX2)
  // For AVX2 and all of AVX-512, the support libraries of GCC (7.4 and later) and of Clang count a
  // feature only if the operating system saves the registers that it uses, which they ask of
  // XGETBV. Clang's doesn't for FMA, which has no registers that AVX2 lacks. (macOS saves those of
  // AVX-512 from their first use on; Clang's library knows it.)
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
