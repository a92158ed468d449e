"""Advice during training, as from a teacher: what went wrong, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import counted, percent
from tenfold.training.history import EpochMetrics
from tenfold.training.schedules import Schedule
from tenfold.types import LabelArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    Module = nn.Module
else:
    Tensor = Module = Any

RISING_EPOCHS = 3
"""Overfitting: validation loss up and training loss down for this many epochs in a row."""

ENOUGH_STEPS = 300
"""Steps before a run is said not to learn: some networks only begin to after a few hundred."""

LEARNED = 0.02
"""A loss this much below that of the best constant answer, as a share of it, has been learned."""

HARDLY_MOVED = 0.01
"""Weights that changed by less, as a share of their size, have hardly changed."""

FAR_MOVED = 0.5
"""Weights that changed by more, likewise, have gone far without finding anything."""

OFTEN_RIGHT = 0.1
"""Answers are often right if as many more are right than in the largest class, as a share of the
other classes' images."""

LITTLE = 0.9
"""A loss above this share of that of the best constant answer is little to have learned."""

LITTLE_MORE = 0.25
"""Little has been learned if fewer answers are right than in the largest class and this share of
the other classes' images."""

LOST = 0.05
"""Of the training images, the share of answers that are right during the last epoch but not after
it, for a run to have lost what it learned."""

SMALL_STEP = 0.25
"""A step is small with a smaller share of the images of the others."""

_SAMPLED = 4096


class Movement:
    """How far weight matrices and kernels have moved since this object was made.

    Args:
        model: whose they are; a sample of their numbers is kept.
    """

    def __init__(self, model: Module) -> None:
        self._model = model
        self._start = self._sample()

    def _sample(self) -> dict[str, Tensor]:
        trained = ((n, p) for n, p in self._model.named_parameters() if p.requires_grad)
        matrices = {name: parameter for name, parameter in trained if parameter.ndim > 1}
        return {
            name: matrix.detach().flatten()[:: -(-matrix.numel() // _SAMPLED)].cpu().clone()
            for name, matrix in matrices.items()
            if matrix.numel()
        }

    def share(self) -> float | None:
        """The median over all matrices of the size of the change, as a share of the size then.

        None if all were 0 then, and have no size to compare with.
        """
        shares = []
        for name, now in self._sample().items():
            start = self._start[name]
            if size := float(start.norm()):
                shares.append(float((now - start).norm()) / size)
        return float(np.median(shares)) if shares else None


class Advisor:
    """Gives advice after each epoch, each kind only once.

    Args:
        labels: of the training images.
        classes: number of classes.
        schedule: of the learning rate.
        model: the model that is trained.
        step: number of steps taken before.
        label_smoothing: of the loss.
        class_weights: of the loss; None if all images count alike.
    """

    def __init__(
        self,
        labels: LabelArray,
        classes: int,
        schedule: Schedule,
        model: Module,
        *,
        step: int = 0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        self._schedule, self._first_step = schedule, step
        self._movement = Movement(model)
        self._largest = float(np.bincount(labels).max()) / len(labels)
        self.constant_loss = constant_loss(
            labels, classes, label_smoothing=label_smoothing, class_weights=class_weights
        )
        self._said: set[str] = set()

    def after_epoch(
        self,
        history: Sequence[EpochMetrics],
        losses: Tensor,
        gradient_norms: Mapping[str, float],
        steps: int,
    ) -> Iterator[str]:
        """New advice, one sentence each.

        Args:
            history: this run's epochs so far, at least one.
            losses: of the epoch's batches.
            gradient_norms: of the epoch's last step; see `Stretch`.
            steps: number taken so far, in all epochs.
        """
        last = history[-1]
        seen = {
            "dead": bool(gradient_norms)
            and not any(gradient_norms.values())
            and (
                f"the gradient is zero in every layer after epoch {last.epoch}: the ReLUs are "
                "dead, so the model cannot learn; start again with a learning rate ten times lower"
            ),
            "stuck": self._stuck(last, losses, steps),
            "overfitting": self._overfits(history)
            and (
                f"the validation loss has risen for {RISING_EPOCHS} epochs while the training "
                f"loss fell, up to epoch {last.epoch}: the model is overfitting; stop earlier "
                "with --set patience=3, or try dropout, weight_decay or augment"
            ),
        }
        for kind, sentence in seen.items():
            if sentence and kind not in self._said:
                self._said.add(kind)
                yield sentence
                if kind == "dead":
                    self._said.add("stuck")  # for the same reason

    def _stuck(self, last: EpochMetrics, losses: Tensor, steps: int) -> str:
        """What to say about a model that is no better than a constant answer; or nothing."""
        # The later half of the epoch, in which the beginning is over.
        now = float(losses[len(losses) // 2 :].cpu().double().mean())
        if steps - self._first_step < ENOUGH_STEPS or now < (1 - LEARNED) * self.constant_loss:
            return ""
        moved = self._movement.share()
        peak = max(map(self._schedule, range(steps)))
        found = (
            f"after epoch {last.epoch} and {steps:,} steps, the training loss is {now:.3f}, and a "
            f"model that gives one answer for every image gets {self.constant_loss:.3f}"
        )
        has_moved = moved is None or moved > HARDLY_MOVED
        if has_moved and now > self.constant_loss and self._is_often_right(last):
            return (
                f"{found}, although {last.train_acc:.0%} of this one's answers are right: it is "
                f"too sure of the others; try a learning rate ten times lower (it went up to "
                f"{peak:.3g}) or larger batches"
            )
        found += ", so this one has learned next to nothing yet"
        if moved is not None and moved < HARDLY_MOVED:
            return (
                f"{found}: its weights have moved by {moved:.2%} only; try a learning rate ten "
                f"times higher (it went up to {peak:.3g})"
            )
        if moved is not None and moved > FAR_MOVED:
            return (
                f"{found}, although its weights have moved by {min(moved, 99):.0%}; try a learning "
                f"rate ten times lower (it went up to {peak:.3g}) or larger batches"
            )
        return (
            f"{found}: give it more epochs, or try learning rates ten times lower and ten times "
            f"higher (it went up to {peak:.3g})"
        )

    def _overfits(self, history: Sequence[EpochMetrics]) -> bool:
        """Whether a model that had learned something gets worse on the validation images.

        While the learning rate rises, it may do so for other reasons.
        """
        recent = history[-RISING_EPOCHS - 1 :]
        val = np.array([metrics.val_loss for metrics in recent], dtype=float)  # NaN for None
        train, lr = (np.array([getattr(m, name) for m in recent]) for name in ("train_loss", "lr"))
        rises = (val[1:] > val[:-1]) & (train[1:] < train[:-1]) & (lr[1:] <= lr[:-1])
        had_learned = val[0] < (1 - LEARNED) * self.constant_loss
        return len(recent) > RISING_EPOCHS and bool(had_learned and rises.all())

    def _is_often_right(self, last: EpochMetrics) -> bool:
        return last.train_acc > self._largest + OFTEN_RIGHT * (1 - self._largest)


def advice_on_the_last_steps(
    epoch: int,
    during: float,
    after: float,
    *,
    n: int,
    batch_size: int,
    falls: bool,
    averages: str = "",
) -> str:
    """What to say if weights are worse than the training that led to them; or nothing.

    Args:
        epoch: whose weights they are.
        during: accuracy on the training images while the epoch went on, 0..1.
        after: accuracy on training images with the weights at its end, 0..1.
        n: number of training images.
        batch_size: images per step.
        falls: whether the learning rate falls with the schedule.
        averages: what of the model is a moving average, which may be too slow; empty for nothing.
    """
    if after >= during - LOST:
        return ""
    found = (
        f"{percent(during)} of the training images were answered right during epoch {epoch}, but "
        f"only {percent(after)} with the weights at its end"
    )
    if averages:
        return (
            f"{found}: {averages} may not have caught up with what was learned, or its last "
            "steps went too far; try more epochs"
        )
    found += ": its last steps went too far"
    calmer = "a lower learning rate" if falls else "--set schedule=cosine, which ends near 0"
    last = n % batch_size
    if not 0 < last < SMALL_STEP * batch_size:
        return f"{found}; try {calmer}"
    found = f"{found}, the very last with only {counted(last, 'image')}"
    fuller = (
        size for size in range(batch_size, 2 * batch_size) if not n % size or n % size > size / 2
    )
    size = next(fuller, None)
    return f"{found}; try {calmer}" + (
        f", or --batch-size {size}, which leaves no step so small" if size is not None else ""
    )


def advice_on_few_steps(steps: int, loss: float, constant: float) -> str:
    """What to say if there were too few steps to learn much; or nothing.

    Args:
        steps: number taken.
        loss: the mean over the last epoch's steps; above that of a constant answer, there is
            another reason.
        constant: that of a model which gives one answer for every image.
    """
    if steps >= ENOUGH_STEPS or not LITTLE * constant <= loss <= constant:
        return ""
    return (
        f"only {counted(steps, 'step')} {'was' if steps == 1 else 'were'} taken, and the training "
        f"loss was {loss:.3f}, little less than the {constant:.3f} of one answer for every image; "
        "give it more epochs, or a smaller --batch-size"
    )


def constant_loss(
    labels: LabelArray,
    classes: int,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> float:
    """The lowest mean loss of a constant prediction, in nats.

    Without smoothing and weights it is the entropy of the class frequencies: ln(classes) if all are
    equally frequent. In general, the loss is the sum over classes k of a[k] (-log p[k]) with
    a[k] = ((1 - s) n[k] w[k] + s w[k] n / classes) / sum(n w), for counts n, weights w and
    smoothing s; it is lowest where p is in proportion to a.

    Args:
        labels: of the training images.
        classes: number of classes.
        label_smoothing: 0 <= s < 1.
        class_weights: one per class; None if all are 1.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.ones(classes) if class_weights is None else np.asarray(class_weights, np.float64)
    kept = (1 - label_smoothing) * counts * weights
    spread = label_smoothing * weights * len(labels) / classes
    parts = (kept + spread) / (counts * weights).sum()
    parts = parts[parts > 0]
    return float(-(parts * np.log(parts / parts.sum())).sum())
