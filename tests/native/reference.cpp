#include "reference.h"

#include <algorithm>
#include <array>
#include <limits>

namespace reference {
namespace {

constexpr int64_t kMostLayers = 4096;
constexpr int64_t kLargestOutput = int64_t{1} << 30;
constexpr int64_t kMostPixels = int64_t{1} << 14;

// ---- Valid lists --------------------------------------------------------------------------------

bool reads_before(const TenfoldLayer& layer, int32_t place) {
  if (layer.input < -1 || layer.input >= place) return false;
  return layer.operation != TENFOLD_ADD || (layer.other >= -1 && layer.other < place);
}

bool has_sane_window(const TenfoldLayer& layer) {
  for (int axis = 0; axis < 2; ++axis) {
    if (layer.kernel[axis] < 1 || layer.kernel[axis] > kMostPixels) return false;
    if (layer.stride[axis] < 1 || layer.stride[axis] > kMostPixels) return false;
    if (layer.padding[axis] < 0 || layer.padding[axis] > kMostPixels) return false;
  }
  return true;
}

std::optional<Shape> windows(const TenfoldLayer& layer, const Shape& input, int64_t channels) {
  if (input.flat || !has_sane_window(layer)) return std::nullopt;
  const int64_t height = input.height + 2 * int64_t{layer.padding[0]} - layer.kernel[0];
  const int64_t width = input.width + 2 * int64_t{layer.padding[1]} - layer.kernel[1];
  if (height < 0 || width < 0) return std::nullopt;
  return Shape{channels, height / layer.stride[0] + 1, width / layer.stride[1] + 1, false};
}

bool pads_at_most_half(const TenfoldLayer& layer) {
  return 2 * int64_t{layer.padding[0]} <= layer.kernel[0] &&
         2 * int64_t{layer.padding[1]} <= layer.kernel[1];
}

bool has_sane_batch_norm(const TenfoldLayer& layer) {
  return layer.weight >= 0 && layer.bias >= 0 && layer.running_mean >= 0 &&
         layer.running_var >= 0 && layer.eps > 0 && layer.eps <= 1 && layer.momentum >= 0 &&
         layer.momentum <= 1;
}

bool has_sane_weights(const TenfoldLayer& layer) {
  return layer.outputs >= 1 && layer.outputs <= kLargestOutput && layer.weight >= 0 &&
         layer.bias >= -1;
}

std::optional<Shape> output_shape(const Network& network, const TenfoldLayer& layer) {
  const Shape& input = network.shape(layer.input);
  switch (layer.operation) {
    case TENFOLD_CONV2D:
      if (!has_sane_weights(layer)) return std::nullopt;
      return windows(layer, input, layer.outputs);
    case TENFOLD_MAX_POOL2D:
    case TENFOLD_AVERAGE_POOL2D:
      if (!pads_at_most_half(layer)) return std::nullopt;
      return windows(layer, input, input.channels);
    case TENFOLD_GLOBAL_AVERAGE_POOL:
      if (input.flat) return std::nullopt;
      return Shape{input.channels, 1, 1, false};
    case TENFOLD_RELU:
      return input;
    case TENFOLD_FLATTEN:
      return Shape{input.size(), 1, 1, true};
    case TENFOLD_LINEAR:
      if (!input.flat || !has_sane_weights(layer)) return std::nullopt;
      return Shape{layer.outputs, 1, 1, true};
    case TENFOLD_DROPOUT:
      if (!(layer.p >= 0 && layer.p < 1)) return std::nullopt;
      return input;
    case TENFOLD_BATCH_NORM2D:
      if (input.flat || !has_sane_batch_norm(layer)) return std::nullopt;
      return input;
    case TENFOLD_ADD:
      if (!(input == network.shape(layer.other))) return std::nullopt;
      return input;
    default:
      return std::nullopt;
  }
}

bool is_too_large(const Shape& shape) {
  const double size = static_cast<double>(shape.channels) * static_cast<double>(shape.height) *
                      static_cast<double>(shape.width);
  return size > static_cast<double>(kLargestOutput);
}

void note_size(std::vector<int64_t>& sizes, int32_t place, int64_t size) {
  if (place < 0) return;
  if (static_cast<size_t>(place) >= sizes.size()) sizes.resize(static_cast<size_t>(place) + 1, -1);
  sizes[static_cast<size_t>(place)] = size;
}

// 1 / sqrt(variance + eps), rounded once: all pixels of a channel share the error.
Numbers inverse_deviations(const Numbers& variance, double eps, const Rounding& rounding) {
  Numbers inverse(variance.size());
  for (size_t c = 0; c < inverse.size(); ++c) {
    const double exact = 1 / std::sqrt(variance[c] + eps);
    inverse[c] = rounding(exact, exact);
  }
  return inverse;
}

// ---- Layers, forward ----------------------------------------------------------------------------

// Calls `visit(weight place, input place)` for every pixel under a window except padding; places
// are within one channel.
template <typename Visit>
void for_window(const TenfoldLayer& layer, const Shape& input, int64_t row, int64_t column,
                const Visit& visit) {
  for (int64_t y = 0; y < layer.kernel[0]; ++y) {
    const int64_t from_y = row * layer.stride[0] - layer.padding[0] + y;
    if (from_y < 0 || from_y >= input.height) continue;
    for (int64_t x = 0; x < layer.kernel[1]; ++x) {
      const int64_t from_x = column * layer.stride[1] - layer.padding[1] + x;
      if (from_x < 0 || from_x >= input.width) continue;
      visit(y * layer.kernel[1] + x, from_y * input.width + from_x);
    }
  }
}

// Calls `visit(image, channel, row, column, place)` for every element of a layer's output.
template <typename Visit>
void for_outputs(const Shape& shape, int64_t batch, const Visit& visit) {
  int64_t place = 0;
  for (int64_t image = 0; image < batch; ++image) {
    for (int64_t channel = 0; channel < shape.channels; ++channel) {
      for (int64_t row = 0; row < shape.height; ++row) {
        for (int64_t column = 0; column < shape.width; ++column) {
          visit(image, channel, row, column, static_cast<size_t>(place));
          ++place;
        }
      }
    }
  }
}

class Forward {
 public:
  Forward(const Network& network, const std::vector<Numbers>& tensors, Pass& pass,
          const Rounding& rounding, const Keeps& keeps)
      : network_(network), tensors_(tensors), pass_(pass), rounding_(rounding), keeps_(keeps) {}

  void layer(int32_t place) {
    const TenfoldLayer& layer = network_.layers[static_cast<size_t>(place)];
    const Shape& from = network_.shape(layer.input);
    const Shape& to = network_.shape(place);
    const Numbers& input = pass_.output(layer.input);
    Numbers output(static_cast<size_t>(pass_.batch * to.size()));
    switch (layer.operation) {
      case TENFOLD_CONV2D:
        convolve(layer, from, to, input, output);
        break;
      case TENFOLD_MAX_POOL2D:
        pool_largest(place, layer, from, to, input, output);
        break;
      case TENFOLD_AVERAGE_POOL2D:
        pool_mean(layer, from, to, input, output);
        break;
      case TENFOLD_GLOBAL_AVERAGE_POOL:
        pool_everything(from, input, output);
        break;
      case TENFOLD_RELU:
        for (size_t i = 0; i < output.size(); ++i) output[i] = input[i] <= 0 ? 0 : input[i];
        break;
      case TENFOLD_FLATTEN:
        output = input;
        break;
      case TENFOLD_LINEAR:
        multiply(layer, from, to, input, output);
        break;
      case TENFOLD_DROPOUT:
        drop(place, layer, to, input, output);
        break;
      case TENFOLD_BATCH_NORM2D:
        normalize(place, layer, to, input, output);
        break;
      case TENFOLD_ADD:
        add(input, pass_.output(layer.other), output);
        break;
    }
    pass_.outputs[static_cast<size_t>(place)] = std::move(output);
  }

 private:
  const Numbers& tensor(int32_t place) const { return tensors_[static_cast<size_t>(place)]; }

  double bias_of(const TenfoldLayer& layer, int64_t channel) const {
    return layer.bias < 0 ? 0 : tensor(layer.bias)[static_cast<size_t>(channel)];
  }

  double written(const Sum& sum) {
    pass_.largest_magnitude = std::max(pass_.largest_magnitude, sum.magnitude());
    return rounding_(sum);
  }

  void convolve(const TenfoldLayer& layer, const Shape& from, const Shape& to, const Numbers& input,
                Numbers& output) {
    const Numbers& weight = tensor(layer.weight);
    const int64_t taps = int64_t{layer.kernel[0]} * layer.kernel[1];
    for_outputs(
        to, pass_.batch,
        [&](int64_t image, int64_t channel, int64_t row, int64_t column, size_t place) {
          Sum sum(bias_of(layer, channel));
          for (int64_t source = 0; source < from.channels; ++source) {
            const double* pixels =
                &input[static_cast<size_t>((image * from.channels + source) * from.pixels())];
            const double* kernel =
                &weight[static_cast<size_t>((channel * from.channels + source) * taps)];
            for_window(layer, from, row, column,
                       [&](int64_t tap, int64_t pixel) { sum.add(kernel[tap] * pixels[pixel]); });
          }
          output[place] = written(sum);
        });
  }

  // The first of the largest pixels wins, and the last NaN, as in PyTorch.
  void pool_largest(int32_t place, const TenfoldLayer& layer, const Shape& from, const Shape& to,
                    const Numbers& input, Numbers& output) {
    std::vector<int64_t>& winners = pass_.winners[static_cast<size_t>(place)];
    winners.assign(output.size(), -1);
    for_outputs(to, pass_.batch,
                [&](int64_t image, int64_t channel, int64_t row, int64_t column, size_t at) {
                  const int64_t start = (image * from.channels + channel) * from.pixels();
                  double largest = -std::numeric_limits<double>::infinity();
                  for_window(layer, from, row, column, [&](int64_t, int64_t pixel) {
                    const double value = input[static_cast<size_t>(start + pixel)];
                    if (winners[at] < 0 || value > largest || std::isnan(value)) {
                      largest = value;
                      winners[at] = start + pixel;
                    }
                  });
                  output[at] = largest;
                });
  }

  void pool_mean(const TenfoldLayer& layer, const Shape& from, const Shape& to,
                 const Numbers& input, Numbers& output) {
    const double area = static_cast<double>(layer.kernel[0]) * layer.kernel[1];
    for_outputs(to, pass_.batch,
                [&](int64_t image, int64_t channel, int64_t row, int64_t column, size_t place) {
                  const int64_t start = (image * from.channels + channel) * from.pixels();
                  Sum sum;
                  for_window(layer, from, row, column, [&](int64_t, int64_t pixel) {
                    sum.add(input[static_cast<size_t>(start + pixel)]);
                  });
                  output[place] = written(sum) / area;
                });
  }

  void pool_everything(const Shape& from, const Numbers& input, Numbers& output) {
    const int64_t pixels = from.pixels();
    for (size_t place = 0; place < output.size(); ++place) {
      Sum sum;
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        sum.add(input[place * static_cast<size_t>(pixels) + static_cast<size_t>(pixel)]);
      }
      output[place] = written(sum) / static_cast<double>(pixels);
    }
  }

  void multiply(const TenfoldLayer& layer, const Shape& from, const Shape& to, const Numbers& input,
                Numbers& output) {
    const Numbers& weight = tensor(layer.weight);
    const int64_t along_input = layer.transposed ? to.channels : 1;
    const int64_t along_output = layer.transposed ? 1 : from.channels;
    for_outputs(
        to, pass_.batch, [&](int64_t image, int64_t channel, int64_t, int64_t, size_t place) {
          Sum sum(bias_of(layer, channel));
          for (int64_t source = 0; source < from.channels; ++source) {
            sum.add(weight[static_cast<size_t>(channel * along_output + source * along_input)] *
                    input[static_cast<size_t>(image * from.channels + source)]);
          }
          output[place] = written(sum);
        });
  }

  void drop(int32_t place, const TenfoldLayer& layer, const Shape& to, const Numbers& input,
            Numbers& output) {
    for (size_t i = 0; i < output.size(); ++i) {
      output[i] = input[i];
      if (!pass_.training || layer.p == 0) continue;
      const int64_t number = static_cast<int64_t>(i);
      const bool kept = keeps_(place, number / to.size(), number % to.size());
      output[i] = kept ? rounding_(input[i] / (1 - layer.p), std::fabs(input[i])) : 0;
    }
  }

  void normalize(int32_t place, const TenfoldLayer& layer, const Shape& to, const Numbers& input,
                 Numbers& output) {
    BatchStatistics& found = pass_.statistics[static_cast<size_t>(place)];
    if (pass_.training) found = statistics_of(to, input);
    const Numbers& mean = pass_.training ? found.mean : tensor(layer.running_mean);
    const Numbers& variance = pass_.training ? found.variance : tensor(layer.running_var);
    const Numbers inverse = inverse_deviations(variance, layer.eps, rounding_);
    Numbers scales(inverse.size());
    for (size_t c = 0; c < scales.size(); ++c) {
      const double scale = tensor(layer.weight)[c] * inverse[c];
      scales[c] = rounding_(scale, std::fabs(scale));
    }
    for_outputs(to, pass_.batch, [&](int64_t, int64_t channel, int64_t, int64_t, size_t at) {
      const size_t c = static_cast<size_t>(channel);
      const double bias = tensor(layer.bias)[c];
      const double magnitude =
          (std::fabs(input[at]) + std::fabs(mean[c])) * std::fabs(scales[c]) + std::fabs(bias);
      output[at] = rounding_((input[at] - mean[c]) * scales[c] + bias, magnitude);
    });
  }

  BatchStatistics statistics_of(const Shape& shape, const Numbers& input) {
    const size_t channels = static_cast<size_t>(shape.channels);
    BatchStatistics found{Numbers(channels), Numbers(channels), pass_.batch * shape.pixels()};
    const double count = static_cast<double>(found.count);
    std::vector<Sum> sums(channels), squares(channels);
    for_outputs(shape, pass_.batch, [&](int64_t, int64_t channel, int64_t, int64_t, size_t at) {
      sums[static_cast<size_t>(channel)].add(input[at]);
    });
    for (size_t c = 0; c < channels; ++c) found.mean[c] = rounding_(sums[c]) / count;
    for_outputs(shape, pass_.batch, [&](int64_t, int64_t channel, int64_t, int64_t, size_t at) {
      const size_t c = static_cast<size_t>(channel);
      const double centered = input[at] - found.mean[c];
      squares[c].add(centered * centered,
                     2 * std::fabs(centered) * (std::fabs(input[at]) + std::fabs(found.mean[c])));
    });
    for (size_t c = 0; c < channels; ++c) {
      found.variance[c] = std::max(0.0, rounding_(squares[c])) / count;
    }
    return found;
  }

  void add(const Numbers& one, const Numbers& other, Numbers& output) {
    for (size_t i = 0; i < output.size(); ++i) {
      const double magnitude = std::fabs(one[i]) + std::fabs(other[i]);
      pass_.largest_magnitude = std::max(pass_.largest_magnitude, magnitude);
      const bool is_exact = one[i] == 0 || other[i] == 0;
      output[i] = rounding_(one[i] + other[i], is_exact ? 0 : magnitude);
    }
  }

  const Network& network_;
  const std::vector<Numbers>& tensors_;
  Pass& pass_;
  const Rounding& rounding_;
  const Keeps& keeps_;
};

// ---- Layers, backward ---------------------------------------------------------------------------

class Backward {
 public:
  Backward(const Network& network, const std::vector<Numbers>& tensors, const Pass& pass,
           const Rounding& rounding, const Keeps& keeps)
      : network_(network),
        tensors_(tensors),
        pass_(pass),
        rounding_(rounding),
        keeps_(keeps),
        by_output_(network.layers.size()),
        by_tensor_(tensors.size()) {
    for (size_t place = 0; place < by_output_.size(); ++place) {
      by_output_[place].assign(pass.outputs[place].size(), 0.0);
    }
  }

  std::vector<Numbers> run(const Numbers& logit_gradients) {
    by_output_.back() = logit_gradients;
    for (size_t place = network_.layers.size(); place-- > 0;) layer(static_cast<int32_t>(place));
    return std::move(by_tensor_);
  }

 private:
  void layer(int32_t place) {
    const TenfoldLayer& layer = network_.layers[static_cast<size_t>(place)];
    const Shape& from = network_.shape(layer.input);
    const Shape& to = network_.shape(place);
    const Numbers& input = pass_.output(layer.input);
    const Numbers& above = by_output_[static_cast<size_t>(place)];
    std::vector<Sum> below(input.size());
    switch (layer.operation) {
      case TENFOLD_CONV2D:
        convolve(layer, from, to, input, above, below);
        break;
      case TENFOLD_MAX_POOL2D:
        for (size_t i = 0; i < above.size(); ++i) {
          const int64_t winner = pass_.winners[static_cast<size_t>(place)][i];
          below[static_cast<size_t>(winner)].add(above[i]);
        }
        break;
      case TENFOLD_AVERAGE_POOL2D:
        spread_mean(layer, from, to, above, below);
        break;
      case TENFOLD_GLOBAL_AVERAGE_POOL:
        for (size_t i = 0; i < below.size(); ++i) {
          const size_t channel = i / static_cast<size_t>(from.pixels());
          below[i].add(above[channel] / static_cast<double>(from.pixels()));
        }
        break;
      case TENFOLD_RELU:
        for (size_t i = 0; i < above.size(); ++i) below[i].add(input[i] <= 0 ? 0 : above[i]);
        break;
      case TENFOLD_FLATTEN:
        for (size_t i = 0; i < above.size(); ++i) below[i].add(above[i]);
        break;
      case TENFOLD_LINEAR:
        multiply(layer, from, to, input, above, below);
        break;
      case TENFOLD_DROPOUT:
        drop(place, layer, to, above, below);
        break;
      case TENFOLD_BATCH_NORM2D:
        normalize(place, layer, to, input, above, below);
        break;
      case TENFOLD_ADD:
        for (size_t i = 0; i < above.size(); ++i) below[i].add(above[i]);
        pass_on(layer.other, below);
        break;
    }
    pass_on(layer.input, below);
  }

  // Adds to the gradient of an earlier layer's output, which other layers may read too.
  void pass_on(int32_t place, const std::vector<Sum>& gradients) {
    if (place < 0) return;
    Numbers& sums = by_output_[static_cast<size_t>(place)];
    for (size_t i = 0; i < sums.size(); ++i) {
      const double error = gradients[i].error() + std::fabs(sums[i]);
      sums[i] = rounding_(sums[i] + gradients[i].value(), error);
    }
  }

  const Numbers& tensor(int32_t place) const { return tensors_[static_cast<size_t>(place)]; }

  void write(int32_t place, const std::vector<Sum>& sums) {
    if (place < 0) return;
    Numbers& gradient = by_tensor_[static_cast<size_t>(place)];
    gradient.resize(sums.size());
    for (size_t i = 0; i < sums.size(); ++i) gradient[i] = rounding_(sums[i]);
  }

  void convolve(const TenfoldLayer& layer, const Shape& from, const Shape& to, const Numbers& input,
                const Numbers& above, std::vector<Sum>& below) {
    const Numbers& weight = tensor(layer.weight);
    const int64_t taps = int64_t{layer.kernel[0]} * layer.kernel[1];
    std::vector<Sum> by_weight(weight.size()), by_bias(static_cast<size_t>(to.channels));
    for_outputs(to, pass_.batch,
                [&](int64_t image, int64_t channel, int64_t row, int64_t column, size_t place) {
                  const double gradient = above[place];
                  by_bias[static_cast<size_t>(channel)].add(gradient);
                  for (int64_t source = 0; source < from.channels; ++source) {
                    const size_t pixels =
                        static_cast<size_t>((image * from.channels + source) * from.pixels());
                    const size_t kernel =
                        static_cast<size_t>((channel * from.channels + source) * taps);
                    for_window(layer, from, row, column, [&](int64_t tap, int64_t pixel) {
                      const size_t at = pixels + static_cast<size_t>(pixel);
                      const size_t of = kernel + static_cast<size_t>(tap);
                      by_weight[of].add(gradient * input[at]);
                      if (layer.input >= 0) below[at].add(gradient * weight[of]);
                    });
                  }
                });
    write(layer.weight, by_weight);
    write(layer.bias, by_bias);
  }

  void spread_mean(const TenfoldLayer& layer, const Shape& from, const Shape& to,
                   const Numbers& above, std::vector<Sum>& below) {
    const double area = static_cast<double>(layer.kernel[0]) * layer.kernel[1];
    for_outputs(to, pass_.batch,
                [&](int64_t image, int64_t channel, int64_t row, int64_t column, size_t place) {
                  const int64_t start = (image * from.channels + channel) * from.pixels();
                  for_window(layer, from, row, column, [&](int64_t, int64_t pixel) {
                    below[static_cast<size_t>(start + pixel)].add(above[place] / area);
                  });
                });
  }

  void multiply(const TenfoldLayer& layer, const Shape& from, const Shape& to, const Numbers& input,
                const Numbers& above, std::vector<Sum>& below) {
    const Numbers& weight = tensor(layer.weight);
    const int64_t along_input = layer.transposed ? to.channels : 1;
    const int64_t along_output = layer.transposed ? 1 : from.channels;
    std::vector<Sum> by_weight(weight.size()), by_bias(static_cast<size_t>(to.channels));
    for_outputs(
        to, pass_.batch, [&](int64_t image, int64_t channel, int64_t, int64_t, size_t place) {
          by_bias[static_cast<size_t>(channel)].add(above[place]);
          for (int64_t source = 0; source < from.channels; ++source) {
            const size_t of = static_cast<size_t>(channel * along_output + source * along_input);
            const size_t at = static_cast<size_t>(image * from.channels + source);
            by_weight[of].add(above[place] * input[at]);
            below[at].add(above[place] * weight[of]);
          }
        });
    write(layer.weight, by_weight);
    write(layer.bias, by_bias);
  }

  void drop(int32_t place, const TenfoldLayer& layer, const Shape& to, const Numbers& above,
            std::vector<Sum>& below) {
    for (size_t i = 0; i < above.size(); ++i) {
      const int64_t number = static_cast<int64_t>(i);
      const bool changes = pass_.training && layer.p > 0;
      const bool kept = !changes || keeps_(place, number / to.size(), number % to.size());
      below[i].add(kept ? above[i] / (changes ? 1 - layer.p : 1) : 0);
    }
  }

  // With batch statistics; there is no training in evaluation mode.
  void normalize(int32_t place, const TenfoldLayer& layer, const Shape& to, const Numbers& input,
                 const Numbers& above, std::vector<Sum>& below) {
    const BatchStatistics& found = pass_.statistics[static_cast<size_t>(place)];
    const size_t channels = static_cast<size_t>(to.channels);
    const double count = static_cast<double>(found.count);
    std::vector<Sum> by_weight(channels), by_bias(channels);
    const Numbers inverse = inverse_deviations(found.variance, layer.eps, rounding_);
    const auto normalized = [&](size_t channel, size_t at) {
      return (input[at] - found.mean[channel]) * inverse[channel];
    };
    // The magnitudes behind the rounding of the difference from the mean.
    const auto lost = [&](size_t channel, size_t at) {
      return (std::fabs(input[at]) + std::fabs(found.mean[channel])) * inverse[channel];
    };
    for_outputs(to, pass_.batch, [&](int64_t, int64_t channel, int64_t, int64_t, size_t at) {
      const size_t c = static_cast<size_t>(channel);
      by_bias[c].add(above[at]);
      by_weight[c].add(above[at] * normalized(c, at), std::fabs(above[at]) * lost(c, at));
    });
    write(layer.weight, by_weight);
    write(layer.bias, by_bias);
    const Numbers& weight_gradient = by_tensor_[static_cast<size_t>(layer.weight)];
    const Numbers& bias_gradient = by_tensor_[static_cast<size_t>(layer.bias)];
    for_outputs(to, pass_.batch, [&](int64_t, int64_t channel, int64_t, int64_t, size_t at) {
      const size_t c = static_cast<size_t>(channel);
      const double scale = tensor(layer.weight)[c] * inverse[c];
      const double mean_gradient = bias_gradient[c] / count;
      const double mean_product = weight_gradient[c] / count;
      const double number = above[at] - mean_gradient - normalized(c, at) * mean_product;
      const double from =
          std::fabs(above[at]) + std::fabs(mean_gradient) + lost(c, at) * std::fabs(mean_product);
      below[at].add(scale * number, std::fabs(scale) * from);
    });
  }

  const Network& network_;
  const std::vector<Numbers>& tensors_;
  const Pass& pass_;
  const Rounding& rounding_;
  const Keeps& keeps_;
  std::vector<Numbers> by_output_;
  std::vector<Numbers> by_tensor_;
};

// ---- Dropout ------------------------------------------------------------------------------------

// Philox 4x32-10, as in figure 2 and section 3.3 of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", 2011: two multiplications per round, whose low halves move along
// and whose high halves are mixed with the other words and the round's key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> words, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t{0xD2511F53} * words[0];
    const uint64_t second = uint64_t{0xCD9E8D57} * words[2];
    words = {static_cast<uint32_t>(second >> 32) ^ words[1] ^ key[0], static_cast<uint32_t>(second),
             static_cast<uint32_t>(first >> 32) ^ words[3] ^ key[1], static_cast<uint32_t>(first)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return words;
}

// ---- Exactness ----------------------------------------------------------------------------------

constexpr int kTooFine = 1000;

// The smallest k for which every number is a multiple of 2**-k.
int grain_of(const Numbers& numbers) {
  int grain = 0;
  for (double number : numbers) {
    while (grain < 30 && std::nearbyint(std::ldexp(number, grain)) != std::ldexp(number, grain)) {
      ++grain;
    }
    if (grain == 30) return kTooFine;
  }
  return grain;
}

int grain_of_count(int64_t count) {
  int grain = 0;
  while ((int64_t{1} << grain) < count) ++grain;
  return (int64_t{1} << grain) == count ? grain : kTooFine;
}

int grain_of(const std::vector<Numbers>& tensors, int32_t place) {
  return place < 0 ? 0 : grain_of(tensors[static_cast<size_t>(place)]);
}

int grain_after(const Network& network, const std::vector<Numbers>& tensors,
                const TenfoldLayer& layer, int input, int other, bool training) {
  switch (layer.operation) {
    case TENFOLD_CONV2D:
    case TENFOLD_LINEAR:
      return std::max(input + grain_of(tensors, layer.weight), grain_of(tensors, layer.bias));
    case TENFOLD_AVERAGE_POOL2D:
      return input + grain_of_count(int64_t{layer.kernel[0]} * layer.kernel[1]);
    case TENFOLD_GLOBAL_AVERAGE_POOL:
      return input + grain_of_count(network.shape(layer.input).pixels());
    case TENFOLD_BATCH_NORM2D:
      return kTooFine;
    case TENFOLD_DROPOUT:
      return layer.p == 0 || !training ? input : kTooFine;
    case TENFOLD_ADD:
      return std::max(input, other);
    default:
      return input;
  }
}

double largest(const Numbers& numbers) {
  double found = 0;
  for (double number : numbers) found = std::max(found, std::fabs(number));
  return found;
}

}  // namespace

std::optional<Network> make_network(const std::vector<TenfoldLayer>& layers, const Shape& image) {
  const bool has_pixels = image.channels >= 1 && image.height >= 1 && image.width >= 1;
  if (layers.empty() || layers.size() > kMostLayers || !has_pixels || is_too_large(image)) {
    return std::nullopt;
  }
  Network network{image, layers, {}};
  for (size_t place = 0; place < layers.size(); ++place) {
    if (!reads_before(layers[place], static_cast<int32_t>(place))) return std::nullopt;
    const std::optional<Shape> shape = output_shape(network, layers[place]);
    if (!shape || is_too_large(*shape)) return std::nullopt;
    network.shapes.push_back(*shape);
  }
  if (!network.shapes.back().flat) return std::nullopt;
  return network;
}

std::vector<int64_t> tensor_sizes(const Network& network) {
  std::vector<int64_t> sizes;
  for (const TenfoldLayer& layer : network.layers) {
    const Shape& input = network.shape(layer.input);
    const int64_t taps = int64_t{layer.kernel[0]} * layer.kernel[1];
    switch (layer.operation) {
      case TENFOLD_CONV2D:
        note_size(sizes, layer.weight, layer.outputs * input.channels * taps);
        note_size(sizes, layer.bias, layer.outputs);
        break;
      case TENFOLD_LINEAR:
        note_size(sizes, layer.weight, layer.outputs * input.channels);
        note_size(sizes, layer.bias, layer.outputs);
        break;
      case TENFOLD_BATCH_NORM2D:
        note_size(sizes, layer.weight, input.channels);
        note_size(sizes, layer.bias, input.channels);
        note_size(sizes, layer.running_mean, input.channels);
        note_size(sizes, layer.running_var, input.channels);
        break;
      default:
        break;
    }
  }
  return sizes;
}

bool is_running(const Network& network, int32_t tensor) {
  return std::any_of(network.layers.begin(), network.layers.end(), [&](const TenfoldLayer& layer) {
    return layer.running_mean == tensor || layer.running_var == tensor;
  });
}

namespace {

// A picture as its rotation, scale and shift see it: it goes on beyond its border.
class Picture {
 public:
  Picture(const uint8_t* pixels, const Shape& shape) : pixels_(pixels), shape_(shape) {}

  // Between four pixels, at a position in 1/131072 of a pixel, of which 1/256 count.
  double at(double row, double column) const {
    const double y = std::floor(row / 512) / 256, x = std::floor(column / 512) / 256;
    const double top = std::floor(y), left = std::floor(x);
    const double down = y - top, right = x - left;
    return std::floor(
        (1 - down) * (1 - right) * pixel(top, left) + (1 - down) * right * pixel(top, left + 1) +
        down * (1 - right) * pixel(top + 1, left) + down * right * pixel(top + 1, left + 1) + 0.5);
  }

  double pixel(double row, double column) const {
    const double y = std::clamp(row, 0.0, static_cast<double>(shape_.height - 1));
    const double x = std::clamp(column, 0.0, static_cast<double>(shape_.width - 1));
    return pixels_[static_cast<size_t>(y) * static_cast<size_t>(shape_.width) +
                   static_cast<size_t>(x)];
  }

 private:
  const uint8_t* pixels_;
  const Shape& shape_;
};

}  // namespace

std::vector<uint8_t> augmented(const std::vector<uint8_t>& pixels, const Shape& image,
                               const TenfoldChanges& changes, const TenfoldAugmentation& how) {
  std::vector<uint8_t> changed(pixels.size());
  for_outputs(image, 1, [&](int64_t, int64_t channel, int64_t row, int64_t column, size_t place) {
    const int64_t y = row + changes.crop_row - how.crop_padding;
    const int64_t x = (changes.mirrored != 0 ? image.width - 1 - column : column) +
                      changes.crop_column - how.crop_padding;
    const bool is_cut = row >= changes.hole_row && row < changes.hole_row + how.cutout &&
                        column >= changes.hole_column && column < changes.hole_column + how.cutout;
    const bool is_inside = y >= 0 && y < image.height && x >= 0 && x < image.width;
    if (is_cut || !is_inside) return;
    const Picture picture(pixels.data() + channel * image.pixels(), image);
    const auto rows = static_cast<double>(2 * y - image.height + 1);
    const auto columns = static_cast<double>(2 * x - image.width + 1);
    const auto along = static_cast<double>(changes.along);
    const auto across = static_cast<double>(changes.across);
    double value = picture.pixel(static_cast<double>(y), static_cast<double>(x));
    if (how.warps != 0) {
      value = picture.at(static_cast<double>(changes.row) + along * rows - across * columns,
                         static_cast<double>(changes.column) + across * rows + along * columns);
    }
    if (how.recolors != 0) {
      value = std::floor(
          (value * static_cast<double>(changes.gain) + static_cast<double>(changes.offset)) /
              65536 +
          0.5);
      value = std::clamp(value, 0.0, 255.0);
    }
    changed[place] = static_cast<uint8_t>(value);
  });
  return changed;
}

Numbers scaled_by_image(const std::vector<uint8_t>& pixels, const Shape& image) {
  Numbers numbers;
  const auto size = static_cast<size_t>(image.size());
  for (size_t begin = 0; begin < pixels.size(); begin += size) {
    long double sum = 0, squares = 0;
    for (size_t i = begin; i < begin + size; ++i) sum += pixels[i];
    const long double mean = sum / static_cast<long double>(size);
    for (size_t i = begin; i < begin + size; ++i)
      squares += (pixels[i] - mean) * (pixels[i] - mean);
    const long double spread = std::sqrt(squares / static_cast<long double>(size));
    const float single_mean = static_cast<float>(mean / 255);
    const float deviation = static_cast<float>(std::max<long double>(spread, 1) / 255);
    for (size_t i = begin; i < begin + size; ++i) {
      numbers.push_back((static_cast<float>(pixels[i]) / 255.0f - single_mean) / deviation);
    }
  }
  return numbers;
}

Numbers scaled(const std::vector<uint8_t>& pixels, const Shape& image, const float* mean,
               const float* deviation) {
  Numbers numbers(pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i) {
    float number = static_cast<float>(pixels[i]) / 255.0f;
    if (mean != nullptr) {
      const int64_t channel = static_cast<int64_t>(i) / image.pixels() % image.channels;
      number = (number - mean[channel]) / deviation[channel];
    }
    numbers[i] = number;
  }
  return numbers;
}

bool dropout_keeps(uint64_t seed, int64_t step, int32_t layer, int64_t image, int64_t unit,
                   double p) {
  const uint64_t wide_image = static_cast<uint64_t>(image);
  const uint64_t wide_step = static_cast<uint64_t>(step);
  const uint32_t last = static_cast<uint32_t>(layer) ^
                        static_cast<uint32_t>(wide_image >> 32) << 16 ^
                        static_cast<uint32_t>(wide_step >> 32) << 24;
  const std::array<uint32_t, 4> words =
      philox({static_cast<uint32_t>(unit / 4), static_cast<uint32_t>(wide_image),
              static_cast<uint32_t>(wide_step), last},
             {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<double>(words[static_cast<size_t>(unit % 4)]) >= std::floor(p * 0x1p32);
}

Pass forward(const Network& network, const std::vector<Numbers>& tensors, const Numbers& images,
             int64_t batch, bool training, const Rounding& rounding, const Keeps& keeps) {
  const size_t layers = network.layers.size();
  Pass pass;
  pass.batch = batch;
  pass.training = training;
  pass.images = images;
  pass.outputs.resize(layers);
  pass.winners.resize(layers);
  pass.statistics.resize(layers);
  Forward step(network, tensors, pass, rounding, keeps);
  for (size_t place = 0; place < layers; ++place) step.layer(static_cast<int32_t>(place));
  return pass;
}

std::vector<Numbers> backward(const Network& network, const std::vector<Numbers>& tensors,
                              const Pass& pass, const Numbers& logit_gradients,
                              const Rounding& rounding, const Keeps& keeps) {
  return Backward(network, tensors, pass, rounding, keeps).run(logit_gradients);
}

Loss cross_entropy(const Numbers& logits, const std::vector<int64_t>& labels, int64_t classes,
                   double label_smoothing, const float* class_weights, const Rounding& rounding) {
  const auto weight_of = [&](int64_t label) {
    return class_weights == nullptr ? 1.0 : static_cast<double>(class_weights[label]);
  };
  double total_weight = 0;
  for (int64_t label : labels) total_weight += weight_of(label);
  Loss loss{0, Numbers(logits.size())};
  Sum sum;
  for (size_t image = 0; image < labels.size(); ++image) {
    const double* row = &logits[image * static_cast<size_t>(classes)];
    const double highest = *std::max_element(row, row + classes);
    double exponentials = 0;
    for (int64_t c = 0; c < classes; ++c) exponentials += std::exp(row[c] - highest);
    // The target's share of each class, times its weight.
    const auto share_of = [&](int64_t c) {
      const double is_label = c == labels[image] ? 1 : 0;
      return weight_of(c) *
             ((1 - label_smoothing) * is_label + label_smoothing / static_cast<double>(classes));
    };
    double shares = 0;
    for (int64_t c = 0; c < classes; ++c) shares += share_of(c);
    for (int64_t c = 0; c < classes; ++c) {
      const double below = row[c] - highest;
      const double share = share_of(c);
      sum.add(-share * (below - std::log(exponentials)),
              share * (std::fabs(row[c]) + std::fabs(highest)));
      const double probability = std::exp(below) / exponentials;
      const double lost = shares * probability * (1 + std::fabs(row[c]) + std::fabs(highest));
      double& gradient =
          loss.gradient[image * static_cast<size_t>(classes) + static_cast<size_t>(c)];
      gradient = (shares * probability - share) / total_weight;
      gradient = rounding(gradient, (lost + share) / total_weight);
    }
  }
  loss.value = rounding(sum) / total_weight;
  return loss;
}

int64_t predicted(const double* logits, int64_t classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; ++c) {
    if (std::isnan(logits[best])) break;
    if (logits[c] > logits[best] || std::isnan(logits[c])) best = c;
  }
  return best;
}

bool is_exact_in_single(const Network& network, const std::vector<Numbers>& tensors,
                        const Pass& pass) {
  std::vector<int> grains;
  int finest = grain_of(pass.images);
  const int of_images = finest;
  double magnitude = std::max(pass.largest_magnitude, largest(pass.images));
  const auto grain = [&](int32_t place) {
    return place < 0 ? of_images : grains[static_cast<size_t>(place)];
  };
  for (size_t place = 0; place < network.layers.size(); ++place) {
    const TenfoldLayer& layer = network.layers[place];
    const int other = layer.operation == TENFOLD_ADD ? grain(layer.other) : 0;
    grains.push_back(
        grain_after(network, tensors, layer, grain(layer.input), other, pass.training));
    finest = std::max(finest, grains.back());
    if (finest >= kTooFine) return false;
    magnitude = std::max(magnitude, largest(pass.outputs[place]));
  }
  return std::ldexp(magnitude, finest) <= 0x1p24;
}

double clipping(const std::vector<Numbers>& gradients, const std::vector<bool>& trained,
                double clip_norm, const Rounding& rounding) {
  if (clip_norm == 0) return 1;
  Sum squares;
  for (size_t tensor = 0; tensor < gradients.size(); ++tensor) {
    if (!trained[tensor]) continue;
    for (double gradient : gradients[tensor]) squares.add(gradient * gradient);
  }
  const double norm = std::sqrt(rounding(squares));
  return std::min(1.0, clip_norm / (norm + 1e-6));
}

Kept with_new_moments(Kept kept, double gradient, const TenfoldStepSettings& settings) {
  const double decayed = gradient + settings.weight_decay * kept.value;
  switch (settings.optimizer) {
    case TENFOLD_SGD:
      if (settings.momentum != 0) kept.moment1 = settings.momentum * kept.moment1 + decayed;
      break;
    case TENFOLD_ADAM:
      gradient = decayed;
      [[fallthrough]];
    case TENFOLD_ADAMW:
      kept.moment1 = settings.beta1 * kept.moment1 + (1 - settings.beta1) * gradient;
      kept.moment2 = settings.beta2 * kept.moment2 + (1 - settings.beta2) * gradient * gradient;
      break;
  }
  return kept;
}

double new_value(const Kept& kept, double gradient, double learning_rate, int64_t count,
                 const TenfoldStepSettings& settings) {
  if (settings.optimizer == TENFOLD_SGD) {
    double step = gradient + settings.weight_decay * kept.value;
    if (settings.momentum != 0) {
      step = settings.nesterov ? step + settings.momentum * kept.moment1 : kept.moment1;
    }
    return kept.value - learning_rate * step;
  }
  double value = kept.value;
  if (settings.optimizer == TENFOLD_ADAMW) value *= 1 - learning_rate * settings.weight_decay;
  const double steps = static_cast<double>(count);
  const double mean = kept.moment1 / (1 - std::pow(settings.beta1, steps));
  const double square = kept.moment2 / (1 - std::pow(settings.beta2, steps));
  return value - learning_rate * mean / (std::sqrt(square) + settings.epsilon);
}

double decay_of_average(double average_decay, int64_t step) {
  const double steps = static_cast<double>(step);
  return std::min(average_decay, (1 + steps) / (10 + steps));
}

double new_running(double running, double of_batch, double momentum) {
  return (1 - momentum) * running + momentum * of_batch;
}

}  // namespace reference
