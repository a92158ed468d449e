"""Ways to compute PyTorch's steps faster, mainly on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.evaluation.passes import predict_logits
from tenfold.tensors import Images, Labels
from tenfold.training.comparing import TOLERANCE, StepResults, largest_difference

SINGLE, MIXED = "float32", "bfloat16"

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

    @property
    def is_on(self) -> bool:
        """Whether anything differs from the plain step."""
        return self != PLAIN

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """A new context in which to compute the model and the loss.

        Raises:
            UsageError: the device cannot compute in this precision.
        """
        if self.precision == SINGLE:
            return nullcontext()
        if device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise UsageError(
                f"{torch.cuda.get_device_name(device)} cannot compute in bfloat16",
                remedy="choose --set precision=float32",
            )
        return torch.autocast(device.type, torch.bfloat16)

    def in_layout(self, images: Tensor) -> Tensor:
        """A batch in the wanted layout."""
        if not self.channels_last:
            return images
        return images.contiguous(memory_format=torch.channels_last)

    def compiled_if_wanted(
        self, model: nn.Module, images: Images, labels: Labels
    ) -> Callable[[Images], Tensor]:
        """The model, or if wanted, the model compiled, once a batch agrees.

        Args:
            model: raw images to logits, in training mode; left unchanged.
            images: some images, on the model's device.
            labels: their labels.

        Raises:
            UsageError: it cannot be compiled, or would train differently.
        """
        if not self.compiled:
            return model
        self._require_agreement(model, images, labels)
        return _compiled(model)

    def _require_agreement(self, model: nn.Module, images: Images, labels: Labels) -> None:
        """Compare a step without dropout on copies of the model."""
        eager, other = _without_dropout(model), _without_dropout(model)
        wanted = self._step(eager, eager, images, labels)
        try:
            found = self._step(other, _compiled(other), images, labels)
        except Exception as error:
            if not type(error).__module__.startswith("torch._"):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"torch.compile failed: {reason}", remedy="choose --set compile=false"
            ) from error
        difference, place = largest_difference(wanted, found)
        allowed = TOLERANCE if self.precision == SINGLE else MIXED_TOLERANCE
        if not difference <= allowed:
            raise UsageError(
                f"compiled by torch.compile, the model differs in {place}: relative difference "
                f"{difference:.1e}, wanted at most {allowed:.0e}",
                remedy="choose --set compile=false",
            )

    def _step(
        self, model: nn.Module, compute: Callable[[Images], Tensor], images: Images, labels: Labels
    ) -> StepResults:
        """Loss, gradients, and the logits with the running statistics after that."""
        with self.context(images.device):
            logits = compute(self.in_layout(images))
            loss = nn.functional.cross_entropy(logits, labels)
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        gradients = torch.autograd.grad(loss, list(trained.values()))
        return StepResults(
            loss.item(),
            dict(zip(trained, gradients, strict=True)),
            predict_logits(model, images),
        )


PLAIN = Acceleration()
"""The plain step."""


def _compiled(model: nn.Module) -> Callable[[Images], Tensor]:
    compiled: Callable[[Images], Tensor] = torch.compile(model, dynamic=False)
    return compiled


def _without_dropout(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model).train()
    for module in copied.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return copied
