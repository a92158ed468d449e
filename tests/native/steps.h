// A step of a case, computed by the reference.
#pragma once

#include <vector>

#include "cases.h"
#include "reference.h"

struct Batch {
  reference::Numbers images;
  std::vector<int64_t> labels;
  std::vector<int64_t> indices;  // of the images in the data set
};

// A case's images, normalized as it says.
reference::Numbers scaled(const Case& drawn, const std::vector<uint8_t>& pixels);

// The images of one batch, augmented and scaled.
Batch batch_of(const Case& drawn, int64_t number);

struct Step {
  reference::Pass pass;
  double loss = 0;
  std::vector<reference::Numbers> gradients;  // clipped
};

// Forward and backward; `number` is the index of the batch in the case.
Step step_of(const Case& drawn, int64_t number, const std::vector<reference::Numbers>& tensors,
             const Batch& batch, const reference::Rounding& forward,
             const reference::Rounding& backward);

std::vector<reference::Numbers> widened(const std::vector<TensorNumbers>& tensors);

// Compares backward with finite differences of forward for some numbers of a random case. Returns
// what is wrong, or an empty text; adds to `compared`.
std::string check_reference(uint64_t seed, int64_t& compared);
