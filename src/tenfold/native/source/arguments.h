// Validation of a call's arguments, before anything is written.
#pragma once

#include <stdint.h>

#include "interface.h"
#include "network.h"

namespace tenfold {

// Whether every tensor that the layers name is present and has the right size.
inline bool tensors_fit(const Network& network, const TenfoldTensor* tensors, int32_t count) {
  for (const auto& [place, size] : network.tensor_sizes()) {
    if (place >= count || tensors[place].value == nullptr || tensors[place].size != size) {
      return false;
    }
  }
  return true;
}

// Whether the optimizer's moments and the moving averages are present.
inline bool optimizer_state_fits(const TenfoldTensor* tensors, int32_t count,
                                 const TenfoldStepSettings& settings) {
  const bool is_sgd = settings.optimizer == TENFOLD_SGD;
  const bool is_adam = settings.optimizer == TENFOLD_ADAM || settings.optimizer == TENFOLD_ADAMW;
  if (!is_sgd && !is_adam) return false;
  for (int32_t i = 0; i < count; ++i) {
    const TenfoldTensor& t = tensors[i];
    if (settings.average_decay > 0 && t.average == nullptr) return false;
    if (t.trained == 0) continue;
    if (t.moment1 == nullptr && (is_adam || settings.momentum != 0)) return false;
    if (t.moment2 == nullptr && is_adam) return false;
  }
  return true;
}

inline bool images_fit(const TenfoldImages& images) {
  return images.count >= 0 && (images.mean == nullptr) == (images.deviation == nullptr) &&
         (images.by_image == 0 || images.mean == nullptr);
}

inline bool augmentation_fits(const TenfoldAugmentation* augmentation) {
  return augmentation == nullptr || (augmentation->changes != nullptr &&
                                     augmentation->crop_padding >= 0 && augmentation->cutout >= 0);
}

// Whether every batch has images and every index and label is in range.
inline bool stretch_fits(const Network& network, const TenfoldImages& images,
                         const TenfoldStretch& stretch) {
  const int64_t size = network.batch_size();
  if (stretch.images < 1 || stretch.threads < 1) return false;
  if (stretch.batches != (stretch.images - 1) / size + 1) return false;
  const int64_t classes = network.places()[0].logits.shape.channels;
  for (int64_t i = 0; i < stretch.images; ++i) {
    const int64_t image = stretch.order[i];
    if (image < 0 || image >= images.count) return false;
    if (images.labels[image] < 0 || images.labels[image] >= classes) return false;
  }
  return true;
}

}  // namespace tenfold
