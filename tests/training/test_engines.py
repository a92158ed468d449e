"""The choice of a run's engine, and why it is not the native one."""

from __future__ import annotations

import pkgutil
from contextlib import closing
from typing import ClassVar

import pytest
import torch
from torch import nn

from engines import needs_kernels
from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.evaluation import predict_logits
from tenfold.models import ImageModel, Preprocessing
from tenfold.training import NativeEngine, TorchEngine, TrainingState
from tenfold.training.averaging import AveragedWeights
from tenfold.training.engine import StepSettings
from tenfold.training.engine_table import ENGINES
from tenfold.training.engines import ChosenEngine, auto_engine, choose_engine
from tenfold.training.loop import train
from tenfold.training.watching import Watcher


def data() -> ImageDataset:
    numbers = torch.Generator().manual_seed(1)
    images = torch.randint(256, (40, 1, 6, 6), dtype=torch.uint8, generator=numbers)
    return ImageDataset(images, torch.arange(40) % 4, tuple("abcd"))


def new_state(between: nn.Module | None = None) -> TrainingState:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(36, 8), between or nn.ReLU(), nn.Linear(8, 4)]
    model = ImageModel(Preprocessing(), nn.Sequential(*layers))
    return TrainingState(model, torch.optim.Adam(model.parameters()))


def choose(name: str, state: TrainingState | None = None) -> ChosenEngine:
    return choose_engine(name, state or new_state(), data(), StepSettings(8))


@needs_kernels
@pytest.mark.parametrize("name", ["auto", "native"])
def test_the_kernels_are_used_if_they_can_be(name: str) -> None:
    state = new_state()
    chosen = choose(name, state)
    assert (chosen.kind, chosen.why_not_native) == (NativeEngine, "")
    assert isinstance(chosen.make(state, data(), StepSettings(8)), NativeEngine)
    images = data().images
    torch.testing.assert_close(chosen.predict(images, 8), predict_logits(state.model, images))
    assert not state.optimizer.state


@needs_kernels
def test_the_instructions_are_those_of_kernels_and_pytorch() -> None:
    of_pytorch = torch.backends.cpu.get_cpu_capability()
    assert choose("torch").instructions == of_pytorch
    kernels, _, rest = choose("native").instructions.partition(" ")
    assert kernels in ("avx512", "avx2", "neon")
    assert rest == f"({of_pytorch} in PyTorch)"


def test_pytorch_is_used_on_request() -> None:
    state = new_state()
    chosen = choose("torch", state)
    assert (chosen.kind, chosen.why_not_native) == (TorchEngine, "")
    images = data().images
    assert torch.equal(chosen.predict(images, 8), predict_logits(state.model, images))


@needs_kernels
def test_pytorch_is_used_with_a_reason_if_the_kernels_cannot_be() -> None:
    chosen = choose("auto", new_state(nn.GELU()))
    assert chosen.kind is TorchEngine
    assert chosen.why_not_native == (
        "the network is not a list of layers that the kernels support: its module 2 is GELU"
    )


@needs_kernels
def test_requesting_kernels_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        choose("native", new_state(nn.GELU()))
    assert str(caught.value) == (
        "the native engine cannot train this: the network is not a list of layers that the kernels "
        "support: its module 2 is GELU; choose --engine auto"
    )


def test_without_kernels_the_reason_is_the_loaders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENFOLD_NATIVE", "0")
    chosen = choose("auto")
    assert (chosen.kind, chosen.why_not_native) == (TorchEngine, "TENFOLD_NATIVE is 0")
    with pytest.raises(
        UsageError, match=r"native engine is not available: TENFOLD_NATIVE is 0; to train"
    ):
        choose("native")
    assert choose("torch").why_not_native == ""


def test_an_unknown_engine() -> None:
    with pytest.raises(UsageError, match=r"there is no engine 'naive'; did you mean 'native'\?"):
        choose("naive")


def test_the_table_names_each_engine() -> None:
    for name, place in ENGINES.items():
        assert pkgutil.resolve_name(place).name == name


@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=needs_kernels)])
def test_logits_are_those_of_the_averaged_weights(name: str) -> None:
    state = new_state()
    state.averaged = AveragedWeights(state.model, 0.9)
    engine = choose(name, state).make(state, data(), StepSettings(8))
    with closing(engine):
        engine.begin_epoch(0, torch.arange(40))
        engine.advance(0, [0.1] * 5)
        found = engine.logits(data().images, 16)
    as_trained = predict_logits(state.model, data().images)
    with state.final_weights_in_place():
        averaged = predict_logits(state.model, data().images)
    torch.testing.assert_close(found, averaged)
    assert not torch.allclose(found, as_trained, rtol=0.01)


@needs_kernels
@pytest.mark.parametrize(
    ("between", "notes"),
    [
        (nn.ReLU(), []),
        (
            nn.Tanh(),
            ["training with PyTorch instead of compiled kernels: the network is not a list of "],
        ),
    ],
)
def test_the_automatic_engine_says_why_pytorch_trains(between: nn.Module, notes: list[str]) -> None:
    class Notes(Watcher):
        heard: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.heard.append(text[: len(notes[0]) if notes else None])

    watcher = Notes()
    watcher.heard.clear()
    train(
        new_state(between),
        data(),
        epochs=1,
        batch_size=8,
        schedule=lambda _: 1e-3,
        make_engine=auto_engine,
        watcher=watcher,
    )
    assert watcher.heard == notes
