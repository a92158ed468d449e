// One step of training, and one pass of prediction: which jobs run one after the other.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "gather.h"
#include "loss.h"
#include "network.h"
#include "threads.h"

namespace tenfold {

// The threads of a call, and memory for each.
class Workers {
 public:
  Workers(int threads, int64_t scratch_size) : team_(threads) {
    for (int i = 0; i < threads; ++i) scratch_.emplace_back(scratch_size);
  }

  // `work` is called as `(job, scratch memory)`.
  template <typename Function>
  void run(int64_t jobs, const Function& work) {
    team_.run(jobs, [&](int64_t job, int thread) {
      work(job, scratch_[static_cast<size_t>(thread)].data());
    });
  }

 private:
  std::vector<Array<float>> scratch_;
  Team team_;
};

inline void run_forward(const Network& network, const Batch& batch, Workers& workers) {
  for (const auto& layer : network.layers()) {
    workers.run(layer->forward_jobs(batch), [&](int64_t job, float* scratch) {
      layer->forward(batch, job, scratch);
    });
  }
}

// The jobs of a phase, of several layers.
class Phase {
 public:
  using Jobs = int64_t (Layer::*)(const Batch&) const;
  using Work = void (Layer::*)(const Batch&, int64_t, float*) const;

  void add(const Layer* layer, Jobs jobs, Work work, const Batch& batch) {
    const int64_t count = (layer->*jobs)(batch);
    if (count == 0) return;
    shares_[share_count_++] = {layer, work, count};
    jobs_ += count;
  }

  int64_t jobs() const { return jobs_; }

  void run(const Batch& batch, int64_t job, float* scratch) const {
    const Share* share = shares_;
    while (job >= share->jobs) job -= (share++)->jobs;
    (share->layer->*share->work)(batch, job, scratch);
  }

 private:
  struct Share {
    const Layer* layer;
    Work work;
    int64_t jobs;
  };
  Share shares_[3] = {};
  int share_count_ = 0;
  int64_t jobs_ = 0;
};

// Layers from the last to the first. A layer learns in the phase after its backward jobs, beside
// those of the layer before it: only then is nobody reading its weights.
inline void run_backward(const Network& network, const Batch& batch, Workers& workers) {
  const auto& layers = network.layers();
  const auto count = static_cast<int64_t>(layers.size());
  for (int64_t i = count - 1; i >= -2; --i) {
    const auto layer = [&](int64_t place) { return layers[static_cast<size_t>(place)].get(); };
    Phase phase;
    if (i >= 0) phase.add(layer(i), &Layer::backward_jobs, &Layer::backward, batch);
    if (i + 1 >= 0 && i + 1 < count) {
      phase.add(layer(i + 1), &Layer::learn_jobs, &Layer::learn, batch);
    }
    if (i + 2 < count) phase.add(layer(i + 2), &Layer::finish_jobs, &Layer::finish, batch);
    workers.run(phase.jobs(),
                [&](int64_t job, float* scratch) { phase.run(batch, job, scratch); });
  }
}

// Steps in a row.
class Training {
 public:
  Training(Network& network, const TenfoldTensor* tensors, int32_t tensor_count,
           const TenfoldImages& images, const TenfoldStepSettings& settings,
           const TenfoldAugmentation* augmentation, const TenfoldStretch& stretch)
      : network_(network),
        tensors_(tensors),
        tensor_count_(tensor_count),
        images_(images),
        settings_(settings),
        stretch_(stretch),
        gather_(images, augmentation, network.input()),
        loss_(network.logits(), network.logits_gradient(), network.logits_are_cut()),
        losses_(network.blocks() * kLanes),
        hits_(network.blocks() * kLanes),
        workers_(std::max(1, stretch.threads), network.scratch_size()) {
    if (settings.clip_norm > 0) {
      for (int32_t i = 0; i < tensor_count; ++i) {
        kept_.emplace_back(tensors[i].trained != 0 ? tensors[i].size : 0);
        kept_addresses_.push_back(kept_.back().data());
      }
    }
    if (stretch.largest_gradients != nullptr) {
      largest_ = std::make_unique<std::atomic<uint32_t>[]>(static_cast<size_t>(tensor_count));
    }
  }

  void run() {
    *stretch_.correct = 0;
    for (int64_t i = 0; i < stretch_.batches; ++i) take_step(i);
    if (stretch_.largest_gradients == nullptr) return;
    for (int32_t i = 0; i < tensor_count_; ++i) {
      const uint32_t bits = largest_[static_cast<size_t>(i)].load(std::memory_order_relaxed);
      memcpy(stretch_.largest_gradients + i, &bits, sizeof bits);
    }
  }

 private:
  void take_step(int64_t i) {
    const int64_t begin = i * network_.batch_size();
    const int64_t images = std::min(network_.batch_size(), stretch_.images - begin);
    const int64_t* indices = stretch_.order + begin;
    const StepNumbers numbers(settings_, stretch_.learning_rates[i],
                              stretch_.optimizer_step + i + 1, stretch_.step + i + 1);
    const bool is_last = i + 1 == stretch_.batches;
    const Optimizer optimizer(numbers, tensors_, kept_.empty() ? nullptr : kept_addresses_.data(),
                              is_last ? largest_.get() : nullptr);
    Batch batch{};
    batch.images = images;
    batch.blocks = (images + kLanes - 1) / kLanes;
    batch.tensors = tensors_;
    batch.indices = indices;
    batch.step = stretch_.step + i;
    batch.dropout_seed = stretch_.dropout_seed;
    batch.optimizer = &optimizer;

    workers_.run(gather_.jobs(batch.blocks),
                 [&](int64_t job, float* /*scratch*/) { gather_.run(indices, images, job); });
    run_forward(network_, batch, workers_);
    stretch_.losses[i] = run_loss(batch);
    run_backward(network_, batch, workers_);
    if (optimizer.keeps_gradients()) clip_and_update(optimizer);
    if (settings_.average_decay > 0) {
      for (int32_t t = 0; t < tensor_count_; ++t) optimizer.average_untrained(tensors_[t]);
    }
  }

  // The batch's mean loss; counts correct predictions.
  float run_loss(const Batch& batch) {
    const double total = Loss::total_weight(settings_.class_weights, images_.labels, batch.indices,
                                            batch.images);
    workers_.run(batch.blocks, [&](int64_t block, float* /*scratch*/) {
      loss_.run(block, batch.lanes_of(block), images_.labels, batch.indices,
                settings_.class_weights, settings_.label_smoothing, total, losses_.data(),
                hits_.data());
    });
    double sum = 0;
    for (int64_t image = 0; image < batch.images; ++image) {
      sum += static_cast<double>(losses_[image]);
      *stretch_.correct += hits_[image];
    }
    return static_cast<float>(sum / total);
  }

  // Pascanu, Mikolov and Bengio, arXiv:1211.5063, as torch.nn.utils.clip_grad_norm_ has it.
  void clip_and_update(const Optimizer& optimizer) {
    struct Piece {
      int32_t tensor;
      int64_t begin;
      int64_t size;
      double squares;
    };
    std::vector<Piece> pieces;
    for (int32_t t = 0; t < tensor_count_; ++t) {
      for (int64_t begin = 0; begin < kept_[static_cast<size_t>(t)].count(); begin += kPiece) {
        pieces.push_back(
            {t, begin, std::min(kPiece, kept_[static_cast<size_t>(t)].count() - begin), 0});
      }
    }
    const auto count = static_cast<int64_t>(pieces.size());
    workers_.run(count, [&](int64_t job, float* /*scratch*/) {
      Piece& piece = pieces[static_cast<size_t>(job)];
      const float* gradient = kept_addresses_[static_cast<size_t>(piece.tensor)] + piece.begin;
      for (int64_t i = 0; i < piece.size; ++i) {
        piece.squares = ::fma(static_cast<double>(gradient[i]), static_cast<double>(gradient[i]),
                              piece.squares);
      }
    });
    double squares = 0;
    for (const Piece& piece : pieces) squares += piece.squares;
    const double share = settings_.clip_norm / (sqrt(squares) + 1e-6);
    // Written so that a norm that is NaN makes every gradient NaN.
    const auto scale = static_cast<float>(share >= 1 ? 1.0 : share);
    workers_.run(count, [&](int64_t job, float* /*scratch*/) {
      const Piece& piece = pieces[static_cast<size_t>(job)];
      float* gradient = kept_addresses_[static_cast<size_t>(piece.tensor)] + piece.begin;
      for (int64_t i = 0; i < piece.size; ++i) gradient[i] *= scale;
      if (optimizer.wants_largest()) optimizer.note_largest(piece.tensor, gradient, piece.size);
      optimizer.update(tensors_[piece.tensor], piece.begin, gradient, piece.size);
    });
  }

  static constexpr int64_t kPiece = 8192;

  Network& network_;
  const TenfoldTensor* tensors_;
  const int32_t tensor_count_;
  const TenfoldImages& images_;
  const TenfoldStepSettings& settings_;
  const TenfoldStretch& stretch_;
  const Gather gather_;
  const Loss loss_;
  const Array<float> losses_;
  const Array<int32_t> hits_;
  std::vector<Array<float>> kept_;  // gradients, where they are clipped
  std::vector<float*> kept_addresses_;
  std::unique_ptr<std::atomic<uint32_t>[]> largest_;
  Workers workers_;
};

inline void predict(const Network& network, const TenfoldTensor* tensors,
                    const TenfoldImages& images, int threads, float* logits) {
  const Gather gather(images, nullptr, network.input());
  Workers workers(std::max(1, threads), network.scratch_size());
  const FeatureMap& map = network.logits();
  std::vector<int64_t> indices(
      static_cast<size_t>(std::min(network.batch_size(), images.count)));
  for (int64_t begin = 0; begin < images.count; begin += network.batch_size()) {
    Batch batch{};
    batch.images = std::min(network.batch_size(), images.count - begin);
    batch.blocks = (batch.images + kLanes - 1) / kLanes;
    batch.tensors = tensors;
    for (int64_t i = 0; i < batch.images; ++i) indices[static_cast<size_t>(i)] = begin + i;
    workers.run(gather.jobs(batch.blocks), [&](int64_t job, float* /*scratch*/) {
      gather.run(indices.data(), batch.images, job);
    });
    run_forward(network, batch, workers);
    const int64_t classes = map.shape.channels;
    for (int64_t i = 0; i < batch.images; ++i) {
      for (int64_t k = 0; k < classes; ++k) {
        logits[(begin + i) * classes + k] = map.at(i / kLanes, k)[i % kLanes];
      }
    }
  }
}

}  // namespace tenfold
