"""Training of the last layer alone, on features that the rest of the network computes once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import StorageError, UsageError
from tenfold.evaluation.flushing import FlushingThread
from tenfold.evaluation.passes import evaluation_mode
from tenfold.listening import Listener
from tenfold.tensors import Images, Logits
from tenfold.training.engine import Augment, StepSettings
from tenfold.training.feature_cache import LARGEST_CACHE, load_features, store_features
from tenfold.training.state import TrainingState
from tenfold.training.torch_engine import TorchEngine

Features = Float[Tensor, "n features"]
"""What the last layer reads."""


AT_ONCE = 128
"""Images whose features are computed at a time; PyTorch is about twice as fast as with 1,024.

With another number, features may differ in their last bits.
"""


TOGETHER = 16 * AT_ONCE
"""Images whose features are stored together; as many are lost if computing them is interrupted."""


class _Progress:
    """Stores features, and tells a listener of the progress."""

    def __init__(self, listener: Listener, total: int) -> None:
        self._listener, self._total, self._done = listener, total, 0
        self._is_told, self._is_stored = False, True

    def computing(self) -> None:
        if not self._is_told:
            self._listener.note("computing the features of images")
            self._is_told = True

    def store(self, digest: str, features: Features) -> None:
        """Store features, unless that has failed or all of them would not fit."""
        if not self._is_stored:
            return
        try:
            if (needed := self._total * features[0].nbytes) > LARGEST_CACHE:
                raise StorageError(f"{needed:,} bytes are over the limit of {LARGEST_CACHE:,}")
            store_features(digest, features)
        except StorageError as error:
            self._is_stored = False
            self._listener.note(f"features are not kept in the cache: {error}")

    def done(self, n: int) -> None:
        self._done += n
        self._listener.reading("computing features", self._done, self._total)


class FrozenFeatures:
    """The features that a network's last layer reads, each computed once and then kept.

    They are stored on disk by a digest of the images, the network's other layers, and whatever else
    they depend on.

    Args:
        model: raw images to logits; its layers other than the last must not change any more once
            features have been computed.
        head: the name of the last layer in it, whose output the logits are.
        views: how many times the features of training images are computed, each time of images
            augmented in another way; 0 for once, of the images as they are.
        augment: augments images, which views are keyed by; None for no augmentation.
        key: all that features depend on besides the images, the weights, and these arguments.
    """

    def __init__(
        self,
        model: nn.Module,
        head: str,
        *,
        views: int = 0,
        augment: Augment | None = None,
        key: str = "",
    ) -> None:
        self.head: nn.Module = model.get_submodule(head)
        self._model, self._head_name, self.key = model, head, key
        self._augments: list[tuple[int, Augment] | None] = [None]
        if views and augment is not None:
            self._augments = [(view, augment) for view in range(views)]
        self._known: list[tuple[Images, Features]] = []
        self.views: list[Features] = []
        """Of the training images, once they have been computed."""

    def compute(self, train: Images, others: Sequence[Tensor], listener: Listener) -> None:
        """Compute all that training needs.

        Args:
            train: the training images.
            others: other images whose logits will be needed, not augmented.
            listener: gets the progress.
        """
        body = self._digest_of_body()
        progress = _Progress(listener, len(self._augments) * len(train) + sum(map(len, others)))
        self.views = [self._stored(train, body, augment, progress) for augment in self._augments]
        self._known = [(images, self._stored(images, body, None, progress)) for images in others]

    def of(self, images: Images) -> Features:
        """The features of images; looked up if those are a slice of what `compute` was given."""
        for whole, features in self._known:
            start, rest = divmod(images.data_ptr() - whole.data_ptr(), whole[0].nbytes)
            is_part = images.is_contiguous() and images.shape[1:] == whole.shape[1:] and not rest
            if is_part and 0 <= start <= len(whole) - len(images):
                return features[start : start + len(images)]
        return self._computed(images)

    def _stored(
        self,
        images: Images,
        body: str,
        augment: tuple[int, Augment] | None,
        progress: _Progress,
    ) -> Features:
        """The features of images; what is on the disk is taken from there, the rest stored."""
        device = next(self._model.parameters()).device
        parts = []
        with closing(FlushingThread()) if device.type == "cpu" else nullcontext() as thread:
            for indices in torch.split(torch.arange(len(images)), TOGETHER):
                some = images[indices[0] : indices[-1] + 1]
                view = None if augment is None else (augment[0], int(indices[0]))
                digest = hashlib.sha256(f"{self.key} {body} {view} {tuple(some.shape)} ".encode())
                digest.update(some.cpu().contiguous().numpy().data)
                features = load_features(digest.hexdigest(), len(some))
                if features is None:
                    progress.computing()
                    batches = []
                    for places in torch.split(indices, AT_ONCE):
                        batch = images[places[0] : places[-1] + 1]
                        if augment is not None:
                            batch = augment[1](batch, places, augment[0])
                        compute = self._computed
                        batches.append(compute(batch) if thread is None else thread(compute, batch))
                        progress.done(len(batch))
                    features = torch.cat(batches)
                    progress.store(digest.hexdigest(), features)
                else:
                    progress.done(len(some))
                parts.append(features.to(device))
        return torch.cat(parts)

    def _computed(self, images: Images) -> Features:
        """The features of a batch.

        Raises:
            UsageError: the logits are not the output of the last layer.
        """
        read: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        device = next(self._model.parameters()).device
        try:
            with evaluation_mode(self._model), torch.no_grad():
                logits = self._model(images.to(device))
        finally:
            hook.remove()
        with evaluation_mode(self.head), torch.no_grad():
            if not logits.isfinite().all():
                raise UsageError(
                    "the logits of some images are not finite, so its last layer cannot be trained",
                    remedy="start from other weights, or check how images are normalized",
                )
            if len(read) != 1 or read[0].ndim != 2 or not torch.equal(self.head(read[0]), logits):
                raise UsageError(
                    f"the logits are not what the last layer ({self._head_name}) computes, so it "
                    "cannot be trained alone",
                    remedy="leave freeze out",
                )
        return read[0]

    def _digest_of_body(self) -> str:
        """A digest of all weights but those of the last layer."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            if not name.startswith(f"{self._head_name}."):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


class FrozenEngine(TorchEngine):
    """Takes PyTorch steps of the last layer; all others stay as they are.

    Args:
        state: see `Engine`; its optimizer has the last layer's parameters only.
        data: see `Engine`.
        settings: see `Engine`; their augmentation is that of the features.
        features: of the training images and all whose logits will be wanted.
    """

    def __init__(
        self,
        state: TrainingState,
        data: ImageDataset,
        settings: StepSettings,
        *,
        features: FrozenFeatures,
    ) -> None:
        self._features = features
        if not features.views:
            features.compute(data.images, (), Listener())
        super().__init__(state, data, replace(settings, augment=None))

    def _parts(self) -> tuple[nn.Module, Tensor]:
        return self._features.head, self._features.views[0]

    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """See `Engine`."""
        super().begin_epoch(epoch, order)
        self._inputs = self._features.views[epoch % len(self._features.views)]

    def logits_as_it_is(self, images: Images, batch_size: int) -> Logits:
        """See `Engine`; up to rounding, the logits of the whole model."""
        parts = torch.split(images, batch_size)
        with evaluation_mode(self._trained), torch.inference_mode():
            return torch.cat([self._trained(self._features.of(part)) for part in parts])
