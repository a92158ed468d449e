#include "comparing.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "steps.h"

namespace {

using reference::Kept;
using reference::Network;
using reference::Numbers;
using reference::Pass;
using reference::Rounding;

constexpr double kAllowance = 8;
constexpr double kUnit = 0x1p-24;         // rounding error of a number near 1 in single precision
constexpr double kNegligible = 0x1p-100;  // a running mean of gradients below this may become 0
constexpr double kSmallestNormal = 0x1p-126;  // so may a mean of squares below this
constexpr double kMostTerms = 0x1p12;         // and each of this many terms of a gradient
constexpr int kFewRuns = 4;
constexpr int kManyRuns = 40;  // before a result is called wrong

// ---- How far single precision may be off --------------------------------------------------------

double largest(const Numbers& numbers) {
  double found = 0;
  for (double number : numbers) found = std::max(found, std::fabs(number));
  return found;
}

double largest_error(const Numbers& exact, const Numbers& found) {
  double error = 0;
  for (size_t i = 0; i < exact.size(); ++i) error = std::max(error, std::fabs(exact[i] - found[i]));
  return error;
}

// Whether ReLU or max pooling might choose differently in single precision. Numbers that no run
// changed are exact. Two numbers that are equal in every run come from the same sums, so they are
// always equal, and the first wins.
class Choices {
 public:
  Choices(const Network& network, const Pass& exact, const std::vector<const Pass*>& runs)
      : network_(network), exact_(exact), runs_(runs) {}

  bool are_decided() const {
    for (size_t place = 0; place < network_.layers.size(); ++place) {
      const TenfoldLayer& layer = network_.layers[place];
      if (layer.operation == TENFOLD_RELU && !relu_is_decided(layer.input)) return false;
      if (layer.operation == TENFOLD_MAX_POOL2D && !pool_is_decided(layer, place)) return false;
    }
    return true;
  }

  // Numbers of images whose label certainly has the largest logit, and of those where it may.
  std::pair<int64_t, int64_t> correct(const std::vector<int64_t>& labels) const {
    const int32_t last = static_cast<int32_t>(network_.layers.size()) - 1;
    const int64_t classes = network_.classes();
    const double error = error_at(last);
    int64_t certain = 0, possible = 0;
    for (size_t image = 0; image < labels.size(); ++image) {
      const size_t row = image * static_cast<size_t>(classes);
      const double* logits = &exact_.outputs.back()[row];
      const int64_t best = reference::predicted(logits, classes);
      bool is_certain = true, may_be = best == labels[image];
      for (int64_t c = 0; c < classes; ++c) {
        const size_t at = row + static_cast<size_t>(c);
        if (c == best || is_decided(last, row + static_cast<size_t>(best), at, error)) continue;
        is_certain = false;
        may_be = may_be || c == labels[image];
      }
      certain += is_certain && best == labels[image] ? 1 : 0;
      possible += may_be ? 1 : 0;
    }
    return {certain, possible};
  }

 private:
  double error_at(int32_t place) const {
    double error = 0;
    for (const Pass* run : runs_) {
      error = std::max(error, largest_error(exact_.output(place), run->output(place)));
    }
    return kAllowance * error;
  }

  bool is_exact(int32_t place, size_t at) const {
    return std::all_of(runs_.begin(), runs_.end(), [&](const Pass* run) {
      return run->output(place)[at] == exact_.output(place)[at];
    });
  }

  // Even if both are exact.
  bool always_equal(int32_t place, size_t one, size_t other) const {
    return exact_.output(place)[one] == exact_.output(place)[other] &&
           std::all_of(runs_.begin(), runs_.end(), [&](const Pass* run) {
             return run->output(place)[one] == run->output(place)[other];
           });
  }

  bool is_decided(int32_t place, size_t larger, size_t other, double error) const {
    const Numbers& numbers = exact_.output(place);
    if (numbers[larger] - numbers[other] > error) return true;
    return always_equal(place, larger, other) ||
           (is_exact(place, larger) && is_exact(place, other));
  }

  bool relu_is_decided(int32_t input) const {
    const Numbers& numbers = exact_.output(input);
    const double error = error_at(input);
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (std::fabs(numbers[i]) <= error && !is_exact(input, i)) return false;
    }
    return true;
  }

  bool pool_is_decided(const TenfoldLayer& layer, size_t place) const {
    const reference::Shape& from = network_.shape(layer.input);
    const reference::Shape& to = network_.shape(static_cast<int32_t>(place));
    const double error = error_at(layer.input);
    for (size_t at = 0; at < exact_.winners[place].size(); ++at) {
      const size_t winner = static_cast<size_t>(exact_.winners[place][at]);
      const int64_t channel = static_cast<int64_t>(winner) / from.pixels();
      const int64_t position = static_cast<int64_t>(at) % to.pixels();
      const int64_t top = position / to.width * layer.stride[0] - layer.padding[0];
      const int64_t left = position % to.width * layer.stride[1] - layer.padding[1];
      for (int64_t y = std::max<int64_t>(0, top); y < std::min(from.height, top + layer.kernel[0]);
           ++y) {
        for (int64_t x = std::max<int64_t>(0, left);
             x < std::min(from.width, left + layer.kernel[1]); ++x) {
          const size_t other = static_cast<size_t>((channel * from.height + y) * from.width + x);
          if (other != winner && !is_decided(layer.input, winner, other, error)) {
            return false;
          }
        }
      }
    }
    return true;
  }

  const Network& network_;
  const Pass& exact_;
  const std::vector<const Pass*>& runs_;
};

// ---- Comparing numbers --------------------------------------------------------------------------

// Remembers the worst comparison.
class Comparison {
 public:
  explicit Comparison(Tally& tally) : tally_(tally) {}

  void number(const std::string& kind, size_t place, double wanted, double found, double allowed) {
    ++tally_.numbers;
    const double error = std::fabs(wanted - found);
    // NaN equals NaN, and infinity equals infinity.
    const bool fits =
        error <= allowed || (std::isnan(wanted) && std::isnan(found)) || wanted == found;
    const double share =
        fits ? (allowed > 0 && error > 0 ? error / allowed : 0) : excess(error, allowed);
    if (fits) note_closest(kind, share);
    if (fits || share <= worst_) return;
    worst_ = share;
    std::ostringstream text;
    text.precision(10);
    text << kind << " at " << place << " is " << found << ", wanted " << wanted << ", off by "
         << error << ", allowed " << allowed;
    wrong_ = text.str();
  }

  const std::string& wrong() const { return wrong_; }

 private:
  static double excess(double error, double allowed) {
    return std::isnan(error) || allowed == 0 ? 1e300 : error / allowed;
  }

  void note_closest(const std::string& kind, double share) {
    double& closest = tally_.closest[kind.substr(0, kind.find(' '))];
    closest = std::max(closest, share);
  }

  Tally& tally_;
  double worst_ = 0;
  std::string wrong_;
};

class StepCheck {
 public:
  StepCheck(const Case& drawn, int64_t batch, const std::vector<TensorNumbers>& before,
            const std::vector<TensorNumbers>& after, const Figures& figures, Tally& tally)
      : drawn_(drawn),
        settings_(drawn.settings),
        batch_(batch),
        before_(before),
        after_(after),
        figures_(figures),
        tally_(tally),
        compare_(tally),
        tensors_(widened(before)) {}

  std::string run(int runs) {
    const Batch batch = batch_of(drawn_, batch_);
    Rounding none;
    exact_ = step_of(drawn_, batch_, tensors_, batch, none, none);
    const bool is_exact = reference::is_exact_in_single(drawn_.network, tensors_, exact_.pass);
    for (int run = 0; run < runs; ++run) {
      Rounding rounding(drawn_.seed * 1000 + static_cast<uint64_t>(run));
      runs_.push_back(
          step_of(drawn_, batch_, tensors_, batch, is_exact ? none : rounding, rounding));
    }
    std::vector<const Pass*> passes;
    for (const Step& step : runs_) passes.push_back(&step.pass);
    const Choices choices(drawn_.network, exact_.pass, passes);
    decided_ = choices.are_decided();
    figures(choices.correct(batch.labels));
    for (size_t place = 0; place < tensors_.size(); ++place) tensor(place);
    for (size_t place = 0; place < drawn_.network.layers.size(); ++place) running(place);
    for (size_t place = 0; place < tensors_.size(); ++place) average(place);
    if (!figures_.largest_gradients.empty()) largest_gradients();
    return compare_.wrong();
  }

  bool decided() const { return decided_; }

 private:
  void figures(std::pair<int64_t, int64_t> correct) {
    double error = 0;
    for (const Step& run : runs_) error = std::max(error, std::fabs(run.loss - exact_.loss));
    compare_.number("loss", 0, exact_.loss, figures_.losses[0],
                    kAllowance * error + 2 * kUnit * std::fabs(exact_.loss));
    const double found = static_cast<double>(figures_.correct);
    const double wanted = std::min(std::max(found, static_cast<double>(correct.first)),
                                   static_cast<double>(correct.second));
    compare_.number("correct", 0, wanted, found, 0);
  }

  double gradient_error(size_t place) const {
    double error = 0;
    for (const Step& run : runs_) {
      error = std::max(error, largest_error(exact_.gradients[place], run.gradients[place]));
    }
    return kAllowance * error + 4 * kUnit * largest(exact_.gradients[place]) +
           kMostTerms * kSmallestNormal;
  }

  void tensor(size_t place) {
    if (!before_[place].trained) {
      if (!reference::is_running(drawn_.network, static_cast<int32_t>(place))) frozen(place);
      return;
    }
    const double error = gradient_error(place);
    for (size_t i = 0; i < tensors_[place].size(); ++i) {
      const double gradient = exact_.gradients[place][i];
      const Kept kept{tensors_[place][i], at(before_[place].moment1, i),
                      at(before_[place].moment2, i)};
      if (decided_) moments(place, i, kept, gradient, error);
      value(place, i, kept, gradient, error);
    }
  }

  static double at(const std::vector<float>& numbers, size_t i) {
    return numbers.empty() ? 0 : static_cast<double>(numbers[i]);
  }

  void frozen(size_t place) {
    for (size_t i = 0; i < tensors_[place].size(); ++i) {
      compare_.number(kind("frozen", place), i, tensors_[place][i], after_[place].value[i], 0);
    }
  }

  static std::string kind(const char* what, size_t place) {
    return std::string(what) + " of tensor " + std::to_string(place);
  }

  void moments(size_t place, size_t i, const Kept& kept, double gradient, double error) {
    if (before_[place].moment1.empty()) return;
    const Kept wanted = reference::with_new_moments(kept, gradient, settings_);
    const bool is_sgd = settings_.optimizer == TENFOLD_SGD;
    const double decay = std::fabs(settings_.weight_decay * kept.value);
    const double parts = std::fabs(kept.moment1) + std::fabs(gradient) + decay;
    const double share = is_sgd ? 1 : 1 - settings_.beta1;
    compare_.number(kind("moment1", place), i, wanted.moment1, after_[place].moment1[i],
                    share * error + 8 * kUnit * parts + kNegligible);
    if (is_sgd) return;
    const double slope = 2 * (std::fabs(gradient) + decay) + error;
    compare_.number(
        kind("moment2", place), i, wanted.moment2, after_[place].moment2[i],
        (1 - settings_.beta2) * slope * error + 16 * kUnit * wanted.moment2 + kSmallestNormal);
  }

  // From the moments that the library wrote, so that errors of the gradient do not matter. If a
  // gradient is nothing but error, Adam turns it into a whole step.
  void value(size_t place, size_t i, const Kept& kept, double gradient, double error) {
    const bool asks_for_gradient =
        settings_.optimizer == TENFOLD_SGD && (settings_.momentum == 0 || settings_.nesterov);
    if (asks_for_gradient && !decided_) return;
    const double rate = drawn_.learning_rates[static_cast<size_t>(batch_)];
    const Kept now{kept.value, at(after_[place].moment1, i), at(after_[place].moment2, i)};
    const int64_t count = drawn_.optimizer_step + batch_ + 1;
    const double wanted = reference::new_value(now, gradient, rate, count, settings_);
    const double moved =
        std::fabs(wanted - kept.value) +
        rate * std::fabs(now.moment1) * (settings_.optimizer == TENFOLD_SGD ? 1 : 0);
    const double decay = rate * std::fabs(settings_.weight_decay * kept.value);
    const double of_gradient =
        asks_for_gradient ? rate * (error + 8 * kUnit * std::fabs(gradient)) : 0;
    compare_.number(kind("value", place), i, wanted, after_[place].value[i],
                    of_gradient + 4 * kUnit * std::fabs(kept.value) + 16 * kUnit * (moved + decay));
  }

  void running(size_t layer_place) {
    const TenfoldLayer& layer = drawn_.network.layers[layer_place];
    if (layer.operation != TENFOLD_BATCH_NORM2D) return;
    const auto statistics = [&](const Step& step) -> const reference::BatchStatistics& {
      return step.pass.statistics[layer_place];
    };
    const double count = static_cast<double>(statistics(exact_).count);
    double of_mean = 0, of_variance = 0;
    for (const Step& run : runs_) {
      of_mean = std::max(of_mean, largest_error(statistics(exact_).mean, statistics(run).mean));
      of_variance = std::max(of_variance,
                             largest_error(statistics(exact_).variance, statistics(run).variance));
    }
    running_numbers(layer.running_mean, statistics(exact_).mean, 1, of_mean, layer.momentum);
    running_numbers(layer.running_var, statistics(exact_).variance, count / (count - 1),
                    of_variance, layer.momentum);
  }

  void running_numbers(int32_t place_number, const Numbers& of_batch, double factor, double error,
                       double momentum) {
    const size_t place = static_cast<size_t>(place_number);
    for (size_t i = 0; i < of_batch.size(); ++i) {
      const double old = tensors_[place][i];
      const double wanted = reference::new_running(old, factor * of_batch[i], momentum);
      const double parts =
          std::fabs((1 - momentum) * old) + momentum * factor * std::fabs(of_batch[i]);
      compare_.number(kind("running", place), i, wanted, after_[place].value[i],
                      kAllowance * momentum * factor * error + 4 * kUnit * parts);
    }
  }

  void average(size_t place) {
    if (before_[place].average.empty()) return;
    const double decay =
        reference::decay_of_average(settings_.average_decay, drawn_.step + batch_ + 1);
    for (size_t i = 0; i < tensors_[place].size(); ++i) {
      const double old = before_[place].average[i], now = after_[place].value[i];
      compare_.number(kind("average", place), i, decay * old + (1 - decay) * now,
                      after_[place].average[i], 4 * kUnit * (std::fabs(old) + std::fabs(now)));
    }
  }

  void largest_gradients() {
    for (size_t place = 0; decided_ && place < tensors_.size(); ++place) {
      if (!before_[place].trained) continue;
      compare_.number("largest gradient", place, largest(exact_.gradients[place]),
                      figures_.largest_gradients[place], gradient_error(place));
    }
  }

  const Case& drawn_;
  const TenfoldStepSettings& settings_;
  int64_t batch_;
  const std::vector<TensorNumbers>& before_;
  const std::vector<TensorNumbers>& after_;
  const Figures& figures_;
  Tally& tally_;
  Comparison compare_;
  std::vector<Numbers> tensors_;
  Step exact_;
  std::vector<Step> runs_;
  bool decided_ = false;
};

Numbers first_images(const Case& drawn, int64_t count) {
  const int64_t size = drawn.network.image.size();
  const std::vector<uint8_t> pixels(drawn.pixels.begin(), drawn.pixels.begin() + count * size);
  return scaled(drawn, pixels);
}

std::string logits_with(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                        const std::vector<float>& logits, int runs, Tally& tally, bool& is_exact) {
  const Network& network = drawn.network;
  const std::vector<Numbers> wide = widened(tensors);
  const int64_t count = static_cast<int64_t>(logits.size()) / network.classes();
  const Numbers images = first_images(drawn, count);
  Rounding none;
  const Pass exact = reference::forward(network, wide, images, count, false, none);
  is_exact = reference::is_exact_in_single(network, wide, exact);
  double error = 0;
  for (int run = 0; run < runs && !is_exact; ++run) {
    Rounding rounding(drawn.seed * 1000 + static_cast<uint64_t>(run));
    const Pass rounded = reference::forward(network, wide, images, count, false, rounding);
    error = std::max(error, largest_error(exact.outputs.back(), rounded.outputs.back()));
  }
  const double allowed =
      is_exact ? 0 : kAllowance * error + 2 * kUnit * largest(exact.outputs.back());
  Comparison compare(tally);
  for (size_t i = 0; i < logits.size(); ++i) {
    compare.number(is_exact ? "logit, exact" : "logit", i, exact.outputs.back()[i], logits[i],
                   allowed);
  }
  return compare.wrong();
}

}  // namespace

std::string check_step(const Case& drawn, int64_t batch, const std::vector<TensorNumbers>& before,
                       const std::vector<TensorNumbers>& after, const Figures& figures,
                       Tally& tally) {
  StepCheck quick(drawn, batch, before, after, figures, tally);
  std::string wrong = quick.run(kFewRuns);
  ++tally.steps;
  if (!quick.decided()) ++tally.undecided;
  if (!wrong.empty()) wrong = StepCheck(drawn, batch, before, after, figures, tally).run(kManyRuns);
  return wrong;
}

std::string check_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                         const std::vector<float>& logits, Tally& tally) {
  bool is_exact = false;
  std::string wrong = logits_with(drawn, tensors, logits, kFewRuns, tally, is_exact);
  if (is_exact) ++tally.exact;
  if (!wrong.empty()) wrong = logits_with(drawn, tensors, logits, kManyRuns, tally, is_exact);
  return wrong;
}

std::string check_undefined_logits(const Case& drawn, const std::vector<TensorNumbers>& tensors,
                                   const std::vector<float>& logits) {
  const int64_t count = static_cast<int64_t>(logits.size()) / drawn.network.classes();
  Rounding none;
  const Pass pass = reference::forward(drawn.network, widened(tensors), first_images(drawn, count),
                                       count, false, none);
  const Numbers& wanted = pass.outputs.back();
  for (size_t i = 0; i < logits.size(); ++i) {
    const double found = logits[i];
    const bool both_finite = std::isfinite(wanted[i]) && std::isfinite(found);
    if (both_finite || wanted[i] == found || (std::isnan(wanted[i]) && std::isnan(found))) continue;
    return "logit " + std::to_string(i) + " is " + std::to_string(found) + ", wanted " +
           std::to_string(wanted[i]);
  }
  return "";
}
