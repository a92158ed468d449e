"""What each epoch of a run came to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tenfold.storage import Facts

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of something, 0..1."""


class EpochMetrics(Facts):
    """One line of the history.

    Attributes:
        epoch: counted from 1.
        train_loss: mean loss over the epoch's images while the weights were moving.
        train_acc: the share of correct predictions likewise, 0..1.
        val_loss: mean cross-entropy on the validation split after the epoch; None without one.
        val_acc: the share of correct predictions there, 0..1; None without one.
        lr: the learning rate of the epoch's last step.
        seconds: how long training and validation took.
    """

    epoch: int
    train_loss: float
    train_acc: Share
    val_loss: float | None
    val_acc: Share | None
    lr: float
    seconds: float
