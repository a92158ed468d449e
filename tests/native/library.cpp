#include "library.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bits.h"

namespace {

#if defined(TENFOLD_LINKED)

Library linked_library() {
  return {tenfold_runs_here,    tenfold_source_digest, tenfold_network_new,
          tenfold_network_free, tenfold_train,         tenfold_predict};
}

#else

Library linked_library() {
  std::fprintf(stderr, "no library is linked in: name one with --library PATH\n");
  std::exit(2);
}

#endif

template <typename Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function != nullptr) return;
  std::fprintf(stderr, "the library has no %s\n", name);
  std::exit(2);
}

template <typename T>
T* address(Fenced<T>& array) {
  return array.size() == 0 ? nullptr : array.data();
}

template <typename T>
const T* address(const Fenced<T>& array) {
  return array.size() == 0 ? nullptr : array.data();
}

// Every other array is at the front of its pages: it is then aligned, and its start is guarded.
class Sides {
 public:
  explicit Sides(uint64_t seed) : random_(seed) {}
  bool at_front() { return random_.chance(0.5); }

 private:
  Random random_;
};

template <typename T>
Fenced<T> frozen(const std::vector<T>& values, Sides& sides) {
  Fenced<T> array(values, sides.at_front());
  array.freeze();
  return array;
}

}  // namespace

Library open_library(const std::string& path) {
  if (path.empty()) return linked_library();
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(2);
  }
  Library library;
  find(handle, "tenfold_runs_here", library.runs_here);
  find(handle, "tenfold_source_digest", library.source_digest);
  find(handle, "tenfold_network_new", library.network_new);
  find(handle, "tenfold_network_free", library.network_free);
  find(handle, "tenfold_train", library.train);
  find(handle, "tenfold_predict", library.predict);
  return library;
}

LiveNetwork::LiveNetwork(const Library& library, const reference::Network& network,
                         int64_t batch_size, bool for_training, int32_t threads)
    : library_(library) {
  // Both are freed when this returns: a network must not keep their addresses.
  Fenced<TenfoldLayer> layers(network.layers);
  layers.freeze();
  const int32_t shape[3] = {static_cast<int32_t>(network.image.channels),
                            static_cast<int32_t>(network.image.height),
                            static_cast<int32_t>(network.image.width)};
  handle_ = library.network_new(layers.data(), static_cast<int32_t>(layers.size()), shape,
                                batch_size, for_training ? 1 : 0, threads);
}

Training::Training(const Library& library, const Case& drawn) : library_(library), drawn_(drawn) {
  Sides sides(drawn.seed);
  for (const TensorNumbers& tensor : drawn.tensors) {
    tensors_.push_back({Fenced<float>(tensor.value, sides.at_front()),
                        Fenced<float>(tensor.moment1, sides.at_front()),
                        Fenced<float>(tensor.moment2, sides.at_front()),
                        Fenced<float>(tensor.average, sides.at_front())});
  }
  pixels_ = frozen(drawn.pixels, sides);
  labels_ = frozen(drawn.labels, sides);
  mean_ = frozen(drawn.mean, sides);
  deviation_ = frozen(drawn.deviation, sides);
  class_weights_ = frozen(drawn.class_weights, sides);
}

std::vector<TensorNumbers> Training::numbers() const {
  std::vector<TensorNumbers> numbers;
  for (size_t place = 0; place < tensors_.size(); ++place) {
    const Arrays& arrays = tensors_[place];
    numbers.push_back({arrays.value.copy(), arrays.moment1.copy(), arrays.moment2.copy(),
                       arrays.average.copy(), drawn_.tensors[place].trained});
  }
  return numbers;
}

void Training::set(const std::vector<TensorNumbers>& numbers) {
  const auto copy = [](const std::vector<float>& from, Fenced<float>& to) {
    if (!from.empty()) std::memcpy(to.data(), from.data(), to.bytes());
  };
  for (size_t place = 0; place < tensors_.size(); ++place) {
    copy(numbers[place].value, tensors_[place].value);
    copy(numbers[place].moment1, tensors_[place].moment1);
    copy(numbers[place].moment2, tensors_[place].moment2);
    copy(numbers[place].average, tensors_[place].average);
  }
}

std::vector<TenfoldTensor> Training::records() {
  std::vector<TenfoldTensor> records;
  for (size_t place = 0; place < tensors_.size(); ++place) {
    Arrays& arrays = tensors_[place];
    records.push_back({arrays.value.data(), address(arrays.moment1), address(arrays.moment2),
                       address(arrays.average), static_cast<int64_t>(arrays.value.size()),
                       drawn_.tensors[place].trained ? 1 : 0});
  }
  return records;
}

TenfoldImages Training::images(int64_t count) const {
  return {pixels_.data(), labels_.data(),      count,
          address(mean_), address(deviation_), drawn_.by_image ? 1 : 0};
}

int32_t Training::advance(const LiveNetwork& network, int64_t first, int64_t last, int32_t threads,
                          Figures& figures) {
  Sides sides(drawn_.seed + static_cast<uint64_t>(first));
  const int64_t begin = drawn_.images_before(first), end = drawn_.images_before(last);
  const Fenced<int64_t> order =
      frozen<int64_t>({drawn_.order.begin() + begin, drawn_.order.begin() + end}, sides);
  const Fenced<double> rates = frozen<double>(
      {drawn_.learning_rates.begin() + first, drawn_.learning_rates.begin() + last}, sides);
  Fenced<float> losses(rates.size(), sides.at_front());
  Fenced<int64_t> correct(1, sides.at_front());
  Fenced<float> largest(tensors_.size(), sides.at_front());
  const Fenced<TenfoldTensor> tensors = frozen(records(), sides);

  TenfoldStretch stretch{};
  stretch.order = order.data();
  stretch.images = end - begin;
  stretch.learning_rates = rates.data();
  stretch.batches = last - first;
  stretch.step = drawn_.step + first;
  stretch.optimizer_step = drawn_.optimizer_step + first;
  stretch.dropout_seed = drawn_.dropout_seed;
  stretch.threads = threads;
  stretch.losses = losses.data();
  stretch.correct = correct.data();
  stretch.largest_gradients = figures.largest_gradients.empty() ? nullptr : largest.data();

  const TenfoldImages set = images(static_cast<int64_t>(labels_.size()));
  TenfoldStepSettings settings = drawn_.settings;
  settings.class_weights = address(class_weights_);
  TenfoldAugmentation how{};
  Fenced<TenfoldChanges> changes;
  if (drawn_.augmentation) {
    how = *drawn_.augmentation;
    changes = frozen<TenfoldChanges>({drawn_.changes.begin() + begin, drawn_.changes.begin() + end},
                                     sides);
    how.changes = changes.data();
  }
  const int32_t result =
      library_.train(network.get(), tensors.data(), static_cast<int32_t>(tensors.size()), &set,
                     &settings, drawn_.augmentation ? &how : nullptr, &stretch);
  if (!losses.untouched_around() || !correct.untouched_around() || !largest.untouched_around()) {
    trespass_ = "outside a stretch's results";
  }
  figures.losses = losses.copy();
  figures.correct = correct[0];
  if (!figures.largest_gradients.empty()) figures.largest_gradients = largest.copy();
  return result;
}

int32_t Training::predict(const LiveNetwork& network, int64_t count, int32_t threads,
                          std::vector<float>& logits) {
  Sides sides(drawn_.seed + static_cast<uint64_t>(threads));
  const size_t size = static_cast<size_t>(count * drawn_.network.classes());
  Fenced<float> found(size, sides.at_front());
  const Fenced<TenfoldTensor> tensors = frozen(records(), sides);
  TenfoldImages set = images(count);
  set.labels = nullptr;
  const int32_t result =
      library_.predict(network.get(), tensors.data(), static_cast<int32_t>(tensors.size()), &set,
                       threads, found.data());
  if (!found.untouched_around()) trespass_ = "outside the logits";
  logits = found.copy();
  return result;
}

std::string Training::trespass() const {
  for (size_t place = 0; place < tensors_.size(); ++place) {
    const Arrays& arrays = tensors_[place];
    if (!arrays.value.untouched_around() || !arrays.moment1.untouched_around() ||
        !arrays.moment2.untouched_around() || !arrays.average.untouched_around()) {
      return "outside tensor " + std::to_string(place);
    }
  }
  return trespass_;
}

std::string difference(const std::vector<TensorNumbers>& wanted,
                       const std::vector<TensorNumbers>& found) {
  for (size_t place = 0; place < wanted.size(); ++place) {
    const std::string where = " of tensor " + std::to_string(place);
    if (!same_bits(wanted[place].value, found[place].value)) return "value" + where;
    if (!same_bits(wanted[place].moment1, found[place].moment1)) return "moment1" + where;
    if (!same_bits(wanted[place].moment2, found[place].moment2)) return "moment2" + where;
    if (!same_bits(wanted[place].average, found[place].average)) return "average" + where;
  }
  return "";
}
