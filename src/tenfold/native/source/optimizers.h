// The optimizers' updates, by the formulas of torch.optim.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <atomic>

#include "interface.h"
#include "simd.h"

namespace tenfold {

// A running mean of gradients below this is set to 0. It is far too small to move a weight, but
// would shrink into the denormals, which are a hundred times slower.
constexpr float kNegligible = 0x1p-100F;
// A running mean of squares is a divisor, so it is kept until it becomes denormal.
constexpr float kSmallestNormal = 0x1p-126F;

inline Vec zero_below(float limit, Vec a) {
  return select(absolute(a) < broadcast(limit), zero(), a);
}

// b^n by repeated squaring: unlike pow(), bit-identical on every system.
inline double power(double b, int64_t n) {
  double result = 1;
  for (; n > 0; n /= 2) {
    if (n % 2 != 0) result *= b;
    b *= b;
  }
  return result;
}

// The constants of one step, in single precision where PyTorch uses it.
struct StepNumbers {
  TenfoldOptimizer optimizer;
  bool nesterov;
  bool has_momentum;
  float lr;
  float momentum;
  float weight_decay;
  float keep_weight;  // AdamW: 1 - lr * weight_decay
  float new_share1;   // 1 - beta1
  float beta2;
  float new_share2;
  float step_size;    // Adam: lr / (1 - beta1^t)
  float correction2;  // Adam: 1 / sqrt(1 - beta2^t)
  float epsilon;
  float new_share_average;  // 1 - decay of the moving average

  // For the optimizer's step t and the training's step t_average, both counted from 1.
  StepNumbers(const TenfoldStepSettings& s, double learning_rate, int64_t t, int64_t t_average)
      : optimizer(static_cast<TenfoldOptimizer>(s.optimizer)),
        nesterov(s.nesterov != 0),
        has_momentum(s.momentum != 0),
        lr(static_cast<float>(learning_rate)),
        momentum(static_cast<float>(s.momentum)),
        weight_decay(static_cast<float>(s.weight_decay)),
        keep_weight(static_cast<float>(1 - learning_rate * s.weight_decay)),
        new_share1(static_cast<float>(1 - s.beta1)),
        beta2(static_cast<float>(s.beta2)),
        new_share2(static_cast<float>(1 - s.beta2)),
        step_size(0),
        correction2(0),
        epsilon(static_cast<float>(s.epsilon)),
        new_share_average(0) {
    if (optimizer != TENFOLD_SGD) {
      step_size = static_cast<float>(learning_rate / (1 - power(s.beta1, t)));
      correction2 = static_cast<float>(1 / sqrt(1 - power(s.beta2, t)));
    }
    const auto seen = static_cast<double>(t_average);
    new_share_average = static_cast<float>(1 - fmin(s.average_decay, (1 + seen) / (10 + seen)));
  }
};

// Addresses of a vector of weights and of their state.
struct Weights {
  float* value;
  float* moment1;
  float* moment2;
  float* average;

  Weights at(int64_t offset) const {
    return {value + offset, moment1 == nullptr ? nullptr : moment1 + offset,
            moment2 == nullptr ? nullptr : moment2 + offset,
            average == nullptr ? nullptr : average + offset};
  }
};

inline Vec sgd(const StepNumbers& n, Vec gradient, Vec weight, const Weights& at) {
  gradient = fma(broadcast(n.weight_decay), weight, gradient);
  if (n.has_momentum) {
    const Vec buffer =
        zero_below(kNegligible, fma(broadcast(n.momentum), load(at.moment1), gradient));
    store(at.moment1, buffer);
    gradient = n.nesterov ? fma(broadcast(n.momentum), buffer, gradient) : buffer;
  }
  return fnma(broadcast(n.lr), gradient, weight);
}

inline Vec adam(const StepNumbers& n, Vec gradient, Vec weight, const Weights& at) {
  if (n.optimizer == TENFOLD_ADAMW) {
    weight = weight * broadcast(n.keep_weight);
  } else {
    gradient = fma(broadcast(n.weight_decay), weight, gradient);
  }
  const Vec before = load(at.moment1);
  const Vec change = gradient - before;
  // From the nearer end, as torch.lerp does.
  const Vec mean = zero_below(
      kNegligible, n.new_share1 < 0.5F ? fma(broadcast(n.new_share1), change, before)
                                       : fnma(broadcast(1 - n.new_share1), change, gradient));
  const Vec square = zero_below(kSmallestNormal, fma(broadcast(n.new_share2) * gradient, gradient,
                                                     broadcast(n.beta2) * load(at.moment2)));
  store(at.moment1, mean);
  store(at.moment2, square);
  const Vec scale = fma(square_root(square), broadcast(n.correction2), broadcast(n.epsilon));
  return fnma(broadcast(n.step_size), mean / scale, weight);
}

inline void move_average(float* average, Vec weight, float new_share) {
  const Vec before = load(average);
  store(average, fma(broadcast(new_share), weight - before, before));
}

template <bool kIsSgd>
inline void update_vector(const StepNumbers& n, Vec gradient, const Weights& at) {
  const Vec before = load(at.value);
  const Vec weight = kIsSgd ? sgd(n, gradient, before, at) : adam(n, gradient, before, at);
  store(at.value, weight);
  if (at.average != nullptr) move_average(at.average, weight, n.new_share_average);
}

// Prefetches the state `ahead` floats further on for writing: otherwise, this thread would have to
// wait to own a cache line that another thread has read. The address is computed as an integer
// because it may be out of bounds.
inline void fetch(const Weights& at, int64_t ahead) {
  const auto fetch_one = [ahead](const float* numbers) {
    const auto address =
        reinterpret_cast<uintptr_t>(numbers) + static_cast<uintptr_t>(ahead) * sizeof(float);
    if (numbers == nullptr) return;
    const void* place = reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
    __builtin_prefetch(place, 1);
  };
  fetch_one(at.value);
  fetch_one(at.moment1);
  fetch_one(at.moment2);
}

// Runs `function` on copies of the last weights of a row, padded to a whole vector.
template <typename Function>
inline void with_rest(const Weights& at, int64_t count, const Function& function) {
  float copies[4][kWidth] = {};
  float* const places[4] = {at.value, at.moment1, at.moment2, at.average};
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  for (int i = 0; i < 4; ++i) {
    if (places[i] != nullptr) memcpy(copies[i], places[i], bytes);
  }
  function(Weights{copies[0], copies[1], copies[2], at.average == nullptr ? nullptr : copies[3]});
  for (int i = 0; i < 4; ++i) {
    if (places[i] != nullptr) memcpy(places[i], copies[i], bytes);
  }
}

template <bool kIsSgd>
void update_row(const StepNumbers& n, const Weights& weights, const float* gradient, int64_t count,
                int64_t ahead) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    if (ahead != 0) fetch(weights.at(i), ahead);
    update_vector<kIsSgd>(n, load(gradient + i), weights.at(i));
  }
  if (i == count) return;
  float rest[kWidth] = {};
  memcpy(rest, gradient + i, static_cast<size_t>(count - i) * sizeof(float));
  with_rest(weights.at(i), count - i,
            [&](const Weights& at) { update_vector<kIsSgd>(n, load(rest), at); });
}

// Takes gradients a row at a time and applies them, or keeps them until their norm is known.
class Optimizer {
 public:
  Optimizer(const StepNumbers& numbers, const TenfoldTensor* tensors, float* const* kept,
            std::atomic<uint32_t>* largest)
      : numbers_(numbers), tensors_(tensors), kept_(kept), largest_(largest) {}

  // Takes `count` gradients of a tensor, starting at `offset`. If `ahead` is not 0, those at
  // `offset + ahead` will follow soon.
  void take(int tensor, int64_t offset, const float* gradient, int64_t count,
            int64_t ahead = 0) const {
    const TenfoldTensor& t = tensors_[tensor];
    if (t.trained == 0) {
      return;
    }
    if (kept_ != nullptr) {
      memcpy(kept_[tensor] + offset, gradient, static_cast<size_t>(count) * sizeof(float));
      return;
    }
    if (largest_ != nullptr) note_largest(tensor, gradient, count);
    update(t, offset, gradient, count, ahead);
  }

  void update(const TenfoldTensor& t, int64_t offset, const float* gradient, int64_t count,
              int64_t ahead = 0) const {
    const Weights weights = Weights{t.value, t.moment1, t.moment2, t.average}.at(offset);
    if (numbers_.optimizer == TENFOLD_SGD) {
      update_row<true>(numbers_, weights, gradient, count, ahead);
    } else {
      update_row<false>(numbers_, weights, gradient, count, ahead);
    }
  }

  // Untrained tensors are averaged too.
  void average_untrained(const TenfoldTensor& t) const {
    if (t.trained != 0 || t.average == nullptr) return;
    for (int64_t i = 0; i < t.size; ++i) {
      t.average[i] = fmaf(numbers_.new_share_average, t.value[i] - t.average[i], t.average[i]);
    }
  }

  // Updates the largest |gradient| of a tensor; NaN counts as larger than any number.
  void note_largest(int tensor, const float* gradient, int64_t count) const {
    uint32_t most = 0;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits;
      memcpy(&bits, gradient + i, sizeof bits);
      bits &= 0x7FFFFFFFU;  // without their sign, floats are ordered like their bits
      most = bits > most ? bits : most;
    }
    uint32_t before = largest_[tensor].load(std::memory_order_relaxed);
    while (before < most &&
           !largest_[tensor].compare_exchange_weak(before, most, std::memory_order_relaxed)) {
    }
  }

  bool keeps_gradients() const { return kept_ != nullptr; }
  bool wants_largest() const { return largest_ != nullptr; }

 private:
  const StepNumbers numbers_;
  const TenfoldTensor* tensors_;
  float* const* kept_;
  std::atomic<uint32_t>* largest_;
};

}  // namespace tenfold
