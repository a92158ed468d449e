"""What gives a model's logits: compiled kernels where they can compute the model, else PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import NotNativeError
from tenfold.evaluation.passes import predict_logits
from tenfold.models.calls import NotAListError
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Layer
from tenfold.models.preprocessing import Preprocessing
from tenfold.models.snapshot import Snapshot
from tenfold.models.tracing import more_than_its_code, require_layer_list
from tenfold.native.network import IMAGES_OF_A_BLOCK, CompiledNetwork, usable_kernels
from tenfold.native.records import Normalization, tensor_shapes
from tenfold.tensors import Images, Logits

Predict = Callable[[Images, int], Logits]
"""From raw images, and how many of them at once, to the logits of a model as it stands."""

NETWORK = "network."
"""What the names of a network's tensors begin with in its `ImageModel`."""


def predictor(model: nn.Module, image_shape: Sequence[int], *, use_kernels: bool = True) -> Predict:
    """What gives the logits of a model: compiled kernels where they can, else PyTorch.

    Once the model is changed to what they cannot compute, it is PyTorch.

    Args:
        model: raw uint8 images to logits.
        image_shape: of an image: channels, height, width.
        use_kernels: otherwise it is always PyTorch.
    """
    compiled: CompiledModel | None = None
    if use_kernels:
        with suppress(NotNativeError):
            compiled = CompiledModel(model, image_shape)
    by_pytorch = torch_predictor(model)

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
    """What gives the logits of a model by PyTorch."""

    def predict(images: Images, batch_size: int) -> Logits:
        return predict_logits(model, images, batch_size=batch_size)

    return predict


class CompiledModel:
    """A model that compiled kernels can compute, in the memory of the model's own tensors.

    The numbers in its tensors may change; its layers may not.

    Args:
        model: an `ImageModel` on the CPU.
        image_shape: of its images: channels, height, width.
        layers: its network's, which accept such images; None to look for them.

    Attributes:
        model: see above.
        layers: its network's.
        instruction_set: of the kernels.

    Raises:
        NotNativeError: the kernels cannot compute it, or there are none here.
    """

    def __init__(
        self,
        model: nn.Module,
        image_shape: Sequence[int],
        layers: Sequence[Layer] | None = None,
    ) -> None:
        self.instruction_set = usable_kernels().instruction_set
        self.model = _known(model)
        found = _layers_of(self.model.network, image_shape) if layers is None else layers
        self.layers = tuple(found)
        self._image_shape, self._snapshot = tuple(image_shape), Snapshot(model)
        self._names = tuple(tensor_shapes(self.layers))
        self._network: CompiledNetwork | None = None
        self.arrays(model.state_dict())

    def arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """What the kernels compute with, over the same memory, by the names in the layers.

        Args:
            tensors: by the names in the model, as its `state_dict()` has them.

        Raises:
            NotNativeError: one is on another device, or does not lie in one block of memory.
        """
        return {name: array_over(name, tensors[f"{NETWORK}{name}"]) for name in self._names}

    def require_same_layers(self) -> None:
        """Refuse a model that has been changed to another one.

        Raises:
            NotNativeError: it has other layers, or what the kernels cannot compute, by now.
        """
        if self._snapshot.is_up_to_date():
            return
        _known(self.model)
        if _layers_of(self.model.network, self._image_shape) != self.layers:
            raise NotNativeError("the model's layers were changed after it had been compiled")
        self._snapshot = Snapshot(self.model)

    @property
    def normalization(self) -> Normalization | None:
        """What the model's preprocessing does beyond bringing pixels to 0..1."""
        mean, std = self.model.preprocessing.mean, self.model.preprocessing.std
        if not len(mean.flatten()):
            return None
        return Normalization(mean.flatten().numpy(), std.flatten().numpy())

    def logits(
        self, images: Images, batch_size: int, tensors: Mapping[str, Tensor] | None = None
    ) -> Logits:
        """The logits of raw images in evaluation mode; batches make no difference to them.

        Args:
            images: on any device.
            batch_size: how many at once; at least a block for each thread, which costs no more.
            tensors: to be used in the place of the model's own, by the same names.

        Raises:
            NotNativeError: a layer or tensor is not what it was when the model was compiled, or
                the model has hooks by now.
        """
        self.require_same_layers()
        weights = self.arrays(self.model.state_dict() if tensors is None else tensors)
        pixels = images.cpu().contiguous().numpy()
        at_once = max(batch_size, IMAGES_OF_A_BLOCK * torch.get_num_threads())
        network = self._network_for(pixels.shape[1:], max(1, min(at_once, len(pixels))))
        return torch.from_numpy(network.predict(weights, pixels, normalization=self.normalization))

    def _network_for(self, shape: tuple[int, ...], batch_size: int) -> CompiledNetwork:
        """The one of the last call where it fits: most calls are of one kind."""
        wanted = (shape, batch_size, torch.get_num_threads())
        last = self._network
        if last is not None and (last.input_shape, last.batch_size, last.threads) == wanted:
            return last
        self._network = CompiledNetwork(self.layers, shape, batch_size, threads=wanted[2])
        return self._network


def _known(model: nn.Module) -> ImageModel:
    """The model, if it is an `ImageModel` that does no more than its code says."""
    _require_cpu("the model", next(model.parameters(), torch.empty(0)))
    if type(model) is not ImageModel or type(model.preprocessing) is not Preprocessing:
        raise NotNativeError(f"the model is of class {type(model).__name__}, not an ImageModel")
    more = more_than_its_code(model)
    if more:
        raise NotNativeError(f"the model does more than its layers: {more}")
    return model


def _layers_of(network: nn.Module, image_shape: Sequence[int]) -> tuple[Layer, ...]:
    """The network's list.

    Raises:
        NotNativeError: it is none, and what is to blame.
    """
    try:
        return require_layer_list(network, image_shape)
    except NotAListError as error:
        blamed = f": {error}" if str(error) else ""
        raise NotNativeError(
            f"the network is not a list of layers that the kernels know{blamed}"
        ) from error


def array_over(name: str, tensor: Tensor) -> np.ndarray:
    """An array over the memory of a tensor.

    Raises:
        NotNativeError: it is on another device, or does not lie in one block of memory.
    """
    _require_cpu(name, tensor)
    if tensor.dtype != torch.float32 or not tensor.is_contiguous():
        raise NotNativeError(
            f"{name} is {tensor.dtype} with strides {list(tensor.stride())}, "
            "wanted torch.float32, row after row"
        )
    array: np.ndarray = tensor.detach().numpy()
    return array


def _require_cpu(name: str, tensor: Tensor) -> None:
    if tensor.device.type != "cpu":
        raise NotNativeError(f"{name} is on {tensor.device}, wanted the CPU")
