#include "fuzzing.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <thread>

#include "bits.h"

namespace {

constexpr int32_t kThreads[] = {1, 2, 3, 4, 7};

Figures wanting_gradients() {
  Figures figures;
  figures.largest_gradients.resize(1);
  return figures;
}

std::string result_text(int32_t result) {
  if (result == TENFOLD_OUT_OF_MEMORY) return "out of memory";
  if (result == TENFOLD_INVALID) return "refused as invalid";
  return "gave result " + std::to_string(result);
}

class CaseCheck {
 public:
  CaseCheck(const Library& library, const Case& drawn, Tally& tally)
      : library_(library),
        drawn_(drawn),
        tally_(tally),
        random_(~drawn.seed),
        training_(library, drawn) {}

  std::string run() {
    if (network().get() == nullptr) return "a valid list was refused";
    std::string wrong = predictions();
    if (wrong.empty()) wrong = undefined_numbers();
    if (wrong.empty()) wrong = one_step_after_the_other();
    for (int32_t threads : kThreads) {
      if (wrong.empty()) wrong = at_a_stretch(threads);
    }
    if (wrong.empty()) wrong = in_pieces();
    if (wrong.empty()) wrong = after_training();
    return wrong;
  }

 private:
  LiveNetwork network(bool for_training = true) {
    return LiveNetwork(library_, drawn_.network, drawn_.batch_size, for_training, some_threads());
  }

  int32_t some_threads() { return random_.pick<int32_t>({1, 2, 3, 4, 7}); }

  // ---- Prediction -------------------------------------------------------------------------------

  std::string predictions() {
    const LiveNetwork predicting = network(false);
    const int64_t count = static_cast<int64_t>(drawn_.labels.size());
    std::vector<float> wanted, found;
    std::string wrong = predict(predicting, count, 1, wanted);
    if (!wrong.empty()) return wrong;
    wrong = check_logits(drawn_, drawn_.tensors, wanted, tally_);
    if (!wrong.empty()) return "prediction: " + wrong;
    for (int32_t threads : kThreads) {
      wrong = predict(predicting, count, threads, found);
      if (!wrong.empty()) return wrong;
      if (!same_bits(wanted, found)) {
        return "logits have different bits with " + std::to_string(threads) + " threads";
      }
    }
    return predictions_of_some(network(), random_.between(0, count), wanted);
  }

  // With a network that can also train, and fewer images, which changes the batches.
  std::string predictions_of_some(const LiveNetwork& training, int64_t count,
                                  const std::vector<float>& wanted) {
    std::vector<float> found;
    std::string wrong = predict(training, count, some_threads(), found);
    if (!wrong.empty()) return wrong;
    const std::vector<float> first(wanted.begin(),
                                   wanted.begin() + count * drawn_.network.classes());
    if (same_bits(first, found)) return "";
    return "logits of the first " + std::to_string(count) + " images alone have different bits";
  }

  std::string predict(const LiveNetwork& network, int64_t count, int32_t threads,
                      std::vector<float>& logits) {
    const int32_t result = training_.predict(network, count, threads, logits);
    if (result != TENFOLD_DONE) return "prediction was " + result_text(result);
    if (!difference(drawn_.tensors, training_.numbers()).empty()) {
      return "prediction changed " + difference(drawn_.tensors, training_.numbers());
    }
    return training_.trespass();
  }

  // NaN and infinity reach the same logits as in the reference.
  std::string undefined_numbers() {
    const std::vector<int32_t> places = tensors_to_spoil();
    if (!random_.chance(0.4) || places.empty()) return "";
    const int64_t last = static_cast<int64_t>(places.size()) - 1;
    const int32_t place = places[static_cast<size_t>(random_.between(0, last))];
    std::vector<TensorNumbers> tensors = drawn_.tensors;
    std::vector<float>& numbers = tensors[static_cast<size_t>(place)].value;
    const int64_t at = random_.between(0, static_cast<int64_t>(numbers.size()) - 1);
    const float infinity = std::numeric_limits<float>::infinity();
    const float number = random_.pick({std::nanf(""), infinity, -infinity});
    numbers[static_cast<size_t>(at)] = number;
    training_.set(tensors);
    std::vector<float> logits;
    const int64_t count = static_cast<int64_t>(drawn_.labels.size());
    training_.predict(network(), count, some_threads(), logits);
    const std::string wrong = check_undefined_logits(drawn_, tensors, logits);
    training_.set(drawn_.tensors);
    if (wrong.empty()) return "";
    return "with " + std::to_string(number) + " in tensor " + std::to_string(place) + ": " + wrong;
  }

  // Weights of convolutions are listed several times, because they may affect only some pixels of a
  // channel. Those with padding are excluded: whether a weight outside the image is multiplied by 0
  // or skipped is unspecified.
  std::vector<int32_t> tensors_to_spoil() const {
    std::vector<int32_t> places;
    for (const TenfoldLayer& layer : drawn_.network.layers) {
      const bool is_convolution = layer.operation == TENFOLD_CONV2D;
      const bool pads = layer.padding[0] > 0 || layer.padding[1] > 0;
      if (is_convolution && !pads) places.insert(places.end(), 4, layer.weight);
      if (!is_convolution && layer.weight >= 0) places.push_back(layer.weight);
      if (layer.bias >= 0) places.push_back(layer.bias);
      if (layer.running_var >= 0) places.push_back(layer.running_var);
    }
    return places;
  }

  // ---- Training ---------------------------------------------------------------------------------

  std::string advance(const LiveNetwork& network, int64_t first, int64_t last, int32_t threads,
                      Figures& figures) {
    const int32_t result = training_.advance(network, first, last, threads, figures);
    if (result != TENFOLD_DONE) return "training was " + result_text(result);
    const std::string trespass = training_.trespass();
    return trespass.empty() ? "" : "something was written " + trespass;
  }

  std::string one_step_after_the_other() {
    const LiveNetwork live = network();
    std::vector<TensorNumbers> before = drawn_.tensors;
    for (int64_t batch = 0; batch < drawn_.batches(); ++batch) {
      Figures figures = wanting_gradients();
      std::string wrong = advance(live, batch, batch + 1, some_threads(), figures);
      if (!wrong.empty()) return wrong;
      const std::vector<TensorNumbers> after = training_.numbers();
      wrong = check_step(drawn_, batch, before, after, figures, tally_);
      if (!wrong.empty()) return "step " + std::to_string(batch) + ": " + wrong;
      wanted_.losses.push_back(figures.losses[0]);
      wanted_.correct += figures.correct;
      wanted_.largest_gradients = figures.largest_gradients;
      before = after;
    }
    wanted_tensors_ = before;
    return "";
  }

  std::string at_a_stretch(int32_t threads) {
    training_.set(drawn_.tensors);
    Figures figures = wanting_gradients();
    std::string wrong = advance(network(), 0, drawn_.batches(), threads, figures);
    if (!wrong.empty()) return wrong;
    const std::string other = other_bits(figures);
    return other.empty() ? "" : other + " with " + std::to_string(threads) + " threads";
  }

  // Split at random; each piece runs on the same network as the last, or on a new one.
  std::string in_pieces() {
    training_.set(drawn_.tensors);
    Figures all;
    const LiveNetwork same = network();
    int64_t first = 0;
    while (first < drawn_.batches()) {
      const int64_t last = random_.between(first + 1, drawn_.batches());
      Figures figures;
      if (last == drawn_.batches()) figures = wanting_gradients();
      std::string wrong = random_.chance(0.5)
                              ? advance(same, first, last, some_threads(), figures)
                              : advance(network(), first, last, some_threads(), figures);
      if (!wrong.empty()) return wrong;
      all.losses.insert(all.losses.end(), figures.losses.begin(), figures.losses.end());
      all.correct += figures.correct;
      all.largest_gradients = figures.largest_gradients;
      if (random_.chance(0.5)) {
        std::vector<float> logits;
        training_.predict(same, 1, 1, logits);
      }
      first = last;
    }
    const std::string other = other_bits(all);
    return other.empty() ? "" : other + " when the stretch is split";
  }

  std::string other_bits(const Figures& figures) const {
    if (!same_bits(wanted_.losses, figures.losses)) return "losses have different bits";
    if (wanted_.correct != figures.correct) return "the number of correct predictions differs";
    for (size_t place = 0; place < drawn_.tensors.size(); ++place) {
      const uint32_t wanted = bits_of(wanted_.largest_gradients[place]);
      const uint32_t found = bits_of(figures.largest_gradients[place]);
      if (drawn_.tensors[place].trained && wanted != found) {
        return "largest gradients have different bits";
      }
    }
    const std::string where = difference(wanted_tensors_, training_.numbers());
    return where.empty() ? "" : where + " has different bits";
  }

  // Predictions with trained weights, which are no longer simple numbers, if they are finite.
  std::string after_training() {
    for (const TensorNumbers& tensor : wanted_tensors_) {
      for (float number : tensor.value) {
        if (!(std::fabs(number) < 1e6f)) return "";
      }
    }
    std::vector<float> logits;
    const int64_t count = static_cast<int64_t>(drawn_.labels.size());
    const int32_t result = training_.predict(network(), count, some_threads(), logits);
    if (result != TENFOLD_DONE) return "prediction was " + result_text(result);
    std::string wrong = check_logits(drawn_, wanted_tensors_, logits, tally_);
    return wrong.empty() ? "" : "prediction after training: " + wrong;
  }

  const Library& library_;
  const Case& drawn_;
  Tally& tally_;
  Random random_;
  Training training_;
  Figures wanted_;
  std::vector<TensorNumbers> wanted_tensors_;
};

// Runs a whole case and returns the resulting tensors.
std::vector<TensorNumbers> trained(const Library& library, const Case& drawn, int32_t threads) {
  Training training(library, drawn);
  const LiveNetwork network(library, drawn.network, drawn.batch_size, true, threads);
  Figures figures;
  training.advance(network, 0, drawn.batches(), threads, figures);
  return training.numbers();
}

}  // namespace

std::string check_case(const Library& library, const Case& drawn, Tally& tally) {
  return CaseCheck(library, drawn, tally).run();
}

std::string check_company(const Library& library, uint64_t seed) {
  const Case one = random_case(seed), other = random_case(seed + 1);
  const std::vector<TensorNumbers> wanted = trained(library, one, 3);
  const std::vector<TensorNumbers> wanted_other = trained(library, other, 2);
  std::vector<TensorNumbers> found_other;
  std::thread beside([&] { found_other = trained(library, other, 4); });
  const std::vector<TensorNumbers> found = trained(library, one, 4);
  beside.join();
  if (!difference(wanted, found).empty() || !difference(wanted_other, found_other).empty()) {
    return "two trainings at once end with different bits";
  }
  const pid_t child = fork();
  if (child == 0) _exit(difference(wanted, trained(library, one, 4)).empty() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? "" : "a training in a forked process fails or ends with different bits";
}
