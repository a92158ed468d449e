"""What the last layer of a network tells the classes apart by, and which images are alike in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.classifier import Classifier, images_at_once, normalization_of
from tenfold.evaluation.threads import run_threads
from tenfold.listening import Listener
from tenfold.models.layers import Linear
from tenfold.native.predictor import Predictor
from tenfold.native.records import tensor_shapes
from tenfold.types import PixelArray

if TYPE_CHECKING:
    from torch import Tensor

    from tenfold.models.image_model import ImageModel
else:
    ImageModel = Tensor = Any

Features = Float32[np.ndarray, "n features"]


def feature_function(classifier: Classifier) -> Callable[[PixelArray], Features]:
    """What computes the input of the network's last linear layer, for images in the model's shape.

    Compiled kernels do, if they compute the model and it has weights before that layer. The input
    of a network that is only this layer is the normalized pixels.
    """
    bundle = classifier.bundle
    layers = bundle.header.layers
    if layers is None or not classifier.uses_kernels:
        return _by_pytorch(classifier.module)
    last = [layer for layer in layers if isinstance(layer, Linear)][-1]
    before = layers[: last.input + 1]
    names = tensor_shapes(before)
    if not names:  # the kernels compute no network without weights
        return _by_pytorch(bundle.module())
    predict, normalization = Predictor(before), normalization_of(bundle.header.preprocessing)
    weights = {name: bundle.weights[name].array() for name in names}

    def compute(pixels: PixelArray) -> Features:
        found = predict(
            weights,
            pixels,
            batch_size=images_at_once(pixels.shape[1:]),
            threads=run_threads(),
            normalization=normalization,
        )
        return found.reshape(len(pixels), -1)

    return compute


def _by_pytorch(module: ImageModel) -> Callable[[PixelArray], Features]:
    import torch

    linear = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    last = linear[-1] if linear else module.network  # which is written out, as from scratch
    device = next(module.parameters()).device

    def compute(pixels: PixelArray) -> Features:
        seen: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            with torch.inference_mode():
                module(torch.from_numpy(pixels).to(device))
        finally:
            handle.remove()
        found: np.ndarray = seen[-1].detach().flatten(1).float().cpu().numpy()
        return found

    return compute


def nearest_images(
    classifier: Classifier,
    pixels: PixelArray,
    dataset: ImageDataset,
    k: int,
    listener: Listener | None = None,
) -> list[tuple[int, float]]:
    """The images of a data set whose last features are most like those of an image.

    Args:
        classifier: the model.
        pixels: one image, n = 1, in the model's shape.
        dataset: images in the model's shape.
        k: how many of them, at most.
        listener: gets the progress.

    Returns:
        Their indices, and the cosine of the angle between their features and the image's, -1..1;
        the most alike first.
    """
    compute, listener = feature_function(classifier), listener or Listener()
    wanted = _unit(compute(pixels))[0]
    likeness = np.empty(len(dataset), np.float32)
    at_once = images_at_once(dataset.image_shape)
    for start in range(0, len(dataset), at_once):
        listener.reading("comparing images", start, len(dataset))
        part = slice(start, start + at_once)
        likeness[part] = _unit(compute(dataset.image_array[part])) @ wanted
    listener.reading("comparing images", len(dataset), len(dataset))
    order = np.argsort(-likeness, kind="stable")[:k]
    return list(zip(order.tolist(), likeness[order].tolist(), strict=True))


def _unit(features: Features) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: np.ndarray = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found
