"""The engine that takes plain PyTorch steps: the reference for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.models.mistakes.explaining import explained
from tenfold.tensors import Images, Labels, Logits
from tenfold.training.acceleration import PLAIN, Acceleration
from tenfold.training.engine import Engine, StepSettings, Stretch
from tenfold.training.engine_table import TORCH
from tenfold.training.state import TrainingState

TrainStep = Callable[..., tuple[Tensor, Tensor]]
"""A function with the arguments and results of `train_step`."""


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images | Float[Tensor, "n features"],
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
    class_weights: Float[Tensor, " classes"] | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    acceleration: Acceleration = PLAIN,
) -> tuple[Tensor, Logits]:
    """Forward, backward, update; returns the batch's mean loss (a scalar) and logits, detached.

    Args:
        model: raw images to logits, in training mode.
        optimizer: over the model's parameters.
        images: one batch, on the model's device; or what the model takes in their place.
        labels: its labels, on the same device.
        label_smoothing: the probability spread over all classes, 0 <= x < 1
            (Szegedy et al., arXiv:1512.00567).
        clip_norm: maximum norm of all gradients together (Pascanu et al., arXiv:1211.5063);
            0 for no clipping.
        class_weights: weight of each class in the mean; None for equal weights.
        forward: computes the logits in the model's place, if it has been compiled.
        acceleration: precision and memory layout.
    """
    with explained(model, images, labels):
        with acceleration.context(images.device):
            compute = model if forward is None else forward
            logits = compute(acceleration.in_layout(images))
            loss = nn.functional.cross_entropy(
                logits, labels, weight=class_weights, label_smoothing=label_smoothing
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
    return loss.detach(), logits.detach()


class TorchEngine(Engine):
    """Takes PyTorch steps, with all images on the model's device.

    Args:
        state: see `Engine`.
        data: see `Engine`.
        settings: see `Engine`.
        step: takes one step on a batch.
    """

    name: ClassVar[str] = TORCH
    version: ClassVar[int] = 1

    def __init__(
        self,
        state: TrainingState,
        data: ImageDataset,
        settings: StepSettings,
        step: TrainStep = train_step,
    ) -> None:
        super().__init__(state, data, settings)
        weights, acceleration = settings.class_weights, settings.acceleration
        self._step = partial(
            step,
            label_smoothing=settings.label_smoothing,
            clip_norm=settings.clip_norm,
            class_weights=None
            if weights is None
            else torch.tensor(weights, dtype=torch.float32, device=state.device),
        )
        self._labels = data.labels.to(state.device)
        self._trained, self._inputs = self._parts()
        self._epoch, self._order = 0, torch.arange(0)
        if acceleration != PLAIN:
            forward = acceleration.forward_of(state.model, state.optimizer)
            self._step = partial(self._step, forward=forward, acceleration=acceleration)

    def _parts(self) -> tuple[nn.Module, Tensor]:
        """What is trained, and all of its inputs."""
        return self.state.model, self.data.images.to(self.state.device)

    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """See `Engine`."""
        self._epoch, self._order = epoch, order.to(self.state.device)
        self.state.model.train()

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """See `Engine`."""
        state, settings, size = self.state, self.settings, self.settings.batch_size
        optimizer, averaged = state.optimizer, state.averaged
        losses = torch.empty(len(learning_rates), device=state.device)
        correct = torch.zeros((), dtype=torch.int64, device=state.device)
        for place, lr in enumerate(learning_rates):
            batch = first + place
            chosen = self._order[batch * size : (batch + 1) * size]
            inputs, labels = self._inputs.index_select(0, chosen), self._labels[chosen]
            if settings.augment is not None:
                inputs = settings.augment(inputs, chosen, self._epoch)
            for group in optimizer.param_groups:
                group["lr"] = lr
            losses[place], logits = self._step(self._trained, optimizer, inputs, labels)
            correct += (logits.argmax(1) == labels).sum()
            if averaged is not None:
                averaged.update(state.model, state.step + place + 1)
        return Stretch(losses, correct, _gradient_norms(state.model) if gradient_norms else None)


def _gradient_norms(model: nn.Module) -> dict[str, float]:
    return {
        name: float(parameter.grad.abs().max())
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and parameter.grad is not None
    }
