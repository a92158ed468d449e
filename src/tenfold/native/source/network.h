// Builds a network from a list of layers: shapes, memory, and which layer reads which value.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "batch_norm.h"
#include "convolution.h"
#include "elementwise.h"
#include "interface.h"
#include "linear.h"
#include "memory.h"
#include "pooling.h"
#include "sparse.h"
#include "window.h"

namespace tenfold {

struct InvalidNetwork : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* wanted) {
  if (!holds) throw InvalidNetwork(wanted);
}

constexpr int64_t kLargestMap = int64_t{1} << 40;  // floats
constexpr double kMostFloats = 0x1p48;  // in a network; small enough that sums do not overflow

// Lets arrays share memory if they are not needed at the same time.
class MemoryPlan {
 public:
  // Requests `size` floats from time `begin` to `end`; returns the request's index.
  size_t want(int64_t size, int64_t begin, int64_t end) {
    if (kIsFenced) begin = end = 0;  // all at the same time: no sharing
    requests_.push_back({(size + kLanes - 1) / kLanes * kLanes + kFence, begin, end, 0});
    return requests_.size() - 1;
  }

  // Assigns each request the first place that is free at its time; returns the total size.
  int64_t place() {
    int64_t total = 0;
    std::vector<const Request*> placed;
    for (Request& request : requests_) {
      std::vector<const Request*> neighbors;
      for (const Request* other : placed) {
        if (other->begin <= request.end && request.begin <= other->end) neighbors.push_back(other);
      }
      std::sort(neighbors.begin(), neighbors.end(),
                [](const Request* a, const Request* b) { return a->offset < b->offset; });
      for (const Request* other : neighbors) {
        if (request.offset + request.size <= other->offset) break;
        request.offset = std::max(request.offset, other->offset + other->size);
      }
      placed.push_back(&request);
      total = std::max(total, request.offset + request.size);
    }
    return total;
  }

  // The address of a request, if the whole memory starts at `begin`.
  float* place_of(size_t request, float* begin) const {
    const Request& r = requests_[request];
    float* const place = begin + r.offset;
    forbid(place + r.size - kFence, kFence * sizeof(float));
    return place;
  }

 private:
  static constexpr int64_t kFence = kIsFenced ? 4 * kLanes : 0;

  struct Request {
    int64_t size;
    int64_t begin;
    int64_t end;
    int64_t offset;
  };
  std::vector<Request> requests_;
};

class Network {
 public:
  Network(const TenfoldLayer* layers, int count, const int32_t* shape, int64_t batch_size,
          bool for_training, int threads)
      : specs_(layers, layers + std::max(count, 0)),
        batch_size_(batch_size),
        blocks_(batch_size / kLanes + (batch_size % kLanes == 0 ? 0 : 1)),
        for_training_(for_training) {
    require(count > 0 && count <= 4096, "1..4096 layers");
    require(batch_size > 0 && batch_size <= int64_t{1} << 24, "1..2^24 images in a batch");
    require(threads > 0 && threads <= 1024, "1..1024 threads");
    find_shapes(shape);
    find_aliases();
    find_borders();
    find_gradients();
    memories_ = std::vector<LayerMemory>(specs_.size());
    if (blocks_are_worth_it(threads)) {
      give_memory(true, threads);
      by_block_ = suits_blocks();
    }
    if (!by_block_) give_memory(false, gathers_ahead() ? 2 : 1);
  }

  // One copy of the network's layers and their memory. If blocks pass through the network one by
  // one, each thread has its own copy. If there are two copies otherwise, they differ in the input:
  // the images of the next batch are gathered during a step.
  struct Place {
    FeatureMap input;
    FeatureMap logits;
    FeatureMap logits_gradient;
    std::vector<std::unique_ptr<Layer>> layers;
    size_t tiny = 0;  // the first of the last layers that are tiny
  };
  const std::vector<Place>& places() const { return places_; }
  bool by_block() const { return by_block_; }

  // To be called before the first step of several.
  void restart() const {
    for (const LayerMemory& memory : memories_) memory.restart();
  }

  // True on the first call only.
  bool is_first_use() { return std::exchange(is_unused_, false); }

  bool logits_are_cut() const { return values_[root(slots() - 1)].cut; }
  int64_t batch_size() const { return batch_size_; }
  int64_t blocks() const { return blocks_; }
  bool for_training() const { return for_training_; }
  int64_t scratch_size() const {
    int64_t size = 0;
    for (const auto& layer : places_[0].layers) size = std::max(size, layer->scratch_size());
    return size;
  }
  // The tensors that the layers name: their indices and sizes.
  std::vector<std::pair<int32_t, int64_t>> tensor_sizes() const {
    std::vector<std::pair<int32_t, int64_t>> sizes;
    for (const TenfoldLayer& s : specs_) {
      const Shape& in = values_[static_cast<size_t>(int64_t{s.input} + 1)].shape;
      if (s.operation == TENFOLD_BATCH_NORM2D) {
        for (int32_t place : {s.weight, s.bias, s.running_mean, s.running_var}) {
          sizes.emplace_back(place, in.channels);
        }
      } else if (s.operation == TENFOLD_CONV2D || s.operation == TENFOLD_LINEAR) {
        const int64_t taps = s.operation == TENFOLD_CONV2D ? window(s).pixels() : 1;
        sizes.emplace_back(s.weight, int64_t{s.outputs} * in.channels * taps);
        if (s.bias >= 0) sizes.emplace_back(s.bias, s.outputs);
      }
    }
    return sizes;
  }

 private:
  // A layer's output. Value 0 is the images, so layer i outputs value i + 1.
  struct Value {
    Shape shape;
    bool is_flat = false;
    int root = 0;  // the value whose memory this one uses, possibly itself
    // For roots only:
    int producer = -1;         // the layer that computes it
    bool cut = false;          // a ReLU has been applied
    bool rows_first = false;   // in memory
    std::vector<int> readers;  // layers, in order; twice if one reads it twice
    Border border;
    FeatureMap map;
    bool wants_gradient = false;
    int gradient_root = 0;   // the value whose gradient this one uses
    Border gradient_border;  // columns only
    FeatureMap gradient;
  };

  int slots() const { return static_cast<int>(values_.size()); }
  int layer_count() const { return static_cast<int>(specs_.size()); }
  int root(int slot) const { return values_[static_cast<size_t>(slot)].root; }
  Value& value(int slot) { return values_[static_cast<size_t>(slot)]; }
  Value& root_of(int slot) { return value(root(slot)); }
  const TenfoldLayer& spec(int layer) const { return specs_[static_cast<size_t>(layer)]; }
  bool is(int layer, TenfoldOperation operation) const {
    return spec(layer).operation == operation;
  }
  // The values that a layer reads.
  std::vector<int> inputs(int layer) const {
    if (is(layer, TENFOLD_ADD)) return {spec(layer).input + 1, spec(layer).other + 1};
    return {spec(layer).input + 1};
  }

  static Window window(const TenfoldLayer& s) {
    return {s.kernel[0], s.kernel[1], s.stride[0], s.stride[1], s.padding[0], s.padding[1]};
  }

  void find_shapes(const int32_t* shape) {
    values_.resize(specs_.size() + 1);
    require(shape[0] > 0 && shape[1] > 0 && shape[2] > 0, "a shape of positive numbers");
    values_[0].shape = {shape[0], shape[1], shape[2]};
    check_size(values_[0].shape, {});
    for (int i = 0; i < layer_count(); ++i) {
      const bool reads_other = is(i, TENFOLD_ADD);
      require(spec(i).input >= -1 && spec(i).input < i &&
                  (!reads_other || (spec(i).other >= -1 && spec(i).other < i)),
              "inputs before the layer");
      value(i + 1).shape = shape_of(i, value(i + 1).is_flat);
      check_size(value(i + 1).shape, {});
    }
    std::vector<bool> is_read(values_.size(), false);
    for (int i = 0; i < layer_count(); ++i) {
      for (int slot : inputs(i)) is_read[static_cast<size_t>(slot)] = true;
    }
    is_read.back() = true;
    require(std::find(is_read.begin(), is_read.end(), false) == is_read.end(),
            "no unread layer except the last");
    require(values_.back().is_flat, "flat logits");
    require(values_.back().shape.channels <= 1 << 24, "at most 2^24 classes, exact in floats");
  }

  static void check_size(const Shape& s, const Border& border) {
    const double size = static_cast<double>(s.channels) * (s.height + 2.0 * border.rows) *
                        (s.width + 2.0 * border.columns) * kLanes;
    require(size <= static_cast<double>(kLargestMap), "an output that fits in memory");
  }

  // So that products of tensor sizes cannot overflow.
  static void check_weights(const TenfoldLayer& s, const Shape& in, int64_t taps) {
    require(static_cast<double>(s.outputs) * in.channels * static_cast<double>(taps) <=
                static_cast<double>(kLargestMap),
            "weights that fit in memory");
  }

  Shape shape_of(int layer, bool& is_flat) {
    const TenfoldLayer& s = spec(layer);
    const Value& in = value(s.input + 1);
    is_flat = in.is_flat;
    switch (s.operation) {
      case TENFOLD_CONV2D:
        require(!in.is_flat && s.outputs > 0 && s.weight >= 0, "a convolution of pixels");
        check_weights(s, in.shape, window(s).pixels());
        return windowed(s, {s.outputs, in.shape.height, in.shape.width});
      case TENFOLD_MAX_POOL2D:
      case TENFOLD_AVERAGE_POOL2D:
        require(!in.is_flat, "pooling of pixels");
        require(
            2 * int64_t{s.padding[0]} <= s.kernel[0] && 2 * int64_t{s.padding[1]} <= s.kernel[1],
            "padding of at most half a window");
        return windowed(s, in.shape);
      case TENFOLD_GLOBAL_AVERAGE_POOL:
        require(!in.is_flat, "pooling of pixels");
        return {in.shape.channels, 1, 1};
      case TENFOLD_FLATTEN:
        is_flat = true;
        require(in.shape.numbers() < INT32_MAX, "fewer than 2^31 - 1 features");
        return {static_cast<int>(in.shape.numbers()), 1, 1};
      case TENFOLD_LINEAR:
        require(in.is_flat && s.outputs > 0 && s.weight >= 0, "a linear layer of features");
        check_weights(s, in.shape, 1);
        return {s.outputs, 1, 1};
      case TENFOLD_RELU:
        return in.shape;
      case TENFOLD_DROPOUT:
        require(s.p >= 0 && s.p < 1, "a probability below 1");
        return in.shape;
      case TENFOLD_BATCH_NORM2D:
        require(!in.is_flat && s.weight >= 0 && s.bias >= 0 && s.running_mean >= 0 &&
                    s.running_var >= 0 && s.eps > 0 && s.momentum >= 0 && s.momentum <= 1,
                "batch normalization of pixels with all its tensors");
        return in.shape;
      case TENFOLD_ADD: {
        const Value& other = value(s.other + 1);
        require(in.shape.channels == other.shape.channels &&
                    in.shape.height == other.shape.height && in.shape.width == other.shape.width &&
                    in.is_flat == other.is_flat,
                "two inputs of one shape");
        return in.shape;
      }
      default:
        throw InvalidNetwork("a known operation");
    }
  }

  static Shape windowed(const TenfoldLayer& s, Shape shape) {
    int* const sizes[2] = {&shape.height, &shape.width};
    for (int axis = 0; axis < 2; ++axis) {
      require(s.kernel[axis] > 0 && s.stride[axis] > 0 && s.padding[axis] >= 0,
              "valid window sizes");
      require(s.padding[axis] <= 1 << 14, "a padding of at most 2^14");
      const int64_t room = int64_t{*sizes[axis]} + 2 * int64_t{s.padding[axis]} - s.kernel[axis];
      require(room >= 0, "room for a window");
      *sizes[axis] = static_cast<int>(room / s.stride[axis]) + 1;
    }
    return shape;
  }

  // Finds values that need no memory of their own: a ReLU is applied where its input is computed,
  // and dropout with p = 0 does nothing.
  void find_aliases() {
    for (int slot = 0; slot < slots(); ++slot) {
      value(slot).root = slot;
      value(slot).producer = slot - 1;
      if (slot > 0 && is(slot - 1, TENFOLD_DROPOUT) && spec(slot - 1).p == 0) {
        value(slot).root = root(spec(slot - 1).input + 1);
      }
    }
    std::vector<int> reads(values_.size(), 0);
    for (int i = 0; i < layer_count(); ++i) {
      if (root(i + 1) != i + 1) continue;
      for (int slot : inputs(i)) ++reads[static_cast<size_t>(root(slot))];
    }
    for (int i = 0; i < layer_count(); ++i) {
      if (root(i + 1) != i + 1) {  // its root may have become an alias meanwhile
        value(i + 1).root = root(spec(i).input + 1);
        continue;
      }
      if (!is(i, TENFOLD_RELU)) continue;
      const int from = root(spec(i).input + 1);
      if (from > 0 && reads[static_cast<size_t>(from)] == 1 && can_take_relu(from - 1)) {
        value(i + 1).root = from;
        value(from).cut = true;
        reads[static_cast<size_t>(from)] = reads[static_cast<size_t>(i) + 1];
      } else {
        value(i + 1).cut = true;
      }
    }
  }

  bool can_take_relu(int layer) {
    switch (spec(layer).operation) {
      case TENFOLD_CONV2D:
      case TENFOLD_LINEAR:
      case TENFOLD_BATCH_NORM2D:
      case TENFOLD_ADD:
      case TENFOLD_MAX_POOL2D:
      case TENFOLD_AVERAGE_POOL2D:
        return !value(layer + 1).cut;
      default:
        return false;
    }
  }

  // Whether a layer's work on a single block is too little to be shared by threads.
  bool is_tiny(int layer) {
    const int64_t numbers = value(layer + 1).shape.numbers();
    switch (spec(layer).operation) {
      case TENFOLD_LINEAR:
        return numbers * value(spec(layer).input + 1).shape.numbers() * kParts <= 2 * kSmallestJob;
      case TENFOLD_RELU:
      case TENFOLD_DROPOUT:
      case TENFOLD_ADD:
        return numbers * kParts <= kSmallestWalk;
      default:
        return false;
    }
  }

  // The number of layers, without aliases, that come before tiny ones at the end.
  int64_t count_before_tiny() {
    int64_t count = 0;
    int64_t before = 0;
    for (int i = 0; i < layer_count(); ++i) {
      if (root(i + 1) != i + 1) continue;
      ++count;
      if (blocks_ > 1 || !for_training_ || !is_tiny(i)) before = count;
    }
    return before;
  }

  // With a single block, some threads have nothing to do while one computes the last layers.
  bool gathers_ahead() const { return for_training_ && blocks_ == 1; }

  // Whether a layer is a convolution whose kernel covers the whole image.
  bool covers_all(int layer) {
    if (!is(layer, TENFOLD_CONV2D)) return false;
    const TenfoldLayer& s = spec(layer);
    const Shape& in = value(s.input + 1).shape;
    return s.padding[0] == 0 && s.padding[1] == 0 && s.kernel[0] == in.height &&
           s.kernel[1] == in.width;
  }

  // Whether a layer is computed as a matrix product of its whole input. Then its input, its output
  // and their gradients must have no borders.
  bool is_linear(int layer) {
    if (is(layer, TENFOLD_LINEAR)) return true;
    const Value& in = root_of(spec(layer).input + 1);
    return covers_all(layer) && !has_border(in) && !has_border(root_of(layer + 1));
  }

  static bool has_border(const Value& v) {
    return v.border.rows > 0 || v.border.columns > 0 || v.gradient_border.columns > 0;
  }

  void find_borders() {
    for (int i = 0; i < layer_count(); ++i) {
      if (!is(i, TENFOLD_CONV2D) || covers_all(i)) continue;
      Value& in = root_of(spec(i).input + 1);
      in.border.rows = std::max(in.border.rows, spec(i).padding[0]);
      in.border.columns = std::max(in.border.columns, spec(i).padding[1]);
      check_size(in.shape, in.border);
    }
    for (int i = 0; i < layer_count(); ++i) {
      wants(i + 1);
      Value& out = value(i + 1);
      if (out.root == i + 1 && out.wants_gradient && is(i, TENFOLD_CONV2D) && !is_linear(i) &&
          root_of(spec(i).input + 1).wants_gradient) {
        const TenfoldLayer& s = spec(i);
        const Shape& in = value(s.input + 1).shape;
        out.gradient_border.columns =
            gradient_border(in.width, out.shape.width, s.kernel[1], s.stride[1], s.padding[1]);
        check_size(out.shape, out.gradient_border);
      }
      if (is(i, TENFOLD_FLATTEN)) {
        const Value& in = root_of(spec(i).input + 1);
        if (!has_border(in)) out.root = root(spec(i).input + 1);
      } else if (out.root != i + 1) {  // its root may have become an alias meanwhile
        out.root = root(out.root);
      }
    }
    for (int i = 0; i < layer_count(); ++i) {
      if (root(i + 1) != i + 1) continue;
      for (int slot : inputs(i)) root_of(slot).readers.push_back(i);
    }
  }

  // A value wants a gradient if something before it can learn. This is determined for prediction
  // too: the choice of kernel, and with it the bits, must not depend on what the network is for.
  void wants(int slot) {
    const int layer = slot - 1;
    bool wanted = spec(layer).weight >= 0;
    for (int in : inputs(layer)) wanted = wanted || root_of(in).wants_gradient;
    root_of(slot).wants_gradient = wanted;
  }

  // An addition passes its gradient on unchanged, so an input that no other layer reads can share
  // it.
  void find_gradients() {
    for (int slot = 0; slot < slots(); ++slot) value(slot).gradient_root = slot;
    for (int i = layer_count() - 1; i >= 0; --i) {
      if (root(i + 1) != i + 1 || !is(i, TENFOLD_ADD)) continue;
      for (int slot : inputs(i)) {
        Value& in = root_of(slot);
        if (in.readers.size() != 1 || in.cut || !in.wants_gradient) continue;
        if (value(root(slot)).is_flat != value(slot).is_flat) continue;
        const int out = value(i + 1).gradient_root;
        if (value(out).gradient_border.columns < in.gradient_border.columns) continue;
        in.gradient_root = out;
      }
    }
  }

  // Whether all threads get about the same number of groups of blocks.
  bool blocks_are_worth_it(int threads) const {
    const int64_t groups = Groups(blocks_).count();
    const int64_t rounds = (groups + threads - 1) / threads;
    return 3 * rounds * threads <= 4 * groups;
  }

  bool suits_blocks() {
    for (const auto& layer : places_[0].layers) {
      for (int64_t blocks = 1; blocks <= blocks_; ++blocks) {
        if (!layer->suits_blocks(blocks)) return false;
      }
    }
    return true;
  }

  // Allocates memory for all values and builds the layers, once per place.
  //
  // The i-th of n layers runs forward at time i, the loss at time n, and the layer backward at time
  // 2 n - i; it learns at 2 n - i + 1 at the latest, but tiny layers at the end learn only when the
  // layer before them runs backward. If blocks pass through the network one by one,
  // a place holds one block, except for what is needed of all blocks at the end: the input of a
  // linear layer and the gradient of its output.
  void give_memory(bool by_block, int places) {
    find_layouts(by_block);
    const std::vector<Request> requests = requests_for(by_block);
    MemoryPlan kept;
    MemoryPlan passing;
    for (const Request& r : requests) {
      if (static_cast<double>(r.map->block) * static_cast<double>(blocks_) > kMostFloats) {
        throw std::bad_alloc();
      }
      if (r.is_kept) {
        kept.want(r.map->block * blocks_, r.begin, r.end);
      } else {
        passing.want(r.map->block, r.begin, r.end);
      }
    }
    const int64_t kept_size = kept.place();
    const int64_t passing_size = passing.place();
    const double size =
        static_cast<double>(kept_size) + 1.0 * places * static_cast<double>(passing_size);
    if (size > kMostFloats) throw std::bad_alloc();
    numbers_ = Array<float>();
    numbers_ = Array<float>(kept_size + places * passing_size);
    places_.clear();
    for (int place = 0; place < places; ++place) {
      size_t kept_count = 0;
      size_t passing_count = 0;
      for (const Request& r : requests) {
        if (r.is_kept) {
          r.map->data = kept.place_of(kept_count++, numbers_.data());
        } else {
          float* const begin = numbers_.data() + kept_size + place * passing_size;
          r.map->data = passing.place_of(passing_count++, begin);
          r.map->block = 0;
        }
      }
      build(by_block);
    }
  }

  // Threads divide a single block's rows among themselves. Linear layers read whole channels.
  void find_layouts(bool by_block) {
    for (int slot = 0; slot < slots(); ++slot) {
      root_of(slot).rows_first = blocks_ == 1 && !by_block;
    }
    for (int i = 0; i < layer_count(); ++i) {
      if (is_linear(i)) root_of(spec(i).input + 1).rows_first = false;
      if (is(i, TENFOLD_FLATTEN)) root_of(i + 1).rows_first = false;
    }
  }

  struct Request {
    FeatureMap* map;
    int64_t begin;
    int64_t end;
    bool is_kept;
  };

  std::vector<Request> requests_for(bool by_block) {
    std::vector<int64_t> time(values_.size(), -1);  // when a value is computed
    int64_t n = 0;
    for (int slot = 1; slot < slots(); ++slot) {
      if (root(slot) == slot) time[static_cast<size_t>(slot)] = n++;
    }
    const int64_t tiny = count_before_tiny();
    std::vector<Request> requests;
    std::map<int, Request> gradients;
    for (int slot = 0; slot < slots(); ++slot) {
      Value& v = value(slot);
      if (v.root != slot) continue;
      const bool is_last = slot == root(slots() - 1);
      const int64_t read = is_last ? n : time[static_cast<size_t>(v.readers.back()) + 1];
      const int64_t filled = time[static_cast<size_t>(slot)];
      const bool is_read_by_linear = std::any_of(v.readers.begin(), v.readers.end(),
                                                 [&](int reader) { return is_linear(reader); });
      const int64_t learned = 2 * n + 1 - std::min(filled, tiny);
      v.map = FeatureMap(v.shape, v.border, v.rows_first);
      requests.push_back(
          {&v.map, filled, for_training_ ? learned : read,
           by_block ? for_training_ && is_read_by_linear : slot > 0 || !gathers_ahead()});
      if (!for_training_ || !v.wants_gradient) continue;
      Value& owner = value(v.gradient_root);
      owner.gradient = FeatureMap(owner.shape, owner.gradient_border, owner.rows_first);
      const bool is_kept = !by_block || is_linear(v.producer);
      Request& r = gradients.try_emplace(v.gradient_root, Request{&owner.gradient, 2 * n, 0, false})
                       .first->second;
      r.begin = std::min(r.begin, 2 * n - read);
      r.end = std::max(r.end, learned);
      r.is_kept = r.is_kept || is_kept;
    }
    for (const auto& [slot, request] : gradients) requests.push_back(request);
    for (Request& r : requests) {
      if (!by_block || !r.is_kept) continue;
      r.begin = -1;
      r.end = 2 * n + 2;
    }
    return requests;
  }

  // A map in the shape that the readers of the value expect.
  FeatureMap seen_as(const FeatureMap& map, int slot) const {
    const Value& v = values_[static_cast<size_t>(slot)];
    return v.is_flat && v.shape.channels != map.shape.channels ? map.flattened() : map;
  }
  FeatureMap map_of(int slot) { return seen_as(root_of(slot).map, slot); }
  FeatureMap gradient_of(int slot) {
    const Value& v = root_of(slot);
    return for_training_ && v.wants_gradient ? seen_as(value(v.gradient_root).gradient, slot)
                                             : FeatureMap();
  }

  // Where a layer writes the gradient of one of its inputs. Going backward, the last reader writes
  // first.
  InputGradient input_gradient(int layer, int slot, bool is_second = false) {
    InputGradient to;
    const Value& v = root_of(slot);
    to.wanted = for_training_ && v.wants_gradient && v.gradient_root == root(slot);
    if (!to.wanted) return to;
    to.gradient = gradient_of(slot);
    to.value = map_of(slot);
    const bool twice = std::count(v.readers.begin(), v.readers.end(), layer) == 2;
    to.add = v.readers.back() != layer || (twice && is_second);
    to.cut = v.cut && v.readers.front() == layer && (!twice || is_second);
    return to;
  }

  void build(bool by_block) {
    Place place;
    place.tiny = static_cast<size_t>(count_before_tiny());
    place.input = values_[0].map;
    place.logits = map_of(slots() - 1);
    if (for_training_) place.logits_gradient = gradient_of(slots() - 1);
    for (int i = 0; i < layer_count(); ++i) {
      if (root(i + 1) == i + 1) place.layers.push_back(build_layer(i, by_block));
    }
    places_.push_back(std::move(place));
  }

  // Whether only a max-pool reads a convolution's output, and sparse.h is the faster backward pass.
  bool is_sparse(int i) {
    if (!for_training_) return false;
    const Value& out = value(i + 1);
    if (out.readers.size() != 1 || !is(out.readers[0], TENFOLD_MAX_POOL2D)) return false;
    return SparseBackward::suits(window(spec(i)), value(spec(i).input + 1).shape, out.shape,
                                 value(out.readers[0] + 1).shape.pixels());
  }

  std::unique_ptr<Layer> build_layer(int i, bool by_block) {
    const TenfoldLayer& s = spec(i);
    const FeatureMap in = map_of(s.input + 1);
    const FeatureMap out = map_of(i + 1);
    const FeatureMap gradient = gradient_of(i + 1);
    const bool cut = value(i + 1).cut;
    const InputGradient to = input_gradient(i, s.input + 1);
    if (is_linear(i)) {
      InputGradient to_features = to;
      to_features.gradient = to.gradient.flattened();
      to_features.value = to.value.flattened();
      return std::make_unique<Linear>(in.flattened(), out, to_features, gradient, s.weight, s.bias,
                                      s.transposed != 0, cut, for_training_ ? blocks_ : 0,
                                      memories_[static_cast<size_t>(i)]);
    }
    switch (s.operation) {
      case TENFOLD_CONV2D:
        return std::make_unique<Convolution>(window(s), in, out, to, gradient, s.weight, s.bias,
                                             cut, is_sparse(i) ? (by_block ? 1 : blocks_) : 0,
                                             for_training_ ? blocks_ : 0,
                                             memories_[static_cast<size_t>(i)]);
      case TENFOLD_MAX_POOL2D:
        return std::make_unique<MaxPooling>(window(s), in, out, to, gradient, cut);
      case TENFOLD_AVERAGE_POOL2D:
        return std::make_unique<AveragePooling>(window(s), in, out, to, gradient, cut);
      case TENFOLD_GLOBAL_AVERAGE_POOL: {
        const Window all{in.shape.height, in.shape.width, 1, 1, 0, 0};
        return std::make_unique<AveragePooling>(all, in, out, to, gradient, cut);
      }
      case TENFOLD_RELU:
        return std::make_unique<Relu>(in, out, to, gradient);
      case TENFOLD_DROPOUT:
        return std::make_unique<Dropout>(in, out, to, gradient, s.p, i);
      case TENFOLD_BATCH_NORM2D:
        return std::make_unique<BatchNorm>(
            in, out, to, gradient,
            BatchNorm::Tensors{s.weight, s.bias, s.running_mean, s.running_var}, s.eps, s.momentum,
            cut);
      case TENFOLD_ADD:
        return std::make_unique<Add>(in, map_of(s.other + 1), out, to,
                                     input_gradient(i, s.other + 1, true), gradient, cut);
      default: {  // flatten: the output has the input's layout, without a border
        FeatureMap dense(in.shape, Border{});
        dense.block = out.block;
        dense.data = out.data;
        FeatureMap dense_gradient(in.shape, Border{});
        dense_gradient.block = gradient.block;
        dense_gradient.data = gradient.data;
        return std::make_unique<Flatten>(in, dense, to, dense_gradient);
      }
    }
  }

  const std::vector<TenfoldLayer> specs_;
  const int64_t batch_size_;
  const int64_t blocks_;
  const bool for_training_;
  std::vector<Value> values_;
  Array<float> numbers_;
  std::vector<LayerMemory> memories_;
  bool by_block_ = false;
  bool is_unused_ = true;
  std::vector<Place> places_;
};

}  // namespace tenfold
