#include "cases.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace {

using reference::Network;
using reference::Shape;

// How coarse the numbers are. Coarse numbers add up without rounding, so that logits can be
// compared bit by bit and ties are ties everywhere.
enum class Grain { kFine, kCoarse };

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) { drawn_.seed = seed; }

  Case roll() {
    grain_ = random_.chance(0.35) ? Grain::kCoarse : Grain::kFine;
    choose_batch_size();
    const double most = random_.of_magnitude(10, 21);
    NetworkLimits limits{most / static_cast<double>(drawn_.batch_size), random_.chance(0.5)};
    drawn_.network = random_network(random_, limits);
    choose_batches();
    choose_settings(random_.pick<int32_t>({TENFOLD_SGD, TENFOLD_ADAM, TENFOLD_ADAMW}));
    choose_rates();
    if (random_.chance(0.4)) choose_class_weights();
    choose_images();
    choose_augmentation();
    fill_tensors();
    return drawn_;
  }

  Case learnable(const Network& network, int64_t batch_size, int64_t steps, int32_t optimizer) {
    drawn_.network = network;
    drawn_.batch_size = batch_size;
    patterned_images(40);
    for (int64_t image = 0; image < batch_size * steps - 1; ++image) {
      drawn_.order.push_back(random_.between(0, 39));
    }
    choose_settings(optimizer);
    const double first = optimizer == TENFOLD_SGD ? 0.02 : 0.002;
    for (int64_t step = 0; step < steps; ++step) {
      const double left = static_cast<double>(steps - step) / static_cast<double>(steps);
      drawn_.learning_rates.push_back(first * left);
    }
    drawn_.step = drawn_.optimizer_step = 0;
    choose_augmentation();
    fill_tensors();
    return drawn_;
  }

 private:
  // Around multiples of a block (16 images) and of the maximum number of groups (8 blocks).
  void choose_batch_size() {
    if (random_.chance(0.12)) {
      drawn_.batch_size = random_.pick<int64_t>({64, 100, 127, 128, 129, 144, 145, 200, 257, 300});
      return;
    }
    drawn_.batch_size = random_.chance(0.5)
                            ? random_.between(1, 40)
                            : random_.pick<int64_t>({1, 2, 8, 15, 16, 17, 31, 32, 33, 40});
  }

  // Batch normalization needs two values per channel.
  int64_t smallest_batch() const {
    for (const TenfoldLayer& layer : drawn_.network.layers) {
      const bool normalizes = layer.operation == TENFOLD_BATCH_NORM2D;
      if (normalizes && drawn_.network.shape(layer.input).pixels() == 1) return 2;
    }
    return 1;
  }

  void choose_batches() {
    const int64_t smallest = smallest_batch();
    drawn_.batch_size = std::max(drawn_.batch_size, smallest);
    const int64_t batches = random_.between(1, 4);
    const int64_t last = random_.between(smallest, drawn_.batch_size);
    const int64_t images = (batches - 1) * drawn_.batch_size + last;
    const int64_t count = random_.between(1, 60);
    for (int64_t i = 0; i < images; ++i) drawn_.order.push_back(random_.between(0, count - 1));
    drawn_.learning_rates.assign(static_cast<size_t>(batches), 0);
    const int64_t pixels = count * drawn_.network.image.size();
    drawn_.pixels.resize(static_cast<size_t>(pixels));
    drawn_.labels.resize(static_cast<size_t>(count));
  }

  void choose_settings(int32_t optimizer) {
    TenfoldStepSettings& settings = drawn_.settings;
    settings.optimizer = optimizer;
    const bool is_sgd = settings.optimizer == TENFOLD_SGD;
    settings.momentum = is_sgd ? random_.pick({0.0, 0.9, 0.5}) : 0;
    settings.nesterov = settings.momentum > 0 && random_.chance(0.5) ? 1 : 0;
    settings.weight_decay = random_.pick({0.0, 0.0, 1e-4, 0.05, 0.5});
    settings.beta1 = random_.pick({0.9, 0.9, 0.5});
    settings.beta2 = random_.pick({0.999, 0.999, 0.9});
    settings.epsilon = random_.pick({1e-8, 1e-8, 1e-3});
    settings.label_smoothing = random_.pick({0.0, 0.0, 0.1, 0.37});
    settings.clip_norm = random_.pick({0.0, 0.0, 0.01, 1.0, 1e6});
    settings.average_decay = random_.pick({0.0, 0.0, 0.5, 0.999});
    drawn_.step = random_.pick<int64_t>({0, 1, random_.between(0, 100), 1000000});
    drawn_.optimizer_step = random_.pick<int64_t>({0, 1, drawn_.step, random_.between(0, 3000)});
    drawn_.dropout_seed = random_.next() >> 1;
  }

  void choose_rates() {
    const int64_t most = drawn_.settings.optimizer == TENFOLD_SGD ? -1 : -4;
    for (double& rate : drawn_.learning_rates) {
      rate = random_.chance(0.05) ? 0 : random_.of_magnitude(-13, most);
    }
  }

  void choose_class_weights() {
    drawn_.class_weights.resize(static_cast<size_t>(drawn_.network.classes()));
    for (float& weight : drawn_.class_weights) {
      weight = static_cast<float>(random_.uniform(0.1, 2));
    }
    // A class may have weight 0, but each batch needs an image that counts.
    if (random_.chance(0.3)) drawn_.class_weights[0] = 0;
  }

  void choose_images() {
    const double kind = random_.uniform();
    for (uint8_t& pixel : drawn_.pixels) {
      if (grain_ == Grain::kCoarse || kind < 0.1) {
        pixel = random_.chance(0.5) ? 255 : 0;
      } else if (kind < 0.3) {
        pixel = random_.chance(0.3) ? static_cast<uint8_t>(random_.between(0, 255)) : 0;
      } else {
        pixel = static_cast<uint8_t>(random_.between(0, 255));
      }
    }
    const int64_t classes = drawn_.network.classes();
    for (int64_t& label : drawn_.labels) label = random_.between(0, classes - 1);
    if (!drawn_.class_weights.empty() && some_batch_counts_for_nothing()) {
      drawn_.class_weights[0] = 1;
    }
    if (grain_ == Grain::kFine && random_.chance(0.5)) choose_normalization();
  }

  bool some_batch_counts_for_nothing() const {
    for (int64_t batch = 0; batch < drawn_.batches(); ++batch) {
      double total = 0;
      for (int64_t i = drawn_.images_before(batch); i < drawn_.images_before(batch + 1); ++i) {
        const int64_t image = drawn_.order[static_cast<size_t>(i)];
        const int64_t label = drawn_.labels[static_cast<size_t>(image)];
        total += drawn_.class_weights[static_cast<size_t>(label)];
      }
      if (total == 0) return true;
    }
    return false;
  }

  void choose_normalization() {
    if (random_.chance(0.4)) {
      drawn_.by_image = true;
      return;
    }
    for (int64_t channel = 0; channel < drawn_.network.image.channels; ++channel) {
      drawn_.mean.push_back(static_cast<float>(random_.uniform(0, 1)));
      drawn_.deviation.push_back(static_cast<float>(random_.uniform(0.1, 0.5)));
    }
  }

  void patterned_images(int64_t count) {
    const Shape& shape = drawn_.network.image;
    const int64_t classes = drawn_.network.classes();
    for (int64_t image = 0; image < count; ++image) {
      const int64_t label = image % classes;
      drawn_.labels.push_back(label);
      for (int64_t pixel = 0; pixel < shape.size(); ++pixel) {
        const int64_t pattern = (pixel * (label + 3) + pixel / shape.width * label) % 7 * 30;
        drawn_.pixels.push_back(static_cast<uint8_t>(pattern + random_.between(0, 60)));
      }
    }
    choose_normalization();
  }

  void choose_augmentation() {
    if (random_.chance(0.5)) return;
    TenfoldAugmentation how{};
    how.warps = random_.chance(0.5) ? 1 : 0;
    how.recolors = random_.chance(0.3) ? 1 : 0;
    how.crop_padding = random_.pick<int32_t>({0, 0, 1, 2, 4, 30});
    how.cutout = random_.pick<int32_t>({0, 0, 1, 2, 3, 8, 50});
    drawn_.augmentation = how;
    const bool flips = random_.chance(0.5);
    for (size_t i = 0; i < drawn_.order.size(); ++i) {
      drawn_.changes.push_back(random_changes(how, flips));
    }
  }

  TenfoldChanges random_changes(const TenfoldAugmentation& how, bool flips) {
    const Shape& image = drawn_.network.image;
    TenfoldChanges c{};
    c.along = random_.between(-140000, 140000);
    c.across = random_.between(-140000, 140000);
    c.row = (image.height - 1) * 65536 + random_.between(-300000, 300000);
    c.column = (image.width - 1) * 65536 + random_.between(-300000, 300000);
    c.gain = random_.between(0, 160000);
    c.offset = random_.between(-9000000, 9000000);
    c.crop_row = random_.between(0, 2 * int64_t{how.crop_padding});
    c.crop_column = random_.between(0, 2 * int64_t{how.crop_padding});
    c.mirrored = flips && random_.chance(0.5) ? 1 : 0;
    c.hole_row = random_.between(0, image.height - 1) - how.cutout / 2;
    c.hole_column = random_.between(0, image.width - 1) - how.cutout / 2;
    return c;
  }

  // ---- Tensors ----------------------------------------------------------------------------------

  void fill_tensors() {
    const std::vector<int64_t> sizes = reference::tensor_sizes(drawn_.network);
    drawn_.tensors.resize(sizes.size());
    for (size_t place = 0; place < sizes.size(); ++place) {
      drawn_.tensors[place].value.resize(static_cast<size_t>(sizes[place]));
    }
    freezes_ = random_.chance(0.15);
    for (const TenfoldLayer& layer : drawn_.network.layers) {
      const Shape& input = drawn_.network.shape(layer.input);
      if (layer.operation == TENFOLD_BATCH_NORM2D) {
        fill_batch_norm(layer);
      } else if (layer.weight >= 0) {
        const int64_t taps =
            layer.operation == TENFOLD_CONV2D ? int64_t{layer.kernel[0]} * layer.kernel[1] : 1;
        fill_weight(layer, input.channels * taps);
      }
    }
    for (TensorNumbers& tensor : drawn_.tensors) fill_beside(tensor);
  }

  TensorNumbers& tensor(int32_t place) { return drawn_.tensors[static_cast<size_t>(place)]; }

  void fill_weight(const TenfoldLayer& layer, int64_t inputs) {
    const double scale = random_.uniform(0.5, 1.6) / std::sqrt(static_cast<double>(inputs));
    const double share = 4 / static_cast<double>(inputs);
    for (float& number : tensor(layer.weight).value) number = weight_number(scale, share);
    freeze_perhaps(layer.weight);
    if (layer.bias < 0) return;
    for (float& number : tensor(layer.bias).value) number = weight_number(0.2, 0.5);
    freeze_perhaps(layer.bias);
  }

  // A coarse number is usually 0, else a quarter or a half, so that sums stay small.
  float weight_number(double scale, double share) {
    if (grain_ == Grain::kFine) return static_cast<float>(scale * random_.normal());
    if (!random_.chance(share)) return 0;
    return static_cast<float>(random_.pick({-0.5, -0.25, 0.25, 0.5}));
  }

  void fill_batch_norm(const TenfoldLayer& layer) {
    for (float& number : tensor(layer.weight).value) {
      number = random_.chance(0.05) ? 0 : static_cast<float>(random_.uniform(-0.5, 1.5));
    }
    for (float& number : tensor(layer.bias).value) {
      number = static_cast<float>(0.3 * random_.normal());
    }
    for (float& number : tensor(layer.running_mean).value) {
      number = static_cast<float>(0.3 * random_.normal());
    }
    for (float& number : tensor(layer.running_var).value) {
      number = static_cast<float>(random_.uniform(0.1, 2));
    }
    freeze_perhaps(layer.weight);
    freeze_perhaps(layer.bias);
    tensor(layer.running_mean).trained = tensor(layer.running_var).trained = false;
  }

  void freeze_perhaps(int32_t place) {
    if (freezes_ && random_.chance(0.4)) tensor(place).trained = false;
  }

  void fill_beside(TensorNumbers& tensor) {
    const TenfoldStepSettings& settings = drawn_.settings;
    const bool is_sgd = settings.optimizer == TENFOLD_SGD;
    const bool fresh = drawn_.optimizer_step == 0;
    const double scale = random_.of_magnitude(-10, -1);
    if (tensor.trained && (!is_sgd || settings.momentum > 0)) {
      for (size_t i = 0; i < tensor.value.size(); ++i) {
        tensor.moment1.push_back(fresh ? 0 : static_cast<float>(scale * random_.normal()));
      }
    }
    if (tensor.trained && !is_sgd) {
      for (size_t i = 0; i < tensor.value.size(); ++i) {
        const double square = scale * scale * random_.uniform(0.1, 2);
        tensor.moment2.push_back(fresh ? 0 : static_cast<float>(square));
      }
    }
    if (settings.average_decay > 0) {
      for (float number : tensor.value) {
        tensor.average.push_back(number + static_cast<float>(0.1 * random_.uniform()));
      }
    }
  }

  Random random_;
  Case drawn_;
  Grain grain_ = Grain::kFine;
  bool freezes_ = false;
};

const char* name_of_optimizer(int32_t optimizer) {
  static const char* names[] = {"sgd", "adam", "adamw"};
  return names[optimizer];
}

}  // namespace

Case random_case(uint64_t seed) { return Dice(seed).roll(); }

Case learnable_case(uint64_t seed, const reference::Network& network, int64_t batch_size,
                    int64_t steps, int32_t optimizer) {
  return Dice(seed).learnable(network, batch_size, steps, optimizer);
}

std::string text_of(const Case& drawn) {
  std::ostringstream text;
  const TenfoldStepSettings& settings = drawn.settings;
  text << text_of(drawn.network) << "  " << drawn.labels.size() << " images, " << drawn.order.size()
       << " in " << drawn.batches() << " batches of " << drawn.batch_size
       << (drawn.mean.empty() ? "" : ", normalized")
       << (drawn.by_image ? ", normalized by image" : "")
       << (drawn.class_weights.empty() ? "" : ", class weights") << "\n  "
       << name_of_optimizer(settings.optimizer) << " momentum " << settings.momentum << " nesterov "
       << settings.nesterov << " weight_decay " << settings.weight_decay << " betas "
       << settings.beta1 << " " << settings.beta2 << " epsilon " << settings.epsilon
       << " smoothing " << settings.label_smoothing << " clip_norm " << settings.clip_norm
       << " average_decay " << settings.average_decay << " step " << drawn.step
       << " optimizer_step " << drawn.optimizer_step << "\n  rates";
  for (double rate : drawn.learning_rates) text << " " << rate;
  if (drawn.augmentation) {
    text << "\n  warps " << drawn.augmentation->warps << " recolors "
         << drawn.augmentation->recolors << " crop_padding " << drawn.augmentation->crop_padding
         << " cutout " << drawn.augmentation->cutout;
  }
  for (size_t place = 0; place < drawn.tensors.size(); ++place) {
    if (!drawn.tensors[place].trained) text << "\n  tensor " << place << " is not trained";
  }
  text << "\n";
  return text.str();
}
