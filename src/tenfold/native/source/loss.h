// Softmax cross-entropy with label smoothing and class weights, and its gradient.
//
// For one image with label y, weights w, smoothing s and K classes, the loss is
//   (1 - s) w[y] (-log p[y]) + s / K * sum over k of w[k] (-log p[k]).
// The loss of a batch is the sum of these divided by the sum of its labels' weights, as in
// torch.nn.functional.cross_entropy (smoothing: Szegedy et al., arXiv:1512.00567).
#pragma once

#include <stdint.h>

#include "exponential.h"
#include "feature_map.h"
#include "interface.h"
#include "layer.h"

namespace tenfold {

// Smaller gradients are set to 0: they move no weight, and earlier layers would turn them into
// denormals.
constexpr float kNegligibleGradient = 0x1p-80F;

class Loss {
 public:
  Loss(const FeatureMap& logits, const FeatureMap& gradient, bool cut)
      : logits_(logits), gradient_(gradient), cut_(cut) {}

  // The sum of the labels' weights.
  static double total_weight(const float* class_weights, const int64_t* labels,
                             const int64_t* indices, int64_t images) {
    if (class_weights == nullptr) return static_cast<double>(images);
    double total = 0;
    for (int64_t i = 0; i < images; ++i) {
      total += static_cast<double>(class_weights[labels[indices[i]]]);
    }
    return total;
  }

  // For one block: each image's share of the loss, whether its label has the largest logit, and the
  // gradients of the logits.
  void run(int64_t block, int64_t lanes, const int64_t* labels, const int64_t* indices,
           const float* class_weights, double label_smoothing, double total, float* losses,
           int32_t* hits) const {
    const int64_t classes = logits_.shape.channels;
    const Labels y(block, lanes, labels, indices, class_weights);
    const auto smoothing = static_cast<float>(label_smoothing);
    const float spread = smoothing / static_cast<float>(classes);
    float all_weights = 0;
    for (int64_t k = 0; k < classes; ++k) {
      all_weights += class_weights == nullptr ? 1.0F : class_weights[k];
    }
    const Vec scale = broadcast(static_cast<float>(1 / total));
    float best[kLanes];
    for (int part = 0; part < kLanes; part += kWidth) {
      Vec most = load(logits_.at(block, 0) + part);
      Vec first = zero();
      for (int64_t k = 1; k < classes; ++k) {
        const Vec logit = load(logits_.at(block, k) + part);
        const Mask more = most < logit;
        most = select(more, logit, most);
        first = select(more, broadcast(static_cast<float>(k)), first);
      }
      store(best + part, first);
      Vec sum = zero();
      for (int64_t k = 0; k < classes; ++k) {
        sum = sum + exponential(load(logits_.at(block, k) + part) - most);
      }
      const Vec log_sum = logarithm(sum);
      const Vec label = load(y.label + part);
      const Vec weight = load(y.weight + part);
      const Vec used = load(y.used + part);
      Vec of_label = zero();
      Vec of_all = zero();
      for (int64_t k = 0; k < classes; ++k) {
        const float* logit = logits_.at(block, k) + part;
        const Vec log_p = load(logit) - most - log_sum;
        const Mask is_label = label == broadcast(static_cast<float>(k));
        const float class_weight = class_weights == nullptr ? 1.0F : class_weights[k];
        of_label = select(is_label, zero() - log_p, of_label);
        if (spread > 0) of_all = fnma(broadcast(class_weight), log_p, of_all);
        if (gradient_.data == nullptr) continue;
        const Vec p = exponential(log_p);
        const Vec target = select(is_label, broadcast(1.0F), zero());
        Vec gradient = broadcast(1 - smoothing) * weight * (p - target);
        gradient = fma(broadcast(spread), fma(p, broadcast(all_weights), broadcast(-class_weight)),
                       gradient);
        gradient = gradient * scale;
        gradient = select(absolute(gradient) < broadcast(kNegligibleGradient), zero(), gradient);
        gradient = select(zero() < used, gradient, zero());
        store(gradient_.at(block, k) + part, cut_ ? passed(load(logit), gradient) : gradient);
      }
      const Vec loss = fma(broadcast(spread), of_all, broadcast(1 - smoothing) * weight * of_label);
      store(losses + block * kLanes + part, loss);
    }
    for (int64_t lane = 0; lane < lanes; ++lane) {
      hits[block * kLanes + lane] = best[lane] == y.label[lane] ? 1 : 0;
    }
  }

 private:
  // The labels of a block, lane by lane.
  struct Labels {
    float label[kLanes];
    float weight[kLanes];
    float used[kLanes];
    Labels(int64_t block, int64_t lanes, const int64_t* labels, const int64_t* indices,
           const float* class_weights) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t y = labels[indices[block * kLanes + (lane < lanes ? lane : 0)]];
        label[lane] = static_cast<float>(y);
        weight[lane] = class_weights == nullptr ? 1.0F : class_weights[y];
        used[lane] = lane < lanes ? 1.0F : 0.0F;
      }
    }
  };

  const FeatureMap logits_;
  const FeatureMap gradient_;
  const bool cut_;
};

}  // namespace tenfold
