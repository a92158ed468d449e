// The C interface. Includes everything else, so that the compiler sees a single unit.
#include <new>

#include "arguments.h"
#include "interface.h"
#include "step.h"

struct TenfoldNetwork {
  tenfold::Network network;
};

namespace {

// Runs `work` and turns exceptions into a result code.
template <typename Function>
int32_t result_of(const Function& work) {
  try {
    work();
    return TENFOLD_DONE;
  } catch (const std::bad_alloc&) {
    return TENFOLD_OUT_OF_MEMORY;
  } catch (...) {
    return TENFOLD_INVALID;
  }
}

}  // namespace

TenfoldNetwork* tenfold_network_new(const TenfoldLayer* layers, int32_t count,
                                    const int32_t shape[3], int64_t batch_size,
                                    int32_t for_training, int32_t threads) {
  TenfoldNetwork* network = nullptr;
  result_of([&] {
    network = new TenfoldNetwork{
        tenfold::Network(layers, count, shape, batch_size, for_training != 0, threads)};
  });
  return network;
}

void tenfold_network_free(TenfoldNetwork* network) { delete network; }

int32_t tenfold_train(TenfoldNetwork* network, const TenfoldTensor* tensors, int32_t tensor_count,
                      const TenfoldImages* images, const TenfoldStepSettings* settings,
                      const TenfoldAugmentation* augmentation, const TenfoldStretch* stretch) {
  return result_of([&] {
    tenfold::require(network->network.for_training(), "a network created for training");
    tenfold::require(tenfold::tensors_fit(network->network, tensors, tensor_count) &&
                         tenfold::optimizer_state_fits(tensors, tensor_count, *settings),
                     "the network's tensors");
    tenfold::require(
        tenfold::images_fit(*images) && tenfold::stretch_fits(network->network, *images, *stretch),
        "valid images and labels");
    tenfold::require(tenfold::augmentation_fits(augmentation), "valid changes of images");
    const tenfold::PlainArithmetic plain;
    tenfold::Training(network->network, tensors, tensor_count, *images, *settings, augmentation,
                      *stretch)
        .run();
  });
}

int32_t tenfold_predict(TenfoldNetwork* network, const TenfoldTensor* tensors, int32_t tensor_count,
                        const TenfoldImages* images, int32_t threads, float* logits) {
  return result_of([&] {
    tenfold::require(tenfold::tensors_fit(network->network, tensors, tensor_count),
                     "the network's tensors");
    tenfold::require(tenfold::images_fit(*images) && threads > 0, "valid images and threads");
    const tenfold::PlainArithmetic plain;
    tenfold::predict(network->network, tensors, *images, threads, logits);
  });
}
