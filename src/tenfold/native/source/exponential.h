// Our own exp and log, which give the same bits on every platform.
//
// Both use the standard method: reduce to a short interval, evaluate a polynomial by Horner's rule
// with fused multiply-adds, and restore the power of two. The coefficients are from Moshier's
// Cephes library (expf.c and logf.c).
#pragma once

#include "simd.h"

namespace tenfold {

// Below this, exp returns 0: the true value is close to the denormals.
constexpr float kSmallestExponent = -87.0F;
constexpr float kLargestExponent = 88.0F;

// exp(x) for x <= 88, 0 below -87; NaN stays NaN.
inline Vec exponential(Vec x) {
  const Vec clamped = select(x < broadcast(kSmallestExponent), broadcast(kSmallestExponent), x);
  // x = n ln 2 + r with |r| <= ln 2 / 2. ln 2 is split in two so that its first part times n is
  // exact.
  const IntVec n = round_to_int(clamped * broadcast(1.44269504F));
  const Vec count = to_float(n);
  Vec r = fnma(count, broadcast(0.693359375F), clamped);
  r = fnma(count, broadcast(-2.12194440e-4F), r);
  Vec p = broadcast(1.9875691500e-4F);
  p = fma(p, r, broadcast(1.3981999507e-3F));
  p = fma(p, r, broadcast(8.3334519073e-3F));
  p = fma(p, r, broadcast(4.1665795894e-2F));
  p = fma(p, r, broadcast(1.6666665459e-1F));
  p = fma(p, r, broadcast(5.0000001201e-1F));
  p = fma(p, r * r, r + broadcast(1.0F));
  const Vec power = from_bits(shift_left<23>(n + broadcast_int(127)));
  return select(x < broadcast(kSmallestExponent), zero(), p * power);
}

// ln(x) for finite x no smaller than the smallest normal number; NaN stays NaN.
inline Vec logarithm(Vec x) {
  // x = 2^e m with m in [sqrt(1/2), sqrt(2)).
  IntVec exponent = shift_right<23>(bits_of(x)) - broadcast_int(126);
  Vec m = from_bits((bits_of(x) & broadcast_int(0x007FFFFF)) + broadcast_int(0x3F000000));
  const Mask below = m < broadcast(0.70710678F);
  Vec e = to_float(exponent);
  e = select(below, e - broadcast(1.0F), e);
  m = select(below, m + m, m) - broadcast(1.0F);
  const Vec square = m * m;
  Vec p = broadcast(7.0376836292e-2F);
  p = fma(p, m, broadcast(-1.1514610310e-1F));
  p = fma(p, m, broadcast(1.1676998740e-1F));
  p = fma(p, m, broadcast(-1.2420140846e-1F));
  p = fma(p, m, broadcast(1.4249322787e-1F));
  p = fma(p, m, broadcast(-1.6668057665e-1F));
  p = fma(p, m, broadcast(2.0000714765e-1F));
  p = fma(p, m, broadcast(-2.4999993993e-1F));
  p = fma(p, m, broadcast(3.3333331174e-1F));
  p = p * m * square;
  p = fma(e, broadcast(-2.12194440e-4F), p);
  p = fnma(square, broadcast(0.5F), p);
  const Vec result = fma(e, broadcast(0.693359375F), m + p);
  return select(is_nan(x), x, result);
}

}  // namespace tenfold
