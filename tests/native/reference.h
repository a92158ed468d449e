// The reference for the kernels: slow, obvious, and in double precision.
//
// Everything is a loop that follows the definition. The reference can also run with random rounding
// errors as large as those of single precision: how far such runs end from the exact one shows how
// far correct kernels may.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "interface.h"
#include "random_numbers.h"

namespace reference {

using Numbers = std::vector<double>;

// The shape of one image's features.
struct Shape {
  int64_t channels = 0;
  int64_t height = 1;
  int64_t width = 1;
  bool flat = false;  // a vector of features, counted by `channels`

  int64_t size() const { return channels * height * width; }
  int64_t pixels() const { return height * width; }
  bool operator==(const Shape& other) const {
    return channels == other.channels && height == other.height && width == other.width &&
           flat == other.flat;
  }
};

struct Network {
  Shape image;
  std::vector<TenfoldLayer> layers;
  std::vector<Shape> shapes;  // of each layer's output

  const Shape& shape(int32_t place) const {
    return place < 0 ? image : shapes[static_cast<size_t>(place)];
  }
  int64_t classes() const { return shapes.back().channels; }
};

// A network, or nothing if the list is invalid.
std::optional<Network> make_network(const std::vector<TenfoldLayer>& layers, const Shape& image);

// The size of each tensor, by index; -1 if no layer uses it.
std::vector<int64_t> tensor_sizes(const Network& network);

// Whether a tensor is a running mean or variance.
bool is_running(const Network& network, int32_t tensor);

// A sum, and how much of it single precision could lose. Each addition rounds the partial sum. A
// careful kernel sums in chains of a few hundred terms, since the error of a single long chain
// would grow without bound.
class Sum {
 public:
  // The first chain may start from a number, such as a bias.
  explicit Sum(double start = 0) : start_(start), value_(start), chain_(start) {}

  // `lost`: magnitude of the numbers behind the rounding of the term itself.
  void add(double term, double lost = 0) {
    value_ += term;
    magnitude_ += std::fabs(term) + lost;
    chain_ += term;
    squares_ += chain_ * chain_;
    rounded_ += std::fabs(chain_);
    if (++terms_ % kChain == 0) chain_ = 0;
  }

  double value() const { return value_; }
  double magnitude() const { return std::fabs(start_) + magnitude_; }

  // In rounding errors of a number near 1. They add up like random errors, except that a constant
  // term is rounded the same way every time, which approaches the worst case. The magnitude counts
  // too: in a different order, partial sums may be larger. If nothing is added to the start,
  // nothing is rounded.
  double error() const {
    if (magnitude_ == 0) return 0;
    return std::max({magnitude(), std::sqrt(squares_), rounded_ / 8});
  }

 private:
  static constexpr int64_t kChain = 512;

  double start_;
  double value_;
  double chain_;
  double magnitude_ = 0;  // of the terms
  double squares_ = 0;
  double rounded_ = 0;
  int64_t terms_ = 0;
};

// Rounding of a stored number: none, or a random error. Equal numbers are rounded equally, as on a
// processor: in an image of a single color, the errors add up.
class Rounding {
 public:
  Rounding() = default;
  explicit Rounding(uint64_t seed) : seed_(seed) {}

  // `error` in rounding errors of a number near 1, as in `Sum`.
  double operator()(double value, double error) const {
    if (!seed_) return value;
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return value + 0x1p-24 * error * Random(bits ^ *seed_).uniform(-1, 1);
  }
  double operator()(const Sum& sum) const { return (*this)(sum.value(), sum.error()); }

 private:
  std::optional<uint64_t> seed_;
};

// ---- Images -------------------------------------------------------------------------------------

// One image, augmented as in src/tenfold/training/augment.py.
std::vector<uint8_t> augmented(const std::vector<uint8_t>& pixels, const Shape& image,
                               const TenfoldChanges& changes, const TenfoldAugmentation& how);

// Bytes scaled to the network's input, in single precision by definition, as in PyTorch. `mean` and
// `deviation` may be null.
Numbers scaled(const std::vector<uint8_t>& pixels, const Shape& image, const float* mean,
               const float* deviation);

// The same, but each image by its own mean and deviation.
Numbers scaled_by_image(const std::vector<uint8_t>& pixels, const Shape& image);

// ---- Forward and backward -----------------------------------------------------------------------

// Whether dropout keeps a unit, given by layer, image in the batch, and index among its features.
using Keeps = std::function<bool(int32_t layer, int64_t image, int64_t place)>;

// The kernels' rule: a word of Philox 4x32-10 below p * 2**32 drops the unit. The key is the seed.
// The counter is a quarter of the unit's index, the image's index in the data set, the step and the
// layer. `step` is the number of steps taken before.
bool dropout_keeps(uint64_t seed, int64_t step, int32_t layer, int64_t image, int64_t unit,
                   double p);

// Batch normalization's statistics of a batch; the variance is divided by the count.
struct BatchStatistics {
  Numbers mean;
  Numbers variance;
  int64_t count = 0;
};

// The results of a forward pass, each as batch x size of one image's features.
struct Pass {
  int64_t batch = 0;
  bool training = false;
  Numbers images;
  std::vector<Numbers> outputs;
  std::vector<std::vector<int64_t>> winners;  // for max pooling: index of each maximum
  std::vector<BatchStatistics> statistics;
  double largest_magnitude = 0;  // of any sum

  const Numbers& output(int32_t place) const {
    return place < 0 ? images : outputs[static_cast<size_t>(place)];
  }
};

Pass forward(const Network& network, const std::vector<Numbers>& tensors, const Numbers& images,
             int64_t batch, bool training, const Rounding& rounding, const Keeps& keeps = nullptr);

// The loss's gradient by tensor, given that of the logits; empty for tensors without gradient.
std::vector<Numbers> backward(const Network& network, const std::vector<Numbers>& tensors,
                              const Pass& pass, const Numbers& logit_gradients,
                              const Rounding& rounding, const Keeps& keeps = nullptr);

struct Loss {
  double value = 0;
  Numbers gradient;  // by logits
};

// torch.nn.functional.cross_entropy, averaged: a label's weight counts in both parts.
Loss cross_entropy(const Numbers& logits, const std::vector<int64_t>& labels, int64_t classes,
                   double label_smoothing, const float* class_weights, const Rounding& rounding);

// The first of the largest logits; NaN is larger than any number.
int64_t predicted(const double* logits, int64_t classes);

// Whether every number of the forward pass is exact in single precision too, in any order of
// summation: all are multiples of one power of two, and few enough.
bool is_exact_in_single(const Network& network, const std::vector<Numbers>& tensors,
                        const Pass& pass);

// ---- A step's end -------------------------------------------------------------------------------

// The factor for the trained gradients that limits their common norm to `clip_norm`.
double clipping(const std::vector<Numbers>& gradients, const std::vector<bool>& trained,
                double clip_norm, const Rounding& rounding);

// One element of a tensor and its training state.
struct Kept {
  double value = 0;
  double moment1 = 0;
  double moment2 = 0;
};

// Moments after a step, from a clipped gradient; `value` stays.
Kept with_new_moments(Kept kept, double gradient, const TenfoldStepSettings& settings);

// The value after a step, from new moments. `gradient` is clipped; only SGD still needs it. `count`
// is the optimizer's step count, from 1.
double new_value(const Kept& kept, double gradient, double learning_rate, int64_t count,
                 const TenfoldStepSettings& settings);

// The decay of the moving average after `step` steps.
double decay_of_average(double average_decay, int64_t step);

// A running mean or variance after a batch.
double new_running(double running, double of_batch, double momentum);

}  // namespace reference
