// Training steps and prediction: the order in which jobs run.
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

// The threads of a call, each with scratch memory.
class Workers {
 public:
  Workers(int threads, int64_t scratch_size) : team_(threads) {
    for (int i = 0; i < threads; ++i) scratch_.emplace_back(scratch_size);
  }

  // `work` is called as `(job, scratch memory)`.
  template <typename Function>
  void run(int64_t jobs, const Function& work) {
    team_.run(jobs, [&](int64_t job, int thread) { work(job, scratch(thread)); });
  }

  // `work` is called as `(job, scratch memory, the thread's number)`.
  template <typename Function>
  void run_with_thread(int64_t jobs, const Function& work) {
    team_.run(jobs, [&](int64_t job, int thread) { work(job, scratch(thread), thread); });
  }

  // Runs tasks that are independent of one another.
  void run(const std::vector<Team::Task>& tasks) {
    team_.run(tasks.data(), static_cast<int>(tasks.size()));
  }

  float* scratch(int thread) const { return scratch_[static_cast<size_t>(thread)].data(); }

 private:
  std::vector<Array<float>> scratch_;
  Team team_;
};

// Takes a batch forward and backward through the network, layer by layer; all threads share each
// layer's jobs. In training, the last layers may be tiny: one thread takes the batch forward and
// backward through all of these.
class Pass {
 public:
  Pass(const Network::Place& place, const Batch& batch, Workers& workers)
      : layers_(place.layers),
        batch_(batch),
        workers_(workers),
        tiny_(batch.optimizer == nullptr ? layers_.size() : place.tiny) {}

  // Except through tiny layers.
  void forward() {
    for (size_t i = 0; i < tiny_; ++i) {
      add(layers_[i].get(), &Layer::forward_jobs, &Layer::forward);
      run_phase();
    }
  }

  // Through tiny layers; `loss` takes the loss and its gradient in between.
  template <typename Function>
  void turn(const Function& loss, float* scratch) const {
    for (size_t i = tiny_; i < layers_.size(); ++i) layers_[i]->forward_block(batch_, 0, scratch);
    loss();
    for (size_t i = layers_.size(); i-- > tiny_;) layers_[i]->backward_block(batch_, 0, scratch);
  }

  // From the last layer that is not tiny to the first. A layer learns in the phase after its
  // backward jobs, alongside those of the previous layer: only then are its weights no longer read.
  void backward() {
    for (size_t i = tiny_; i < layers_.size(); ++i) to_learn_.push_back(layers_[i].get());
    for (size_t i = tiny_; i-- > 0;) {
      const Layer* layer = layers_[i].get();
      add(layer, &Layer::backward_jobs, &Layer::backward);
      const bool is_done = parts_.empty();
      if (is_done) to_learn_.push_back(layer);
      add_learning();
      run_phase();
      if (!is_done) to_learn_.push_back(layer);
    }
    finish();
  }

  // Finishes learning after blocks have passed through all layers one by one.
  void finish_blocks() {
    for (const auto& layer : layers_) {
      (layer->learns_by_block() ? to_finish_ : to_learn_).push_back(layer.get());
    }
    finish();
  }

 private:
  using Jobs = int64_t (Layer::*)(const Batch&) const;
  using Work = void (Layer::*)(const Batch&, int64_t, float*) const;

  // A layer's work in the next phase.
  struct Part {
    const Pass* pass;
    const Layer* layer;
    Work work;
  };

  void add(const Layer* layer, Jobs jobs, Work work) {
    const int64_t count = (layer->*jobs)(batch_);
    if (count > 0) parts_.push_back({{this, layer, work}, count});
  }

  // Adds the learn and finish jobs of layers whose backward jobs are done.
  void add_learning() {
    for (const Layer* layer : to_finish_) add(layer, &Layer::finish_jobs, &Layer::finish);
    for (const Layer* layer : to_learn_) add(layer, &Layer::learn_jobs, &Layer::learn);
    to_finish_.clear();
    std::swap(to_finish_, to_learn_);
  }

  void finish() {
    while (!to_learn_.empty() || !to_finish_.empty()) {
      add_learning();
      run_phase();
    }
  }

  void run_phase() {
    for (const auto& [part, jobs] : parts_) {
      tasks_.push_back({[](const void* context, int64_t job, int thread) {
                          const Part& p = *static_cast<const Part*>(context);
                          (p.layer->*p.work)(p.pass->batch_, job, p.pass->workers_.scratch(thread));
                        },
                        &part, jobs});
    }
    workers_.run(tasks_);
    parts_.clear();
    tasks_.clear();
  }

  const std::vector<std::unique_ptr<Layer>>& layers_;
  const Batch& batch_;
  Workers& workers_;
  const size_t tiny_;
  std::vector<std::pair<Part, int64_t>> parts_;  // and their numbers of jobs
  std::vector<Team::Task> tasks_;
  std::vector<const Layer*> to_learn_;
  std::vector<const Layer*> to_finish_;
};

// The wanted number of threads, limited to the number of places if each thread needs its own.
inline int threads_for(const Network& network, int wanted) {
  const auto places = static_cast<int>(network.places().size());
  return std::max(1, network.by_block() ? std::min(wanted, places) : wanted);
}

inline int64_t scratch_size(const Network& network, const TenfoldAugmentation* augmentation) {
  const Shape& image = network.places()[0].input.shape;
  return std::max(network.scratch_size(), Gather::scratch_size(augmentation, image));
}

// Consecutive training steps.
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
        augmentation_(augmentation),
        losses_(network.blocks() * kLanes),
        hits_(network.blocks() * kLanes),
        workers_(threads_for(network, stretch.threads), scratch_size(network, augmentation)) {
    network.restart();
    if (network.is_first_use()) {
      for (int32_t i = 0; i < tensor_count; ++i) {
        for (float* numbers : {tensors[i].value, tensors[i].moment1, tensors[i].moment2}) {
          const size_t size = static_cast<size_t>(tensors[i].size) * sizeof(float);
          if (numbers != nullptr && size >= 2 * kHugePage) use_huge_pages(numbers, size);
        }
      }
    }
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
    const StepNumbers numbers(settings_, stretch_.learning_rates[i],
                              stretch_.optimizer_step + i + 1, stretch_.step + i + 1);
    const bool is_last = i + 1 == stretch_.batches;
    const Optimizer optimizer(numbers, tensors_, kept_.empty() ? nullptr : kept_addresses_.data(),
                              is_last ? largest_.get() : nullptr);
    Batch batch = batch_of(i);
    batch.optimizer = &optimizer;
    const double total =
        Loss::total_weight(settings_.class_weights, images_.labels, batch.indices, batch.images);
    if (network_.by_block()) {
      run_by_block(batch, total);
    } else {
      run_by_layer(batch, total, i);
    }
    stretch_.losses[i] = take_losses(batch.images, total);
    if (optimizer.keeps_gradients()) clip_and_update(optimizer);
    if (settings_.average_decay > 0) {
      for (int32_t t = 0; t < tensor_count_; ++t) optimizer.average_untrained(tensors_[t]);
    }
  }

  Batch batch_of(int64_t i) const {
    const int64_t begin = i * network_.batch_size();
    Batch batch{};
    batch.images = std::min(network_.batch_size(), stretch_.images - begin);
    batch.blocks = (batch.images + kLanes - 1) / kLanes;
    batch.tensors = tensors_;
    batch.indices = stretch_.order + begin;
    if (augmentation_ != nullptr) batch.changes = augmentation_->changes + begin;
    batch.step = stretch_.step + i;
    batch.dropout_seed = stretch_.dropout_seed;
    return batch;
  }

  // If the network can hold the next batch's images, they are gathered alongside the loss.
  void run_by_layer(const Batch& batch, double total, int64_t i) {
    const std::vector<Network::Place>& places = network_.places();
    const auto place_of = [&](int64_t step) -> const Network::Place& {
      return places[static_cast<size_t>(step) % places.size()];
    };
    const Network::Place& place = place_of(i);
    const bool gathers_ahead = places.size() > 1;
    if (i == 0 || !gathers_ahead) {
      const Gather gather(images_, augmentation_, place.input);
      workers_.run(gather.jobs(batch.blocks),
                   [&](int64_t job, float* scratch) { gather.run(batch, job, scratch); });
    }
    Pass pass(place, batch, workers_);
    pass.forward();
    const bool gathers = gathers_ahead && i + 1 < stretch_.batches;
    const Gather gather(images_, augmentation_, place_of(i + 1).input);
    const Batch next = gathers ? batch_of(i + 1) : Batch{};
    workers_.run(batch.blocks + (gathers ? gather.jobs(next.blocks) : 0),
                 [&](int64_t job, float* scratch) {
                   if (job >= batch.blocks) return gather.run(next, job - batch.blocks, scratch);
                   pass.turn([&] { run_loss(place, batch, job, total); }, scratch);
                 });
    pass.backward();
  }

  // Each thread takes groups of blocks through the network, block by block.
  void run_by_block(const Batch& batch, double total) {
    const Groups groups(batch.blocks);
    workers_.run_with_thread(groups.count(), [&](int64_t group, float* scratch, int thread) {
      const Network::Place& place = network_.places()[static_cast<size_t>(thread)];
      for (int64_t block = groups.begin(group); block < groups.end(group); ++block) {
        Gather(images_, augmentation_, place.input).run_block(batch, block, scratch);
        for (const auto& layer : place.layers) layer->forward_block(batch, block, scratch);
        run_loss(place, batch, block, total);
        for (size_t i = place.layers.size(); i-- > 0;) {
          place.layers[i]->backward_block(batch, block, scratch);
          place.layers[i]->learn_block(batch, block, scratch);
        }
      }
    });
    Pass(network_.places()[0], batch, workers_).finish_blocks();
  }

  void run_loss(const Network::Place& place, const Batch& batch, int64_t block,
                double total) const {
    const Loss loss(place.logits, place.logits_gradient, network_.logits_are_cut());
    loss.run(block, batch.lanes_of(block), images_.labels, batch.indices, settings_.class_weights,
             settings_.label_smoothing, total, losses_.data(), hits_.data());
  }

  // Returns the batch's mean loss and counts correct predictions.
  float take_losses(int64_t images, double total) {
    double sum = 0;
    for (int64_t image = 0; image < images; ++image) {
      sum += static_cast<double>(losses_[image]);
      *stretch_.correct += hits_[image];
    }
    return static_cast<float>(sum / total);
  }

  // Pascanu, Mikolov and Bengio, arXiv:1211.5063, as in torch.nn.utils.clip_grad_norm_.
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
    // Written so that a NaN norm makes every gradient NaN.
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
  const TenfoldAugmentation* const augmentation_;
  const Array<float> losses_;
  const Array<int32_t> hits_;
  std::vector<Array<float>> kept_;  // gradients to be clipped
  std::vector<float*> kept_addresses_;
  std::unique_ptr<std::atomic<uint32_t>[]> largest_;
  Workers workers_;
};

inline void predict(const Network& network, const TenfoldTensor* tensors,
                    const TenfoldImages& images, int threads, float* logits) {
  Workers workers(threads_for(network, threads), network.scratch_size());
  std::vector<int64_t> indices(static_cast<size_t>(std::min(network.batch_size(), images.count)));
  for (int64_t begin = 0; begin < images.count; begin += network.batch_size()) {
    Batch batch{};
    batch.images = std::min(network.batch_size(), images.count - begin);
    batch.blocks = (batch.images + kLanes - 1) / kLanes;
    batch.tensors = tensors;
    batch.indices = indices.data();
    for (int64_t i = 0; i < batch.images; ++i) indices[static_cast<size_t>(i)] = begin + i;
    const auto write = [&](const FeatureMap& map, int64_t block) {
      const int64_t classes = map.shape.channels;
      float* out = logits + (begin + block * kLanes) * classes;
      for (int64_t lane = 0; lane < batch.lanes_of(block); ++lane) {
        for (int64_t k = 0; k < classes; ++k) out[lane * classes + k] = map.at(block, k)[lane];
      }
    };
    if (network.by_block()) {
      workers.run_with_thread(batch.blocks, [&](int64_t block, float* scratch, int thread) {
        const Network::Place& place = network.places()[static_cast<size_t>(thread)];
        Gather(images, nullptr, place.input).run_block(batch, block, scratch);
        for (const auto& layer : place.layers) layer->forward_block(batch, block, scratch);
        write(place.logits, block);
      });
    } else {
      const Network::Place& place = network.places()[0];
      const Gather gather(images, nullptr, place.input);
      workers.run(gather.jobs(batch.blocks),
                  [&](int64_t job, float* scratch) { gather.run(batch, job, scratch); });
      Pass(place, batch, workers).forward();
      for (int64_t block = 0; block < batch.blocks; ++block) write(place.logits, block);
    }
  }
}

}  // namespace tenfold
