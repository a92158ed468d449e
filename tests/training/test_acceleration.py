"""Faster steps: mixed precision, another memory layout, the compiler; all on the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engines import needs_kernels
from small_bundles import weights_of
from stopping import StopsAt
from tenfold.data import ImageDataset, load_splits
from tenfold.errors import InterruptedRunError, NotNativeError, UsageError
from tenfold.models import Preprocessing, build
from tenfold.models.image_model import ImageModel
from tenfold.recipes import load_recipe
from tenfold.runs import evaluate_run, resume_run, train_run
from tenfold.runs.resources import Resources
from tenfold.training import TrainingState, build_optimizer
from tenfold.training.acceleration import Acceleration
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.engine import StepSettings
from tenfold.training.native_engine import NativeEngine
from tenfold.training.torch_engine import TorchEngine
from thoroughness import some

EVERYTHING = Path(__file__).parent.parent / "runs" / "everything.toml"

MIXED = Acceleration(precision="bfloat16")
LAST = Acceleration(channels_last=True)
COMPILED = Acceleration(compiled=True)


def digits() -> ImageDataset:
    return load_splits("digits").splits.train


def state_of(data: ImageDataset, optimizer: str = "sgd", **arguments: object) -> TrainingState:
    torch.manual_seed(0)
    arguments = {"widths": [4, 8], "blocks": 1, "dropout": 0.0} | arguments
    network = build("resnet-small", data.image_shape, 10, **arguments)
    model = ImageModel(Preprocessing.fitted_to(data.images), network)
    return TrainingState(
        model,
        build_optimizer(optimizer, model.parameters(), lr=0.05),
        AveragedWeights(model, 0.9),
    )


def losses_with(acceleration: Acceleration, steps: int = 8, **options: Any) -> Tensor:
    data = digits()
    settings = StepSettings(64, seed=0, acceleration=acceleration, **options)
    engine = TorchEngine(state_of(data), data, settings)
    engine.begin_epoch(0, torch.arange(len(data)))
    return engine.advance(0, [0.05] * steps).losses


# --- Results ---------------------------------------------------------------------------------


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_in_float32() -> None:
    data, seen = digits(), []
    state = state_of(data)
    convolution = next(m for m in state.model.modules() if isinstance(m, nn.Conv2d))
    convolution.register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    engine = TorchEngine(state, data, StepSettings(64, acceleration=MIXED))
    engine.begin_epoch(0, torch.arange(len(data)))
    stretch = engine.advance(0, [0.05] * 3)
    assert set(seen) == {torch.bfloat16}
    assert stretch.losses.isfinite().all()
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    assert engine.logits(data.images[:4], 4).dtype == torch.float32


def test_losses_are_close_to_those_in_single_precision() -> None:
    plain, mixed = losses_with(Acceleration()), losses_with(MIXED)
    assert not torch.equal(plain, mixed)
    torch.testing.assert_close(mixed, plain, rtol=0.02, atol=0)


def test_channels_last_changes_the_layout_and_only_rounding() -> None:
    data, seen = digits(), []
    state = state_of(data)
    convolution = next(m for m in state.model.modules() if isinstance(m, nn.Conv2d))
    convolution.register_forward_hook(
        lambda _m, _i, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    engine = TorchEngine(state, data, StepSettings(64, acceleration=LAST))
    engine.begin_epoch(0, torch.arange(len(data)))
    losses = engine.advance(0, [0.05] * 3).losses
    assert set(seen) == {True}
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(losses, losses_with(Acceleration(), 3), rtol=1e-4, atol=0)


COMPILED_RUN = """
import sys
import tenfold
losses = {}
for compile in (True, False):
    run = tenfold.train(
        "digits", model="MODEL", model_args=ARGUMENTS,
        epochs=1, engine="torch", compile=compile, batch_size=BATCH,
        out=f"{sys.argv[1]}/{compile}", quiet=True, report=False,
    )
    losses[compile] = run.history[0].train_loss
assert "torch._dynamo" in sys.modules
assert losses[True] != 0
assert abs(losses[True] / losses[False] - 1) < LIMIT, losses
"""


@pytest.mark.parametrize(
    ("model", "arguments", "batch", "limit"),
    some(
        [
            ("resnet-small", {"widths": [4], "blocks": 1}, 647, 1e-3),
            ("resnet-small", {"widths": [4], "blocks": 1}, 32, 1e-3),
            ("mlp", {"dropout": 0.2}, 32, 0.2),
        ]
    ),
)
def test_a_compiled_model_trains_alike(
    model: str, arguments: dict[str, Any], batch: int, limit: float, tmp_path: Path
) -> None:
    """In a process of its own: the compiler cannot trace the checks of shapes in tests.

    Dropout draws other masks when compiled, so it is left out of the comparison before training.
    A smaller batch at the end, as of 1,294 images in batches of 32, is compiled a second time.
    """
    code = COMPILED_RUN
    for word, value in {
        "MODEL": model,
        "ARGUMENTS": arguments,
        "BATCH": batch,
        "LIMIT": limit,
    }.items():
        code = code.replace(word, str(value))
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr


# --- Resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("keys", [{"precision": "bfloat16"}, {"channels_last": True}], ids=str)
def test_a_run_is_resumed_and_evaluated_bit_for_bit(
    keys: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    momentum = 0.9 if optimizer == "sgd" else 0.0
    keys = {"epochs": 2, "optimizer": optimizer, "momentum": momentum, "nesterov": False, **keys}
    recipe = load_recipe(EVERYTHING, keys)
    resources = Resources(threads=1, engine="torch")
    whole = train_run(recipe, out=tmp_path / "whole", resources=resources)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=tmp_path / "run", resources=resources, watcher=StopsAt(30))
    resumed = resume_run(tmp_path / "run")
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.figures["test_loss"] == whole.figures["test_loss"]
    assert resumed.facts.sessions[-1].bit_exact
    assert evaluate_run(tmp_path / "run").loss == whole.figures["test_loss"]
    val = evaluate_run(tmp_path / "run", split="val")
    assert val.loss == whole.figures["val_loss"]


def test_a_run_of_a_version_without_these_keys_is_resumed(tmp_path: Path) -> None:
    recipe = load_recipe(EVERYTHING, {"epochs": 1})
    run = train_run(recipe, out=tmp_path / "run", resources=Resources(threads=1, engine="torch"))
    facts = run.facts.model_dump(mode="json")
    for key in ("precision", "channels_last", "compile"):
        del facts["context"]["recipe"][key]
    changed = type(run.facts).model_validate(facts)
    assert changed.context != run.facts.context
    from tenfold.runs.resume import _differences

    assert _differences(changed.context, run.facts.context, epochs_changed=False) == []
    del facts["context"]["recipe"]["model"]
    damaged = type(run.facts).model_validate(facts)
    (said,) = _differences(damaged.context, run.facts.context, epochs_changed=False)
    assert said.startswith("recipe.model was None")


# --- Refusals --------------------------------------------------------------------------------


def require_possible(acceleration: Acceleration, **arguments: object) -> None:
    data = digits()
    acceleration.require_possible(state_of(data, **arguments).model, data, 64)


def compiler(monkeypatch: pytest.MonkeyPatch, *factors: float) -> list[float]:
    """Puts in the compiler's place one that multiplies logits, each time by the next factor."""
    left = list(factors)

    def compiled(model: nn.Module, **_: object) -> Callable[[Tensor], Tensor]:
        factor = left.pop(0)
        return lambda images: factor * model(images)

    monkeypatch.setattr(torch, "compile", compiled)
    return left


def test_a_model_that_trains_differently_when_compiled_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = compiler(monkeypatch, 1.01, 1.01, 1.01)
    with pytest.raises(UsageError, match=r"differs in .*choose --set compile=false"):
        require_possible(COMPILED)
    assert left == []


def test_one_batch_that_agrees_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding may decide the sign of a ReLU's input."""
    left = compiler(monkeypatch, 1.01, 1.0, 1.01)
    require_possible(COMPILED)
    assert left == [1.01]


@pytest.mark.parametrize("is_internal", [True, False])
def test_a_model_that_cannot_be_compiled_is_refused(
    is_internal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo

    kind = torch._dynamo.exc.InternalTorchDynamoError if is_internal else RuntimeError

    def failing(model: nn.Module, **_: object) -> Callable[[Tensor], Tensor]:
        raise kind("no compiler\nin many lines")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(UsageError, match=r"torch\.compile failed: no compiler; choose"):
        require_possible(COMPILED)


def test_other_errors_are_not_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: nn.Module, **_: object) -> Callable[[Tensor], Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(torch.OutOfMemoryError):
        require_possible(COMPILED)


def test_nothing_is_written_if_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler(monkeypatch, 2.0, 2.0, 2.0)
    recipe = load_recipe(EVERYTHING, {"epochs": 1, "compile": True})
    with pytest.raises(UsageError, match="compile=false"):
        train_run(recipe, out=tmp_path / "run", resources=Resources(threads=1))
    assert not (tmp_path / "run").exists()


@needs_kernels
@pytest.mark.parametrize("acceleration", [MIXED, COMPILED])
def test_the_kernels_leave_it_to_pytorch(acceleration: Acceleration) -> None:
    data = digits()
    with pytest.raises(NotNativeError, match=r"bfloat16|torch\.compile"):
        NativeEngine(state_of(data), data, StepSettings(64, acceleration=acceleration))


@needs_kernels
def test_all_reasons_are_given_at_once() -> None:
    data, both = digits(), Acceleration(precision="bfloat16", compiled=True)
    reasons = "the precision is bfloat16, wanted float32; the model is to be compiled by torch"
    with pytest.raises(NotNativeError, match=reasons):
        NativeEngine(state_of(data), data, StepSettings(64, acceleration=both))


@needs_kernels
def test_they_have_a_layout_of_their_own_and_a_note_says_so(tmp_path: Path) -> None:
    notes = StopsAt()
    recipe = load_recipe(EVERYTHING, {"epochs": 1, "channels_last": True})
    train_run(recipe, out=tmp_path / "run", resources=Resources(threads=1), watcher=notes)
    note = "channels_last changes nothing: the compiled kernels have their own layout"
    assert note in notes.notes


def test_it_is_said_that_compiling_takes_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler(monkeypatch, 2.0, 2.0, 2.0)
    notes = StopsAt()
    recipe = load_recipe(EVERYTHING, {"epochs": 1, "compile": True})
    with pytest.raises(UsageError, match="compile=false"):
        train_run(recipe, out=tmp_path / "run", resources=Resources(threads=1), watcher=notes)
    assert "PyTorch compiles the model first, which can take a minute" in notes.notes


def test_a_parameter_that_the_model_does_not_use_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    state = state_of(digits())
    state.model.unused = nn.Parameter(torch.ones(3))
    COMPILED.require_possible(state.model, digits(), 64)


def test_a_device_without_bfloat16_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda _: False)
    with pytest.raises(UsageError, match=r"cpu cannot .*choose --set precision=float32"):
        require_possible(MIXED)


# --- No waiting for the device ---------------------------------------------------------------

WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select")
"""Operations whose result or its shape the CPU needs before it can go on."""


class Recorder(TorchDispatchMode):
    """Records the operations inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name().removeprefix("aten::").partition(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("acceleration", [Acceleration(), MIXED, LAST], ids=str)
def test_no_step_within_a_stretch_waits_for_the_device(
    acceleration: Acceleration, optimizer: str
) -> None:
    data = digits()
    state = state_of(data, optimizer, dropout=0.1)
    settings = StepSettings(
        64,
        label_smoothing=0.1,
        clip_norm=1.0,
        augment=Augmentation(0, flip=True, crop_padding=1, cutout=2),
        class_weights=(1.0,) * 9 + (2.0,),
        acceleration=acceleration,
    )
    engine = TorchEngine(state, data, settings)
    engine.begin_epoch(0, torch.randperm(len(data)))
    with Recorder() as recorder:
        engine.advance(0, [0.05] * 3)
    assert "convolution" in recorder.names
    assert not [name for name in recorder.names if name in WAITING]
