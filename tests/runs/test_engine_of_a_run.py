"""A run is resumed by its engine; if that is gone, it says so and continues with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kill import EVERYTHING, state_of
from torch import Tensor, nn
from torch.nn import functional

from engines import ENGINES as ENGINES_TO_TEST
from engines import needs_kernels
from stopping import StopsAt
from tenfold.data.dataset import ImageDataset
from tenfold.deployment import Classifier
from tenfold.errors import InterruptedRunError, UsageError
from tenfold.models import MODELS
from tenfold.models.calls import NotAListError
from tenfold.native.built import INSTRUCTION_SETS, processor
from tenfold.native.library import PACKAGE, Kernels, find_kernels, find_kernels_in
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import Run, evaluate_run, load, open_run, resume_run, train_run
from tenfold.runs.evaluate import sample_of_test_images
from tenfold.runs.fit import fit
from tenfold.runs.resources import Resources
from tenfold.training.engine import Stretch
from tenfold.training.engine_table import ENGINES
from tenfold.training.native_engine import NativeEngine
from tenfold.training.torch_engine import TorchEngine
from tenfold.types import ImageShape


class Counting(TorchEngine):
    """PyTorch's steps under another name."""

    name = "counting"
    version = 3
    steps = 0

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        type(self).steps += len(learning_rates)
        return super().advance(first, learning_rates, gradient_norms=gradient_norms)


HERE = f"{__name__}:{Counting.__name__}"
"""Its entry in the table."""


class Broadcasting(nn.Module):
    """Adds one number per channel to all its pixels; layers only add maps of the same size."""

    def __init__(self, input_shape: ImageShape, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_shape.channels, 4, 3, padding=1)
        self.classifier = nn.Linear(4 * input_shape.height * input_shape.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        features = features + functional.adaptive_avg_pool2d(features, 1)
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the made-up engine, with its counter at 0."""
    monkeypatch.setitem(ENGINES, Counting.name, HERE)
    monkeypatch.setattr(Counting, "steps", 0)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run started by the made-up engine, stopped after 30 of its 42 steps."""
    recipe = load_recipe(EVERYTHING, {"epochs": 2})
    resources = Resources(threads=1, engine=Counting.name)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=tmp_path / "run", resources=resources, watcher=StopsAt(30))
    assert Counting.steps == 30
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same steps by PyTorch's engine, never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    resources = Resources(threads=1, engine=TorchEngine.name)
    train_run(load_recipe(EVERYTHING, {"epochs": 2}), out=out, resources=resources)
    return out


def test_it_is_resumed_by_the_engine_that_started_it(stopped: Path, whole: Path) -> None:
    watcher = StopsAt()
    run = resume_run(stopped, watcher=watcher)
    assert Counting.steps == 42
    assert not [note for note in watcher.notes if "bit-exact" in note]
    for session in run.facts.sessions:
        assert (session.engine, session.engine_version) == ("counting", 3)
        assert session.bit_exact
    found, wanted = state_of(stopped), state_of(whole)
    weights = [key for key in wanted if key.startswith("model: ")]
    assert "model: classifier.weight" in weights
    assert {key: found[key] for key in weights} == {key: wanted[key] for key in weights}


def test_without_it_pytorch_continues_and_says_so(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ENGINES, Counting.name)
    watcher = StopsAt(35)
    with pytest.raises(InterruptedRunError):
        resume_run(stopped, watcher=watcher)
    assert [note for note in watcher.notes if "bit-exact" in note] == [
        "no longer bit-exact: engine was 'counting', is 'torch'",
    ]
    assert Counting.steps == 30
    assert not open_run(stopped).facts.sessions[-1].bit_exact

    monkeypatch.setitem(
        ENGINES, Counting.name, HERE
    )  # it is back, but the run has switched to PyTorch
    again = StopsAt()
    run = resume_run(stopped, watcher=again)
    assert Counting.steps == 30
    assert [session.engine for session in run.facts.sessions] == ["counting", "torch", "torch"]
    assert not [note for note in again.notes if "bit-exact" in note]


def test_another_version_of_it_is_noted(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "version", 4)
    watcher = StopsAt()
    resume_run(stopped, watcher=watcher)
    assert "no longer bit-exact: engine_version was 3, is 4" in watcher.notes
    assert Counting.steps == 42


def test_a_run_killed_before_its_first_checkpoint_starts_over_with_it(
    stopped: Path,
) -> None:
    for path in [*(stopped / "checkpoints").iterdir(), stopped / "metrics.jsonl"]:
        path.unlink()
    run = resume_run(stopped)
    assert Counting.steps == 30 + 42
    assert run.facts.conditions.engine == "counting"


# ---- The native engine -------------------------------------------------------------------------

NATIVE = Resources(threads=1, engine="native")


def everything(**changes: Any) -> Recipe:
    return load_recipe(EVERYTHING, {"epochs": 2, **changes})


def unlike(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe for a model that the kernels do not know."""

    def refuse(network: object, image_shape: object) -> None:
        raise NotAListError

    monkeypatch.setattr("tenfold.evaluation.compiled.require_layer_list", refuse)
    monkeypatch.setattr("tenfold.runs.preparing.layer_list", lambda network, image_shape: None)
    return recipe


REASON = "the network is not a list of layers that the kernels support"


@needs_kernels
@pytest.mark.parametrize("asked_for", ["", "auto", "native"])
def test_a_run_is_native_if_it_can_be(asked_for: str, tmp_path: Path) -> None:
    watcher = StopsAt()
    resources = Resources(device="cpu", threads=1, engine=asked_for)
    run = train_run(everything(), out=tmp_path / "run", resources=resources, watcher=watcher)
    conditions, (session,) = run.facts.conditions, run.facts.sessions
    assert (conditions.engine, conditions.engine_version) == ("native", NativeEngine.version)
    assert conditions.instructions.startswith(find_kernels().instruction_set)
    assert (session.engine, session.why_not_native) == ("native", "")
    assert not [note for note in watcher.notes if "PyTorch" in note]


@needs_kernels
def test_a_run_that_the_kernels_cannot_take_uses_pytorch_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, watcher = unlike(everything(), monkeypatch), StopsAt()
    run = train_run(recipe, out=tmp_path / "run", resources=Resources(threads=1), watcher=watcher)
    (session,) = open_run(run.folder).facts.sessions
    assert (session.engine, session.why_not_native) == ("torch", REASON)
    assert f"training with PyTorch instead of compiled kernels: {REASON}" in watcher.notes


def test_a_run_that_uses_pytorch_on_request_says_nothing(tmp_path: Path) -> None:
    watcher, resources = StopsAt(), Resources(threads=1, engine="torch")
    run = train_run(everything(), out=tmp_path / "run", resources=resources, watcher=watcher)
    (session,) = run.facts.sessions
    assert (session.engine, session.why_not_native) == ("torch", "")
    assert not [note for note in watcher.notes if "PyTorch" in note]


@needs_kernels
def test_a_run_that_must_be_native_and_cannot_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = unlike(everything(), monkeypatch)
    with pytest.raises(UsageError, match=f"cannot train this: {REASON}; choose --engine auto"):
        train_run(recipe, out=tmp_path / "run", resources=NATIVE)
    assert not (tmp_path / "run").exists()


def stop_at(step: int, out: Path, resources: Resources) -> None:
    with pytest.raises(InterruptedRunError):
        train_run(everything(), out=out, resources=resources, watcher=StopsAt(step))


@needs_kernels
def test_pytorch_continues_a_native_run_whose_kernels_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(30, tmp_path / "run", NATIVE)
    monkeypatch.setenv("TENFOLD_NATIVE", "0")
    watcher = StopsAt()
    run = resume_run(tmp_path / "run", watcher=watcher)
    first, second = run.facts.sessions
    assert (first.engine, second.engine) == ("native", "torch")
    assert second.why_not_native == "TENFOLD_NATIVE is 0"
    assert (first.bit_exact, second.bit_exact) == (True, False)
    assert "training with PyTorch instead of compiled kernels: TENFOLD_NATIVE is 0" in watcher.notes
    assert "no longer bit-exact: engine was 'native', is 'torch'" in watcher.notes
    assert run.status == "finished"


@needs_kernels
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_the_other_engine_continues_a_run_on_request(engine: str, tmp_path: Path) -> None:
    """The figures are nearly those of a run with one engine."""
    other = {"native": "torch", "torch": "native"}[engine]
    recipe = everything(model="mlp", model_args={"hidden": [16]}, lr=0.05)  # nothing is random
    whole = train_run(recipe, out=tmp_path / "whole", resources=Resources(threads=1, engine=engine))
    run, watcher = tmp_path / "run", StopsAt()
    with pytest.raises(InterruptedRunError):
        train_run(
            *(recipe,),
            out=run,
            resources=Resources(threads=1, engine=engine),
            watcher=StopsAt(30),
        )
    resumed = resume_run(run, resources=Resources(engine=other), watcher=watcher)
    assert f"no longer bit-exact: engine was '{engine}', is '{other}'" in watcher.notes
    assert [session.engine for session in resumed.facts.sessions] == [engine, other]
    for figure in ("train_loss", "val_loss", "test_loss"):
        assert resumed.figures[figure] == pytest.approx(whole.figures[figure], rel=1e-4)


@needs_kernels
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_model_that_layers_express_only_for_other_images_uses_pytorch(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "broadcasting", f"{__name__}:Broadcasting")
    recipe = load_recipe("digits-quick", {"model": "broadcasting", "epochs": 1})
    resources = Resources(threads=1, engine=engine)
    run = train_run(recipe, out=tmp_path / "run", resources=resources)
    assert run.facts.conditions.engine == "torch"
    assert evaluate_run(run.folder).accuracy == run.figures["test_acc"]
    assert len(load(run.folder).predict(sample_of_test_images(run.folder, 3)[1])) == 3


@needs_kernels
def test_other_kernels_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in INSTRUCTION_SETS[processor()] if is_usable(name)]
    if len(names) < 2:
        pytest.skip("one kind of kernels runs here")
    monkeypatch.setenv("TENFOLD_NATIVE", names[0])
    stop_at(30, tmp_path / "run", NATIVE)
    monkeypatch.setenv("TENFOLD_NATIVE", names[1])
    watcher = StopsAt()
    resume_run(tmp_path / "run", watcher=watcher)
    (note,) = [note for note in watcher.notes if "bit-exact" in note]
    assert note.startswith(f"no longer bit-exact: instructions was '{names[0]} (")


def is_usable(name: str) -> bool:
    return isinstance(find_kernels_in(PACKAGE, name), Kernels)


# ---- Figures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES_TO_TEST)
def test_figures_are_computed_by_the_engine_of_training(engine: str, tmp_path: Path) -> None:
    """Bit for bit: the run's own and validation's."""
    resources = Resources(device="cpu", threads=1, engine=engine)
    run = train_run(everything(), out=tmp_path / "run", resources=resources)
    report = evaluate_run(run.folder)
    assert report.to_dict() == run.facts.test
    best = run.history[run.figures["best_epoch"] - 1]
    validation = evaluate_run(run.folder, split="val")
    assert (validation.loss, validation.accuracy) == (best.val_loss, best.val_acc)


@needs_kernels
def test_a_bundle_predicts_as_its_run_did(tmp_path: Path) -> None:
    run = train_run(everything(), out=tmp_path / "run", resources=NATIVE)
    found = load(run.folder / "model.safetensors").evaluate(sample_of(run))
    assert found.to_dict() == run.model.evaluate(sample_of(run)).to_dict()
    by_pytorch = Classifier(run.model.bundle, use_kernels=False).evaluate(sample_of(run))
    assert found.test_loss == pytest.approx(by_pytorch.test_loss, rel=1e-5)


def sample_of(run: Run) -> ImageDataset:
    return sample_of_test_images(run.folder, 100)[1]


@pytest.mark.parametrize("engine", ENGINES_TO_TEST)
def test_fit_also_takes_an_engine(engine: str) -> None:
    fitted = fit(everything(), resources=Resources(threads=1, engine=engine))
    assert fitted.prepared.engine.kind.name == engine
    splits = fitted.prepared.splits
    assert splits.val is not None
    best = fitted.history[fitted.epoch - 1]
    assert fitted.prepared.evaluate(splits.val).loss == best.val_loss
