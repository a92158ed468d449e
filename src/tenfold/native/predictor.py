"""Logits of any number of images, computed by compiled kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from tenfold.models.layers import Layer
from tenfold.native.network import IMAGES_PER_BLOCK, CompiledNetwork, usable_kernels
from tenfold.native.records import Normalization


class Predictor:
    """Computes a network's logits in evaluation mode, with the weights given to each call.

    It keeps the compiled network of the last call, which the next one uses if it is large enough.

    Args:
        layers: a valid `Network` that gives one number per class.

    Attributes:
        layers: the same.
        instruction_set: what the kernels were compiled for.

    Raises:
        NotNativeError: no kernels are available.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.instruction_set = usable_kernels().instruction_set
        self.layers = tuple(layers)
        self._network: CompiledNetwork | None = None

    def __call__(
        self,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        *,
        batch_size: int,
        threads: int,
        normalization: Normalization = None,
    ) -> Float32[np.ndarray, "n classes"]:
        """The logits, which depend neither on the batch size nor on the number of threads.

        Args:
            weights: see `CompiledNetwork.predict`.
            images: raw pixels, uint8, n x channels x height x width, contiguous.
            batch_size: images at once; raised to one block per thread, which costs no more.
            threads: CPU threads, 1..1024.
            normalization: see `Normalization`.

        Raises:
            UsageError: see `CompiledNetwork.predict`.
            MemoryError: not enough memory.
        """
        at_once = max(1, min(max(batch_size, IMAGES_PER_BLOCK * threads), len(images)))
        network = self._network_for(images.shape[1:], at_once, threads)
        return network.predict(weights, images, normalization=normalization)

    def _network_for(self, shape: Sequence[int], batch_size: int, threads: int) -> CompiledNetwork:
        last, wanted = self._network, (tuple(shape), threads)
        if (
            last is not None
            and (last.input_shape, last.threads) == wanted
            and (last.batch_size >= batch_size)
        ):
            return last
        network = CompiledNetwork(self.layers, shape, batch_size, threads=threads)
        self._network = network  # which another thread may replace at once
        return network
