// Random networks that are valid lists of layers.
#pragma once

#include <string>
#include <vector>

#include "random_numbers.h"
#include "reference.h"

// Up to some millions of multiplications and additions an image.
struct NetworkLimits {
  double most_operations = 1e5;
  bool with_dropout = false;
};

reference::Network random_network(Random& random, const NetworkLimits& limits);

// One layer a line, as a person reads it.
std::string text_of(const reference::Network& network);

// Layers that stand alone, for tests that write a network down.
TenfoldLayer blank_layer(TenfoldOperation operation, int32_t input);
