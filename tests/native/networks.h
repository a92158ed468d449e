// Random networks, as valid lists of layers.
#pragma once

#include <string>
#include <vector>

#include "random_numbers.h"
#include "reference.h"

// Limits the multiply-adds per image, up to a few million.
struct NetworkLimits {
  double most_operations = 1e5;
  bool with_dropout = false;
};

reference::Network random_network(Random& random, const NetworkLimits& limits);

// A readable description, one layer per line.
std::string text_of(const reference::Network& network);

// A single layer, for tests that build a network explicitly.
TenfoldLayer blank_layer(TenfoldOperation operation, int32_t input);
