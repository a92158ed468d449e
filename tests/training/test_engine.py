"""The seam between the loop and what takes its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.models import Preprocessing
from tenfold.training import TorchEngine, TrainingState, Watcher, build_optimizer, train
from tenfold.training.averaging import AveragedWeights
from tenfold.training.checkpoint import Checkpointer, read_newest
from tenfold.training.engine import Stretch
from tenfold.training.torch_engine import ENGINES


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


class Elsewhere(TorchEngine):
    """Keeps everything in a layout of its own between stretches, and spoils what it borrowed."""

    name = "elsewhere"
    given_back = 0

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        stretch = super().advance(first, learning_rates, gradient_norms=gradient_norms)
        borrowed = self._borrowed()
        packed = [tensor.clone() for tensor in borrowed]

        def give_back() -> None:
            type(self).given_back += 1
            with torch.no_grad():
                for tensor, own in zip(borrowed, packed, strict=True):
                    tensor.copy_(own)

        with torch.no_grad():
            for tensor in borrowed:
                tensor.fill_(0) if not tensor.is_floating_point() else tensor.fill_(float("nan"))
        self.state.lend(give_back)
        return stretch

    def _borrowed(self) -> list[torch.Tensor]:
        state = self.state
        assert state.averaged is not None
        moments = [
            value
            for values in state.optimizer.state.values()
            for value in values.values()
            if isinstance(value, torch.Tensor)
        ]
        return [*state.model.state_dict().values(), *state.averaged.tensors.values(), *moments]


class Often(Watcher):
    every_batches = 3


SETTINGS = {"epochs": 3, "batch_size": 8, "schedule": lambda step: 0.1 / (1 + step), "seed": 4}


def assert_same(one: TrainingState, other: TrainingState) -> None:
    (header, tensors), (other_header, other_tensors) = one.to_checkpoint(), other.to_checkpoint()
    assert tensors.keys() == other_tensors.keys()
    for name in tensors:
        assert torch.equal(tensors[name], other_tensors[name]), name
    figures = [(m.train_loss, m.train_acc, m.val_loss) for m in header.history]
    assert figures == [(m.train_loss, m.train_acc, m.val_loss) for m in other_header.history]


def test_nobody_reads_what_an_engine_holds_elsewhere(tmp_path: Path) -> None:
    plain, lent = new_state(), new_state()
    train(plain, data(100, 1), data(40, 2), **SETTINGS)
    checkpointer = Checkpointer(tmp_path, {}, every_batches=5)
    Elsewhere.given_back = 0
    train(
        lent,
        data(100, 1),
        data(40, 2),
        make_engine=Elsewhere,
        checkpointer=checkpointer,
        watcher=Often(),
        **SETTINGS,
    )
    assert Elsewhere.given_back > 6
    assert_same(plain, lent)
    assert all(t.isfinite().all() for t in read_newest(tmp_path).tensors.values())


def test_what_was_lent_is_back_when_the_engine_is_closed() -> None:
    state = new_state()
    model = state.model
    train(state, data(30, 1), make_engine=Elsewhere, **SETTINGS)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_what_was_lent_is_asked_for_again_if_giving_it_back_was_broken_off() -> None:
    state, attempts = new_state(), []

    def give_back() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise KeyboardInterrupt

    state.lend(give_back)
    with pytest.raises(KeyboardInterrupt):
        _ = state.model
    _ = state.optimizer, state.averaged
    assert attempts == [0, 1]


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


def test_the_gradients_of_the_last_step_are_told_on_request() -> None:
    state = new_state()
    from tenfold.training.engine import StepSettings

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


def test_the_table_names_each_engine() -> None:
    assert {name: engine.name for name, engine in ENGINES.items()} == {n: n for n in ENGINES}
