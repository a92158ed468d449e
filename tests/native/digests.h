// The bits that fixed trainings end with, to be compared between processors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "library.h"

// What was trained, and a digest of its weights, moments, averages, losses and logits.
struct Digest {
  std::string name;
  uint64_t value;
};

// `steps` steps of three networks with each optimizer.
std::vector<Digest> digests_of_networks(const Library& library, uint64_t seed, int64_t steps,
                                        int32_t threads);

// Random cases, as the driver tests them.
std::vector<Digest> digests_of_cases(const Library& library, uint64_t seed, int64_t cases,
                                     int32_t threads);
