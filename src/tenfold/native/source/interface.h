// The interface for Python: plain C, arrays passed by address, no state outside a network.
//
// ../structures.py mirrors the structures field by field. Arrays have PyTorch's layout and may be
// in its memory: images are N,C,H,W bytes; weights are float32 as in `state_dict`, updated in
// place. No function keeps an address after it returns.
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

// A layer of the flat list (see models/layers.py). Fields that an operation does not use are 0, or
// -1 if they name a tensor.
struct TenfoldLayer {
  int32_t operation;
  int32_t input;      // index in the list, -1 for the images
  int32_t other;      // second input of an addition
  int32_t outputs;    // channels of a convolution, features of a linear layer
  int32_t kernel[2];  // height, width, like the next two
  int32_t stride[2];
  int32_t padding[2];
  int32_t transposed;  // linear: weight is inputs x outputs
  int32_t weight;      // indices of tensors
  int32_t bias;
  int32_t running_mean;
  int32_t running_var;
  double p;    // of dropout
  double eps;  // of batch normalization, like the next
  double momentum;
};

// A tensor of the network and its training state.
struct TenfoldTensor {
  float* value;
  float* moment1;   // SGD's momentum buffer or Adam's first moment, or null
  float* moment2;   // Adam's second moment, or null
  float* average;   // moving average, or null
  int64_t size;     // elements in each of these
  int32_t trained;  // 0: not updated
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
  double clip_norm;            // 0: no clipping
  double average_decay;        // 0: no moving average
  const float* class_weights;  // one per class, or null
};

struct TenfoldImages {
  const uint8_t* pixels;  // count x channels x height x width
  const int64_t* labels;  // 0..classes-1; null for prediction
  int64_t count;
  const float* mean;  // one per channel, for pixels in 0..1; null for no such normalization
  const float* deviation;
  int32_t by_image;  // 1: each image is normalized by its own mean and deviation
};

// How an image changes: see `Changes` in training/augment.py.
struct TenfoldChanges {
  int64_t along;
  int64_t across;
  int64_t row;
  int64_t column;
  int64_t gain;
  int64_t offset;
  int64_t crop_row;
  int64_t crop_column;
  int64_t mirrored;
  int64_t hole_row;
  int64_t hole_column;
};

struct TenfoldAugmentation {
  const TenfoldChanges* changes;  // one for each image in the stretch's order
  int32_t warps;                  // 0: `along` to `column` are not used
  int32_t recolors;               // 0: `gain` and `offset` are not used
  int32_t crop_padding;
  int32_t cutout;  // side of the black square; 0 for none
};

// Consecutive steps, one per learning rate.
struct TenfoldStretch {
  const int64_t* order;          // image indices, batch after batch
  int64_t images;                // length of the order; the last batch may be smaller
  const double* learning_rates;  // one per batch
  int64_t batches;
  int64_t step;            // steps taken before
  int64_t optimizer_step;  // steps that the optimizer has counted before
  uint64_t dropout_seed;
  int32_t threads;
  float* losses;             // out: mean loss of each batch
  int64_t* correct;          // out: correct predictions in all batches
  float* largest_gradients;  // out: max |gradient| in the last step, one per tensor; or null
};

typedef struct TenfoldNetwork TenfoldNetwork;

enum TenfoldResult : int32_t { TENFOLD_DONE = 0, TENFOLD_OUT_OF_MEMORY = 1, TENFOLD_INVALID = 2 };

// 1 if this processor can run this library. Only this function is safe to call on any processor.
TENFOLD_EXPORT int32_t tenfold_runs_here(void);

// Hexadecimal digest of the sources that this library was built from.
TENFOLD_EXPORT const char* tenfold_source_digest(void);

// A network for batches of at most `batch_size` images, or null if there is not enough memory or
// the list is invalid. `shape` is channels, height and width of an image. `threads` is the expected
// number of threads; it affects the memory layout but not the results.
TENFOLD_EXPORT TenfoldNetwork* tenfold_network_new(const TenfoldLayer* layers, int32_t count,
                                                   const int32_t shape[3], int64_t batch_size,
                                                   int32_t for_training, int32_t threads);
TENFOLD_EXPORT void tenfold_network_free(TenfoldNetwork* network);

// Takes the steps in `stretch`. `augmentation` may be null.
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
