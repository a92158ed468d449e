#include "refusals.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <sstream>

#include "cases.h"

namespace {

using reference::Network;
using reference::Shape;

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

// ---- Lists --------------------------------------------------------------------------------------

struct List {
  std::vector<TenfoldLayer> layers;
  Shape image;
  int64_t batch_size = 1;
  int32_t threads = 1;
};

TenfoldNetwork* network_of(const Library& library, const List& list, bool for_training) {
  Fenced<TenfoldLayer> layers(list.layers);
  layers.freeze();
  const int32_t shape[3] = {static_cast<int32_t>(list.image.channels),
                            static_cast<int32_t>(list.image.height),
                            static_cast<int32_t>(list.image.width)};
  return library.network_new(layers.data(), static_cast<int32_t>(layers.size()), shape,
                             list.batch_size, for_training ? 1 : 0, list.threads);
}

// The fields of a layer that its operation uses.
std::vector<int32_t*> used_numbers(TenfoldLayer& layer) {
  std::vector<int32_t*> numbers = {&layer.operation, &layer.input};
  const bool is_convolution = layer.operation == TENFOLD_CONV2D;
  const bool is_pool =
      layer.operation == TENFOLD_MAX_POOL2D || layer.operation == TENFOLD_AVERAGE_POOL2D;
  const bool is_norm = layer.operation == TENFOLD_BATCH_NORM2D;
  if (layer.operation == TENFOLD_ADD) numbers.push_back(&layer.other);
  if (is_convolution || layer.operation == TENFOLD_LINEAR) numbers.push_back(&layer.outputs);
  if (is_convolution || layer.operation == TENFOLD_LINEAR || is_norm) {
    numbers.insert(numbers.end(), {&layer.weight, &layer.bias});
  }
  if (is_norm) numbers.insert(numbers.end(), {&layer.running_mean, &layer.running_var});
  if (is_convolution || is_pool) {
    for (int axis = 0; axis < 2; ++axis) {
      numbers.insert(numbers.end(),
                     {&layer.kernel[axis], &layer.stride[axis], &layer.padding[axis]});
    }
  }
  return numbers;
}

double* some_real_number(TenfoldLayer& layer, Random& random) {
  if (layer.operation == TENFOLD_DROPOUT) return &layer.p;
  if (layer.operation != TENFOLD_BATCH_NORM2D) return nullptr;
  return random.chance(0.5) ? &layer.eps : &layer.momentum;
}

void change_layer(TenfoldLayer& layer, int32_t place, Random& random) {
  double* real = some_real_number(layer, random);
  if (real != nullptr && random.chance(0.3)) {
    *real = random.pick({-1.0, -1e-9, 1.0, 1.5, std::nan(""), HUGE_VAL, -HUGE_VAL});
    return;
  }
  const std::vector<int32_t*> numbers = used_numbers(layer);
  const int64_t last = static_cast<int64_t>(numbers.size()) - 1;
  int32_t* number = numbers[static_cast<size_t>(random.between(0, last))];
  *number = random.pick<int32_t>({-2, -1, 0, 1, 2, 3, *number + 1, *number - 1, place, place - 1,
                                  10, 40, kMost, kLeast, kMost - 1, 1 << 30, 1 << 16});
}

void change(List& list, Random& random) {
  switch (random.between(0, 10)) {
    case 0:
      list.threads = random.pick({0, -1, kLeast});
      return;
    case 1: {
      int64_t* sides[3] = {&list.image.channels, &list.image.height, &list.image.width};
      *sides[random.between(0, 2)] = random.pick<int64_t>({-1, 0, kLeast, 1, 2});
      return;
    }
    case 2:
      list.batch_size = random.pick({int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()});
      return;
    case 3:
      list.layers.resize(
          static_cast<size_t>(random.between(0, static_cast<int64_t>(list.layers.size()) - 1)));
      return;
    default: {
      const int64_t place = random.between(0, static_cast<int64_t>(list.layers.size()) - 1);
      change_layer(list.layers[static_cast<size_t>(place)], static_cast<int32_t>(place), random);
    }
  }
}

// Python guarantees this; the handling of an unread layer is unspecified.
bool every_layer_is_read(const Network& network) {
  std::vector<bool> read(network.layers.size());
  for (const TenfoldLayer& layer : network.layers) {
    if (layer.input >= 0) read[static_cast<size_t>(layer.input)] = true;
    if (layer.operation == TENFOLD_ADD && layer.other >= 0) {
      read[static_cast<size_t>(layer.other)] = true;
    }
  }
  return std::all_of(read.begin(), read.end() - 1, [](bool was_read) { return was_read; });
}

// Python never names one twice; the result is unspecified.
bool names_a_tensor_twice(const Network& network) {
  std::vector<int32_t> tensors;
  for (const TenfoldLayer& layer : network.layers) {
    for (int32_t place : {layer.weight, layer.bias, layer.running_mean, layer.running_var}) {
      if (place >= 0) tensors.push_back(place);
    }
  }
  std::sort(tensors.begin(), tensors.end());
  return std::adjacent_find(tensors.begin(), tensors.end()) != tensors.end();
}

int32_t largest_size(const TenfoldLayer& layer) {
  return std::max({layer.outputs, layer.kernel[0], layer.kernel[1], layer.stride[0],
                   layer.stride[1], layer.padding[0], layer.padding[1]});
}

// Whether a network fits in memory and within Python's limits.
bool is_modest(const List& list, const Network& network) {
  double numbers = static_cast<double>(network.image.size());
  for (const Shape& shape : network.shapes) numbers += static_cast<double>(shape.size());
  for (const TenfoldLayer& layer : list.layers) {
    if (largest_size(layer) > 1000) return false;
    const double inputs = static_cast<double>(network.shape(layer.input).size());
    numbers += inputs * std::max(1, layer.outputs);
    for (int32_t place : {layer.weight, layer.bias, layer.running_mean, layer.running_var}) {
      if (place > 1000) return false;
    }
  }
  return numbers * static_cast<double>(list.batch_size) < 1e8;
}

// Beyond Python's limits but meaningful: may be accepted or refused.
bool is_extreme(const TenfoldLayer& layer) {
  const bool normalizes = layer.operation == TENFOLD_BATCH_NORM2D;
  if (!normalizes && layer.bias < -1) return true;  // equivalent to no bias
  if (normalizes && (std::isinf(layer.eps) || layer.eps > 1 || std::isinf(layer.momentum) ||
                     layer.momentum > 1 || layer.momentum < 0)) {
    return true;
  }
  return largest_size(layer) > 1 << 14;
}

std::string text_of_list(const List& list) {
  std::ostringstream text;
  text << "images " << list.image.channels << "x" << list.image.height << "x" << list.image.width
       << ", batch size " << list.batch_size << ", threads " << list.threads << "\n";
  for (const TenfoldLayer& layer : list.layers) {
    text << "  operation " << layer.operation << " input " << layer.input << " other "
         << layer.other << " outputs " << layer.outputs << " kernel " << layer.kernel[0] << " "
         << layer.kernel[1] << " stride " << layer.stride[0] << " " << layer.stride[1]
         << " padding " << layer.padding[0] << " " << layer.padding[1] << " weight " << layer.weight
         << " bias " << layer.bias << " running " << layer.running_mean << " " << layer.running_var
         << " p " << layer.p << " eps " << layer.eps << " momentum " << layer.momentum << "\n";
  }
  return text.str();
}

// ---- Arguments ----------------------------------------------------------------------------------

// A small training that is valid until something is changed.
struct Arguments {
  std::vector<TenfoldTensor> tensors;
  int32_t tensor_count = 0;
  std::vector<int64_t> labels = {0, 1, 2, 0, 1};
  std::vector<int64_t> order = {4, 3, 2, 1, 0};
  std::vector<double> rates = {0.1, 0.1};
  TenfoldImages images{};
  TenfoldStepSettings settings{};
  TenfoldAugmentation augmentation{};
  TenfoldStretch stretch{};
};

enum class Of { kTraining, kBoth };  // calls that must refuse

struct Wrong {
  const char* what;
  std::function<void(Arguments&)> change;
  Of of = Of::kTraining;
};

const std::vector<Wrong>& wrong_arguments() {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  constexpr int64_t least = std::numeric_limits<int64_t>::min();
  static const std::vector<Wrong> all = {
      {"no tensors", [](Arguments& a) { a.tensor_count = 0; }, Of::kBoth},
      {"a tensor too few", [](Arguments& a) { --a.tensor_count; }, Of::kBoth},
      {"a negative number of tensors", [](Arguments& a) { a.tensor_count = -1; }, Of::kBoth},
      {"a tensor too small", [](Arguments& a) { --a.tensors[0].size; }, Of::kBoth},
      {"a tensor too large", [](Arguments& a) { ++a.tensors[1].size; }, Of::kBoth},
      {"a tensor of no numbers", [](Arguments& a) { a.tensors[1].size = 0; }, Of::kBoth},
      {"a tensor without values", [](Arguments& a) { a.tensors[0].value = nullptr; }, Of::kBoth},
      {"no first moment", [](Arguments& a) { a.tensors[0].moment1 = nullptr; }},
      {"no second moment", [](Arguments& a) { a.tensors[1].moment2 = nullptr; }},
      {"no average", [](Arguments& a) { a.tensors[1].average = nullptr; }},
      {"a label of -1", [](Arguments& a) { a.labels[1] = -1; }},
      {"a label of 3 of 3 classes", [](Arguments& a) { a.labels[4] = 3; }},
      {"a huge label", [](Arguments& a) { a.labels[0] = most; }},
      {"a huge negative label", [](Arguments& a) { a.labels[0] = least; }},
      {"an image of -1", [](Arguments& a) { a.order[0] = -1; }},
      {"an image of 5 of 5", [](Arguments& a) { a.order[4] = 5; }},
      {"a huge image", [](Arguments& a) { a.order[2] = most; }},
      {"no batches", [](Arguments& a) { a.stretch.batches = 0; }},
      {"a negative number of batches", [](Arguments& a) { a.stretch.batches = -1; }},
      {"a batch too few", [](Arguments& a) { a.stretch.batches = 1; }},
      {"no images", [](Arguments& a) { a.stretch.images = 0; }},
      {"a negative number of images", [](Arguments& a) { a.stretch.images = -5; }},
      {"images for one batch only", [](Arguments& a) { a.stretch.images = 3; }},
      {"a huge number of images", [](Arguments& a) { a.stretch.images = most; }},
      {"a huge number of batches", [](Arguments& a) { a.stretch.batches = most; }},
      {"a data set of no images", [](Arguments& a) { a.images.count = 0; }},
      {"a data set of a negative number of images", [](Arguments& a) { a.images.count = -1; },
       Of::kBoth},
      {"an unknown optimizer", [](Arguments& a) { a.settings.optimizer = 3; }},
      {"a negative optimizer", [](Arguments& a) { a.settings.optimizer = -1; }},
      {"no threads", [](Arguments& a) { a.stretch.threads = 0; }, Of::kBoth},
      {"a negative number of threads", [](Arguments& a) { a.stretch.threads = kLeast; }, Of::kBoth},
      {"a mean without a deviation", [](Arguments& a) { a.images.deviation = nullptr; }, Of::kBoth},
      {"two normalizations", [](Arguments& a) { a.images.by_image = 1; }, Of::kBoth},
      {"no changes of images", [](Arguments& a) { a.augmentation.changes = nullptr; }},
      {"a negative padding", [](Arguments& a) { a.augmentation.crop_padding = -1; }},
      {"a negative cutout", [](Arguments& a) { a.augmentation.cutout = -1; }},
  };
  return all;
}

// A linear layer with 12 weights and 3 biases, trained by AdamW in two batches of 3 and 2 images.
class SmallTraining {
 public:
  explicit SmallTraining(const Library& library) : library_(library) {
    TenfoldLayer flatten = blank_layer(TENFOLD_FLATTEN, -1);
    TenfoldLayer linear = blank_layer(TENFOLD_LINEAR, 0);
    linear.outputs = 3;
    linear.weight = 0;
    linear.bias = 1;
    list_ = {{flatten, linear}, {1, 2, 2, false}, 3};
    for (size_t size : {size_t{12}, size_t{3}}) {
      for (int i = 0; i < 4; ++i) numbers_.emplace_back(std::vector<float>(size, 0.5f));
    }
  }

  // The result; `change` spoils the arguments.
  int32_t predict(const std::function<void(Arguments&)>& change) {
    Arguments a = good_arguments();
    change(a);
    a.images.pixels = pixels_.data();
    Fenced<float> logits(15);
    TenfoldNetwork* network = network_of(library_, list_, false);
    const int32_t result = library_.predict(network, a.tensors.data(), a.tensor_count, &a.images,
                                            a.stretch.threads, logits.data());
    library_.network_free(network);
    return result;
  }

  int32_t train(const std::function<void(Arguments&)>& change) {
    Arguments a = good_arguments();
    change(a);
    const Fenced<int64_t> labels(a.labels), order(a.order);
    const Fenced<double> rates(a.rates);
    a.images.pixels = pixels_.data();
    a.images.labels = labels.data();
    a.stretch.order = order.data();
    a.stretch.learning_rates = rates.data();
    a.stretch.losses = losses_.data();
    a.stretch.correct = correct_.data();
    TenfoldNetwork* network = network_of(library_, list_, true);
    const int32_t result = library_.train(network, a.tensors.data(), a.tensor_count, &a.images,
                                          &a.settings, &a.augmentation, &a.stretch);
    library_.network_free(network);
    return result;
  }

  bool is_untouched() const {
    return std::all_of(numbers_.begin(), numbers_.end(), [](const Fenced<float>& numbers) {
      const std::vector<float> now = numbers.copy();
      return std::all_of(now.begin(), now.end(), [](float number) { return number == 0.5f; });
    });
  }

 private:
  Arguments good_arguments() {
    Arguments a;
    for (size_t place = 0; place < 2; ++place) {
      Fenced<float>* own = &numbers_[4 * place];
      a.tensors.push_back({own[0].data(), own[1].data(), own[2].data(), own[3].data(),
                           static_cast<int64_t>(own[0].size()), 1});
    }
    a.tensor_count = 2;
    a.images = {nullptr, nullptr, 5, mean_.data(), deviation_.data(), 0};
    a.augmentation.changes = changes_.data();
    a.settings.optimizer = TENFOLD_ADAMW;
    a.settings.beta1 = a.settings.beta2 = a.settings.average_decay = 0.9;
    a.settings.epsilon = 1e-8;
    a.stretch.images = 5;
    a.stretch.batches = 2;
    a.stretch.threads = 2;
    return a;
  }

  const Library& library_;
  List list_;
  std::vector<Fenced<float>> numbers_;
  Fenced<uint8_t> pixels_{std::vector<uint8_t>(20, 100)};
  Fenced<TenfoldChanges> changes_{std::vector<TenfoldChanges>(5)};
  Fenced<float> mean_{std::vector<float>{0.5f}}, deviation_{std::vector<float>{0.25f}};
  Fenced<float> losses_{2};
  Fenced<int64_t> correct_{1};
};

// ---- Large networks -----------------------------------------------------------------------------

TenfoldLayer linear_layer(int32_t input, int32_t outputs, int32_t weight) {
  TenfoldLayer layer = blank_layer(TENFOLD_LINEAR, input);
  layer.outputs = outputs;
  layer.weight = weight;
  return layer;
}

TenfoldLayer convolution(int32_t input, int32_t outputs, int32_t kernel, int32_t padding,
                         int32_t weight) {
  TenfoldLayer layer = blank_layer(TENFOLD_CONV2D, input);
  layer.outputs = outputs;
  layer.weight = weight;
  for (int axis = 0; axis < 2; ++axis) {
    layer.kernel[axis] = kernel;
    layer.stride[axis] = 1;
    layer.padding[axis] = padding;
  }
  return layer;
}

// The linear layer could absorb the ReLU, but the last layer reads the linear layer's own output.
List list_with_an_unread_relu() {
  TenfoldLayer dropout = blank_layer(TENFOLD_DROPOUT, 1);
  dropout.p = 0;
  return {{blank_layer(TENFOLD_FLATTEN, -1), linear_layer(0, 3, 0), blank_layer(TENFOLD_RELU, 1),
           dropout},
          {1, 2, 2, false},
          3};
}

std::vector<List> large_lists() {
  const TenfoldLayer flatten = blank_layer(TENFOLD_FLATTEN, -1);
  const TenfoldLayer flatten_first = blank_layer(TENFOLD_FLATTEN, 0);
  std::vector<List> lists;
  for (int shift : {24, 40, 55, 58, 59, 60, 61, 62}) {
    lists.push_back({{flatten, linear_layer(0, 10, 0)}, {1, 28, 28, false}, int64_t{1} << shift});
  }
  lists.push_back(
      {{flatten, linear_layer(0, 10, 0)}, {1, 8, 8, false}, std::numeric_limits<int64_t>::max()});
  lists.push_back(
      {{flatten, linear_layer(0, 1 << 30, 0), linear_layer(1, 1 << 30, 1), linear_layer(2, 10, 2)},
       {1, 1, 1, false},
       16});
  lists.push_back({{convolution(-1, 1 << 30, 1, 0, 0), flatten_first, linear_layer(1, 10, 1)},
                   {1, 1, 1, false},
                   1});
  lists.push_back({{convolution(-1, 1, 1, 1 << 14, 0), flatten_first, linear_layer(1, 10, 1)},
                   {1, 1, 1, false},
                   1});
  lists.push_back(
      {{convolution(-1, 1 << 20, 1 << 14, 1 << 14, 0), flatten_first, linear_layer(1, 10, 1)},
       {1 << 10, 1, 1, false},
       1});
  lists.push_back({{flatten, linear_layer(0, 10, 0)}, {1 << 30, 1, 1, false}, 64});
  lists.push_back({{flatten, linear_layer(0, 10, 0)}, {4, 1 << 14, 1 << 14, false}, 1 << 20});
  lists.push_back({{flatten, linear_layer(0, 10, 0)}, {kMost, kMost, kMost, false}, 1});
  List deep{{flatten}, {1, 64, 64, false}, 1024};
  for (int32_t place = 0; place < 4000; ++place) {
    TenfoldLayer add = blank_layer(TENFOLD_ADD, place);
    add.other = 0;
    deep.layers.push_back(add);
  }
  lists.push_back(deep);
  return lists;
}

// Size of this process's address space in bytes, or 0 if the system does not report it.
rlim_t address_space_in_use() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long pages = 0;
  const int read = std::fscanf(file, "%lu", &pages);
  std::fclose(file);
  return read == 1 ? static_cast<rlim_t>(pages) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) : 0;
}

void limit_memory(rlim_t more) {
  const rlim_t used = address_space_in_use();
  if (used == 0) return;
  const rlimit limit{used + more, used + more};
  setrlimit(RLIMIT_AS, &limit);
}

// ---- Processes ----------------------------------------------------------------------------------

constexpr int kGood = 0, kTaken = 100, kChanged = 101;  // anything else is a crash

// Runs `work` in a forked process. Returns what is wrong, or an empty text.
std::string outcome_in_child(const std::function<int()>& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "ends the program by signal " + std::to_string(WTERMSIG(status));
  switch (WEXITSTATUS(status)) {
    case kGood:
      return "";
    case kTaken:
      return "was accepted";
    case kChanged:
      return "was refused after a tensor had been changed";
    default:
      return "ends the program with " + std::to_string(WEXITSTATUS(status));
  }
}

}  // namespace

std::string check_changed_list(const Library& library, uint64_t seed) {
  Random random(seed);
  const NetworkLimits limits{1e5, true};
  const Network valid = random_network(random, limits);
  List list{valid.layers, valid.image, random.between(1, 80), random.pick({1, 2, 7})};
  change(list, random);
  const std::optional<Network> network = reference::make_network(list.layers, list.image);
  const bool is_valid = network && list.batch_size > 0 && list.threads > 0;
  if (is_valid && !is_modest(list, *network)) return "";  // see check_large_networks
  if (!is_valid && std::any_of(list.layers.begin(), list.layers.end(), is_extreme)) return "";
  TenfoldNetwork* found = network_of(library, list, random.chance(0.5));
  const bool was_taken = found != nullptr;
  if (was_taken) library.network_free(found);
  if (was_taken && !is_valid) return "an invalid list was accepted: " + text_of_list(list);
  if (!was_taken && is_valid && every_layer_is_read(*network) && !names_a_tensor_twice(*network)) {
    return "a valid list was refused: " + text_of_list(list);
  }
  return "";
}

std::string check_wrong_arguments(const Library& library) {
  std::string wrong;
  for (const Wrong& each : wrong_arguments()) {
    // In a separate process, so that one crash does not hide the next.
    const std::string found = outcome_in_child([&] {
      SmallTraining training(library);
      if (training.train(each.change) != TENFOLD_INVALID) return kTaken;
      if (each.of == Of::kBoth && training.predict(each.change) != TENFOLD_INVALID) return kTaken;
      return training.is_untouched() ? kGood : kChanged;
    });
    if (!found.empty()) wrong += std::string(each.what) + " " + found + "\n";
  }
  TenfoldNetwork* unread = network_of(library, list_with_an_unread_relu(), false);
  if (unread != nullptr) wrong += "a list with an unread layer was accepted\n";
  library.network_free(unread);
  SmallTraining good(library);
  if (good.predict([](Arguments&) {}) != TENFOLD_DONE ||
      good.train([](Arguments&) {}) != TENFOLD_DONE) {
    wrong += "valid arguments were refused\n";
  }
  return wrong;
}

std::string check_large_networks(const Library& library) {
  std::string wrong;
  for (const List& list : large_lists()) {
    for (bool for_training : {false, true}) {
      const std::string found = outcome_in_child([&] {
        limit_memory(rlim_t{1} << 30);
        TenfoldNetwork* network = network_of(library, list, for_training);
        if (network != nullptr) library.network_free(network);
        return kGood;
      });
      if (found.empty()) continue;
      wrong += "a large network " + found + (for_training ? ", for training" : "") + ": " +
               text_of_list(list).substr(0, 2000);
    }
  }
  return wrong;
}
