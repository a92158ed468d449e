#include "steps.h"

#include <cmath>
#include <sstream>

using reference::Numbers;
using reference::Pass;
using reference::Rounding;

std::vector<Numbers> widened(const std::vector<TensorNumbers>& tensors) {
  std::vector<Numbers> wide;
  wide.reserve(tensors.size());
  for (const TensorNumbers& tensor : tensors) {
    wide.emplace_back(tensor.value.begin(), tensor.value.end());
  }
  return wide;
}

Numbers scaled(const Case& drawn, const std::vector<uint8_t>& pixels) {
  const reference::Shape& shape = drawn.network.image;
  if (drawn.by_image) return reference::scaled_by_image(pixels, shape);
  return reference::scaled(pixels, shape, drawn.mean.empty() ? nullptr : drawn.mean.data(),
                           drawn.mean.empty() ? nullptr : drawn.deviation.data());
}

Batch batch_of(const Case& drawn, int64_t number) {
  const reference::Shape& shape = drawn.network.image;
  Batch found;
  std::vector<uint8_t> pixels;
  for (int64_t i = drawn.images_before(number); i < drawn.images_before(number + 1); ++i) {
    const int64_t image = drawn.order[static_cast<size_t>(i)];
    const auto begin = drawn.pixels.begin() + image * shape.size();
    std::vector<uint8_t> own(begin, begin + shape.size());
    if (drawn.augmentation) {
      const TenfoldChanges& changes = drawn.changes[static_cast<size_t>(i)];
      own = reference::augmented(own, shape, changes, *drawn.augmentation);
    }
    pixels.insert(pixels.end(), own.begin(), own.end());
    found.indices.push_back(image);
    found.labels.push_back(drawn.labels[static_cast<size_t>(image)]);
  }
  found.images = scaled(drawn, pixels);
  return found;
}

Step step_of(const Case& drawn, int64_t number, const std::vector<Numbers>& tensors,
             const Batch& batch, const Rounding& forward, const Rounding& backward) {
  const int64_t images = static_cast<int64_t>(batch.labels.size());
  const reference::Keeps keeps = [&](int32_t layer, int64_t image, int64_t unit) {
    return reference::dropout_keeps(drawn.dropout_seed, drawn.step + number, layer,
                                    batch.indices[static_cast<size_t>(image)], unit,
                                    drawn.network.layers[static_cast<size_t>(layer)].p);
  };
  Step step;
  step.pass =
      reference::forward(drawn.network, tensors, batch.images, images, true, forward, keeps);
  const reference::Loss loss = reference::cross_entropy(
      step.pass.outputs.back(), batch.labels, drawn.network.classes(),
      drawn.settings.label_smoothing,
      drawn.class_weights.empty() ? nullptr : drawn.class_weights.data(), backward);
  step.loss = loss.value;
  step.gradients =
      reference::backward(drawn.network, tensors, step.pass, loss.gradient, backward, keeps);
  std::vector<bool> trained;
  for (const TensorNumbers& tensor : drawn.tensors) trained.push_back(tensor.trained);
  const double share =
      reference::clipping(step.gradients, trained, drawn.settings.clip_norm, backward);
  for (Numbers& gradient : step.gradients) {
    for (double& each : gradient) each *= share;
  }
  return step;
}

namespace {

// Whether two passes made the same choice in every ReLU and maximum.
bool chose_alike(const reference::Network& network, const Pass& one, const Pass& other) {
  if (one.winners != other.winners) return false;
  for (const TenfoldLayer& layer : network.layers) {
    if (layer.operation != TENFOLD_RELU) continue;
    const Numbers& a = one.output(layer.input);
    const Numbers& b = other.output(layer.input);
    for (size_t i = 0; i < a.size(); ++i) {
      if ((a[i] <= 0) != (b[i] <= 0)) return false;
    }
  }
  return true;
}

class ReferenceCheck {
 public:
  explicit ReferenceCheck(uint64_t seed) : drawn_(random_case(seed)), random_(~seed) {
    drawn_.settings.clip_norm = 0;
    tensors_ = widened(drawn_.tensors);
    batch_ = batch_of(drawn_, 0);
  }

  std::string run(int64_t& compared) {
    if (tensors_.empty()) return "";
    const Step exact = step();
    for (int attempt = 0; attempt < 10; ++attempt) {
      const size_t place = some(tensors_.size());
      if (reference::is_running(drawn_.network, static_cast<int32_t>(place))) continue;
      const size_t at = some(tensors_[place].size());
      const double wanted = exact.gradients[place][at];
      bool fits = false, smooth = true;
      double found = 0;
      // Try a smaller distance if the loss is too curved for a larger one.
      for (double distance = 1e-4; distance > 1e-7 && !fits && smooth; distance /= 10) {
        found = slope(place, at, distance, smooth);
        fits = std::fabs(found - wanted) <= 1e-5 * (std::fabs(wanted) + 0.1);
      }
      if (!smooth) continue;
      ++compared;
      if (!fits) return text(place, at, wanted, found);
    }
    return "";
  }

 private:
  size_t some(size_t count) {
    return static_cast<size_t>(random_.between(0, static_cast<int64_t>(count) - 1));
  }

  Step step() const {
    Rounding none;
    return step_of(drawn_, 0, tensors_, batch_, none, none);
  }

  double slope(size_t place, size_t at, double distance, bool& smooth) {
    const double before = tensors_[place][at];
    tensors_[place][at] = before + distance;
    const Step above = step();
    tensors_[place][at] = before - distance;
    const Step below = step();
    tensors_[place][at] = before;
    smooth = chose_alike(drawn_.network, above.pass, below.pass);
    return (above.loss - below.loss) / (2 * distance);
  }

  std::string text(size_t place, size_t at, double wanted, double found) const {
    std::ostringstream text;
    text << "the reference's gradient of tensor " << place << " at " << at << " is " << wanted
         << ", by finite differences " << found;
    return text.str();
  }

  Case drawn_;
  Random random_;
  std::vector<Numbers> tensors_;
  Batch batch_;
};

}  // namespace

std::string check_reference(uint64_t seed, int64_t& compared) {
  return ReferenceCheck(seed).run(compared);
}
