// One training, drawn from a seed: a network, images, settings and the initial state.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "networks.h"
#include "random_numbers.h"
#include "reference.h"

// A tensor and its training state; empty if there is none.
struct TensorNumbers {
  std::vector<float> value;
  std::vector<float> moment1;
  std::vector<float> moment2;
  std::vector<float> average;
  bool trained = true;
};

struct Case {
  uint64_t seed = 0;
  reference::Network network;
  int64_t batch_size = 1;
  TenfoldStepSettings settings{};                   // without class weights: see below
  std::optional<TenfoldAugmentation> augmentation;  // without changes: see below
  std::vector<TenfoldChanges> changes;              // one for each image in the order
  std::vector<float> class_weights;
  std::vector<float> mean;
  std::vector<float> deviation;
  bool by_image = false;
  std::vector<uint8_t> pixels;
  std::vector<int64_t> labels;
  std::vector<int64_t> order;
  std::vector<double> learning_rates;
  int64_t step = 0;
  int64_t optimizer_step = 0;
  uint64_t dropout_seed = 0;
  std::vector<TensorNumbers> tensors;

  int64_t batches() const { return static_cast<int64_t>(learning_rates.size()); }
  int64_t images_before(int64_t batch) const {
    return std::min(batch * batch_size, static_cast<int64_t>(order.size()));
  }
};

Case random_case(uint64_t seed);

// Small images with a pattern per class, and `steps` steps of a given network. Everything else is
// drawn.
Case learnable_case(uint64_t seed, const reference::Network& network, int64_t batch_size,
                    int64_t steps, int32_t optimizer);

std::string text_of(const Case& drawn);
