"""Compute a model's logits with compiled kernels if they support the model, else with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import NotNativeError
from tenfold.evaluation.flushing import flushing_logits
from tenfold.evaluation.passes import predict_logits
from tenfold.evaluation.threads import run_threads
from tenfold.models.calls import NotAListError
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Layer
from tenfold.models.preprocessing import Preprocessing
from tenfold.models.snapshot import Snapshot
from tenfold.models.tracing import more_than_its_code, require_layer_list
from tenfold.native.network import usable_kernels
from tenfold.native.predictor import Predictor
from tenfold.native.records import BY_IMAGE, ChannelNormalization, Normalization, tensor_shapes
from tenfold.tensors import Images, Logits

Predict = Callable[[Images, int], Logits]
"""From raw images and a batch size to the logits of a model in its current state."""

NETWORK = "network."
"""Prefix of the network's tensor names in an `ImageModel`."""


def predictor(
    model: nn.Module,
    image_shape: Sequence[int],
    *,
    use_kernels: bool = True,
    flush_denormals: bool = False,
) -> Predict:
    """A function that computes a model's logits with compiled kernels if possible, else PyTorch.

    It switches to PyTorch if the model changes into one that the kernels do not support.

    Args:
        model: raw uint8 images to logits.
        image_shape: channels, height, width.
        use_kernels: if False, always use PyTorch.
        flush_denormals: whether PyTorch flushes them to zero, as it does on a CPU in a run.
    """
    compiled: CompiledModel | None = None
    if use_kernels:
        with suppress(NotNativeError):
            compiled = CompiledModel(model, image_shape)
    by_pytorch = partial(flushing_logits, model) if flush_denormals else torch_predictor(model)

    def predict(images: Images, batch_size: int) -> Logits:
        nonlocal compiled
        if compiled is not None:
            try:
                return compiled.logits(images, batch_size)
            except NotNativeError:
                compiled = None
        return by_pytorch(images, batch_size)

    return predict


def torch_predictor(model: nn.Module) -> Predict:
    """A function that computes a model's logits with PyTorch."""

    def predict(images: Images, batch_size: int) -> Logits:
        return predict_logits(model, images, batch_size=batch_size)

    return predict


class CompiledModel:
    """A model that compiled kernels compute directly on the model's own tensors.

    The values in its tensors may change; its layers may not.

    Args:
        model: an `ImageModel` on the CPU.
        image_shape: channels, height, width of its images.
        layers: the network's layers, which must accept such images; None to find them.

    Attributes:
        model: see above.
        layers: the network's layers.
        instruction_set: what the kernels were compiled for.

    Raises:
        NotNativeError: the kernels do not support the model, or no kernels are available.
    """

    def __init__(
        self,
        model: nn.Module,
        image_shape: Sequence[int],
        layers: Sequence[Layer] | None = None,
    ) -> None:
        usable_kernels()  # otherwise, that is the first thing to say
        self.model = _known(model)
        found = _layers_of(self.model.network, image_shape) if layers is None else layers
        self._predict = Predictor(found)
        self.layers, self.instruction_set = self._predict.layers, self._predict.instruction_set
        self._image_shape, self._snapshot = tuple(image_shape), Snapshot(model)
        self._names = tuple(tensor_shapes(self.layers))
        self.arrays(model.state_dict())

    def arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Arrays for the kernels that share the tensors' memory, by their names in the layers.

        Args:
            tensors: by their names in the model, as in its `state_dict()`.

        Raises:
            NotNativeError: a tensor is not contiguous float32 on the CPU.
        """
        return {name: array_over(name, tensors[f"{NETWORK}{name}"]) for name in self._names}

    def require_same_layers(self) -> None:
        """Refuse the model if its structure has changed.

        Raises:
            NotNativeError: its layers have changed, or the kernels no longer support it.
        """
        if self._snapshot.is_up_to_date():
            return
        _known(self.model)
        if _layers_of(self.model.network, self._image_shape) != self.layers:
            raise NotNativeError("the model's layers changed after it was compiled")
        self._snapshot = Snapshot(self.model)

    @property
    def normalization(self) -> Normalization:
        """The normalization that the model's preprocessing applies after scaling to 0..1."""
        mean, std = self.model.preprocessing.mean, self.model.preprocessing.std
        if self.model.preprocessing.by_image:
            return BY_IMAGE
        if not len(mean.flatten()):
            return None
        return ChannelNormalization(mean.flatten().numpy(), std.flatten().numpy())

    def logits(
        self, images: Images, batch_size: int, tensors: Mapping[str, Tensor] | None = None
    ) -> Logits:
        """The logits of raw images in evaluation mode; they do not depend on the batch size.

        Args:
            images: on any device.
            batch_size: images at once; raised to one block per thread, which costs no more.
            tensors: used instead of the model's own, by the same names.

        Raises:
            NotNativeError: a layer or tensor has changed since the model was compiled, or the model
                now has hooks.
        """
        self.require_same_layers()
        weights = self.arrays(self.model.state_dict() if tensors is None else tensors)
        logits = self._predict(
            weights,
            images.cpu().contiguous().numpy(),
            batch_size=batch_size,
            threads=run_threads(),
            normalization=self.normalization,
        )
        return torch.from_numpy(logits)


def _known(model: nn.Module) -> ImageModel:
    """The model, if it is an `ImageModel` that does only what its code says."""
    _require_cpu("the model", next(model.parameters(), torch.empty(0)))
    if type(model) is not ImageModel or type(model.preprocessing) is not Preprocessing:
        raise NotNativeError(f"the model is of class {type(model).__name__}, not an ImageModel")
    more = more_than_its_code(model)
    if more:
        raise NotNativeError(f"the model does more than its layers: {more}")
    return model


def _layers_of(network: nn.Module, image_shape: Sequence[int]) -> tuple[Layer, ...]:
    """The network's layers.

    Raises:
        NotNativeError: it is not a list of layers; says which part is to blame.
    """
    try:
        return require_layer_list(network, image_shape)
    except NotAListError as error:
        blamed = f": {error}" if str(error) else ""
        raise NotNativeError(
            f"the network is not a list of layers that the kernels support{blamed}"
        ) from error


def array_over(name: str, tensor: Tensor) -> np.ndarray:
    """An array that shares the tensor's memory.

    Raises:
        NotNativeError: the tensor is not contiguous float32 on the CPU.
    """
    _require_cpu(name, tensor)
    if tensor.dtype != torch.float32 or not tensor.is_contiguous():
        raise NotNativeError(
            f"{name} is {tensor.dtype} with strides {list(tensor.stride())}, "
            "wanted contiguous torch.float32"
        )
    array: np.ndarray = tensor.detach().numpy()
    return array


def _require_cpu(name: str, tensor: Tensor) -> None:
    if tensor.device.type != "cpu":
        raise NotNativeError(f"{name} is on {tensor.device}, wanted the CPU")
