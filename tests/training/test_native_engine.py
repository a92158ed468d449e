"""The engine of compiled kernels: what it leaves is what PyTorch leaves, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engines import needs_kernels
from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError, TrainingError, UsageError
from tenfold.evaluation import predict_logits
from tenfold.models import ImageModel, Preprocessing, build
from tenfold.native.network import CompiledNetwork
from tenfold.training import (
    NativeEngine,
    TorchEngine,
    TrainingState,
    Watcher,
    build_optimizer,
    train,
)
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.checkpoint import Checkpointer, read_newest
from tenfold.training.engine import Engine, StepSettings
from tenfold.training.history import EpochMetrics

pytestmark = needs_kernels

SHAPE = (3, 8, 8)


def data(n: int = 90, seed: int = 1) -> ImageDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(150, (n, *SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, label : label + 3, label : label + 3] += 100
    return ImageDataset(images, labels, tuple("abcd"))


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.05},
    "sgd with momentum": {
        "name": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-3,
    },
    "adam": {"name": "adam", "lr": 1e-3, "weight_decay": 1e-3},
    "adamw": {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-2},
}


def new_model(dropout: float = 0.0) -> ImageModel:
    """Convolutions, batch normalization, additions, and perhaps dropout."""
    torch.manual_seed(0)
    network = build("resnet-small", SHAPE, 4, widths=(4, 6), blocks=1, dropout=dropout)
    return ImageModel(Preprocessing([0.4] * 3, [0.3] * 3), network)


def new_state(
    optimizer: str = "sgd with momentum", *, average: bool = True, dropout: float = 0.0
) -> TrainingState:
    model = new_model(dropout)
    options = dict(OPTIMIZERS[optimizer])
    made = build_optimizer(options.pop("name"), model.parameters(), **options)
    return TrainingState(model, made, AveragedWeights(model, 0.9) if average else None)


def go(state: TrainingState, engine: Callable[..., Engine], **changes: Any) -> str:
    """Two epochs of three batches."""
    given: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 32,
        "schedule": lambda step: state.optimizer.defaults["lr"] / (1 + step / 10),
        "seed": 7,
        "make_engine": engine,
    }
    return train(state, data(), data(40, 2), **{**given, **changes})


def parts(state: TrainingState) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's header without figures that hang on the last bits, and its tensors."""
    header, tensors = state.to_checkpoint()
    return header.model_dump(exclude={"history", "best", "seconds"}), tensors


def assert_same_bits(one: TrainingState, other: TrainingState) -> None:
    (header, tensors), (other_header, other_tensors) = parts(one), parts(other)
    assert header == other_header
    assert tensors.keys() == other_tensors.keys()
    for name in tensors:
        assert torch.equal(tensors[name], other_tensors[name]), name
    figures = [(m.train_loss, m.train_acc, m.val_loss) for m in one.history]
    assert figures == [(m.train_loss, m.train_acc, m.val_loss) for m in other.history]


def assert_near(found: TrainingState, wanted: TrainingState) -> None:
    """The same in kind, names, shapes, types and counts, and nearly the same numbers."""
    (header, tensors), (wanted_header, wanted_tensors) = parts(found), parts(wanted)
    assert header == wanted_header
    assert tensors.keys() == wanted_tensors.keys()
    for name, tensor in wanted_tensors.items():
        assert (tensors[name].shape, tensors[name].dtype) == (tensor.shape, tensor.dtype), name
        assert tensors[name].stride() == tensor.stride(), name
        if tensor.is_floating_point() and not name.endswith(".step"):
            torch.testing.assert_close(tensors[name], tensor, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(tensors[name], tensor), name
    for metrics, others in zip(found.history, wanted.history, strict=True):
        assert metrics.train_loss == pytest.approx(others.train_loss, rel=1e-5)
        assert metrics.val_loss == pytest.approx(others.val_loss, rel=1e-5)
        assert (metrics.train_acc, metrics.val_acc, metrics.lr) == (
            *(others.train_acc, others.val_acc, others.lr),
        )


EVERYTHING = {
    "label_smoothing": 0.1,
    "clip_norm": 1.0,
    "class_weights": (1.0, 0.5, 2.0, 1.0),
    "augment": Augmentation(3, flip=True, crop_padding=1, cutout=2),
}


# ---- What it leaves ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("average", [False, True], ids=["", "averaged"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_ends_as_one_by_pytorch(
    optimizer: str, average: bool, options: dict[str, Any]
) -> None:
    found, wanted = (new_state(optimizer, average=average) for _ in range(2))
    go(found, NativeEngine, **options)
    go(wanted, TorchEngine, **options)
    assert_near(found, wanted)


def test_it_learns() -> None:
    state = new_state("adam", dropout=0.2)
    go(state, NativeEngine, epochs=30, schedule=lambda step: 0.01)
    assert state.history[-1].val_acc == 1.0


def test_it_works_in_the_memory_of_the_state() -> None:
    state = new_state("adam")
    assert state.averaged is not None

    def addresses() -> dict[str, int]:
        _, tensors = state.to_checkpoint()
        kept = ("model", "averaged", "optimizer")
        return {name: t.data_ptr() for name, t in tensors.items() if name.startswith(kept)}

    go(state, NativeEngine, epochs=1)
    before = addresses()
    go(state, NativeEngine, epochs=3)
    assert addresses() == before


def test_it_continues_with_what_the_optimizer_has_counted() -> None:
    """Adam's first steps are longer: a count that is not its own would show."""
    found, wanted = new_state("adam"), new_state("adam")
    for state in (found, wanted):
        go(state, TorchEngine, epochs=1)
        for kept in state.optimizer.state.values():
            kept["step"] += 100  # of a training before this one
    go(found, NativeEngine)
    go(wanted, TorchEngine)
    assert_near(found, wanted)
    assert {float(kept["step"]) for kept in found.optimizer.state.values()} == {106.0}


def test_a_count_that_grows_no_more_in_single_precision_stays() -> None:
    found, wanted = new_state("adam"), new_state("adam")
    for state in (found, wanted):
        go(state, TorchEngine, epochs=1)
        for kept in state.optimizer.state.values():
            kept["step"].fill_(2**24 - 2)
    go(found, NativeEngine)
    go(wanted, TorchEngine)
    assert_near(found, wanted)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [True, False, None])
def test_an_optimizer_s_state_is_as_pytorch_makes_it(
    fused: bool | None, default: torch.dtype
) -> None:
    def trained(engine: type[Engine]) -> TrainingState:
        model = new_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        state = TrainingState(model, optimizer)
        torch.set_default_dtype(default)
        try:
            go(state, engine)
        finally:
            torch.set_default_dtype(torch.float32)
        return state

    assert_near(trained(NativeEngine), trained(TorchEngine))


@pytest.mark.parametrize("continuing", [NativeEngine, TorchEngine])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_pass_from_one_engine_to_the_other(
    optimizer: str, continuing: type[Engine], tmp_path: Path
) -> None:
    """One engine saves in the middle of an epoch; the other continues from there."""
    began = {NativeEngine: TorchEngine, TorchEngine: NativeEngine}[continuing]
    first, second, wanted = (new_state(optimizer) for _ in range(3))
    stops = iter([False] * 3 + [True] * 9)
    outcome = go(
        first,
        began,
        checkpointer=Checkpointer(tmp_path, {}),
        watcher=Often(),
        should_stop=lambda: next(stops),
    )
    assert (outcome, first.step, first.batch) == ("interrupted", 4, 1)
    checkpoint = read_newest(tmp_path)
    assert checkpoint is not None
    second.restore(checkpoint.header, checkpoint.tensors)
    go(second, continuing)
    go(wanted, TorchEngine)
    assert_near(second, wanted)


class Often(Watcher):
    every_batches = 1


def test_parameters_that_are_frozen_stay_and_have_no_moments() -> None:
    found, wanted = new_state("adam"), new_state("adam")
    for state in (found, wanted):
        for name, parameter in state.model.named_parameters():
            parameter.requires_grad_("stem" not in name)
    before = found.model.network.stem[0].weight.clone()
    go(found, NativeEngine)
    go(wanted, TorchEngine)
    assert torch.equal(found.model.network.stem[0].weight, before)
    assert_near(found, wanted)


class Changes(Watcher):
    """Calls a function after the first epoch."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        if metrics.epoch == 1:
            self.change()


def stem_is_trained(state: TrainingState, *, trained: bool) -> None:
    for name, parameter in state.model.named_parameters():
        if "stem" in name:
            parameter.requires_grad_(trained)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_may_be_frozen_during_a_run(optimizer: str) -> None:
    found, wanted = new_state(optimizer), new_state(optimizer)
    for state, engine in ((found, NativeEngine), (wanted, TorchEngine)):
        go(state, engine, watcher=Changes(partial(stem_is_trained, state, trained=False)))
    assert_near(found, wanted)


def test_parameters_may_be_trained_later_where_no_steps_are_counted() -> None:
    found, wanted = new_state("sgd with momentum"), new_state("sgd with momentum")
    for state, engine in ((found, NativeEngine), (wanted, TorchEngine)):
        stem_is_trained(state, trained=False)
        go(state, engine, watcher=Changes(partial(stem_is_trained, state, trained=True)))
    assert_near(found, wanted)


def test_parameters_whose_adam_steps_differ_are_refused() -> None:
    state = new_state("adam")
    stem_is_trained(state, trained=False)
    with pytest.raises(NotNativeError, match="has taken more steps for some parameters"):
        go(state, NativeEngine, watcher=Changes(partial(stem_is_trained, state, trained=True)))


CHANGED = r"hooks|changed|replaced|requires a gradient|not a list of layers"


def other_dropout(model: ImageModel) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.125


@pytest.mark.parametrize(
    "change",
    [
        other_dropout,
        lambda model: model.network.register_forward_hook(lambda *_: None),
        lambda model: next(model.parameters()).register_hook(lambda gradient: gradient * 0),
        lambda model: setattr(
            model.network.classifier, "bias", nn.Parameter(model.network.classifier.bias + 1)
        ),
        lambda model: model.requires_grad_(False),
        lambda model: setattr(model.network, "stem", nn.Sequential(*model.network.stem, nn.ELU())),
    ],
    ids=["an option", "a hook", "a gradient's hook", "a parameter", "all are frozen", "a layer"],
)
def test_a_model_that_is_changed_during_a_run_is_refused(
    change: Callable[[ImageModel], object],
) -> None:
    state = new_state(average=False, dropout=0.5)
    with pytest.raises(NotNativeError, match=CHANGED) as refused:
        go(state, NativeEngine, watcher=Changes(partial(change, state.model)))
    assert "make_engine=TorchEngine" in str(refused.value)
    assert state.epoch == 1


def test_a_parameter_that_the_optimizer_does_not_have_is_not_trained_later() -> None:
    state = new_state()
    stem_is_trained(state, trained=False)
    trained = [each for each in state.model.parameters() if each.requires_grad]
    own = TrainingState(state.model, torch.optim.SGD(trained, lr=0.05), None)
    with pytest.raises(NotNativeError, match=r"does not have the parameter network\.stem"):
        go(own, NativeEngine, watcher=Changes(partial(stem_is_trained, own, trained=True)))


def test_a_batch_larger_than_the_data_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, real = [], CompiledNetwork

    def network(layers: Any, shape: Any, batch_size: int, **options: Any) -> CompiledNetwork:
        sizes.append(batch_size)
        return real(layers, shape, batch_size, **options)

    monkeypatch.setattr("tenfold.training.native_engine.CompiledNetwork", network)
    found, wanted = new_state(), new_state()
    go(found, NativeEngine, batch_size=2**24 + 1)
    go(wanted, TorchEngine, batch_size=90)
    assert_near(found, wanted)
    assert sizes == [90]


def test_a_gpus_worth_of_groups_is_one_group_if_they_agree() -> None:
    def trained(engine: type[Engine]) -> TrainingState:
        model = new_model()
        first, *rest = model.parameters()
        groups = [{"params": [first], "lr": 7.0}, {"params": rest}]
        state = TrainingState(model, torch.optim.SGD(groups, lr=0.05, momentum=0.9))
        go(state, engine)
        return state

    assert_near(trained(NativeEngine), trained(TorchEngine))


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
def test_the_gradients_of_the_last_step_are_told_on_request(clip_norm: float) -> None:
    def norms(engine: type[Engine]) -> dict[str, float]:
        made = engine(new_state(), data(), StepSettings(32, clip_norm=clip_norm))
        made.begin_epoch(0, torch.arange(90))
        assert made.advance(0, [0.1]).gradient_norms is None
        found = made.advance(1, [0.1, 0.1], gradient_norms=True).gradient_norms
        assert found is not None
        return dict(found)

    found, wanted = norms(NativeEngine), norms(TorchEngine)
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, rel=1e-4)


def test_validation_is_that_of_the_averaged_weights() -> None:
    state = new_state()
    engine = NativeEngine(state, data(), StepSettings(32))
    engine.begin_epoch(0, torch.arange(90))
    engine.advance(0, [0.1, 0.1, 0.1])
    images = data(50, 3).images
    found = engine.logits(images, 16)
    assert not torch.allclose(found, predict_logits(state.model, images))
    with state.final_weights_in_place():
        torch.testing.assert_close(found, predict_logits(state.model, images))
    assert torch.equal(engine.logits(images, 1024), found)


def test_dropout_is_keyed_by_the_seed() -> None:
    one, same, other = (new_state(dropout=0.5) for _ in range(3))
    before = torch.get_rng_state()
    go(one, NativeEngine)
    go(same, NativeEngine)
    go(other, NativeEngine, seed=8, shuffle=False)
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn from PyTorch
    assert_same_bits(one, same)
    unshuffled = new_state(dropout=0.5)
    go(unshuffled, NativeEngine, shuffle=False)
    assert unshuffled.history[0].train_loss != other.history[0].train_loss


# ---- Bits --------------------------------------------------------------------------------------


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_bits_do_not_depend_on_threads(optimizer: str) -> None:
    states = [new_state(optimizer, dropout=0.3) for _ in range(4)]
    for count, state in enumerate(states, start=1):
        with threads(count):
            go(state, NativeEngine, **EVERYTHING)
    for state in states[1:]:
        assert_same_bits(state, states[0])


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_where_stretches_end_makes_no_difference(every: int) -> None:
    class Watching(Watcher):
        every_batches = every

    plain, watched = new_state("adam", dropout=0.3), new_state("adam", dropout=0.3)
    go(plain, NativeEngine, batch_size=8, **EVERYTHING)
    go(watched, NativeEngine, batch_size=8, watcher=Watching(), **EVERYTHING)
    assert_same_bits(plain, watched)


def steps_in_denormals(engine: type[Engine], *, flush: bool) -> Tensor:
    """Weights, as bits, that are as small as normal numbers can be, after smaller steps."""
    torch.manual_seed(0)
    state = of_network(nn.Flatten(), nn.Linear(192, 4))
    weight = state.model.network[1].weight
    with torch.no_grad():
        weight *= 1e-37
    torch.set_flush_denormal(flush)
    try:
        go(state, engine, schedule=lambda step: 1e-38)
    finally:
        torch.set_flush_denormal(False)
    return weight.detach().view(torch.int32)


def test_the_bits_do_not_depend_on_what_pytorch_does_with_denormals() -> None:
    by_kernels, by_pytorch = (
        [steps_in_denormals(engine, flush=flush) for flush in (False, True)]
        for engine in (NativeEngine, TorchEngine)
    )
    assert torch.equal(*by_kernels)
    assert not torch.equal(*by_pytorch)


def after_a_step_of_adam(
    engine: type[Engine], betas: tuple[float, float], eps: float, mean: float
) -> tuple[Tensor, Tensor]:
    """Of classes whose probability is 1e-14, after a step, and the means of their gradients.

    Args:
        engine: takes the step.
        betas: Adam's.
        eps: Adam's.
        mean: of the gradients before it.
    """
    state = of_network(nn.Flatten(), nn.Linear(math.prod(SHAPE), 4))
    layer = state.model.network[1]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([32.0, 0.0, 0.0, 0.0]))
    state.optimizer = torch.optim.Adam(state.model.parameters(), 1e-3, betas, eps)
    for parameter in state.model.parameters():
        state.optimizer.state[parameter] = {
            "step": torch.tensor(1.0),
            "exp_avg": torch.full_like(parameter, mean),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    images = torch.zeros((64, *SHAPE), dtype=torch.uint8)
    of_one_class = ImageDataset(images, torch.zeros(64, dtype=torch.int64), tuple("abcd"))
    train(
        state,
        of_one_class,
        epochs=1,
        batch_size=64,
        schedule=lambda step: 1e-3,
        make_engine=engine,
    )
    return layer.bias.detach()[1:], state.optimizer.state[layer.bias]["exp_avg"][1:]


def test_adam_divides_by_tiny_squares_as_pytorch_does() -> None:
    options = ((0.9, 0.999), 1e-16, 0.0)
    moved, _ = after_a_step_of_adam(TorchEngine, *options)
    assert moved.abs().min() > 5e-4  # most of a learning rate
    found, _ = after_a_step_of_adam(NativeEngine, *options)
    torch.testing.assert_close(found, moved, rtol=1e-3, atol=0)


def test_adam_forgets_at_once_as_pytorch_does() -> None:
    """What is left of a mean of 1 is a gradient of 1e-14, not the rounding error of 1."""
    options = ((0.0, 0.9), 1e-8, 1.0)
    _, mean = after_a_step_of_adam(TorchEngine, *options)
    assert 0 < mean.abs().min() < 1e-13
    _, found = after_a_step_of_adam(NativeEngine, *options)
    torch.testing.assert_close(found, mean, rtol=1e-3, atol=0)


# ---- What goes wrong ---------------------------------------------------------------------------


def test_a_loss_that_explodes_stops_a_run_as_with_pytorch() -> None:
    said = []
    for engine in (NativeEngine, TorchEngine):
        state = new_state("sgd", average=False)
        with pytest.raises(TrainingError) as caught:
            go(state, engine, schedule=lambda step: 1e30)
        said.append(str(caught.value).replace("inf", "nan"))
    assert said[0] == said[1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_stop_a_run(value: float) -> None:
    """A weight of the last layer that no gradient reaches: its class never occurs."""
    said = []
    for engine in (NativeEngine, TorchEngine):
        state = new_state(average=False)
        with torch.no_grad():
            state.model.network.classifier.weight[3, 0] = value
        with pytest.raises(TrainingError) as caught:
            go(state, engine)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "became nan in epoch 1, batch 1" in said[0]


def test_one_image_left_for_batch_normalization_is_refused() -> None:
    state = new_state()
    network = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4))
    model = ImageModel(Preprocessing(), network)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match="one image, which leaves batch normalization"):
        go(state, NativeEngine, batch_size=89)


# ---- What it refuses ---------------------------------------------------------------------------


def with_optimizer(make: Callable[[ImageModel], torch.optim.Optimizer]) -> TrainingState:
    model = new_model()
    return TrainingState(model, make(model))


def changed(change: Callable[[TrainingState], object]) -> TrainingState:
    state = new_state()
    change(state)
    return state


class Own(ImageModel):
    pass


class OwnAverage(AveragedWeights):
    pass


class OwnOptimizer(torch.optim.SGD):
    pass


def of_network(*layers: nn.Module) -> TrainingState:
    model = ImageModel(Preprocessing(), nn.Sequential(*layers))
    return TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))


def shared(state: TrainingState) -> None:
    """Two parameters over one block of memory, one behind the other, overlapping."""
    memory = torch.zeros(6)
    norm = state.model.network.stem[1]
    norm.weight.data, norm.bias.data = memory[:4], memory[2:]


def averaged_in_place(state: TrainingState) -> None:
    assert state.averaged is not None
    name = "network.classifier.weight"
    state.averaged.tensors[name] = state.model.state_dict()[name]


def in_channels_last(state: TrainingState) -> None:
    conv = state.model.network.stem[0]
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)


def scheduled(state: TrainingState) -> None:
    torch.optim.lr_scheduler.StepLR(state.optimizer, 1)


def counted_differently(state: TrainingState) -> None:
    first, *_ = state.optimizer.param_groups[0]["params"]
    state.optimizer.state[first]["step"] = torch.tensor(3.0)


def pruned(state: TrainingState) -> None:
    nn.utils.parametrizations.weight_norm(state.model.network.classifier)


REFUSED: dict[str, tuple[Callable[[], TrainingState], str]] = {
    "another optimizer": (
        lambda: with_optimizer(lambda m: torch.optim.RMSprop(m.parameters())),
        "the optimizer is RMSprop, wanted SGD, Adam or AdamW",
    ),
    "an optimizer of somebody's own": (
        lambda: with_optimizer(lambda m: OwnOptimizer(m.parameters(), lr=0.1)),
        "the optimizer is OwnOptimizer, wanted",
    ),
    **{
        f"Adam with {option}": (
            lambda option=option: with_optimizer(
                lambda m: torch.optim.Adam(m.parameters(), **{option: True})
            ),
            f"the optimizer has {option} = True, which the kernels do not support",
        )
        for option in ("amsgrad", "maximize", "capturable", "differentiable")
    },
    "SGD with dampening": (
        lambda: with_optimizer(
            lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, dampening=0.5)
        ),
        r"the optimizer has dampening = 0\.5, which the kernels do not support",
    ),
    "an option that is a tensor": (
        lambda: with_optimizer(
            lambda m: torch.optim.SGD(m.parameters(), lr=0.1, weight_decay=torch.tensor(0.1))
        ),
        "an option of the optimizer is a tensor, wanted a number",
    ),
    "groups with different options": (
        lambda: with_optimizer(
            lambda m: torch.optim.SGD(
                [
                    {"params": list(m.parameters())[:1], "weight_decay": 0.1},
                    {"params": list(m.parameters())[1:]},
                ],
                lr=0.1,
            )
        ),
        "the optimizer has parameter groups with different options",
    ),
    "an optimizer without a parameter": (
        lambda: with_optimizer(lambda m: torch.optim.SGD(list(m.parameters())[1:], lr=0.1)),
        r"the optimizer does not have the parameter network\.stem\.0\.weight",
    ),
    "an optimizer with a foreign parameter": (
        lambda: with_optimizer(
            lambda m: torch.optim.SGD([*m.parameters(), nn.Parameter(torch.zeros(1))], lr=0.1)
        ),
        "the optimizer has parameters that are not in the model",
    ),
    "hooks of an optimizer": (
        lambda: changed(lambda s: s.optimizer.register_step_post_hook(lambda *_: None)),
        "the optimizer has hooks or a custom step method",
    ),
    "a scheduler of PyTorch's": (
        lambda: changed(scheduled),
        "the optimizer has hooks or a custom step method",
    ),
    "counts that differ": (
        lambda: changed(counted_differently),
        "the optimizer has taken more steps for some parameters",
    ),
    "nothing to train": (
        lambda: changed(lambda s: s.model.requires_grad_(False)),
        "no parameter of the model requires a gradient",
    ),
    "a model of another class": (
        lambda: TrainingState(
            own := Own(Preprocessing(), new_model().network),
            torch.optim.SGD(own.parameters(), lr=0.1),
        ),
        "the model is of class Own, not an ImageModel",
    ),
    "a layer that the kernels do not know": (
        lambda: of_network(nn.Flatten(), nn.Linear(192, 9), nn.GELU(), nn.Linear(9, 4)),
        "the network is not a list of layers that the kernels support",
    ),
    "logits for other classes": (
        lambda: of_network(nn.Flatten(), nn.Linear(192, 5)),
        "the network does not give one logit per class of the data",
    ),
    "double precision": (
        lambda: changed(lambda s: s.model.double()),
        "the network is not a list of layers that the kernels support",
    ),
    "a hook of a module": (
        lambda: changed(lambda s: s.model.network.stem.register_forward_hook(lambda *_: None)),
        r"the model does more than its layers: its module network\.stem has hooks",
    ),
    "a hook of the model": (
        lambda: changed(lambda s: s.model.register_forward_pre_hook(lambda *_: None)),
        "the model does more than its layers: it has hooks",
    ),
    "a hook of the preprocessing": (
        lambda: changed(lambda s: s.model.preprocessing.register_forward_hook(lambda *_: None)),
        "the model does more than its layers: its module preprocessing has hooks",
    ),
    "a forward of its own": (
        lambda: changed(lambda s: setattr(s.model, "forward", lambda x: x)),
        "the model does more than its layers: it has its own method forward",
    ),
    "a hook of a gradient": (
        lambda: changed(lambda s: next(s.model.parameters()).register_hook(lambda g: g)),
        "the network is not a list of layers that the kernels support",
    ),
    "a parametrization": (
        lambda: changed(pruned),
        "the network is not a list of layers that the kernels support",
    ),
    "shared memory": (
        lambda: changed(shared),
        "two tensors of the model, or of its average, share memory",
    ),
    "an average that is the weight": (
        lambda: changed(averaged_in_place),
        "two tensors of the model, or of its average, share memory",
    ),
    "an average of somebody's own": (
        lambda: changed(lambda s: setattr(s, "averaged", OwnAverage(s.model, 0.9))),
        "the average is OwnAverage, wanted AveragedWeights",
    ),
    "another layout": (
        lambda: changed(in_channels_last),
        r"stem\.0\.weight is torch\.float32 with strides \[27, 1, 9, 3\], wanted contiguous",
    ),
    "another device": (
        lambda: changed(lambda s: s.model.to("meta")),
        "the model is on meta, wanted the CPU",
    ),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_what_it_does_not_take_exactly_is_refused(
    make: Callable[[], TrainingState], said: str
) -> None:
    with pytest.raises(NotNativeError, match=f"^{said}"):
        NativeEngine(make(), data(), StepSettings(32))


def test_hooks_that_come_later_are_refused_although_the_layers_are_known() -> None:
    from tenfold.evaluation.compiled import CompiledModel

    state = new_state()
    compiled = CompiledModel(state.model, SHAPE)
    next(state.model.parameters()).register_hook(lambda gradient: gradient)
    with pytest.raises(NotNativeError, match=r"the gradient of network\.stem\.0\.weight has hooks"):
        NativeEngine(state, data(), StepSettings(32), compiled)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (lambda images, indices, epoch: images, "the images are augmented by <lambda>, not by"),
    ],
)
def test_another_augmentation_is_refused(augment: Any, said: str) -> None:
    with pytest.raises(NotNativeError, match=said):
        NativeEngine(new_state(), data(), StepSettings(32, augment=augment))


def test_mixed_precision_is_refused() -> None:
    with (
        torch.autocast("cpu"),
        pytest.raises(NotNativeError, match="mixed precision"),
    ):
        NativeEngine(new_state(), data(), StepSettings(32))


def test_an_option_that_is_changed_later_counts_or_is_refused() -> None:
    found, wanted = new_state("sgd"), new_state("sgd")

    class Changes(Watcher):
        def __init__(self, state: TrainingState, option: str, value: object) -> None:
            self.state, self.option, self.value = state, option, value

        def epoch_done(self, metrics: object, epochs: int) -> None:
            self.state.optimizer.param_groups[0][self.option] = self.value

    go(found, NativeEngine, watcher=Changes(found, "momentum", 0.5))
    go(wanted, TorchEngine, watcher=Changes(wanted, "momentum", 0.5))
    assert_near(found, wanted)
    state = new_state("sgd")
    with pytest.raises(NotNativeError, match="maximize = True"):
        go(state, NativeEngine, watcher=Changes(state, "maximize", True))
