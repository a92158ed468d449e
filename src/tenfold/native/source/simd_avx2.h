// `Vec` for x86-64 with AVX2 and FMA: 8 floats.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd_x86.h"

namespace tenfold {

constexpr int kWidth = 8;
// Sums that a kernel may keep in registers: there are 16, and the factors need some.
constexpr int kSums = 12;

struct Vec {
  __m256 v;
};
struct Mask {
  __m256 m;
};
struct IntVec {
  __m256i v;
};

inline Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }
inline void store(float* to, Vec a) { _mm256_storeu_ps(to, a.v); }
inline Vec broadcast(float a) { return {_mm256_set1_ps(a)}; }
inline Vec zero() { return {_mm256_setzero_ps()}; }

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
inline Vec square_root(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec absolute(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v)}; }

// Comparisons with NaN are false, except for is_nan.
inline Mask operator<(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask operator<=(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
inline Mask operator==(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
inline Mask is_nan(Vec a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.m, b.m)}; }
inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.m, b.m)}; }
inline Mask operator!(Mask a) {
  return {_mm256_xor_ps(a.m, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
inline Vec select(Mask m, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, m.m)}; }

// For each mask of eight lanes, the indices of the chosen lanes.
struct PackedLanes {
  alignas(32) int32_t lanes[256][8];
  constexpr PackedLanes() : lanes() {
    for (int mask = 0; mask < 256; ++mask) {
      int count = 0;
      for (int lane = 0; lane < 8; ++lane) {
        if ((mask >> lane & 1) != 0) lanes[mask][count++] = lane;
      }
    }
  }
};
inline constexpr PackedLanes kPackedLanes;

// Stores the chosen lanes contiguously and returns how many there are. May overwrite a whole
// vector.
inline int pack(Mask m, Vec a, float* to) {
  const int mask = _mm256_movemask_ps(m.m);
  const int32_t* const lanes = kPackedLanes.lanes[mask];
  const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes));
  _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(a.v, order));
  return __builtin_popcount(static_cast<unsigned>(mask));
}

// Bytes 0..255 as numbers.
inline Vec load_bytes(const uint8_t* from) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))};
}

// To the nearest integer, ties to even.
inline IntVec round_to_int(Vec a) {
  const __m256 rounded = _mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return {_mm256_cvttps_epi32(rounded)};
}
inline Vec to_float(IntVec a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline IntVec bits_of(Vec a) { return {_mm256_castps_si256(a.v)}; }
inline Vec from_bits(IntVec a) { return {_mm256_castsi256_ps(a.v)}; }
inline IntVec broadcast_int(int32_t a) { return {_mm256_set1_epi32(a)}; }
inline IntVec operator+(IntVec a, IntVec b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline IntVec operator-(IntVec a, IntVec b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline IntVec operator&(IntVec a, IntVec b) { return {_mm256_and_si256(a.v, b.v)}; }
template <int kBits>
inline IntVec shift_left(IntVec a) {
  return {_mm256_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline IntVec shift_right(IntVec a) {
  return {_mm256_srai_epi32(a.v, kBits)};
}

}  // namespace tenfold
