// Lists and arguments that are not valid, and sizes that are, but would take too much.
#pragma once

#include <string>

#include "library.h"

// Changes one number of a valid list, and asks for a network of the result.
std::string check_changed_list(const Library& library, uint64_t seed);

// Spoils the arguments of a training in every way, one at a time: each must be refused, with all
// tensors as they were.
std::string check_wrong_arguments(const Library& library);

// Valid networks that are too large for any machine; in a child process that may not have much.
std::string check_large_networks(const Library& library);
