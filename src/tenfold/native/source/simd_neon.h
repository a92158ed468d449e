// `Vec` for 64-bit Arm with NEON: 4 floats.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace tenfold {

constexpr int kWidth = 4;
// Sums that a kernel may keep in registers: there are 32, and the factors need some.
constexpr int kSums = 24;

struct Vec {
  float32x4_t v;
};
struct Mask {
  uint32x4_t m;
};
struct IntVec {
  int32x4_t v;
};

inline Vec load(const float* from) { return {vld1q_f32(from)}; }
inline void store(float* to, Vec a) { vst1q_f32(to, a.v); }
inline Vec broadcast(float a) { return {vdupq_n_f32(a)}; }
inline Vec zero() { return {vdupq_n_f32(0.0F)}; }

inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
inline Vec square_root(Vec a) { return {vsqrtq_f32(a.v)}; }
inline Vec absolute(Vec a) { return {vabsq_f32(a.v)}; }

// Comparisons with NaN are false, except for is_nan.
inline Mask operator<(Vec a, Vec b) { return {vcltq_f32(a.v, b.v)}; }
inline Mask operator<=(Vec a, Vec b) { return {vcleq_f32(a.v, b.v)}; }
inline Mask operator==(Vec a, Vec b) { return {vceqq_f32(a.v, b.v)}; }
inline Mask is_nan(Vec a) { return {vmvnq_u32(vceqq_f32(a.v, a.v))}; }
inline Mask operator|(Mask a, Mask b) { return {vorrq_u32(a.m, b.m)}; }
inline Mask operator&(Mask a, Mask b) { return {vandq_u32(a.m, b.m)}; }
inline Mask operator!(Mask a) { return {vmvnq_u32(a.m)}; }
inline Vec select(Mask m, Vec yes, Vec no) { return {vbslq_f32(m.m, yes.v, no.v)}; }

// Stores the chosen lanes contiguously and returns how many there are. May overwrite a whole
// vector.
inline int pack(Mask m, Vec a, float* to) {
  uint32_t chosen[kWidth];
  float lanes[kWidth];
  vst1q_u32(chosen, m.m);
  vst1q_f32(lanes, a.v);
  int count = 0;
  for (int lane = 0; lane < kWidth; ++lane) {
    to[count] = lanes[lane];
    count += chosen[lane] != 0 ? 1 : 0;
  }
  return count;
}

// Bytes 0..255 as numbers.
inline Vec load_bytes(const uint8_t* from) {
  const uint16x4_t half = {from[0], from[1], from[2], from[3]};
  return {vcvtq_f32_u32(vmovl_u16(half))};
}

// To the nearest integer, ties to even.
inline IntVec round_to_int(Vec a) { return {vcvtnq_s32_f32(a.v)}; }
inline Vec to_float(IntVec a) { return {vcvtq_f32_s32(a.v)}; }
inline IntVec bits_of(Vec a) { return {vreinterpretq_s32_f32(a.v)}; }
inline Vec from_bits(IntVec a) { return {vreinterpretq_f32_s32(a.v)}; }
inline IntVec broadcast_int(int32_t a) { return {vdupq_n_s32(a)}; }
inline IntVec operator+(IntVec a, IntVec b) { return {vaddq_s32(a.v, b.v)}; }
inline IntVec operator-(IntVec a, IntVec b) { return {vsubq_s32(a.v, b.v)}; }
inline IntVec operator&(IntVec a, IntVec b) { return {vandq_s32(a.v, b.v)}; }
template <int kBits>
inline IntVec shift_left(IntVec a) {
  return {vshlq_n_s32(a.v, kBits)};
}
template <int kBits>
inline IntVec shift_right(IntVec a) {
  return {vshrq_n_s32(a.v, kBits)};
}

// Four floats, for work that crosses lanes.
struct Quad {
  float32x4_t v;
};
inline Quad load_quad(const float* from) { return {vld1q_f32(from)}; }
inline void store_quad(float* to, Quad a) { vst1q_f32(to, a.v); }
inline Quad operator+(Quad a, Quad b) { return {vaddq_f32(a.v, b.v)}; }
inline void transpose(Quad& a, Quad& b, Quad& c, Quad& d) {
  const float32x4_t ac_first = vzip1q_f32(a.v, c.v);
  const float32x4_t ac_second = vzip2q_f32(a.v, c.v);
  const float32x4_t bd_first = vzip1q_f32(b.v, d.v);
  const float32x4_t bd_second = vzip2q_f32(b.v, d.v);
  a.v = vzip1q_f32(ac_first, bd_first);
  b.v = vzip2q_f32(ac_first, bd_first);
  c.v = vzip1q_f32(ac_second, bd_second);
  d.v = vzip2q_f32(ac_second, bd_second);
}

// Sixteen bytes.
struct Bytes {
  uint8x16_t v;
};
inline Bytes load_16_bytes(const uint8_t* from) { return {vld1q_u8(from)}; }
inline void store_16_bytes(uint8_t* to, Bytes a) { vst1q_u8(to, a.v); }
// a0 b0 a1 b1 ... for the first halves, and for the second.
inline Bytes interleave_first(Bytes a, Bytes b) { return {vzip1q_u8(a.v, b.v)}; }
inline Bytes interleave_second(Bytes a, Bytes b) { return {vzip2q_u8(a.v, b.v)}; }

// Tells the processor that this thread is spinning.
inline void relax() { __asm__ __volatile__("yield"); }

// Switches to plain IEEE arithmetic, with denormals, and restores the caller's mode at the end.
class PlainArithmetic {
 public:
  PlainArithmetic() {
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(before_));
    const uint64_t plain = 0;
    __asm__ __volatile__("msr fpcr, %0" : : "r"(plain));
  }
  ~PlainArithmetic() { __asm__ __volatile__("msr fpcr, %0" : : "r"(before_)); }
  PlainArithmetic(const PlainArithmetic&) = delete;
  PlainArithmetic& operator=(const PlainArithmetic&) = delete;

 private:
  uint64_t before_ = 0;
};

}  // namespace tenfold
