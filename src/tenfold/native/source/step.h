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
  Workers(int threads, int64_t scratch_size) : threads_(threads), team_(threads) {
    for (int i = 0; i < threads; ++i) scratch_.emplace_back(scratch_size);
  }

  int threads() const { return threads_; }

  // `work` is called as `(job, scratch memory)`.
  template <typename Function>
  void run(int64_t jobs, const Function& work) {
    team_.run(jobs, [&](int64_t job, int thread) {
      work(job, scratch_[static_cast<size_t>(thread)].data());
    });
  }

 private:
  const int threads_;
  std::vector<Array<float>> scratch_;
  Team team_;
};

// A batch's way through the layers, forward and back.
//
// Layers that work block by block are taken together in stretches: a thread takes a block through
// all of them while its numbers are in the cache. Every other layer is a stretch of its own, whose
// jobs all threads share.
class Pass {
 public:
  Pass(const Network& network, const Batch& batch, Workers& workers)
      : layers_(network.layers()), batch_(batch), workers_(workers) {
    // With fewer blocks some threads would have none, or one more than others.
    const bool by_block =
        batch.blocks % workers.threads() == 0 || batch.blocks >= 4 * workers.threads();
    const auto joins = [&](size_t i) {
      return by_block && layers_[i]->works_by_block() && layers_[i]->learns_by_block(batch);
    };
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (i > 0 && joins(i) && joins(i - 1)) {
        stretches_.back().end = i + 1;
      } else {
        stretches_.push_back({i, i + 1});
      }
    }
  }

  void forward() {
    for (const Stretch& stretch : stretches_) {
      if (stretch.is_single()) {
        add(layers_[stretch.begin].get(), &Layer::forward_jobs, &Layer::forward);
        run_phase();
      } else {
        run_phase([&](int64_t block, float* scratch) {
          for (size_t i = stretch.begin; i < stretch.end; ++i) {
            run_block(i, &Layer::forward_jobs, &Layer::forward, block, scratch);
          }
        });
      }
    }
  }

  // Layers from the last to the first. A layer learns in the phase after its backward jobs, beside
  // those of the layer before it: only then is nobody reading its weights. In a stretch of several
  // it may sum its gradients at once, since none of these layers changes a weight before it
  // finishes.
  void backward() {
    for (size_t s = stretches_.size(); s-- > 0;) {
      const Stretch& stretch = stretches_[s];
      if (stretch.is_single()) {
        add(layers_[stretch.begin].get(), &Layer::backward_jobs, &Layer::backward);
        add_learning();
        run_phase();
        to_learn_.push_back(layers_[stretch.begin].get());
      } else {
        add_learning();
        run_phase([&](int64_t block, float* scratch) {
          for (size_t i = stretch.end; i-- > stretch.begin;) {
            run_block(i, &Layer::backward_jobs, &Layer::backward, block, scratch);
            run_block(i, &Layer::learn_jobs, &Layer::learn, block, scratch);
          }
        });
        for (size_t i = stretch.begin; i < stretch.end; ++i) {
          to_finish_.push_back(layers_[i].get());
        }
      }
    }
    while (!to_learn_.empty() || !to_finish_.empty()) {
      add_learning();
      run_phase();
    }
  }

 private:
  using Jobs = int64_t (Layer::*)(const Batch&) const;
  using Work = void (Layer::*)(const Batch&, int64_t, float*) const;

  struct Stretch {
    size_t begin;
    size_t end;
    bool is_single() const { return end == begin + 1; }
  };

  // A layer's jobs in the phase to come.
  struct Share {
    const Layer* layer;
    Work work;
    int64_t jobs;
  };

  void add(const Layer* layer, Jobs jobs, Work work) {
    const int64_t count = (layer->*jobs)(batch_);
    if (count > 0) shares_.push_back({layer, work, count});
  }

  // What is due of the layers that have been through their backward jobs.
  void add_learning() {
    for (const Layer* layer : to_finish_) add(layer, &Layer::finish_jobs, &Layer::finish);
    for (const Layer* layer : to_learn_) add(layer, &Layer::learn_jobs, &Layer::learn);
    to_finish_.clear();
    std::swap(to_finish_, to_learn_);
  }

  void run_phase() {
    run_phase(0, [](int64_t /*block*/, float* /*scratch*/) {});
  }
  template <typename Function>
  void run_phase(const Function& work_of_block) {
    run_phase(batch_.blocks, work_of_block);
  }
  template <typename Function>
  void run_phase(int64_t blocks, const Function& work_of_block) {
    int64_t jobs = blocks;
    for (const Share& share : shares_) jobs += share.jobs;
    workers_.run(jobs, [&](int64_t job, float* scratch) {
      if (job < blocks) return work_of_block(job, scratch);
      job -= blocks;
      const Share* share = shares_.data();
      while (job >= share->jobs) job -= (share++)->jobs;
      (share->layer->*share->work)(batch_, job, scratch);
    });
    shares_.clear();
  }

  // A layer's jobs for one block.
  void run_block(size_t layer, Jobs jobs, Work work, int64_t block, float* scratch) const {
    const int64_t of_block = (layers_[layer].get()->*jobs)(batch_) / batch_.blocks;
    for (int64_t job = block * of_block; job < (block + 1) * of_block; ++job) {
      (layers_[layer].get()->*work)(batch_, job, scratch);
    }
  }

  const std::vector<std::unique_ptr<Layer>>& layers_;
  const Batch& batch_;
  Workers& workers_;
  std::vector<Stretch> stretches_;
  std::vector<Share> shares_;
  std::vector<const Layer*> to_learn_;
  std::vector<const Layer*> to_finish_;
};

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
    Pass pass(network_, batch, workers_);
    pass.forward();
    stretch_.losses[i] = run_loss(batch);
    pass.backward();
    if (optimizer.keeps_gradients()) clip_and_update(optimizer);
    if (settings_.average_decay > 0) {
      for (int32_t t = 0; t < tensor_count_; ++t) optimizer.average_untrained(tensors_[t]);
    }
  }

  // The batch's mean loss; counts correct predictions.
  float run_loss(const Batch& batch) {
    const double total =
        Loss::total_weight(settings_.class_weights, images_.labels, batch.indices, batch.images);
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
  std::vector<int64_t> indices(static_cast<size_t>(std::min(network.batch_size(), images.count)));
  for (int64_t begin = 0; begin < images.count; begin += network.batch_size()) {
    Batch batch{};
    batch.images = std::min(network.batch_size(), images.count - begin);
    batch.blocks = (batch.images + kLanes - 1) / kLanes;
    batch.tensors = tensors;
    for (int64_t i = 0; i < batch.images; ++i) indices[static_cast<size_t>(i)] = begin + i;
    workers.run(gather.jobs(batch.blocks), [&](int64_t job, float* /*scratch*/) {
      gather.run(indices.data(), batch.images, job);
    });
    Pass(network, batch, workers).forward();
    const int64_t classes = map.shape.channels;
    for (int64_t i = 0; i < batch.images; ++i) {
      for (int64_t k = 0; k < classes; ++k) {
        logits[(begin + i) * classes + k] = map.at(i / kLanes, k)[i % kLanes];
      }
    }
  }
}

}  // namespace tenfold
