"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.errors import TrainingError
from tenfold.evaluation.evaluate import evaluate
from tenfold.randomness import keyed_generator
from tenfold.training.advice import Advisor
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.schedules import Schedule
from tenfold.training.state import Best, ChooseBy, EpochMetrics, TrainingState
from tenfold.training.step import TrainStep, train_step
from tenfold.training.watching import Watcher
from tenfold.types import Images

Augment = Callable[[Images, Tensor, int], Images]
"""From a batch, the indices of its images in the data set, and the epoch, to a changed batch."""

Outcome = Literal["finished", "stopped early", "interrupted"]

LOSSES_BETWEEN_LOOKS = 50
"""On an accelerator, after how many batches the losses are looked at; each look waits for it."""


def train(
    state: TrainingState,
    train_data: ImageDataset,
    val_data: ImageDataset | None = None,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule,
    seed: int = 0,
    shuffle: bool = True,
    eval_batch_size: int = 1024,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
    augment: Augment | None = None,
    choose_by: ChooseBy = "val_loss",
    patience: int = 0,
    step: TrainStep = train_step,
    checkpointer: Checkpointer | None = None,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until `epochs` epochs are done, from wherever the state stands.

    Args:
        state: model, optimiser and counters; changed in place. A half-finished epoch is gone on
            with at its next batch.
        train_data: what to learn from.
        val_data: what chooses the best epoch; without it the last epoch's weights are final.
        epochs: how many in all, those already done included.
        batch_size: images in a step; the last batch of an epoch has what is left.
        schedule: from the number of steps taken to the learning rate.
        seed: keys the order of the images, with the epoch.
        shuffle: a new order in every epoch; otherwise the data set's own.
        eval_batch_size: images at once in validation.
        label_smoothing: see `train_step`.
        clip_norm: see `train_step`.
        augment: changes a batch of raw images before the step; keyed, so that it can be repeated.
        choose_by: the figure that the best epoch is chosen by.
        patience: stop after this many epochs without a gain; 0 never does.
        step: what is done with a batch.
        checkpointer: where and when the state is saved; None saves nothing.
        watcher: is told what happens.
        should_stop: asked after every batch; once it says yes, the state is saved and we return.

    Raises:
        TrainingError: a loss or a weight is not finite; the state is not saved then.
        StorageError: a checkpoint cannot be written.
    """
    watcher = watcher or Watcher()
    images, labels = train_data.images.to(state.device), train_data.labels.to(state.device)
    batches, on_cpu = math.ceil(len(images) / batch_size), state.device.type == "cpu"
    advisor = Advisor(train_data.labels, len(train_data.classes))
    if checkpointer is not None and state.step == 0:
        checkpointer.save(state)
    while state.epoch < epochs and not _patience_is_over(state, patience):
        started = time.perf_counter() - state.seconds
        order = epoch_order(len(images), seed, state.epoch, shuffle=shuffle).to(state.device)
        state.begin_epoch(batches)
        state.model.train()
        for batch in range(state.batch, batches):
            chosen = order[batch * batch_size : (batch + 1) * batch_size]
            batch_images, batch_labels = (
                images.index_select(0, chosen),
                labels.index_select(0, chosen),
            )
            if augment is not None:
                batch_images = augment(batch_images, chosen, state.epoch)
            _set_learning_rate(state.optimizer, schedule(state.step))
            loss, logits = step(
                state.model,
                state.optimizer,
                batch_images,
                batch_labels,
                label_smoothing=label_smoothing,
                clip_norm=clip_norm,
            )
            state.losses[batch] = loss
            state.correct += (logits.argmax(1) == batch_labels).sum()
            state.batch, state.step = batch + 1, state.step + 1
            if state.averaged is not None:
                state.averaged.update(state.model, state.step)
            if on_cpu:
                must_look = not math.isfinite(loss.item())
            else:
                must_look = state.batch % LOSSES_BETWEEN_LOOKS == 0
            if must_look:
                _require_finite_losses(state, schedule)
            watcher.batch_done(state, batches)
            if state.batch == batches:
                break  # what follows belongs to the epoch's end
            stopping = should_stop()
            if checkpointer is not None and (stopping or checkpointer.due_after_batch(state)):
                _require_finite(state, schedule)
                state.seconds = time.perf_counter() - started
                checkpointer.save(state)
            if stopping:
                return "interrupted"

        _require_finite(state, schedule)
        _finish_epoch(state, len(images), batch_size, val_data, eval_batch_size, started)
        _note_best(state, choose_by, has_validation=val_data is not None)
        watcher.epoch_done(state.history[-1], epochs)
        for sentence in advisor.after_epoch(state.model, state.history):
            watcher.note(sentence)
        stopping = should_stop()
        last = state.epoch == epochs or _patience_is_over(state, patience)
        if checkpointer is not None and (stopping or last or checkpointer.due_after_epoch(state)):
            checkpointer.save(state)
        if stopping and not last:
            return "interrupted"
    return "finished" if state.epoch >= epochs else "stopped early"


def epoch_order(n: int, seed: int, epoch: int, *, shuffle: bool) -> Int64[Tensor, " n"]:
    """The order in which an epoch, counted from 0, visits n images."""
    if not shuffle:
        return torch.arange(n)
    return torch.randperm(n, generator=keyed_generator(seed, "order", epoch))


def _set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _patience_is_over(state: TrainingState, patience: int) -> bool:
    return bool(patience) and state.epochs_without_gain >= patience


def _require_finite_losses(state: TrainingState, schedule: Schedule) -> None:
    wrong = (~torch.isfinite(state.losses[: state.batch])).nonzero()
    if len(wrong):
        batch = int(wrong[0])
        lr = schedule(state.step - state.batch + batch)
        raise TrainingError(
            f"the loss became {state.losses[batch].item()} in epoch {state.epoch + 1}, "
            f"batch {batch + 1}, at a learning rate of {lr:g}",
            remedy="try a learning rate ten times lower, or clip_norm = 1",
        )


def _require_finite(state: TrainingState, schedule: Schedule) -> None:
    """What must hold before anything is saved: a finite loss can still end in infinite weights."""
    _require_finite_losses(state, schedule)
    for name, tensor in state.model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"{name} became infinite or undefined in epoch {state.epoch + 1}, up to batch "
                f"{state.batch}, at a learning rate of {schedule(state.step - 1):g}",
                remedy="try a learning rate ten times lower, or clip_norm = 1",
            )


def _finish_epoch(
    state: TrainingState,
    n: int,
    batch_size: int,
    val_data: ImageDataset | None,
    eval_batch_size: int,
    started: float,
) -> None:
    """Put the epoch's figures into the history and the counters at the next epoch's start."""
    sizes = torch.full((len(state.losses),), batch_size, dtype=torch.float64)
    sizes[-1] = n - batch_size * (len(sizes) - 1)
    report = None
    if val_data is not None:
        with state.weights_that_count():
            report = evaluate(state.model, val_data, batch_size=eval_batch_size)
        if not math.isfinite(report.loss):
            raise TrainingError(
                f"the validation loss became {report.loss} in epoch {state.epoch + 1}",
                remedy="try a learning rate ten times lower, or clip_norm = 1",
            )
    state.epoch += 1
    state.history.append(
        EpochMetrics(
            epoch=state.epoch,
            train_loss=float((state.losses.cpu().double() * sizes).sum() / n),
            train_acc=int(state.correct) / n,
            val_loss=None if report is None else report.loss,
            val_acc=None if report is None else report.accuracy,
            lr=float(state.optimizer.param_groups[0]["lr"]),
            seconds=time.perf_counter() - started,
        )
    )
    state.batch, state.seconds = 0, 0.0
    state.correct = torch.zeros_like(state.correct)


def _note_best(state: TrainingState, choose_by: ChooseBy, *, has_validation: bool) -> None:
    """Keep the weights if validation likes them better than any before."""
    if not has_validation:
        return
    value = getattr(state.history[-1], choose_by)
    sign = 1 if choose_by == "val_loss" else -1
    if math.isfinite(value) and (state.best is None or sign * value < sign * state.best.value):
        state.best = Best(state.epoch, value, state.copy_of_weights_that_count())
        state.epochs_without_gain = 0
    else:
        state.epochs_without_gain += 1
