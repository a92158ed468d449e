// `Vec` for x86-64 with AVX-512: 16 floats.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd_x86.h"

namespace tenfold {

constexpr int kWidth = 16;
// Sums that a kernel may keep in registers: there are 32, and the factors need some.
constexpr int kSums = 24;

struct Vec {
  __m512 v;
};
struct Mask {
  __mmask16 m;
};
struct IntVec {
  __m512i v;
};

inline Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }
inline void store(float* to, Vec a) { _mm512_storeu_ps(to, a.v); }
inline Vec broadcast(float a) { return {_mm512_set1_ps(a)}; }
inline Vec zero() { return {_mm512_setzero_ps()}; }

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
inline Vec square_root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
inline Vec absolute(Vec a) { return {_mm512_abs_ps(a.v)}; }

// Comparisons with NaN are false, except for is_nan.
inline Mask operator<(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask operator<=(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
inline Mask operator==(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline Mask is_nan(Vec a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
inline Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.m | b.m)}; }
inline Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.m & b.m)}; }
inline Mask operator!(Mask a) { return {static_cast<__mmask16>(~a.m)}; }
inline Vec select(Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m.m, no.v, yes.v)}; }

// Stores the chosen lanes contiguously and returns how many there are. May overwrite a whole
// vector.
inline int pack(Mask m, Vec a, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(m.m, a.v));
  return __builtin_popcount(m.m);
}

// Bytes 0..255 as numbers.
inline Vec load_bytes(const uint8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
}

// To the nearest integer, ties to even.
inline IntVec round_to_int(Vec a) {
  return {_mm512_cvt_roundps_epi32(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec to_float(IntVec a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline IntVec bits_of(Vec a) { return {_mm512_castps_si512(a.v)}; }
inline Vec from_bits(IntVec a) { return {_mm512_castsi512_ps(a.v)}; }
inline IntVec broadcast_int(int32_t a) { return {_mm512_set1_epi32(a)}; }
inline IntVec operator+(IntVec a, IntVec b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline IntVec operator-(IntVec a, IntVec b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline IntVec operator&(IntVec a, IntVec b) { return {_mm512_and_si512(a.v, b.v)}; }
template <int kBits>
inline IntVec shift_left(IntVec a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline IntVec shift_right(IntVec a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}

}  // namespace tenfold
