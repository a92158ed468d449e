"""Shorter trainings, for tests in which models need not be good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenfold.data.dataset import ImageDataset
from tenfold.doctor import wrong_labels
from tenfold.recipes import Recipe


@pytest.fixture
def train_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the models that judge labels train for a number of epochs."""
    usual_recipe = wrong_labels.quick_recipe

    def change(epochs: int) -> None:
        def short_recipe(train: ImageDataset) -> Recipe:
            return usual_recipe(train).model_copy(update={"epochs": epochs})

        monkeypatch.setattr(wrong_labels, "quick_recipe", short_recipe)

    return change
