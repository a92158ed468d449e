// Invalid lists and arguments, and valid networks that are too large.
#pragma once

#include <string>

#include "library.h"

// Changes one number of a valid list and tries to create a network from it.
std::string check_changed_list(const Library& library, uint64_t seed);

// Spoils the arguments of a training in every way, one at a time: each must be refused without
// changing a tensor.
std::string check_wrong_arguments(const Library& library);

// Valid networks that are too large for any machine, in a child process with limited memory.
std::string check_large_networks(const Library& library);
