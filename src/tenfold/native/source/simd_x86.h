// Shared by all x86-64 processors: 128-bit vectors, the pause instruction, the control word.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace tenfold {

// Four floats, for work that crosses lanes.
struct Quad {
  __m128 v;
};
inline Quad load_quad(const float* from) { return {_mm_loadu_ps(from)}; }
inline void store_quad(float* to, Quad a) { _mm_storeu_ps(to, a.v); }
inline Quad operator+(Quad a, Quad b) { return {_mm_add_ps(a.v, b.v)}; }
inline void transpose(Quad& a, Quad& b, Quad& c, Quad& d) { _MM_TRANSPOSE4_PS(a.v, b.v, c.v, d.v); }

// Sixteen bytes.
struct Bytes {
  __m128i v;
};
inline Bytes load_16_bytes(const uint8_t* from) {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))};
}
inline void store_16_bytes(uint8_t* to, Bytes a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), a.v);
}
// a0 b0 a1 b1 ... for the first halves, and for the second.
inline Bytes interleave_first(Bytes a, Bytes b) { return {_mm_unpacklo_epi8(a.v, b.v)}; }
inline Bytes interleave_second(Bytes a, Bytes b) { return {_mm_unpackhi_epi8(a.v, b.v)}; }

// Tells the processor that this thread is spinning.
inline void relax() { _mm_pause(); }

// Switches to plain IEEE arithmetic, with denormals, and restores the caller's mode at the end.
class PlainArithmetic {
 public:
  PlainArithmetic() : before_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~PlainArithmetic() { _mm_setcsr(before_); }
  PlainArithmetic(const PlainArithmetic&) = delete;
  PlainArithmetic& operator=(const PlainArithmetic&) = delete;

 private:
  unsigned before_;
};

}  // namespace tenfold
