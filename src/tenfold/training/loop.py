"""The training loop; read it from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.errors import TrainingError, UsageError
from tenfold.evaluation.report import Report, report_of
from tenfold.randomness import derive_seed
from tenfold.training.acceleration import PLAIN, Acceleration
from tenfold.training.advice import Advisor
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.engine import Augment, MakeEngine, StepSettings, Stretch
from tenfold.training.history import EpochMetrics
from tenfold.training.schedules import Schedule
from tenfold.training.state import Best, ChooseBy, TrainingState
from tenfold.training.torch_engine import TorchEngine
from tenfold.training.watching import Standing, Watcher

Outcome = Literal["finished", "stopped early", "interrupted"]

STRETCH_SECONDS = 0.25
"""Target length of a stretch of steps: Ctrl-C waits for it to end."""


def train(
    state: TrainingState,
    train_data: ImageDataset,
    val_data: ImageDataset | None = None,
    *,
    test_data: ImageDataset | None = None,
    epochs: int,
    batch_size: int,
    schedule: Schedule,
    seed: int = 0,
    shuffle: bool = True,
    eval_batch_size: int = 1024,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
    augment: Augment | None = None,
    class_weights: Sequence[float] | None = None,
    acceleration: Acceleration = PLAIN,
    choose_by: ChooseBy = "val_loss",
    patience: int = 0,
    make_engine: MakeEngine = TorchEngine,
    checkpointer: Checkpointer | None = None,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train from the current state until `epochs` epochs are done.

    Args:
        state: model, optimizer and counters; changed in place. A half-finished epoch continues at
            its next batch.
        train_data: the training images.
        val_data: chooses the best epoch; without it the last epoch's weights are final.
        test_data: evaluated after every epoch for the history; it decides nothing.
        epochs: total number, including those already done.
        batch_size: images per step; an epoch's last batch may be smaller.
        schedule: from the number of steps taken to the learning rate.
        seed: with the epoch, determines the order of the images; see also `StepSettings`.
        shuffle: a new order in every epoch; otherwise the data set's own.
        eval_batch_size: images per batch in validation.
        label_smoothing: see `StepSettings`.
        clip_norm: see `StepSettings`.
        augment: see `StepSettings`; keyed, so that it is repeatable.
        class_weights: see `StepSettings`.
        acceleration: how the PyTorch engine computes a step.
        choose_by: the metric that chooses the best epoch.
        patience: stop after this many epochs without improvement; 0 for never.
        make_engine: creates what runs the training steps: `TorchEngine`, `NativeEngine`, or
            `auto_engine`, which uses the native engine if it can.
        checkpointer: where and when to save the state; None to save nothing.
        watcher: called as training proceeds.
        should_stop: called several times a second; when it returns True, saves and returns.

    Raises:
        UsageError: the class weights do not fit, or the data is no `ImageDataset`.
        TrainingError: a loss or a weight is not finite; the state is then not saved.
        StorageError: a checkpoint cannot be written.
    """
    if not isinstance(train_data, ImageDataset):
        raise UsageError(
            f"the training data is of type {type(train_data).__name__}, wanted an ImageDataset",
            remedy="take one from tenfold.data.load_splits, or train on batches of any kind with "
            "tenfold.training.train_epoch",
        )
    if not callable(schedule):
        raise UsageError(
            f"schedule is {schedule!r}, wanted a function from the number of steps taken to the "
            "learning rate",
            remedy=f"for a constant one, write schedule=lambda step: {schedule!r}",
        )
    watcher = watcher or Watcher()
    batches = math.ceil(len(train_data) / batch_size)
    settings = StepSettings(
        batch_size=batch_size,
        label_smoothing=label_smoothing,
        clip_norm=clip_norm,
        augment=augment,
        class_weights=None if class_weights is None else tuple(class_weights),
        seed=seed,
        acceleration=acceleration,
    )
    pace = 1
    if checkpointer is not None and state.step == 0:
        checkpointer.save(state)
    with closing(make_engine(state, train_data, settings)) as engine:
        if engine.note:
            watcher.note(engine.note)
        advisor = Advisor(
            train_data.label_array,
            len(train_data.classes),
            schedule,
            state.model,
            step=state.step,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
        )
        while state.epoch < epochs and not _patience_is_over(state, patience):
            started = time.perf_counter() - state.seconds
            state.begin_epoch(batches)
            order = epoch_order(len(train_data), seed, state.epoch, shuffle=shuffle)
            engine.begin_epoch(state.epoch, order)
            while True:
                ends = [batches, state.batch + pace, watcher.next_look(state.batch)]
                if checkpointer is not None:
                    ends.append(state.batch + checkpointer.next_due(state.step) - state.step)
                last = int(min(ends))  # the next batch at which something is due
                rates = [schedule(state.step + place) for place in range(last - state.batch)]
                began = time.perf_counter()
                stretch = engine.advance(state.batch, rates, gradient_norms=last == batches)
                _take(state, stretch)
                _require_finite_losses(state, schedule)
                pace = _next_pace(pace, len(rates), time.perf_counter() - began)
                loss = state.running_loss()
                watcher.advanced(Standing(state.epoch + 1, state.batch, batches, state.step, loss))
                if state.batch == batches:
                    break  # the rest of this loop is handled at the epoch's end
                stopping = should_stop()
                if checkpointer is not None and (stopping or checkpointer.due_after_batch(state)):
                    _require_finite(state, schedule)
                    state.seconds = time.perf_counter() - started
                    checkpointer.save(state)
                if stopping:
                    return "interrupted"

            _require_finite(state, schedule)
            report = test_report = None
            if val_data is not None:
                logits = engine.logits(val_data.images, eval_batch_size)
                report = report_of(logits, val_data, settings.class_weights)
            if test_data is not None:
                logits = engine.logits(test_data.images, eval_batch_size)
                test_report = report_of(logits, test_data, settings.class_weights)
            losses = state.losses
            _finish_epoch(
                state, len(train_data), batch_size, report, test_report, rates[-1], started
            )
            if val_data is not None:
                _note_best(state, choose_by)
            watcher.epoch_done(state.history[-1], epochs)
            norms = stretch.gradient_norms or {}
            for sentence in advisor.after_epoch(state.history, losses, norms, state.step):
                watcher.note(sentence)
            stopping = should_stop()
            ending = state.epoch == epochs or _patience_is_over(state, patience)
            if checkpointer is not None and (
                stopping or ending or checkpointer.due_after_epoch(state)
            ):
                checkpointer.save(state)
            if stopping and not ending:
                return "interrupted"
    return "finished" if state.epoch >= epochs else "stopped early"


def epoch_order(n: int, seed: int, epoch: int, *, shuffle: bool) -> Int64[Tensor, " n"]:
    """The order in which an epoch, counted from 0, visits n images.

    The same as `keyed_permutation(n, seed, "order", epoch)`; PyTorch computes it faster.
    """
    if not shuffle:
        return torch.arange(n)
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def _next_pace(pace: int, batches: int, seconds: float) -> int:
    """Batches in the next stretch, from the time that this one took.

    The first stretch is one batch, and each is at most four times as long as the one before,
    because the first batches may be much slower than the rest.
    """
    fitting = int(STRETCH_SECONDS * batches / max(seconds, 1e-6))
    return max(1, min(fitting, 4 * pace))


def _take(state: TrainingState, stretch: Stretch) -> None:
    """Add a stretch's figures to the state."""
    end = state.batch + len(stretch.losses)
    state.losses[state.batch : end] = stretch.losses
    state.correct = state.correct + stretch.correct
    state.step += end - state.batch
    state.batch = end


def _patience_is_over(state: TrainingState, patience: int) -> bool:
    return bool(patience) and state.epochs_without_gain >= patience


def _require_finite_losses(state: TrainingState, schedule: Schedule) -> None:
    wrong = (~torch.isfinite(state.losses[: state.batch])).nonzero()
    if len(wrong):
        batch = int(wrong[0])
        lr = schedule(state.step - state.batch + batch)
        where = f", batch {batch + 1}, at a learning rate of {lr:g}"
        raise _diverged(f"the loss became {state.losses[batch].item()}", state, where)


def _require_finite(state: TrainingState, schedule: Schedule) -> None:
    """Check the weights before they are saved: a finite loss can still give infinite weights."""
    for name, tensor in state.model.state_dict().items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            lr = schedule(state.step - 1)
            where = f", up to batch {state.batch}, at a learning rate of {lr:g}"
            raise _diverged(f"{name} became infinite or undefined", state, where)


def _is_finite(tensor: Tensor) -> bool:
    if tensor.device.type == "cpu" and tensor.numel() > 0:
        # NaN propagates to minimum and maximum, so this takes one pass and writes nothing.
        tensor = torch.stack(torch.aminmax(tensor))
    return bool(tensor.isfinite().all())


def _diverged(what: str, state: TrainingState, where: str = "") -> TrainingError:
    return TrainingError(
        f"{what} in epoch {state.epoch + 1}{where}",
        remedy="train again with a learning rate ten times lower, or with --set clip_norm=1",
    )


def _finish_epoch(
    state: TrainingState,
    n: int,
    batch_size: int,
    report: Report | None,
    test_report: Report | None,
    lr: float,
    started: float,
) -> None:
    """Add the epoch's figures to the history, and set the counters to the next epoch's start."""
    if report is not None and not math.isfinite(report.loss):
        raise _diverged(f"the validation loss became {report.loss}", state)
    sizes = torch.full((len(state.losses),), batch_size, dtype=torch.float64)
    sizes[-1] = n - batch_size * (len(sizes) - 1)
    state.epoch += 1
    state.history.append(
        EpochMetrics(
            epoch=state.epoch,
            train_loss=float((state.losses.cpu().double() * sizes).sum() / n),
            train_acc=int(state.correct) / n,
            val_loss=None if report is None else report.loss,
            val_acc=None if report is None else report.accuracy,
            val_balanced_acc=None if report is None else report.balanced_acc,
            test_loss=None if test_report is None else _finite_or_none(test_report.loss),
            test_acc=None if test_report is None else test_report.accuracy,
            lr=lr,
            seconds=time.perf_counter() - started,
        )
    )
    state.restart_epoch()


def _finite_or_none(loss: float) -> float | None:
    """A loss as the history has it; what is shown only must not end a run."""
    return loss if math.isfinite(loss) else None


def _note_best(state: TrainingState, choose_by: ChooseBy) -> None:
    """Keep the weights if they are the best so far by validation."""
    value = getattr(state.history[-1], choose_by)
    sign = 1 if choose_by == "val_loss" else -1
    if state.best is None or sign * value < sign * state.best.value:
        state.best = Best(state.epoch, value, state.copy_of_final_weights())
        state.epochs_without_gain = 0
    else:
        state.epochs_without_gain += 1
