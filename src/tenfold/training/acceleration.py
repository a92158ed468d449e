"""Ways to compute PyTorch's steps faster, mainly on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.evaluation.passes import predict_logits
from tenfold.tensors import Images, Labels
from tenfold.training.comparing import ATTEMPTS, TOLERANCE, StepResults, largest_difference
from tenfold.training.memory import is_out_of_memory

SINGLE = "float32"

MIXED_TOLERANCE = 0.05
"""As `TOLERANCE`, in bfloat16, which rounds to about three digits."""


@dataclass(frozen=True)
class Acceleration:
    """How the PyTorch engine computes a step; the defaults define what is right.

    Attributes:
        precision: `float32`, or `bfloat16` for automatic mixed precision: matrix products and
            convolutions in bfloat16, the weights and all else in float32. There is no float16,
            whose gradients would have to be scaled.
        channels_last: whether the values of a pixel, not those of a channel, are neighbors in
            memory, as tensor cores want them.
        compiled: whether `torch.compile` compiles the model.
    """

    precision: str = SINGLE
    channels_last: bool = False
    compiled: bool = False

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """A new context in which to compute the model and the loss."""
        if self.precision == SINGLE:
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def in_layout(self, images: Tensor) -> Tensor:
        """A batch in the wanted layout."""
        if not self.channels_last:
            return images
        return images.contiguous(memory_format=torch.channels_last)

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """The usual layout of the weights inside the block, as a model read from a file has it."""
        if not self.channels_last:
            yield
            return
        _set_layout(model, torch.contiguous_format)
        try:
            yield
        finally:
            _set_layout(model, torch.channels_last)

    def forward_of(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Callable[[Images], Tensor]:
        """What computes the model's logits; sets the layout of its weights and their moments.

        In another layout, an update is computed in another order and may round differently, and
        the moments of a checkpoint are in the usual one.
        """
        if self.channels_last:
            _set_layout(model, torch.channels_last)
            for moments in optimizer.state.values():
                for name, moment in moments.items():
                    if isinstance(moment, Tensor) and moment.ndim == 4:
                        moments[name] = moment.contiguous(memory_format=torch.channels_last)
        return _compiled(model) if self.compiled else model

    def require_possible(self, model: nn.Module, data: ImageDataset, batch_size: int) -> None:
        """Refuse what the device cannot do, and a compiled model that trains differently.

        Compares the loss and every gradient of a step without dropout, and the logits after it.

        Args:
            model: raw images to logits; left unchanged.
            data: the training images.
            batch_size: images per step.

        Raises:
            UsageError: it is not possible; says why.
        """
        device = next(model.parameters()).device
        if self.precision != SINGLE:
            _require_mixed_precision(device)
        if not self.compiled:
            return
        size = min(batch_size, len(data))
        difference, place = 0.0, ""
        for attempt in range(ATTEMPTS):
            batch = data.select((np.arange(size) * len(data) // size + attempt) % len(data))
            images, labels = batch.images.to(device), batch.labels.to(device)
            eager, other = _without_dropout(model), _without_dropout(model)
            wanted = self._step(eager, eager, images, labels)
            with _compiler_explained():
                found = self._step(other, _compiled(other), images, labels)
            difference, place = largest_difference(wanted, found)
            allowed = TOLERANCE if self.precision == SINGLE else MIXED_TOLERANCE
            if difference <= allowed:
                return
        raise UsageError(
            f"compiled by torch.compile, the model differs in {place}: relative difference "
            f"{difference:.1e}, wanted at most {allowed:.0e}",
            remedy=_WITHOUT,
        )

    def _step(
        self, model: nn.Module, compute: Callable[[Images], Tensor], images: Images, labels: Labels
    ) -> StepResults:
        """Loss, gradients, and the logits with the running statistics after that."""
        with self.context(images.device):
            logits = compute(self.in_layout(images))
            loss = nn.functional.cross_entropy(logits, labels)
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        return StepResults(
            loss.item(),
            {
                name: torch.zeros_like(each) if gradient is None else gradient
                for (name, each), gradient in zip(trained.items(), gradients, strict=True)
            },
            predict_logits(model, images),
        )


_WITHOUT = "choose --set compile=false"

PLAIN = Acceleration()
"""The plain step."""


def _compiled(model: nn.Module) -> Callable[[Images], Tensor]:
    # After models of eight kinds, PyTorch would compile no more of this class, and not say so.
    torch.compiler.reset()
    compiled: Callable[[Images], Tensor] = torch.compile(model, dynamic=False)
    return compiled


@contextmanager
def _compiler_explained() -> Iterator[None]:
    """Say in one line why the compiler failed inside the block."""
    try:
        yield
    except Exception as error:
        is_its_own = type(error).__module__.startswith("torch._")
        if isinstance(error, MemoryError | RuntimeError):
            is_its_own = not is_out_of_memory(error)
        if not is_its_own:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"torch.compile failed: {reason}", remedy=_WITHOUT) from error


def _require_mixed_precision(device: torch.device) -> None:
    """Refuse a device that cannot compute in bfloat16.

    Raises:
        UsageError: names the device.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        with torch.cuda.device(device):
            can = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        name, can = device.type, torch.amp.is_autocast_available(device.type)
        if can:
            with torch.autocast(device.type, torch.bfloat16):
                can = torch.is_autocast_enabled(device.type)
    if not can:
        raise UsageError(
            f"{name} cannot compute in bfloat16", remedy="choose --set precision=float32"
        )


def _set_layout(model: nn.Module, layout: torch.memory_format) -> None:
    model.to(memory_format=layout)  # type: ignore[call-overload]


def _without_dropout(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model).train()
    for module in copied.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return copied
