// What the compiled engine should compute: slow, obvious, and in double precision.
//
// Everything is a loop over the definition. A reference can also be run with rounding errors, drawn
// at random and as large as those of single precision: how far such runs end from the exact one
// says how far a correct engine may.
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

// Of one image's features.
struct Shape {
  int64_t channels = 0;
  int64_t height = 1;
  int64_t width = 1;
  bool flat = false;  // features in a row: channels counts them

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

// A network, or nothing where the list is not valid.
std::optional<Network> make_network(const std::vector<TenfoldLayer>& layers, const Shape& image);

// How many numbers each tensor has, by its place; -1 where no layer uses it.
std::vector<int64_t> tensor_sizes(const Network& network);

// Whether a tensor is a running mean or variance.
bool is_running(const Network& network, int32_t tensor);

// A sum, and how much of it single precision could lose. Each addition rounds what has been summed
// up so far. A careful kernel sums in chains of some hundred terms, since the errors of one long
// chain would grow without end.
class Sum {
 public:
  // The first chain may begin with a number, such as a bias.
  explicit Sum(double start = 0) : start_(start), value_(start), chain_(start) {}

  // `lost`: how large the numbers were that the term itself was rounded from.
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

  // In rounding errors of a number near 1. They add up as random errors do; a constant term,
  // though, is rounded the same way again and again, and part of the worst case comes true. The
  // magnitude counts too: in another order, what has been summed up so far may be larger. Where
  // there is nothing to add to the start, nothing is rounded.
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

// What happens to a number when it is written down: nothing, or a rounding error. Equal numbers are
// rounded alike, as a processor does it: where an image has one color, their errors add up.
class Rounding {
 public:
  Rounding() = default;
  explicit Rounding(uint64_t seed) : seed_(seed) {}

  // `error` in rounding errors of a number near 1, as `Sum` has it.
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

// One image, changed as src/tenfold/training/augment.py changes it. `index` is its place in the
// data set.
std::vector<uint8_t> augmented(const std::vector<uint8_t>& pixels, const Shape& image,
                               int64_t index, const TenfoldAugmentation& how);

// One of 0..choices-1: the top bits of SplitMix64's mixing of key and index.
int64_t keyed_choice(uint64_t key, int64_t index, int64_t choices);

// Bytes to what the network reads. Single precision defines these numbers, here as in PyTorch;
// `mean` and `deviation` may be null.
Numbers scaled(const std::vector<uint8_t>& pixels, const Shape& image, const float* mean,
               const float* deviation);

// ---- Forward and backward -----------------------------------------------------------------------

// Whether dropout keeps a number: by layer, image of the batch, and place among its features.
using Keeps = std::function<bool(int32_t layer, int64_t image, int64_t place)>;

// The rule of the engine's own stream: a word of Philox 4x32-10 below p * 2**32 silences. Key:
// seed. Counter: a quarter of the unit's place, the image's place in the data set, the step, the
// layer. `step` is the number of steps taken before.
bool dropout_keeps(uint64_t seed, int64_t step, int32_t layer, int64_t image, int64_t unit,
                   double p);

// What batch normalization found in a batch; the variance is divided by the count.
struct BatchStatistics {
  Numbers mean;
  Numbers variance;
  int64_t count = 0;
};

// All that a forward pass leaves, each as batch x size of one image's features.
struct Pass {
  int64_t batch = 0;
  bool training = false;
  Numbers images;
  std::vector<Numbers> outputs;
  std::vector<std::vector<int64_t>> winners;  // of max pooling: where each number came from
  std::vector<BatchStatistics> statistics;
  double largest_magnitude = 0;  // of any sum

  const Numbers& output(int32_t place) const {
    return place < 0 ? images : outputs[static_cast<size_t>(place)];
  }
};

Pass forward(const Network& network, const std::vector<Numbers>& tensors, const Numbers& images,
             int64_t batch, bool training, const Rounding& rounding, const Keeps& keeps = nullptr);

// The loss's gradient by tensor, from that by logits; empty for what has no gradient.
std::vector<Numbers> backward(const Network& network, const std::vector<Numbers>& tensors,
                              const Pass& pass, const Numbers& logit_gradients,
                              const Rounding& rounding, const Keeps& keeps = nullptr);

struct Loss {
  double value = 0;
  Numbers gradient;  // by logits
};

// torch.nn.functional.cross_entropy with its mean: a label's weight counts for both parts.
Loss cross_entropy(const Numbers& logits, const std::vector<int64_t>& labels, int64_t classes,
                   double label_smoothing, const float* class_weights, const Rounding& rounding);

// The first of the largest logits; NaN is larger than all numbers.
int64_t predicted(const double* logits, int64_t classes);

// Whether every number of the forward pass is exact in single precision too, in whatever order its
// sums are added up: all are multiples of one power of two, and few enough.
bool is_exact_in_single(const Network& network, const std::vector<Numbers>& tensors,
                        const Pass& pass);

// ---- A step's end -------------------------------------------------------------------------------

// What the trained gradients are multiplied by so that their common norm is at most `clip_norm`.
double clipping(const std::vector<Numbers>& gradients, const std::vector<bool>& trained,
                double clip_norm, const Rounding& rounding);

// One number of a tensor, and what is kept beside it.
struct Kept {
  double value = 0;
  double moment1 = 0;
  double moment2 = 0;
};

// Moments after a step, from a clipped gradient; `value` stays.
Kept with_new_moments(Kept kept, double gradient, const TenfoldStepSettings& settings);

// The value after a step, from new moments. `gradient` is clipped; only SGD still asks for it.
// `count` is the step as the optimizer counts it, from 1.
double new_value(const Kept& kept, double gradient, double learning_rate, int64_t count,
                 const TenfoldStepSettings& settings);

// The decay of the moving average after `step` steps.
double decay_of_average(double average_decay, int64_t step);

// A running mean or variance after a batch.
double new_running(double running, double of_batch, double momentum);

}  // namespace reference
