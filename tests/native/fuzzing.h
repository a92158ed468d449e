// Checks of one random training against the reference and against itself.
#pragma once

#include <string>

#include "cases.h"
#include "comparing.h"
#include "library.h"

// Returns what is wrong with a library, or an empty text.
std::string check_case(const Library& library, const Case& drawn, Tally& tally);

// Checks that two trainings in concurrent threads, and one in a forked process, end with the same
// bits as alone.
std::string check_company(const Library& library, uint64_t seed);
