"""The interface between the loop and the engines."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.models import Preprocessing
from tenfold.training import TorchEngine, TrainingState, Watcher, build_optimizer, train
from tenfold.training.averaging import AveragedWeights
from tenfold.training.engine import StepSettings


def data(n: int, seed: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return ImageDataset(images, torch.arange(n) % 4, tuple("abcd"))


def new_state(*, average: bool = True) -> TrainingState:
    torch.manual_seed(0)
    model = nn.Sequential(
        Preprocessing(), nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
    )
    optimizer = build_optimizer("sgd", model.parameters(), lr=0.1, momentum=0.9)
    return TrainingState(model, optimizer, AveragedWeights(model, 0.9) if average else None)


SETTINGS = {"epochs": 3, "batch_size": 8, "schedule": lambda step: 0.1 / (1 + step), "seed": 4}


def assert_same(one: TrainingState, other: TrainingState) -> None:
    (header, tensors), (other_header, other_tensors) = one.to_checkpoint(), other.to_checkpoint()
    assert tensors.keys() == other_tensors.keys()
    for name in tensors:
        assert torch.equal(tensors[name], other_tensors[name]), name
    figures = [(m.train_loss, m.train_acc, m.val_loss) for m in header.history]
    assert figures == [(m.train_loss, m.train_acc, m.val_loss) for m in other_header.history]


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_where_stretches_end_makes_no_difference(every: int) -> None:
    class Watching(Watcher):
        every_batches = every
        seen: ClassVar[list[int]] = []

        def advanced(self, standing: object) -> None:
            self.seen.append(standing.batch)

    plain, watched, watcher = new_state(), new_state(), Watching()
    train(plain, data(100, 1), data(40, 2), **SETTINGS)
    train(watched, data(100, 1), data(40, 2), watcher=watcher, **SETTINGS)
    assert_same(plain, watched)
    assert {*range(every, 13, every), 13} <= set(watcher.seen)


def test_the_gradient_norms_of_the_last_step_are_returned_on_request() -> None:
    state = new_state()
    engine = TorchEngine(state, data(16, 1), StepSettings(8))
    engine.begin_epoch(0, torch.arange(16))
    assert engine.advance(0, [0.1]).gradient_norms is None
    norms = engine.advance(1, [0.1], gradient_norms=True).gradient_norms
    wanted = {
        name: parameter.grad.abs().max().item()
        for name, parameter in state.model.named_parameters()
        if name in ("2.weight", "4.weight")
    }
    assert norms == wanted


def test_class_weights_reach_the_loss() -> None:
    images = data(16, 1)
    weights = (1.0, 0.5, 0.0, 3.0)
    state = new_state(average=False)
    logits = state.model.train()(images.images)
    wanted = nn.functional.cross_entropy(logits, images.labels, weight=torch.tensor(weights))
    train(state, images, class_weights=weights, **{**SETTINGS, "epochs": 1, "batch_size": 16})
    assert state.history[0].train_loss == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ((1.0, 2.0, 3.0), r"has 3 numbers, wanted 4, one per class"),
        ((1.0, -2.0, 3.0, 1.0), r"is \[1\.0, -2\.0, 3\.0, 1\.0\], wanted finite numbers"),
        ((1.0, float("nan"), 3.0, 1.0), r"wanted finite numbers"),
        ((0.0,) * 4, r"not all of them 0"),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(weights: tuple[float], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        train(new_state(), data(16, 1), class_weights=weights, **SETTINGS)
