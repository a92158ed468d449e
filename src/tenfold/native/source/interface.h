// What Python calls: plain C, arrays by address, nothing kept that is not in a network.
//
// Structures are mirrored field by field in ../structures.py. Numbers are in PyTorch's layout and
// in its memory: images are N,C,H,W bytes, weights float32 as `state_dict` has them, changed in
// place. No function keeps an address after it has returned.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define TENFOLD_EXPORT __declspec(dllexport)
#else
#define TENFOLD_EXPORT __attribute__((visibility("default")))
#endif

extern "C" {

enum TenfoldOperation : int32_t {
  TENFOLD_CONV2D = 0,
  TENFOLD_MAX_POOL2D = 1,
  TENFOLD_AVERAGE_POOL2D = 2,
  TENFOLD_GLOBAL_AVERAGE_POOL = 3,
  TENFOLD_RELU = 4,
  TENFOLD_FLATTEN = 5,
  TENFOLD_LINEAR = 6,
  TENFOLD_DROPOUT = 7,
  TENFOLD_BATCH_NORM2D = 8,
  TENFOLD_ADD = 9,
};

// A layer of the flat list (see models/layers.py). Fields that an operation has no use for are 0,
// or -1 where they name a tensor.
struct TenfoldLayer {
  int32_t operation;
  int32_t input;      // place in the list, -1 for the images
  int32_t other;      // second input of an addition
  int32_t outputs;    // channels of a convolution, features of a linear layer
  int32_t kernel[2];  // height, width; so are the next two
  int32_t stride[2];
  int32_t padding[2];
  int32_t transposed;  // linear: weight is inputs x outputs
  int32_t weight;      // places among the tensors
  int32_t bias;
  int32_t running_mean;
  int32_t running_var;
  double p;    // of dropout
  double eps;  // of batch normalization; so is the next
  double momentum;
};

// A tensor that the network has, and what training keeps beside it.
struct TenfoldTensor {
  float* value;
  float* moment1;   // momentum buffer of SGD, first moment of Adam; null where there is none
  float* moment2;   // second moment of Adam
  float* average;   // moving average; null where there is none
  int64_t size;     // numbers in each of these
  int32_t trained;  // 0: no gradient is taken
};

enum TenfoldOptimizer : int32_t { TENFOLD_SGD = 0, TENFOLD_ADAM = 1, TENFOLD_ADAMW = 2 };

struct TenfoldStepSettings {
  int32_t optimizer;
  int32_t nesterov;
  double momentum;
  double weight_decay;
  double beta1;
  double beta2;
  double epsilon;
  double label_smoothing;
  double clip_norm;            // 0 clips nothing
  double average_decay;        // 0 where no average is kept
  const float* class_weights;  // one for each class, or null
};

struct TenfoldImages {
  const uint8_t* pixels;  // count x channels x height x width
  const int64_t* labels;  // 0..classes-1; null for prediction
  int64_t count;
  const float* mean;  // one for each channel, of pixels in 0..1; null for no normalization
  const float* deviation;
};

struct TenfoldAugmentation {
  int32_t flip;
  int32_t crop_padding;
  int32_t cutout;
  uint64_t crop_rows_key;  // keys of the choices, one for each purpose and epoch
  uint64_t crop_columns_key;
  uint64_t flip_key;
  uint64_t cutout_rows_key;
  uint64_t cutout_columns_key;
};

// Steps in a row, one for each learning rate.
struct TenfoldStretch {
  const int64_t* order;          // which images, batch after batch
  int64_t images;                // how many in all; the last batch may be smaller
  const double* learning_rates;  // one for each batch
  int64_t batches;
  int64_t step;            // steps taken before
  int64_t optimizer_step;  // steps that the optimizer has counted before
  uint64_t dropout_seed;
  int32_t threads;
  float* losses;             // out: mean loss of each batch
  int64_t* correct;          // out: correct predictions in all of them
  float* largest_gradients;  // out: |gradient|'s maximum in the last step, one for each tensor; or
                             // null
};

typedef struct TenfoldNetwork TenfoldNetwork;

enum TenfoldResult : int32_t { TENFOLD_DONE = 0, TENFOLD_OUT_OF_MEMORY = 1, TENFOLD_INVALID = 2 };

// 1 if this processor can run this library; the only function that any processor can run.
TENFOLD_EXPORT int32_t tenfold_runs_here(void);

// The digest of the sources that this library was built from, in hexadecimal.
TENFOLD_EXPORT const char* tenfold_source_digest(void);

// A network for batches of at most `batch_size` images, or null where memory does not suffice or
// the list is not valid. `shape` is channels, height and width of an image; `threads` is how many
// are likely to work on it, which decides how memory is laid out, and no bit of the results.
TENFOLD_EXPORT TenfoldNetwork* tenfold_network_new(const TenfoldLayer* layers, int32_t count,
                                                   const int32_t shape[3], int64_t batch_size,
                                                   int32_t for_training, int32_t threads);
TENFOLD_EXPORT void tenfold_network_free(TenfoldNetwork* network);

// Takes the steps of a stretch. `augmentation` may be null.
TENFOLD_EXPORT int32_t tenfold_train(TenfoldNetwork* network, const TenfoldTensor* tensors,
                                     int32_t tensor_count, const TenfoldImages* images,
                                     const TenfoldStepSettings* settings,
                                     const TenfoldAugmentation* augmentation,
                                     const TenfoldStretch* stretch);

// Logits, count x classes, in evaluation mode.
TENFOLD_EXPORT int32_t tenfold_predict(TenfoldNetwork* network, const TenfoldTensor* tensors,
                                       int32_t tensor_count, const TenfoldImages* images,
                                       int32_t threads, float* logits);

}  // extern "C"
