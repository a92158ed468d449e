// Compares one step of a library, or its predictions, with the reference.
//
// How far may single precision be from the truth? A fixed tolerance such as 1e-5 is too loose for
// one tensor and too tight for the next. Instead, the reference is rerun several times with random
// rounding errors as large as those of a careful sum in single precision. The largest error of any
// number in a tensor, times `kAllowance`, is the tolerance for that tensor.
//
// If two numbers differ by less than that error, ReLU and max pooling may choose either. Gradients
// are then meaningless and not compared; what follows from the moments that the library wrote still
// is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cases.h"
#include "library.h"

// How much was compared, and how close the results were.
struct Tally {
  int64_t steps = 0;
  int64_t undecided = 0;  // steps whose gradients could not be compared
  int64_t exact = 0;      // predictions that were compared bit by bit
  int64_t numbers = 0;
  std::map<std::string, double> closest;  // by kind: the largest error, relative to its tolerance
};

// Compares the step of one batch, given the tensors before and after. Returns what is wrong, or an
// empty text.
std::string check_step(const Case& drawn, int64_t batch, const std::vector<TensorNumbers>& before,
                       const std::vector<TensorNumbers>& after, const Figures& figures,
                       Tally& tally);

// Compares logits of the data set's first images in evaluation mode.
std::string check_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                         const std::vector<float>& logits, Tally& tally);

// Compares only which logits are NaN or infinite, given tensors that contain such numbers.
std::string check_undefined_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                                   const std::vector<float>& logits);
