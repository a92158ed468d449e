"""The metrics of each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, model_serializer

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
        test_loss: mean cross-entropy on the test split after the epoch, with the class weights of
            training; None if it was not asked for, is not finite, or in older histories. It decides
            nothing.
        test_acc: accuracy on the test split, 0..1; None if it was not asked for, or in older
            histories. It decides nothing.
        lr: the learning rate of the epoch's last step.
        seconds: time for training, validation, and testing if that was asked for.
    """

    epoch: int
    train_loss: float
    train_acc: Share
    val_loss: float | None
    val_acc: Share | None
    val_balanced_acc: Share | None = None
    test_loss: float | None = None
    test_acc: Share | None = None
    lr: float
    seconds: float

    @model_serializer(mode="wrap")
    def _with_what_was_asked_for(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without the test figures if they were not asked for: then they are no part of a run."""
        values = handler(self)
        if self.test_acc is None:
            del values["test_loss"], values["test_acc"]
        return values
