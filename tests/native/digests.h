// Digests of the results of fixed trainings, for comparison between processors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "library.h"

// A training's name, and a digest of its weights, moments, averages, losses and logits.
struct Digest {
  std::string name;
  uint64_t value;
};

// `steps` steps of three networks with each optimizer.
std::vector<Digest> digests_of_networks(const Library& library, uint64_t seed, int64_t steps,
                                        int32_t threads);

// The driver's random cases.
std::vector<Digest> digests_of_cases(const Library& library, uint64_t seed, int64_t cases,
                                     int32_t threads);
