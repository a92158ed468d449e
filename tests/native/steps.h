// A step of a case, as the reference takes it.
#pragma once

#include <vector>

#include "cases.h"
#include "reference.h"

struct Batch {
  reference::Numbers images;
  std::vector<int64_t> labels;
  std::vector<int64_t> indices;  // of the images in the data set
};

// The images of one batch, augmented and scaled.
Batch batch_of(const Case& drawn, int64_t number);

struct Step {
  reference::Pass pass;
  double loss = 0;
  std::vector<reference::Numbers> gradients;  // clipped
};

// Forward and backward; `number` is that of the batch in the case.
Step step_of(const Case& drawn, int64_t number, const std::vector<reference::Numbers>& tensors,
             const Batch& batch, const reference::Rounding& forward,
             const reference::Rounding& backward);

std::vector<reference::Numbers> widened(const std::vector<TensorNumbers>& tensors);

// Backward against finite differences of forward, for some numbers of a random case. Gives what is
// wrong, or an empty text; `compared` grows.
std::string check_reference(uint64_t seed, int64_t& compared);
