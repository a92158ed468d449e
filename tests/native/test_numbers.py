"""The kernels' results, compared with PyTorch in single and double precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_float
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from networks import CLASSES, LAYERS, MODELS, Case, ending
from torch import Tensor, nn

from engines import needs_kernels
from tenfold.models import MODELS as TABLE
from tenfold.models.layers import Layer
from tenfold.models.tracing import layer_list
from tenfold.native.built import INSTRUCTION_SETS, processor
from tenfold.native.library import LACKING, PACKAGE, Kernels, find_kernels_in
from tenfold.native.network import CompiledNetwork, TakenSteps
from tenfold.native.records import ADAM, ADAMW, SGD, ChannelNormalization, TrainedTensor
from tenfold.native.structures import StepSettingsRecord
from tenfold.training.augment import Augmentation
from tenfold.training.native_engine import image_changes
from tenfold.types import ImageShape
from thoroughness import IS_THOROUGH, some

pytestmark = needs_kernels

EVERY = {**LAYERS, **{f"model {name}": case for name, case in MODELS.items()}}

MEAN, DEVIATION = 0.4, 0.3

EPSILON = 2.0**-23

BATCHES = 6

VARIANTS = {
    *("convolution of one channel", "convolution to one channel", "convolution without bias"),
    *("convolution with too much padding", "convolution with strides and padding"),
    *("convolution that skips pixels", "convolution of the whole feature map"),
    *("convolutions with strides in a row", "max pooling with padding", "max pooling of strides"),
    *("rectangular max pooling", "max pooling of a high kernel", "average pooling with padding"),
    *("max pooling of a convolution of the images", "rectangular average pooling"),
    *("ReLU before average pooling", "ReLU twice", "ReLU after flatten", "flatten twice"),
    *("linear without bias", "consecutive linear layers", "linear, transposed"),
    *("batch norm with other settings", "batch norm without memory"),
    *("batch norm before pooling", "model softmax", "model softmax-scratch"),
    *("model resnet-small",),
}
"""Networks of layers that others in the table have, too."""

KINDS = {name: case for name, case in EVERY.items() if IS_THOROUGH or name not in VARIANTS}
"""Networks that together have every kind of layer; all if the tests are thorough."""


@pytest.fixture(params=INSTRUCTION_SETS.get(processor(), ()))
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """Every library that was built and runs here."""
    found = find_kernels_in(PACKAGE, request.param)
    if not isinstance(found, Kernels):
        pytest.skip(found.reason)
    return found


@pytest.fixture(scope="module")
def libraries() -> list[Kernels]:
    """All that this processor runs, for tests in which PyTorch takes most of the time.

    Fails if one of them is missing for any other reason than that the processor cannot run it.
    """
    found = []
    for name in INSTRUCTION_SETS.get(processor(), ()):
        kernels = find_kernels_in(PACKAGE, name)
        if isinstance(kernels, Kernels):
            found.append(kernels)
        elif kernels.reason != LACKING[name]:
            pytest.fail(f"{name}: {kernels.reason}")
    return found


@dataclass
class Problem:
    """A network with images that it can learn from.

    Attributes:
        network: with fresh weights, in training mode.
        layers: its list of layers.
        images: raw pixels: noise, and a bright square whose position depends on the class.
        labels: of the images.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    layers: Sequence[Layer] = field(init=False)

    def __post_init__(self) -> None:
        found = layer_list(self.network)
        assert found is not None
        self.layers = found

    def inputs(self, indices: Tensor, dtype: torch.dtype) -> Tensor:
        """Preprocessed images."""
        pixels = self.images[indices].to(dtype) / 255
        return (pixels - MEAN) / DEVIATION

    @property
    def normalization(self) -> ChannelNormalization:
        channels = self.images.shape[1]
        return ChannelNormalization(
            np.full(channels, MEAN, np.float32), np.full(channels, DEVIATION, np.float32)
        )


def problem_of(case: Case, n: int = 48) -> Problem:
    torch.manual_seed(3)
    network = case.make()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or parameter.ndim == 1:  # initially all 1 or all 0
                parameter += 0.3 * torch.randn_like(parameter)
    channels, height, width = case.shape
    images = torch.randint(0, 150, (n, channels, height, width), dtype=torch.uint8)
    labels = torch.arange(n) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, label : label + 3, label : label + 3] += 100
    return Problem(network, images, labels)


class Trained:
    """The kernels' side of a problem: copies of the network's tensors with their training state."""

    def __init__(
        self,
        problem: Problem,
        batch_size: int,
        kernels: Kernels | None = None,
        *,
        moments: int = 1,
        average: bool = False,
        threads: int = 1,
    ) -> None:
        shape = problem.images.shape[1:]
        self.problem = problem
        self.network = CompiledNetwork(
            problem.layers, shape, batch_size, training=True, threads=threads, kernels=kernels
        )
        trained = {name for name, each in problem.network.named_parameters() if each.requires_grad}
        state = problem.network.state_dict()
        self.tensors = {
            name: TrainedTensor(
                state[name].numpy().copy(),
                [np.zeros(shape, np.float32) for _ in range(moments if name in trained else 0)],
                average=state[name].numpy().copy() if average else None,
                is_trained=name in trained,
            )
            for name, shape in self.network.tensors.items()
        }

    def steps(
        self, order: Tensor, rates: Sequence[float], settings: StepSettingsRecord, **options: Any
    ) -> TakenSteps:
        problem = self.problem
        return self.network.train(
            self.tensors,
            problem.images.numpy(),
            problem.labels.numpy(),
            order.numpy(),
            rates,
            settings=settings,
            normalization=problem.normalization,
            **options,
        )


Found = dict[str, Tensor]
"""The loss of a step, each gradient, and the running statistics after it."""


def step_of_pytorch(
    problem: Problem, batch: Tensor, dtype: torch.dtype, **options: object
) -> Found:
    network = copy.deepcopy(problem.network).to(dtype)
    weight = options.pop("weight", None)
    loss = nn.functional.cross_entropy(
        network(problem.inputs(batch, dtype)),
        problem.labels[batch],
        weight=None if weight is None else torch.tensor(weight, dtype=dtype),
        **options,
    )
    loss.backward()
    return {
        "loss": loss.detach(),
        **{f"gradient of {name}": p.grad for name, p in network.named_parameters()},
        **{name: b for name, b in network.named_buffers() if b.is_floating_point()},
    }


def step_of_kernels(
    problem: Problem,
    batch: Tensor,
    kernels: Kernels | None = None,
    weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    **options: Any,
) -> Found:
    """The same; a zero-initialized momentum buffer becomes the gradient."""
    record = StepSettingsRecord(optimizer=SGD, momentum=0.5, label_smoothing=label_smoothing)
    if weight is not None:
        record.class_weights = (c_float * len(weight))(*weight)
    trained = Trained(problem, len(batch), kernels)
    taken = trained.steps(batch, [0.0], record, **options)
    found = {"loss": torch.tensor(taken.losses[0])}
    for name, tensor in trained.tensors.items():
        if tensor.is_trained:
            found[f"gradient of {name}"] = torch.from_numpy(tensor.moments[0])
        else:
            found[name] = torch.from_numpy(tensor.value)
    return found


def rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def assert_as_near(
    problem: Problem, size: int, libraries: Sequence[Kernels], **options: Any
) -> None:
    """All kernels are at most 3 times as far from double precision as PyTorch in single precision.

    Errors are taken over several batches: on a single number, such as a bias, PyTorch is sometimes
    exact by chance. Values that are 0 except for rounding, such as the gradient of a bias before
    batch normalization, are measured relative to the other gradients.
    """
    batches = [torch.randperm(len(problem.images))[:size] for _ in range(BATCHES)]
    single, double = (
        stacked([step_of_pytorch(problem, batch, dtype, **options) for batch in batches])
        for dtype in (torch.float32, torch.float64)
    )
    scales = {name: rms(values) for name, values in double.items()}
    whole = max(scale for name, scale in scales.items() if name.startswith("gradient"))
    for kernels in libraries:
        found = stacked([step_of_kernels(problem, batch, kernels, **options) for batch in batches])
        assert found.keys() == single.keys()
        for name, scale in scales.items():
            error, of_pytorch = rms(found[name] - double[name]), rms(single[name] - double[name])
            allowed = max(3 * of_pytorch, EPSILON * max(scale, 1e-2 * whole))
            wrong = f"{kernels.instruction_set}, {name}: {error:.2e} off, allowed {allowed:.2e}"
            assert error <= allowed, wrong


def stacked(found: Sequence[Found]) -> Found:
    """Each tensor of several batches, stacked."""
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def test_every_operation_and_every_model_is_covered() -> None:
    layers = [layer for case in LAYERS.values() for layer in layer_list(case.make()) or ()]
    operations = {layer.op for layer in layers}
    known = {
        *("conv2d", "max_pool2d", "average_pool2d", "global_average_pool", "relu", "flatten"),
        *("linear", "dropout", "batch_norm2d", "add"),
    }
    assert operations == known
    too_wide = {"resnet18", "resnet34", "resnet50"}  # training/test_agreement.py has them
    assert {name.partition(",")[0] for name in MODELS} == TABLE.keys() - too_wide


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for size in (37, 2, 16) for name in (EVERY if size == 37 else KINDS)],
)
def test_every_gradient_of_a_step(name: str, size: int, libraries: list[Kernels]) -> None:
    """Batches smaller than a block, as large as a block, and larger but not a multiple."""
    assert_as_near(problem_of(EVERY[name]), size, libraries)


WEIGHTS = (1.0, 0.25, 3.0, 0.0, 0.5)

LOSSES: dict[str, dict[str, Any]] = {
    "label smoothing": {"label_smoothing": 0.1},
    "class weights": {"weight": WEIGHTS},
    "label smoothing and class weights": {"label_smoothing": 0.3, "weight": WEIGHTS},
}


@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("name", ["linear", "model lenet", "batch norm"])
def test_every_gradient_with_loss_options(
    name: str, options: dict[str, Any], libraries: list[Kernels]
) -> None:
    assert_as_near(problem_of(EVERY[name]), 19, libraries, **options)


@pytest.mark.parametrize("name", ["batch norm", "addition after batch norm", "model lenet"])
def test_frozen_tensors_stay_unchanged_and_the_others_learn_the_same(
    name: str, kernels: Kernels
) -> None:
    problem = problem_of(EVERY[name])
    wanted = step_of_kernels(problem, torch.arange(20), kernels)
    frozen = [*problem.network.parameters()][::2]
    for parameter in frozen:
        parameter.requires_grad_(False)
    found = step_of_kernels(problem, torch.arange(20), kernels)
    trained = {f"gradient of {n}" for n, p in problem.network.named_parameters() if p.requires_grad}
    assert trained < wanted.keys()
    for each in {"loss", *trained}:
        assert torch.equal(found[each], wanted[each]), each
    values = problem.network.state_dict()
    for each, value in found.items():
        if each in values and "running" not in each:
            assert torch.equal(value, values[each]), each


@pytest.mark.parametrize("case", EVERY.values(), ids=EVERY)
def test_logits_in_evaluation_mode(case: Case, kernels: Kernels) -> None:
    problem = problem_of(case)
    with torch.no_grad():
        for name, buffer in problem.network.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.2 * torch.randn_like(buffer)
            if name.endswith("running_var"):
                buffer *= 0.5 + torch.rand_like(buffer)
    everything = torch.arange(len(problem.images))

    def by_pytorch(dtype: torch.dtype) -> Tensor:
        network = copy.deepcopy(problem.network).to(dtype).eval()
        with torch.no_grad():
            return network(problem.inputs(everything, dtype))

    found = logits_of_kernels(problem, kernels)
    wanted = by_pytorch(torch.float64)
    allowed = max(3 * rms(by_pytorch(torch.float32) - wanted), EPSILON * rms(wanted))
    assert rms(found - wanted) <= allowed


def logits_of_kernels(problem: Problem, kernels: Kernels, threads: int = 1) -> Tensor:
    images = problem.images.numpy()
    network = CompiledNetwork(
        problem.layers, images.shape[1:], 32, threads=threads, kernels=kernels
    )
    weights = {name: each.numpy() for name, each in problem.network.state_dict().items()}
    logits = network.predict(weights, images, normalization=problem.normalization)
    return torch.from_numpy(logits)


class Rule(NamedTuple):
    """An optimizer in PyTorch and the same for the kernels."""

    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    settings: dict[str, Any]
    lr: float
    moments: int = 0


ADAM_NUMBERS = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

RULES: dict[str, Rule] = {
    "SGD": Rule(lambda p: torch.optim.SGD(p, lr=0.05), {"optimizer": SGD}, 0.05),
    "SGD with weight decay": Rule(
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.03),
        {"optimizer": SGD, "weight_decay": 0.03},
        0.05,
    ),
    "SGD with momentum": Rule(
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        {"optimizer": SGD, "momentum": 0.9},
        0.01,
        moments=1,
    ),
    "SGD with Nesterov's momentum": Rule(
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.01),
        {"optimizer": SGD, "momentum": 0.8, "nesterov": 1, "weight_decay": 0.01},
        0.01,
        moments=1,
    ),
    "Adam": Rule(
        lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
        {"optimizer": ADAM, **ADAM_NUMBERS},
        1e-3,
        moments=2,
    ),
    "Adam with weight decay": Rule(
        lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=0.02, fused=True),
        {"optimizer": ADAM, **ADAM_NUMBERS, "weight_decay": 0.02},
        1e-3,
        moments=2,
    ),
    "Adam with other settings": Rule(
        lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.7, 0.95), eps=1e-4),
        {"optimizer": ADAM, "beta1": 0.7, "beta2": 0.95, "epsilon": 1e-4},
        1e-3,
        moments=2,
    ),
    "AdamW": Rule(
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.05, fused=True),
        {"optimizer": ADAMW, **ADAM_NUMBERS, "weight_decay": 0.05},
        1e-3,
        moments=2,
    ),
}


@dataclass
class Course:
    """The results of a training.

    Attributes:
        losses: of its steps.
        tensors: every value, moment and average at the end.
    """

    losses: Tensor
    tensors: dict[str, Tensor]


KEPT = {1: ("momentum_buffer",), 2: ("exp_avg", "exp_avg_sq")}
CLIP, DECAY = 0.7, 0.95


def course_of_pytorch(problem: Problem, order: Tensor, rule: Rule, dtype: torch.dtype) -> Course:
    """With clipped gradients, and weights averaged by hand."""
    network = copy.deepcopy(problem.network).to(dtype)
    optimizer = rule.make(network.parameters())
    averages = {name: each.clone() for name, each in network.state_dict().items()}
    losses = []
    for step, batch in enumerate(order, start=1):
        optimizer.zero_grad()
        logits = network(problem.inputs(batch, dtype))
        loss = nn.functional.cross_entropy(logits, problem.labels[batch])
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, each in network.state_dict().items():
            averages[name] = each + decay * (averages[name] - each)
        losses.append(loss.detach())
    tensors = {f"{name}, value": each for name, each in network.state_dict().items()}
    tensors |= {f"{name}, average": each for name, each in averages.items()}
    for name, parameter in network.named_parameters():
        for place, kept in enumerate(KEPT.get(rule.moments, ())):
            tensors[f"{name}, moment {place}"] = optimizer.state[parameter][kept]
    return Course(torch.stack(losses), tensors)


def course_of_kernels(
    problem: Problem, order: Tensor, rule: Rule, kernels: Kernels, **options: Any
) -> Course:
    options = {"moments": rule.moments, "average": True, **options}
    trained = Trained(problem, order.shape[1], kernels, **options)
    record = StepSettingsRecord(**rule.settings, clip_norm=CLIP, average_decay=DECAY)
    taken = trained.steps(order.flatten(), [rule.lr] * len(order), record)
    tensors = {}
    for name, each in trained.tensors.items():
        tensors[f"{name}, value"] = torch.from_numpy(each.value)
        tensors[f"{name}, average"] = torch.from_numpy(each.average)
        for place, moment in enumerate(each.moments):
            tensors[f"{name}, moment {place}"] = torch.from_numpy(moment)
    return Course(torch.from_numpy(taken.losses), tensors)


def random_batches(problem: Problem, steps: int, size: int) -> Tensor:
    return torch.randint(len(problem.images), (steps, size))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("name", ["linear layers", "batch norm", "model lenet"])
def test_tensors_after_a_few_steps(name: str, rule: Rule, kernels: Kernels) -> None:
    problem = problem_of(EVERY[name])
    order = random_batches(problem, 4, 16)
    found = course_of_kernels(problem, order, rule, kernels).tensors
    single, double = (
        course_of_pytorch(problem, order, rule, dtype).tensors
        for dtype in (torch.float32, torch.float64)
    )
    counts = {each for each in double if "num_batches_tracked" in each}
    assert found.keys() == double.keys() - counts
    for each, values in found.items():
        wanted = double[each]
        # PyTorch may happen to be closer than a few roundings of the gradient and of its square.
        allowed = max(3 * rms(single[each] - wanted), 4 * EPSILON * rms(wanted))
        error = rms(values - wanted)
        assert error <= allowed, f"{each}: {error:.2e} off, allowed {allowed:.2e}"


COURSES = 4 if IS_THOROUGH else 3


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        *((model, "SGD with Nesterov's momentum") for model in MODELS),
        ("mlp", "SGD"),
        ("mlp", "Adam"),
    ],
)
def test_the_losses_of_a_hundred_steps(model: str, rule: str, libraries: list[Kernels]) -> None:
    """A real error makes every training diverge.

    Rounding makes only some diverge, abruptly, when it decides the sign of a ReLU's input or which
    of two pixels is larger. The same happens to PyTorch in single precision.
    """
    differences: dict[str, list[Tensor]] = {each.instruction_set: [] for each in libraries}
    for course in range(COURSES):
        problem = problem_of(MODELS[model])
        torch.manual_seed(course)
        order = random_batches(problem, 100, 16)
        wanted = course_of_pytorch(problem, order, RULES[rule], torch.float64).losses
        for kernels in libraries:
            found = course_of_kernels(problem, order, RULES[rule], kernels).losses
            differences[kernels.instruction_set].append((found - wanted).abs())
    for name, courses in differences.items():
        early, late = ([float(each[:n].max()) for each in courses] for n in (10, 100))
        assert sorted(early)[-2] <= 1e-6, (name, early)
        assert min(late) <= 2e-6, (name, late)


def bits_of(course: Course) -> dict[str, bytes]:
    tensors = {**course.tensors, "losses": course.losses}
    return {name: each.numpy().tobytes() for name, each in tensors.items()}


@pytest.mark.parametrize("case", KINDS.values(), ids=KINDS)
def test_any_number_of_threads_gives_the_same_bits(case: Case, kernels: Kernels) -> None:
    problem = problem_of(case)
    order = random_batches(problem, 3, 37)
    rule = RULES["SGD with Nesterov's momentum"]
    wanted = bits_of(course_of_kernels(problem, order, rule, kernels))
    logits = logits_of_kernels(problem, kernels)
    for threads in (2, 3, 4):
        found = bits_of(course_of_kernels(problem, order, rule, kernels, threads=threads))
        assert found == wanted, threads
        assert torch.equal(logits_of_kernels(problem, kernels, threads), logits)


@pytest.mark.parametrize("case", EVERY.values(), ids=EVERY)
def test_every_library_that_runs_here_gives_the_same_bits(
    case: Case, libraries: list[Kernels]
) -> None:
    first, *others = libraries
    problem = problem_of(case)
    order = random_batches(problem, 10, 37)
    wanted = bits_of(course_of_kernels(problem, order, RULES["Adam"], first))
    for other in others:
        assert bits_of(course_of_kernels(problem, order, RULES["Adam"], other)) == wanted
        assert torch.equal(logits_of_kernels(problem, other), logits_of_kernels(problem, first))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("lengths", [[1] * 7, [2, 3, 2], [6, 1]], ids=str)
def test_the_division_into_stretches_makes_no_difference(
    rule: Rule, lengths: list[int], kernels: Kernels
) -> None:
    problem = problem_of(Case(lambda: DROPPING["features"](0.3), ImageShape(3, 8, 8)))
    order = random_batches(problem, 7, 20)
    record = StepSettingsRecord(**rule.settings, clip_norm=CLIP, average_decay=DECAY)

    def arrays(lengths: Sequence[int]) -> list[bytes]:
        trained = Trained(problem, 20, kernels, moments=rule.moments, average=True)
        losses, begin = [], 0
        for length in lengths:
            part = order[begin : begin + length].flatten()
            steps = {"step": 40 + begin, "optimizer_step": 30 + begin}
            taken = trained.steps(part, [rule.lr] * length, record, dropout_seed=9, **steps)
            losses.append(taken.losses)
            begin += length
        found = [np.concatenate(losses)]
        for each in trained.tensors.values():
            assert each.average is not None
            found += [each.value, *each.moments, each.average]
        return [array.tobytes() for array in found]

    assert arrays(lengths) == arrays([7])


@pytest.mark.parametrize("case", KINDS.values(), ids=KINDS)
def test_an_images_logits_do_not_depend_on_the_others(
    case: Case, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(case)
    wanted = logits_of_kernels(problem, kernels)
    images = problem.images
    for batch_size, part in ((1, slice(0, 48)), (5, slice(3, 30)), (100, slice(47, 48))):
        few = Problem(problem.network, images[part].contiguous(), problem.labels[part])
        network = CompiledNetwork(problem.layers, case.shape, batch_size, kernels=kernels)
        weights = {name: each.numpy() for name, each in problem.network.state_dict().items()}
        found = network.predict(weights, few.images.numpy(), normalization=few.normalization)
        assert np.array_equal(found, wanted[part].numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True},
        {"crop_padding": 1},
        {"crop_padding": 9},
        {"cutout": 1},
        {"cutout": 4},
        {"cutout": 50},
        {"flip": True, "crop_padding": 2, "cutout": 3},
        {"rotate": 20.0},
        {"rotate": 180.0, "scale": 0.9, "shift": 1.0},
        {"brightness": 1.0, "contrast": 1.0},
        {"flip": True, "rotate": 10.0, "scale": 0.2, "shift": 0.1, "brightness": 0.2, "cutout": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["linear layers", "rectangular convolution", "addition"])
def test_augmentation_is_the_same_as_in_pytorch(
    name: str, options: dict[str, Any], kernels: Kernels
) -> None:
    """A step that augments is bit-identical to one on images augmented beforehand."""
    problem = problem_of(EVERY[name])
    batch, epoch = torch.randperm(48)[:37], 3
    augmentation = Augmentation(8, **options)
    shape = ImageShape(*problem.images.shape[1:])
    changes = image_changes(augmentation, batch.numpy(), epoch, shape)
    found = step_of_kernels(problem, batch, kernels, augmentation=changes)
    problem.images[batch] = augmentation(problem.images[batch], batch, epoch)
    wanted = step_of_kernels(problem, batch, kernels)
    for each, value in wanted.items():
        assert torch.equal(found[each], value), each


def test_images_without_normalization(kernels: Kernels) -> None:
    problem = problem_of(EVERY["linear"])
    images, weights = problem.images.numpy(), problem.network.state_dict()
    network = CompiledNetwork(problem.layers, images.shape[1:], 48, kernels=kernels)
    found = network.predict({name: each.numpy() for name, each in weights.items()}, images)
    with torch.no_grad():
        wanted = problem.network(problem.images.float() / 255)
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-6, atol=1e-6)


# ---- Dropout -----------------------------------------------------------------------------------


DROPPING: dict[str, Callable[[float], nn.Module]] = {
    "features": lambda p: nn.Sequential(
        *(nn.Flatten(), nn.Linear(192, 250), nn.ReLU(), nn.Dropout(p), nn.Linear(250, CLASSES))
    ),
    "pixels": lambda p: nn.Sequential(nn.Conv2d(3, 7, 3), nn.Dropout(p), *ending(7 * 36)),
}
"""By what is dropped: a network with its first weights before dropout and its last after it."""


def dropping(name: str, p: float) -> Problem:
    return problem_of(Case(lambda: DROPPING[name](p), ImageShape(3, 8, 8)))


def masks(problem: Problem, batch: Tensor, kernels: Kernels, **options: int) -> Tensor:
    """The factors that dropout multiplies each image's units by.

    If all units are 1 and all logits 0, the gradient of the last weights for any wrong class is the
    units after dropout times that class's probability.
    """
    network = copy.deepcopy(problem.network)
    first, *_, last = [each for each in network if isinstance(each, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first.bias.fill_(1)
    ones = Problem(network, problem.images, problem.labels)
    weight = f"gradient of {len(network) - 1}.weight"
    found = []
    for image in batch:
        gradient = step_of_kernels(ones, image[None], kernels, **options)[weight]
        other = (int(problem.labels[image]) + 1) % CLASSES
        found.append(gradient[other] * CLASSES)
    assert last.out_features == CLASSES
    return torch.stack(found)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", DROPPING)
def test_dropout_drops_the_right_share(name: str, p: float, kernels: Kernels) -> None:
    problem = dropping(name, p)
    found = masks(problem, torch.arange(48), kernels, dropout_seed=5)
    kept = found != 0
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - p)))
    deviation = math.sqrt(p * (1 - p) / found.numel())
    assert abs((~kept).float().mean() - p) < 4 * deviation
    for axis in (0, 1):  # no image and no unit is dropped more often than by chance
        count = found.shape[axis]
        shares = (~kept).float().mean(axis)
        assert (shares - p).abs().max() < 5.5 * math.sqrt(p * (1 - p) / count)


@pytest.mark.parametrize("name", DROPPING)
def test_dropout_depends_on_seed_step_and_image(name: str, kernels: Kernels) -> None:
    problem, batch = dropping(name, 0.5), torch.arange(10)
    wanted = masks(problem, batch, kernels, step=3, dropout_seed=2**62 + 1)
    assert torch.equal(masks(problem, batch, kernels, step=3, dropout_seed=2**62 + 1), wanted)
    others = [
        masks(problem, batch, kernels, step=4, dropout_seed=2**62 + 1),
        masks(problem, batch, kernels, step=3, dropout_seed=2**62),
        masks(problem, batch, kernels, step=3, dropout_seed=1),
        masks(problem, batch + 10, kernels, step=3, dropout_seed=2**62 + 1),
        wanted.roll(1, 0),
        wanted.roll(1, 1),
    ]
    for other in others:  # as different as independent masks
        differing = (other != wanted).float().mean()
        assert abs(differing - 0.5) < 5 * 0.5 / math.sqrt(wanted.numel())


@pytest.mark.parametrize("size", [5, 37])
@pytest.mark.parametrize("name", DROPPING)
def test_gradients_use_the_same_dropout_mask(name: str, size: int, kernels: Kernels) -> None:
    problem = dropping(name, 0.3)
    batch = torch.randperm(48)[:size]
    kept = masks(problem, batch, kernels, step=6, dropout_seed=11)

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * kept.to(x.dtype).reshape(x.shape)

    layers = [Fixed() if isinstance(each, nn.Dropout) else each for each in problem.network]
    fixed = copy.copy(problem)
    fixed.network = nn.Sequential(*layers)
    found = step_of_kernels(problem, batch, kernels, step=6, dropout_seed=11)
    wanted = step_of_pytorch(fixed, batch, torch.float64)
    for each, value in found.items():
        assert rms(value - wanted[each]) <= 1e-6 * rms(wanted[each]), each


# ---- NaN and infinity --------------------------------------------------------------------------


@pytest.mark.parametrize("value", some([math.nan, math.inf, -math.inf], 2))
@pytest.mark.parametrize("case", KINDS.values(), ids=KINDS)
def test_nan_and_infinity_do_not_get_lost(
    case: Case, value: float, libraries: list[Kernels]
) -> None:
    """The loss is finite iff PyTorch's is, and then no gradient hides a non-finite one."""
    problem = problem_of(case)
    for name, parameter in problem.network.named_parameters():
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[0] = value
        wanted = step_of_pytorch(problem, torch.arange(20), torch.float32)
        for kernels in libraries:
            found = step_of_kernels(problem, torch.arange(20), kernels)
            lost = {
                each
                for each in wanted
                if not wanted[each].isfinite().all() and found[each].isfinite().all()
            }
            place = (kernels.instruction_set, name)
            assert found["loss"].isfinite() == wanted["loss"].isfinite(), place
            assert not lost or not found["loss"].isfinite(), (place, lost)
        with torch.no_grad():
            parameter.copy_(before)


def hidden_by_relu(place: str, value: float) -> Problem:
    """A network with finite loss despite an infinite value: a ReLU turns -inf into 0."""
    problem = problem_of(
        Case(
            lambda: nn.Sequential(
                *(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 11, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Flatten(), nn.Linear(11 * 4, CLASSES)),
            ),
            ImageShape(3, 8, 8),
        )
    )
    first, second = problem.network[0], problem.network[2]
    with torch.no_grad():
        first.bias += 50  # infinity is never multiplied by 0
        if place == "weight":
            second.weight[4, 1, 0, 2] = value
        else:
            first.bias[1] = value
            second.weight[:, 1] = -second.weight[:, 1].abs()
    return problem


@pytest.mark.parametrize(("place", "value"), [("weight", -math.inf), ("input", math.inf)])
def test_infinity_hidden_by_a_relu_still_affects_gradients(
    place: str, value: float, kernels: Kernels
) -> None:
    """A gradient of 0 is not skipped if it is multiplied by infinity."""
    problem = hidden_by_relu(place, value)
    wanted = step_of_pytorch(problem, torch.arange(20), torch.float32)
    found = step_of_kernels(problem, torch.arange(20), kernels)
    assert wanted["loss"].isfinite()
    assert not all(each.isfinite().all() for each in wanted.values())
    own = {f"gradient of {name}": value for name, value in problem.network.named_parameters()}
    for name, each in wanted.items():
        # The kernels' gradients are read from how weights move, and an infinite weight does not.
        known = own.get(name, each).isfinite()
        assert torch.equal(found[name].isfinite()[known], each.isfinite()[known]), name
