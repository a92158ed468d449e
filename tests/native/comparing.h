// What a library did in one step, or predicts, against the reference.
//
// How far may single precision be from the truth? A naive answer is a number like 1e-5, which is
// too much for one tensor and not enough for the next. Here the reference is run again several
// times with rounding errors drawn at random, as large as those of a careful sum in single
// precision, and the largest error that any number of a tensor shows, times `kAllowance`, is what a
// library may be off in that tensor.
//
// ReLU and max pooling choose, and two numbers that differ by less than that error may be chosen
// between either way. Where that happens the gradients mean nothing, so they are not compared; what
// follows from the moments that the library itself wrote still is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cases.h"
#include "library.h"

// What was compared, and how close it came.
struct Tally {
  int64_t steps = 0;
  int64_t undecided = 0;  // steps whose gradients could not be compared
  int64_t exact = 0;      // predictions that were compared bit by bit
  int64_t numbers = 0;
  std::map<std::string, double> closest;  // by kind: the largest error, in what was allowed
};

// Compares the step of one batch, from the numbers before and after. Gives what is wrong, or an
// empty text.
std::string check_step(const Case& drawn, int64_t batch, const std::vector<TensorNumbers>& before,
                       const std::vector<TensorNumbers>& after, const Figures& figures,
                       Tally& tally);

// Compares logits of the data set's first images in evaluation mode.
std::string check_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                         const std::vector<float>& logits, Tally& tally);

// Compares only which logits are NaN or infinite, where a tensor has such numbers itself.
std::string check_undefined_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                                   const std::vector<float>& logits);
