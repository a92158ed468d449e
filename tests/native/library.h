// The library under test, and a training that it runs.
#pragma once

#include <string>
#include <vector>

#include "cases.h"
#include "fenced.h"
#include "interface.h"

struct Library {
  decltype(&tenfold_runs_here) runs_here = nullptr;
  decltype(&tenfold_source_digest) source_digest = nullptr;
  decltype(&tenfold_network_new) network_new = nullptr;
  decltype(&tenfold_network_free) network_free = nullptr;
  decltype(&tenfold_train) train = nullptr;
  decltype(&tenfold_predict) predict = nullptr;
};

// Opens a library or, with an empty path, uses the one that is linked in. Ends the program if there
// is none.
Library open_library(const std::string& path);

// A network that frees itself.
class LiveNetwork {
 public:
  // `threads`: expected number of threads, which must not affect the results.
  LiveNetwork(const Library& library, const reference::Network& network, int64_t batch_size,
              bool for_training, int32_t threads);
  LiveNetwork(LiveNetwork&& other) noexcept : library_(other.library_), handle_(other.handle_) {
    other.handle_ = nullptr;
  }
  LiveNetwork(const LiveNetwork&) = delete;
  LiveNetwork& operator=(const LiveNetwork&) = delete;
  LiveNetwork& operator=(LiveNetwork&&) = delete;
  ~LiveNetwork() {
    if (handle_ != nullptr) library_.network_free(handle_);
  }

  TenfoldNetwork* get() const { return handle_; }

 private:
  const Library& library_;
  TenfoldNetwork* handle_;
};

// The results of some steps.
struct Figures {
  std::vector<float> losses;
  int64_t correct = 0;
  std::vector<float> largest_gradients;  // of the last step
};

// Tensors in fenced memory, and steps on them.
class Training {
 public:
  Training(const Library& library, const Case& drawn);

  // The current tensors, and a way to restore earlier ones.
  std::vector<TensorNumbers> numbers() const;
  void set(const std::vector<TensorNumbers>& numbers);

  // Takes the steps of batches first..last-1; returns a TenfoldResult.
  int32_t advance(const LiveNetwork& network, int64_t first, int64_t last, int32_t threads,
                  Figures& figures);

  // Logits of the data set's first images.
  int32_t predict(const LiveNetwork& network, int64_t count, int32_t threads,
                  std::vector<float>& logits);

  // Where something was written out of bounds, or an empty text.
  std::string trespass() const;

 private:
  struct Arrays {
    Fenced<float> value, moment1, moment2, average;
  };

  std::vector<TenfoldTensor> records();
  TenfoldImages images(int64_t count) const;

  const Library& library_;
  const Case& drawn_;
  std::vector<Arrays> tensors_;
  Fenced<uint8_t> pixels_;
  Fenced<int64_t> labels_;
  Fenced<float> mean_, deviation_, class_weights_;
  std::string trespass_;
};

// Where the bits of two states of the tensors differ, or an empty text.
std::string difference(const std::vector<TensorNumbers>& wanted,
                       const std::vector<TensorNumbers>& found);
