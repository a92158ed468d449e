"""What a run says about itself at its end if it learned little, or lost again what it had."""

from __future__ import annotations

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from tenfold.evaluation.report import Report
from tenfold.runs.prepared import Prepared
from tenfold.training.advice import (
    LITTLE_MORE,
    LOST,
    advice_on_few_steps,
    advice_on_the_last_steps,
    constant_loss,
)

_LOOKED_AT_AGAIN, _VALUES_LOOKED_AT = 2048, 2**25
"""Training images that are classified with the weights at the end, at most; and their values."""


def concern_about(prepared: Prepared, epoch: int, report: Report | None) -> str:
    """What to say if little was learned, or lost again; or nothing.

    Training images are only looked at if the test images, or else the validation images, have many
    more wrong answers than those had.
    """
    recipe, train = prepared.recipe, prepared.splits.train
    history = prepared.state.history
    kept = history[epoch - 1]
    constant = constant_loss(
        train.label_array,
        len(train.classes),
        label_smoothing=recipe.label_smoothing,
        class_weights=prepared.class_weights,
    )
    right = kept.train_acc if report is None else report.accuracy
    largest = float(train.class_counts().max()) / len(train)
    if right < largest + LITTLE_MORE * (1 - largest):
        few = advice_on_few_steps(prepared.state.step, history[-1].train_loss, constant)
        if few:
            return few
    held_out = kept.val_acc if report is None else report.interval[1]
    if held_out is not None and held_out >= kept.train_acc - LOST:
        return ""
    n = min(len(train), _LOOKED_AT_AGAIN, max(1, _VALUES_LOOKED_AT // train.image_array[0].size))
    some = np.linspace(0, len(train) - 1, n).astype(np.int64)
    return advice_on_the_last_steps(
        epoch,
        kept.train_acc,
        prepared.number_right(train.select(some)) / n,
        n=len(train),
        batch_size=recipe.batch_size,
        falls=recipe.schedule != "constant",
        averages=_averages(prepared),
    )


def _averages(prepared: Prepared) -> str:
    """What of a model is a moving average that training moves; empty for nothing."""
    if prepared.recipe.average_decay:
        return "the averaged weights"
    if prepared.recipe.freeze:
        return ""
    modules = prepared.model.modules()
    return "batch normalization" if any(isinstance(m, _BatchNorm) for m in modules) else ""
