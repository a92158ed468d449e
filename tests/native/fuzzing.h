// One random training, checked in every way: against the reference, and against itself.
#pragma once

#include <string>

#include "cases.h"
#include "comparing.h"
#include "library.h"

// What is wrong with a library, or an empty text.
std::string check_case(const Library& library, const Case& drawn, Tally& tally);

// Two trainings at once in two threads of one process, and one in a forked process, end as they do
// alone.
std::string check_company(const Library& library, uint64_t seed);
