#include "digests.h"

#include <cmath>
#include <limits>
#include <utility>

#include "cases.h"

namespace {

using reference::Network;
using reference::Shape;

// A list of layers, built one by one.
class Plan {
 public:
  explicit Plan(const Shape& image) : image_(image) {}

  Plan& convolution(int32_t outputs, int32_t kernel, int32_t stride, int32_t padding,
                    int32_t input) {
    TenfoldLayer layer = windowed(TENFOLD_CONV2D, kernel, stride, padding, input);
    layer.outputs = outputs;
    layer.weight = tensors_++;
    layer.bias = tensors_++;
    return append(layer);
  }
  Plan& convolution(int32_t outputs, int32_t kernel, int32_t stride = 1, int32_t padding = 0) {
    return convolution(outputs, kernel, stride, padding, last());
  }

  Plan& pool(TenfoldOperation kind, int32_t kernel, int32_t stride, int32_t padding = 0) {
    return append(windowed(kind, kernel, stride, padding, last()));
  }

  Plan& linear(int32_t outputs, bool transposed = false) {
    TenfoldLayer layer = blank_layer(TENFOLD_LINEAR, last());
    layer.outputs = outputs;
    layer.transposed = transposed ? 1 : 0;
    layer.weight = tensors_++;
    layer.bias = tensors_++;
    return append(layer);
  }

  Plan& batch_norm() {
    TenfoldLayer layer = blank_layer(TENFOLD_BATCH_NORM2D, last());
    layer.weight = tensors_++;
    layer.bias = tensors_++;
    layer.running_mean = tensors_++;
    layer.running_var = tensors_++;
    layer.eps = 1e-5;
    layer.momentum = 0.1;
    return append(layer);
  }

  Plan& dropout(double p) {
    TenfoldLayer layer = blank_layer(TENFOLD_DROPOUT, last());
    layer.p = p;
    return append(layer);
  }

  Plan& add(int32_t one, int32_t other) {
    TenfoldLayer layer = blank_layer(TENFOLD_ADD, one);
    layer.other = other;
    return append(layer);
  }

  Plan& relu() { return append(blank_layer(TENFOLD_RELU, last())); }
  Plan& flatten() { return append(blank_layer(TENFOLD_FLATTEN, last())); }
  Plan& mean() { return append(blank_layer(TENFOLD_GLOBAL_AVERAGE_POOL, last())); }

  int32_t last() const { return static_cast<int32_t>(layers_.size()) - 1; }
  Network network() const { return *reference::make_network(layers_, image_); }

 private:
  static TenfoldLayer windowed(TenfoldOperation operation, int32_t kernel, int32_t stride,
                               int32_t padding, int32_t input) {
    TenfoldLayer layer = blank_layer(operation, input);
    for (int axis = 0; axis < 2; ++axis) {
      layer.kernel[axis] = kernel;
      layer.stride[axis] = stride;
      layer.padding[axis] = padding;
    }
    return layer;
  }

  Plan& append(const TenfoldLayer& layer) {
    layers_.push_back(layer);
    return *this;
  }

  Shape image_;
  std::vector<TenfoldLayer> layers_;
  int32_t tensors_ = 0;
};

Network mlp() {
  Plan plan({1, 9, 9, false});
  plan.flatten().linear(37).relu().dropout(0.3).linear(19, true).relu().linear(10);
  return plan.network();
}

Network lenet() {
  Plan plan({1, 14, 14, false});
  plan.convolution(6, 5, 1, 2).relu().pool(TENFOLD_MAX_POOL2D, 2, 2);
  plan.convolution(16, 5).relu().pool(TENFOLD_AVERAGE_POOL2D, 2, 1, 1);
  plan.flatten().linear(30).relu().dropout(0.5).linear(10);
  return plan.network();
}

// Every convolution feeds a max-pool.
Network pooled() {
  Plan plan({3, 14, 14, false});
  plan.convolution(7, 3, 1, 1).relu().pool(TENFOLD_MAX_POOL2D, 3, 2, 1);
  plan.convolution(12, 5, 1, 2).relu().pool(TENFOLD_MAX_POOL2D, 2, 2);
  plan.convolution(20, 3, 1, 1).pool(TENFOLD_MAX_POOL2D, 2, 2).relu().flatten().linear(10);
  return plan.network();
}

Network residual() {
  Plan plan({3, 12, 12, false});
  plan.convolution(8, 3, 1, 1).batch_norm().relu();
  const int32_t before = plan.last();
  plan.convolution(17, 3, 2, 1).batch_norm().relu().convolution(17, 3, 1, 1).batch_norm();
  const int32_t body = plan.last();
  plan.convolution(17, 1, 2, 0, before).batch_norm().add(body, plan.last()).relu();
  const int32_t first = plan.last();
  plan.convolution(17, 3, 1, 1).batch_norm().add(first, plan.last()).relu().mean().flatten();
  plan.linear(7);
  return plan.network();
}

// 64-bit FNV-1a over the bytes in memory.
class Bytes {
 public:
  void add(int64_t number) { add_bytes(&number, sizeof number); }

  // All NaN count as equal: their bits depend on the processor.
  void add(const std::vector<float>& numbers) {
    for (float number : numbers) {
      if (std::isnan(number)) number = std::numeric_limits<float>::quiet_NaN();
      add_bytes(&number, sizeof number);
    }
  }

  uint64_t value() const { return value_; }

 private:
  void add_bytes(const void* from, size_t count) {
    const auto* bytes = static_cast<const uint8_t*>(from);
    for (size_t i = 0; i < count; ++i) value_ = (value_ ^ bytes[i]) * 0x100000001B3u;
  }

  uint64_t value_ = 0xCBF29CE484222325u;
};

uint64_t digest(const Library& library, const Case& drawn, int32_t threads) {
  Training training(library, drawn);
  const LiveNetwork network(library, drawn.network, drawn.batch_size, true, threads);
  Figures figures;
  figures.largest_gradients.resize(1);
  training.advance(network, 0, drawn.batches(), threads, figures);
  std::vector<float> logits;
  training.predict(network, static_cast<int64_t>(drawn.labels.size()), threads, logits);
  Bytes bytes;
  for (const TensorNumbers& tensor : training.numbers()) {
    bytes.add(tensor.value);
    bytes.add(tensor.moment1);
    bytes.add(tensor.moment2);
    bytes.add(tensor.average);
  }
  bytes.add(figures.losses);
  bytes.add(figures.correct);
  bytes.add(logits);
  return bytes.value();
}

}  // namespace

std::vector<Digest> digests_of_networks(const Library& library, uint64_t seed, int64_t steps,
                                        int32_t threads) {
  const std::vector<std::pair<const char*, Network>> networks = {
      {"mlp", mlp()}, {"lenet", lenet()}, {"pooled", pooled()}, {"residual", residual()}};
  const std::vector<std::pair<const char*, int32_t>> optimizers = {
      {"sgd", TENFOLD_SGD}, {"adam", TENFOLD_ADAM}, {"adamw", TENFOLD_ADAMW}};
  std::vector<Digest> found;
  for (const auto& [name, network] : networks) {
    for (const auto& [optimizer_name, optimizer] : optimizers) {
      const Case drawn = learnable_case(seed++, network, 21, steps, optimizer);
      found.push_back({std::string(name) + " " + optimizer_name, digest(library, drawn, threads)});
    }
  }
  return found;
}

std::vector<Digest> digests_of_cases(const Library& library, uint64_t seed, int64_t cases,
                                     int32_t threads) {
  std::vector<Digest> found;
  for (int64_t i = 0; i < cases; ++i, ++seed) {
    found.push_back({"seed " + std::to_string(seed), digest(library, random_case(seed), threads)});
  }
  return found;
}
