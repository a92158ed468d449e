#include "networks.h"

#include <algorithm>
#include <sstream>

namespace {

using reference::Network;
using reference::Shape;

constexpr int64_t kLargestSide = 36;
constexpr int64_t kMostFeatures = 6000;

class Builder {
 public:
  Builder(Random& random, const NetworkLimits& limits)
      : random_(random), limits_(limits), left_(limits.most_operations) {
    network_.image = {random_.pick<int64_t>({1, 1, 1, 2, 3, 3, 4, 5, 8, 16, 17}), side(), side()};
    if (random_.chance(0.5)) network_.image.width = network_.image.height;
    tip_ = -1;
  }

  Network build() {
    const double kind = random_.uniform();
    if (kind < 0.4) {
      chain();
    } else if (kind < 0.65) {
      residual();
    } else if (kind < 0.8) {
      pooled();
    } else {
      anything();
    }
    classify();
    shuffle_tensors();
    return network_;
  }

 private:
  // ---- The plans --------------------------------------------------------------------------------

  // As usually written: convolutions with ReLU and pooling, then linear layers.
  void chain() {
    const int64_t stages = random_.between(0, 4);
    for (int64_t stage = 0; stage < stages; ++stage) {
      convolve(tip_);
      if (random_.chance(0.4)) batch_norm(tip_);
      if (random_.chance(0.8)) plain(TENFOLD_RELU, tip_);
      if (random_.chance(0.5)) pool(tip_);
      if (random_.chance(0.15)) dropout(tip_);
    }
    if (random_.chance(0.25)) plain(TENFOLD_GLOBAL_AVERAGE_POOL, tip_);
    if (random_.chance(0.15)) plain(TENFOLD_RELU, tip_);
    if (random_.chance(0.7)) hidden_layers();
  }

  // Every convolution feeds a max-pool.
  void pooled() {
    const int64_t stages = random_.between(1, 3);
    for (int64_t stage = 0; stage < stages; ++stage) {
      const int64_t channels = random_.pick<int64_t>({5, 6, 7, 8, 11, 12, 16, 17, 24, 33});
      const int64_t kernel = random_.pick<int64_t>({3, 3, 5, 7});
      const int64_t stride = random_.pick<int64_t>({1, 1, 1, 2});
      square_convolution(tip_, channels, kernel, stride, false);
      if (random_.chance(0.8)) plain(TENFOLD_RELU, tip_);
      const Shape& from = shape(tip_);
      TenfoldLayer layer = blank_layer(TENFOLD_MAX_POOL2D, tip_);
      const int64_t side = random_.pick<int64_t>({2, 2, 2, 3});
      for (int axis = 0; axis < 2; ++axis) {
        const int64_t most = axis == 0 ? from.height : from.width;
        layer.kernel[axis] = static_cast<int32_t>(std::min(side, most));
        layer.stride[axis] = 2;
      }
      append(layer);
    }
  }

  void hidden_layers() {
    plain(TENFOLD_FLATTEN, tip_);
    const int64_t layers = random_.between(0, 2);
    for (int64_t layer = 0; layer < layers; ++layer) {
      hidden_linear(tip_,
                    random_.pick<int64_t>({1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 257, 530, 1100}));
      if (random_.chance(0.8)) plain(TENFOLD_RELU, tip_);
      if (random_.chance(0.3)) dropout(tip_);
    }
  }

  void residual() {
    convolve(tip_);
    if (random_.chance(0.6)) batch_norm(tip_);
    if (random_.chance(0.6)) plain(TENFOLD_RELU, tip_);
    const int64_t blocks = random_.between(1, 3);
    for (int64_t block = 0; block < blocks; ++block) residual_block();
    if (random_.chance(0.5)) plain(TENFOLD_GLOBAL_AVERAGE_POOL, tip_);
  }

  void residual_block() {
    const int32_t before = tip_;
    const int64_t channels =
        random_.chance(0.6) ? shape(before).channels : random_.pick<int64_t>({2, 5, 8, 16, 18});
    const int64_t stride = random_.pick<int64_t>({1, 1, 2});
    const bool normalized = random_.chance(0.6);
    square_convolution(before, channels, 3, stride, normalized);
    if (random_.chance(0.8)) plain(TENFOLD_RELU, tip_);
    square_convolution(tip_, channels, 3, 1, normalized);
    const int32_t body = tip_;
    int32_t shortcut = before;
    if (!(shape(before) == shape(body))) {
      square_convolution(before, channels, 1, stride, normalized);
      shortcut = tip_;
    }
    if (random_.chance(0.5)) {
      add(body, shortcut);
    } else {
      add(shortcut, body);
    }
    if (random_.chance(0.8)) plain(TENFOLD_RELU, tip_);
  }

  // Any layers, reading any earlier output.
  void anything() {
    const int64_t layers = random_.between(1, 12);
    for (int64_t layer = 0; layer < layers; ++layer) {
      const int32_t place = random_.chance(0.5) ? tip_ : any_place();
      if (shape(place).flat) {
        anything_flat(place);
      } else {
        anything_with_pixels(place);
      }
    }
  }

  void anything_flat(int32_t place) {
    switch (random_.between(0, 5)) {
      case 0:
        plain(TENFOLD_RELU, place);
        break;
      case 1:
        plain(TENFOLD_FLATTEN, place);
        break;
      case 2:
        dropout(place);
        break;
      case 3:
        add(place, alike(place));
        break;
      default:
        hidden_linear(place, random_.pick<int64_t>({1, 3, 5, 16, 17, 40}));
    }
  }

  void anything_with_pixels(int32_t place) {
    switch (random_.between(0, 12)) {
      case 0:
        plain(TENFOLD_RELU, place);
        break;
      case 1:
        plain(TENFOLD_FLATTEN, place);
        break;
      case 2:
        dropout(place);
        break;
      case 3:
      case 4:
        add(place, alike(place));
        break;
      case 5:
        plain(TENFOLD_GLOBAL_AVERAGE_POOL, place);
        break;
      case 6:
        batch_norm(place);
        break;
      case 7:
      case 8:
        pool(place);
        break;
      case 9:
        square_convolution(place, shape(place).channels, 3, 1, false);
        break;
      default:
        convolve(place);
    }
  }

  // Combines all unread outputs into a vector of logits.
  void classify() {
    if (ends_in_logits_already()) return;
    const int64_t classes =
        random_.chance(0.9) ? random_.between(2, 30) : random_.pick<int64_t>({1, 64, 100, 129});
    std::vector<int32_t> unread;
    for (int32_t place = 0; place < count(); ++place) {
      if (!was_read(place)) unread.push_back(place);
    }
    if (unread.empty()) unread.push_back(-1);
    int32_t sum = -1;
    for (int32_t place : unread) {
      tip_ = place;
      if (!shape(tip_).flat && random_.chance(0.2)) plain(TENFOLD_GLOBAL_AVERAGE_POOL, tip_);
      if (!shape(tip_).flat) plain(TENFOLD_FLATTEN, tip_);
      linear(tip_, classes);
      if (sum >= 0) add(sum, tip_);
      sum = tip_;
    }
    if (random_.chance(0.03)) plain(TENFOLD_RELU, tip_);
    if (random_.chance(0.03)) dropout(tip_);
  }

  // Whether the last output, such as a convolution's, can serve as the logits when flattened.
  bool ends_in_logits_already() {
    int unread = 0;
    for (int32_t place = 0; place < count(); ++place) unread += was_read(place) ? 0 : 1;
    const int64_t features = shape(tip_).size();
    if (unread != 1 || tip_ != count() - 1 || features < 2 || features > 30) return false;
    if (!random_.chance(0.5)) return false;
    if (!shape(tip_).flat) plain(TENFOLD_FLATTEN, tip_);
    return true;
  }

  // ---- The layers -------------------------------------------------------------------------------

  void convolve(int32_t place) {
    if (shape(place).flat) return;
    if (random_.chance(0.4)) {
      // In separate statements: the evaluation order of arguments depends on the compiler.
      const int64_t channels = some_channels();
      const int64_t kernel = random_.pick<int64_t>({1, 3, 3, 3, 5});
      const int64_t stride = random_.pick<int64_t>({1, 1, 1, 2});
      square_convolution(place, channels, kernel, stride, false);
      return;
    }
    TenfoldLayer layer = blank_layer(TENFOLD_CONV2D, place);
    layer.outputs = static_cast<int32_t>(some_channels());
    const int64_t sides[2] = {shape(place).height, shape(place).width};
    for (int axis = 0; axis < 2; ++axis) {
      layer.padding[axis] = random_.pick<int32_t>({0, 0, 0, 1, 1, 2, 3, 5});
      const int64_t most = sides[axis] + 2 * layer.padding[axis];
      const int64_t kernel =
          random_.chance(0.15) ? most : random_.between(1, std::min<int64_t>(most, 6));
      layer.kernel[axis] = static_cast<int32_t>(std::min<int64_t>(kernel, 12));
      layer.stride[axis] = random_.pick<int32_t>({1, 1, 1, 1, 2, 2, 3, 4, 40});
    }
    append_convolution(layer);
  }

  // Padded so that a stride of 1 keeps the size.
  void square_convolution(int32_t place, int64_t channels, int64_t kernel, int64_t stride,
                          bool normalized) {
    if (shape(place).flat) return;
    TenfoldLayer layer = blank_layer(TENFOLD_CONV2D, place);
    layer.outputs = static_cast<int32_t>(channels);
    for (int axis = 0; axis < 2; ++axis) {
      layer.kernel[axis] = static_cast<int32_t>(kernel);
      layer.stride[axis] = static_cast<int32_t>(stride);
      layer.padding[axis] = static_cast<int32_t>(kernel / 2);
    }
    if (append_convolution(layer) && normalized) batch_norm(tip_);
  }

  int64_t some_channels() {
    if (random_.chance(0.1)) return random_.pick<int64_t>({63, 64, 65, 100, 130});
    return random_.pick<int64_t>({1, 2, 3, 5, 6, 7, 8, 8, 9, 15, 16, 16, 17, 24, 31, 32, 33});
  }

  // Reduces the outputs until the layer fits the remaining operations; false if it never does.
  bool append_convolution(TenfoldLayer layer) {
    layer.weight = tensors_;
    for (; layer.outputs > 0; layer.outputs /= 2) {
      const Shape& from = shape(layer.input);
      const double taps = static_cast<double>(layer.kernel[0]) * layer.kernel[1];
      const Shape to = shape_after(layer);
      const double cost =
          static_cast<double>(to.size()) * static_cast<double>(from.channels) * taps;
      const bool is_small =
          to.size() <= kMostFeatures && to.height <= kLargestSide && to.width <= kLargestSide;
      if (!is_small || cost > left_) continue;
      left_ -= cost;
      ++tensors_;
      if (random_.chance(0.7)) layer.bias = tensors_++;
      append(layer);
      return true;
    }
    return false;
  }

  void pool(int32_t place) {
    if (shape(place).flat) return;
    const TenfoldOperation kind = random_.chance(0.6) ? TENFOLD_MAX_POOL2D : TENFOLD_AVERAGE_POOL2D;
    TenfoldLayer layer = blank_layer(kind, place);
    const int64_t sides[2] = {shape(place).height, shape(place).width};
    const bool usual = random_.chance(0.5);
    for (int axis = 0; axis < 2; ++axis) {
      const int64_t most = std::min<int64_t>(2 * sides[axis], random_.chance(0.1) ? 40 : 4);
      const int64_t kernel = usual ? std::min<int64_t>(2, sides[axis]) : random_.between(1, most);
      const int64_t least = (std::max<int64_t>(0, kernel - sides[axis]) + 1) / 2;
      layer.kernel[axis] = static_cast<int32_t>(kernel);
      layer.stride[axis] = usual ? layer.kernel[axis] : random_.pick<int32_t>({1, 1, 2, 3, 5});
      layer.padding[axis] = usual ? 0 : static_cast<int32_t>(random_.between(least, kernel / 2));
    }
    append(layer);
  }

  // Reduces the outputs if they would cost too much.
  void hidden_linear(int32_t place, int64_t outputs) {
    const double inputs = static_cast<double>(shape(place).channels);
    while (outputs > 30 && inputs * static_cast<double>(outputs) > left_) outputs /= 2;
    left_ -= inputs * static_cast<double>(outputs);
    linear(place, outputs);
  }

  void linear(int32_t place, int64_t outputs) {
    TenfoldLayer layer = blank_layer(TENFOLD_LINEAR, place);
    layer.outputs = static_cast<int32_t>(outputs);
    layer.transposed = random_.chance(0.3) ? 1 : 0;
    layer.weight = tensors_++;
    if (random_.chance(0.8)) layer.bias = tensors_++;
    append(layer);
  }

  void batch_norm(int32_t place) {
    if (shape(place).flat) return;
    TenfoldLayer layer = blank_layer(TENFOLD_BATCH_NORM2D, place);
    layer.weight = tensors_++;
    layer.bias = tensors_++;
    layer.running_mean = tensors_++;
    layer.running_var = tensors_++;
    layer.eps = random_.pick({1e-5, 1e-5, 1e-3, 0.1});
    layer.momentum = random_.pick({0.1, 0.1, 0.01, 1.0, 0.0, 0.37});
    append(layer);
  }

  void dropout(int32_t place) {
    TenfoldLayer layer = blank_layer(TENFOLD_DROPOUT, place);
    if (limits_.with_dropout) layer.p = random_.pick({0.0, 0.1, 0.25, 0.5, 0.9});
    append(layer);
  }

  void plain(TenfoldOperation operation, int32_t place) {
    if (operation == TENFOLD_GLOBAL_AVERAGE_POOL && shape(place).flat) return;
    append(blank_layer(operation, place));
  }

  void add(int32_t one, int32_t other) {
    if (!(shape(one) == shape(other))) return;
    TenfoldLayer layer = blank_layer(TENFOLD_ADD, one);
    layer.other = other;
    append(layer);
  }

  // ---- The list ---------------------------------------------------------------------------------

  int32_t count() const { return static_cast<int32_t>(network_.layers.size()); }

  const Shape& shape(int32_t place) const { return network_.shape(place); }

  void append(const TenfoldLayer& layer) {
    network_.shapes.push_back(shape_after(layer));
    network_.layers.push_back(layer);
    tip_ = count() - 1;
  }

  Shape shape_after(const TenfoldLayer& layer) const {
    std::vector<TenfoldLayer> layers = network_.layers;
    layers.push_back(layer);
    TenfoldLayer flatten = blank_layer(TENFOLD_FLATTEN, static_cast<int32_t>(layers.size()) - 1);
    layers.push_back(flatten);
    return reference::make_network(layers, network_.image)->shapes[network_.layers.size()];
  }

  bool was_read(int32_t place) const {
    return std::any_of(network_.layers.begin(), network_.layers.end(),
                       [&](const TenfoldLayer& layer) {
                         const bool adds = layer.operation == TENFOLD_ADD;
                         return layer.input == place || (adds && layer.other == place);
                       });
  }

  int32_t any_place() { return static_cast<int32_t>(random_.between(-1, count() - 1)); }

  // A place with the same shape, possibly itself.
  int32_t alike(int32_t place) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      const int32_t other = any_place();
      if (shape(other) == shape(place)) return other;
    }
    return place;
  }

  int64_t side() {
    if (random_.chance(0.1)) return 28;
    return random_.pick<int64_t>({1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 11, 13, 16, 17});
  }

  void shuffle_tensors() {
    std::vector<int32_t> places(static_cast<size_t>(tensors_));
    for (int32_t place = 0; place < tensors_; ++place) {
      const int32_t other = static_cast<int32_t>(random_.between(0, place));
      places[static_cast<size_t>(place)] = places[static_cast<size_t>(other)];
      places[static_cast<size_t>(other)] = place;
    }
    const auto shuffled = [&](int32_t place) {
      return place < 0 ? place : places[static_cast<size_t>(place)];
    };
    for (TenfoldLayer& layer : network_.layers) {
      layer.weight = shuffled(layer.weight);
      layer.bias = shuffled(layer.bias);
      layer.running_mean = shuffled(layer.running_mean);
      layer.running_var = shuffled(layer.running_var);
    }
  }

  Random& random_;
  NetworkLimits limits_;
  double left_;
  Network network_;
  int32_t tensors_ = 0;
  int32_t tip_;
};

const char* name_of(int32_t operation) {
  static const char* names[] = {
      "conv2d",  "max_pool2d", "average_pool2d", "global_average_pool", "relu",
      "flatten", "linear",     "dropout",        "batch_norm2d",        "add"};
  return operation >= 0 && operation < 10 ? names[operation] : "unknown";
}

std::string pair_text(const int32_t pair[2]) {
  return std::to_string(pair[0]) + "x" + std::to_string(pair[1]);
}

std::string arguments_of(const TenfoldLayer& layer) {
  std::ostringstream text;
  const bool is_convolution = layer.operation == TENFOLD_CONV2D;
  if (is_convolution || layer.operation == TENFOLD_LINEAR) {
    text << " outputs " << layer.outputs << ", weight " << layer.weight << ", bias " << layer.bias;
    if (layer.transposed) text << ", transposed";
  }
  if (is_convolution || layer.operation == TENFOLD_MAX_POOL2D ||
      layer.operation == TENFOLD_AVERAGE_POOL2D) {
    text << " kernel " << pair_text(layer.kernel) << ", stride " << pair_text(layer.stride)
         << ", padding " << pair_text(layer.padding);
  }
  if (layer.operation == TENFOLD_BATCH_NORM2D) {
    text << " weight " << layer.weight << ", bias " << layer.bias << ", running "
         << layer.running_mean << " and " << layer.running_var << ", eps " << layer.eps
         << ", momentum " << layer.momentum;
  }
  if (layer.operation == TENFOLD_DROPOUT) text << " p " << layer.p;
  return text.str();
}

std::string shape_text(const Shape& shape) {
  std::ostringstream text;
  text << shape.channels;
  if (!shape.flat) text << "x" << shape.height << "x" << shape.width;
  return text.str();
}

}  // namespace

TenfoldLayer blank_layer(TenfoldOperation operation, int32_t input) {
  TenfoldLayer layer{};
  layer.operation = operation;
  layer.input = input;
  layer.other = layer.weight = layer.bias = layer.running_mean = layer.running_var = -1;
  return layer;
}

Network random_network(Random& random, const NetworkLimits& limits) {
  return Builder(random, limits).build();
}

std::string text_of(const Network& network) {
  std::ostringstream text;
  text << "  images " << shape_text(network.image) << "\n";
  for (size_t place = 0; place < network.layers.size(); ++place) {
    const TenfoldLayer& layer = network.layers[place];
    text << "  " << place << ": " << name_of(layer.operation) << "(" << layer.input;
    if (layer.operation == TENFOLD_ADD) text << ", " << layer.other;
    text << ")" << arguments_of(layer) << " -> " << shape_text(network.shapes[place]) << "\n";
  }
  return text.str();
}
