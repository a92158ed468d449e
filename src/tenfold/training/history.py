"""The metrics of each epoch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tenfold.storage import Facts

Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, 0..1."""


class EpochMetrics(Facts):
    """One line of the history.

    Attributes:
        epoch: counted from 1.
        train_loss: mean loss over the epoch's images, measured as the weights changed.
        train_acc: accuracy measured the same way, 0..1.
        val_loss: mean cross-entropy on the validation split after the epoch, with the class weights
            of training; None without one.
        val_acc: accuracy on the validation split, 0..1; None without one.
        val_balanced_acc: mean recall of its classes, 0..1; None without one, or in older histories.
        lr: the learning rate of the epoch's last step.
        seconds: time for training and validation.
    """

    epoch: int
    train_loss: float
    train_acc: Share
    val_loss: float | None
    val_acc: Share | None
    val_balanced_acc: Share | None = None
    lr: float
    seconds: float
