"""An engine that trains with compiled kernels, directly on the run's own state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ctypes import c_float
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError
from tenfold.evaluation.compiled import NETWORK, CompiledModel, array_over
from tenfold.evaluation.threads import run_threads
from tenfold.models.layers import BatchNorm2d, output_shapes, require_batches
from tenfold.models.tracing import has_gradient_hooks
from tenfold.native.network import CompiledNetwork
from tenfold.native.records import ImageChanges, TrainedTensor
from tenfold.native.structures import StepSettingsRecord
from tenfold.randomness import derive_seed
from tenfold.tensors import Images, Logits
from tenfold.training.acceleration import SINGLE, Acceleration
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.engine import Augment, Engine, StepSettings, Stretch
from tenfold.training.engine_table import NATIVE
from tenfold.training.native_optimizer import NativeOptimizer
from tenfold.training.state import TrainingState
from tenfold.types import ImageShape

_FOR_CHANGES = (
    "train a model that changes during training with PyTorch: --engine torch, or "
    "make_engine=TorchEngine in Python"
)


class NativeEngine(Engine):
    """The same steps as `TorchEngine`, taken by compiled kernels directly on the state's tensors.

    Results are bit-identical for any number of threads. Dropout masks are a function of (seed,
    layer, step, image, unit), so there is no generator state to restore. This class does not check
    the kernels against PyTorch; only `auto_engine` can notice a network that misleads `layer_list`.

    Args:
        state: see `Engine`.
        data: see `Engine`.
        settings: see `Engine`.
        compiled: the state's model, compiled; None to compile it here.

    Raises:
        NotNativeError: the kernels do not support these steps, or no kernels are available.
        UsageError: see `Engine`; or the last batch is too small for batch normalization.
    """

    name: ClassVar[str] = NATIVE
    version: ClassVar[int] = 2

    def __init__(
        self,
        state: TrainingState,
        data: ImageDataset,
        settings: StepSettings,
        compiled: CompiledModel | None = None,
    ) -> None:
        super().__init__(state, data, settings)
        self._compiled = compiled or CompiledModel(state.model, data.image_shape)
        assert self._compiled.model is state.model
        self._parameters = dict(state.model.named_parameters())
        self._optimizer = NativeOptimizer(state.optimizer, self._parameters)
        _require_plain_steps(settings.acceleration)
        layers, shape = self._compiled.layers, data.image_shape
        self._require_unchanged()
        if type(state.averaged) not in (type(None), AveragedWeights):
            kind = type(state.averaged).__name__
            raise NotNativeError(f"the average is {kind}, wanted AveragedWeights")
        self._augmentation = _known_augmentation(settings.augment)
        if output_shapes(layers, shape)[-1] != (len(data.classes),):
            raise NotNativeError("the network does not give one logit per class of the data")
        require_batches(layers, shape, len(data), settings.batch_size)
        _require_disjoint([*self._values().values(), *self._averages().values()])
        self._counts = [
            f"{NETWORK}{layer.num_batches_tracked}"
            for layer in layers
            if isinstance(layer, BatchNorm2d)
        ]
        self._network: CompiledNetwork | None = None
        self._epoch, self._order = 0, np.arange(0)

    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """See `Engine`.

        Raises:
            NotNativeError: the model, its gradients or the optimizer have changed into something
                that the kernels do not support.
        """
        try:
            self._require_unchanged()
        except NotNativeError as error:
            raise NotNativeError(error.message, remedy=_FOR_CHANGES) from error
        self._epoch, self._order = epoch, order.contiguous().numpy()
        self.state.model.train()
        if self._network is None:
            self._network = CompiledNetwork(
                self._compiled.layers,
                self.data.image_shape,
                min(self.settings.batch_size, len(self.data)),
                training=True,
                threads=run_threads(),
            )

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """See `Engine`."""
        assert self._network is not None, "an epoch has begun"
        size, count = self.settings.batch_size, len(learning_rates)
        chosen = self._order[first * size : (first + count) * size]
        augment, shape = self._augmentation, self.data.image_shape
        taken = self._network.train(
            self._tensors(),
            self.data.image_array,
            self.data.label_array,
            chosen,
            learning_rates,
            settings=self._settings(),
            augmentation=image_changes(augment, chosen, self._epoch, shape),
            normalization=self._compiled.normalization,
            step=self.state.step,
            optimizer_step=self._optimizer.steps,
            dropout_seed=derive_seed(self.settings.seed, "dropout"),
        )
        self._optimizer.count(learning_rates)
        self._count_batches(count)
        norms = self._for_matrices(taken.largest_gradients) if gradient_norms else None
        return Stretch(torch.from_numpy(taken.losses), torch.tensor(taken.correct), norms)

    def logits(self, images: Images, batch_size: int) -> Logits:
        """See `Engine`."""
        averaged = self.state.averaged
        tensors = None if averaged is None else averaged.tensors
        return self._compiled.logits(images, batch_size, tensors)

    def close(self) -> None:
        """See `Engine`."""
        if self._network is not None:
            self._network.close()

    def _require_unchanged(self) -> None:
        self._compiled.require_same_layers()
        now = dict(self.state.model.named_parameters())
        if any(now.get(name) is not each for name, each in self._parameters.items()):
            raise NotNativeError("a parameter of the model was replaced")
        _require_plain_gradients(self._parameters)
        self._optimizer.require_known()

    def _values(self) -> dict[str, np.ndarray]:
        return self._compiled.arrays(self.state.model.state_dict())

    def _averages(self) -> dict[str, np.ndarray]:
        averaged = self.state.averaged
        return {} if averaged is None else self._compiled.arrays(averaged.tensors)

    def _tensors(self) -> dict[str, TrainedTensor]:
        """The tensors that the kernels update, by their names in the layers."""
        averages = self._averages()
        tensors = {}
        for name, value in self._values().items():
            parameter = self._parameters.get(f"{NETWORK}{name}")  # None for a running statistic
            moments = [] if parameter is None else self._optimizer.moments(parameter)
            tensors[name] = TrainedTensor(
                value,
                [array_over(f"a moment of {name}", moment) for moment in moments],
                average=averages.get(name),
                is_trained=parameter is not None and parameter.requires_grad,
            )
        return tensors

    def _settings(self) -> StepSettingsRecord:
        settings, averaged, record = self.settings, self.state.averaged, self._optimizer.record()
        record.label_smoothing, record.clip_norm = settings.label_smoothing, settings.clip_norm
        record.average_decay = 0.0 if averaged is None else averaged.decay
        if settings.class_weights is not None:
            weights = settings.class_weights
            record.class_weights = (c_float * len(weights))(*weights)
        return record

    def _count_batches(self, batches: int) -> None:
        """Update `num_batches_tracked` of batch normalization, as PyTorch does."""
        tensors, averaged = self.state.model.state_dict(), self.state.averaged
        for name in self._counts:
            tensors[name] += batches
            if averaged is not None:
                averaged.tensors[name].copy_(tensors[name])

    def _for_matrices(self, gradients: Mapping[str, float]) -> dict[str, float]:
        """The entries of weight matrices and convolution kernels, by parameter name."""
        return {
            name: gradients[name.removeprefix(NETWORK)]
            for name, parameter in self._parameters.items()
            if parameter.ndim > 1 and parameter.requires_grad
        }


def _require_plain_gradients(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse gradients that something besides the network and the optimizer changes."""
    for name, parameter in parameters.items():
        if has_gradient_hooks(parameter):
            raise NotNativeError(f"the gradient of {name} has hooks")
    if torch.is_autocast_enabled("cpu"):
        raise NotNativeError("mixed precision (autocast) is enabled in PyTorch")


def _require_plain_steps(acceleration: Acceleration) -> None:
    """Refuse what only PyTorch can do; the kernels have their own memory layout."""
    reasons = []
    if acceleration.precision != SINGLE:
        reasons.append(f"the precision is {acceleration.precision}, wanted {SINGLE}")
    if acceleration.compiled:
        reasons.append("the model is to be compiled by torch.compile")
    if reasons:
        raise NotNativeError("; ".join(reasons))


def _known_augmentation(augment: Augment | None) -> Augmentation | None:
    """The augmentation, if the kernels support it.

    Raises:
        NotNativeError: they do not.
    """
    if augment is None:
        return None
    if type(augment) is not Augmentation:
        kind = getattr(augment, "__name__", type(augment).__name__)
        raise NotNativeError(f"the images are augmented by {kind}, not by tenfold's Augmentation")
    return augment


def _require_disjoint(arrays: Iterable[np.ndarray]) -> None:
    """Refuse arrays that overlap in memory: updating one would change the other."""
    spans = sorted((array.ctypes.data, array.nbytes) for array in arrays)
    if any(start + size > following for (start, size), (following, _) in pairwise(spans)):
        raise NotNativeError("two tensors of the model, or of its average, share memory")


def image_changes(
    augment: Augmentation | None, indices: np.ndarray, epoch: int, shape: ImageShape
) -> ImageChanges | None:
    """How images change in an epoch, for the kernels.

    Args:
        augment: None for no augmentation.
        indices: of the images in the data set, int64.
        epoch: counted from 0.
        shape: of one image.
    """
    if augment is None:
        return None
    changes = augment.changes(torch.from_numpy(indices), epoch, shape.height, shape.width)
    return ImageChanges(
        torch.stack(changes, dim=1).numpy(),
        warps=augment.warps,
        recolors=augment.recolors,
        crop_padding=augment.crop_padding,
        cutout=augment.cutout,
    )
