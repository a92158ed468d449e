"""A run is resumed by the engine that began it; where that is gone, it says so and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from kill import EVERYTHING, state_of

from stopping import StopsAt
from tenfold.errors import InterruptedRunError
from tenfold.recipes import load_recipe
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.resources import Resources
from tenfold.training.engine import Stretch
from tenfold.training.engines import ENGINES
from tenfold.training.torch_engine import TorchEngine


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


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up engine is known, and has counted nothing."""
    monkeypatch.setitem(ENGINES, Counting.name, Counting)
    monkeypatch.setattr(Counting, "steps", 0)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that the made-up engine began, stopped after 30 of its 42 steps."""
    recipe = load_recipe(EVERYTHING, {"epochs": 2})
    resources = Resources(threads=1, engine=Counting.name)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=tmp_path / "run", resources=resources, watcher=StopsAt(30))
    assert Counting.steps == 30
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by PyTorch's engine, never stopped; the steps are the same."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    resources = Resources(threads=1, engine=TorchEngine.name)
    train_run(load_recipe(EVERYTHING, {"epochs": 2}), out=out, resources=resources)
    return out


def test_it_is_resumed_by_the_engine_that_began_it(stopped: Path, whole: Path) -> None:
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


def test_without_it_pytorch_goes_on_and_says_so(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ENGINES, Counting.name)
    watcher = StopsAt(35)
    with pytest.raises(InterruptedRunError):
        resume_run(stopped, watcher=watcher)
    assert [note for note in watcher.notes if "bit-exact" in note] == [
        "no longer bit-exact: engine was 'counting', is 'torch'",
        "no longer bit-exact: engine_version was 3, is 1",
    ]
    assert Counting.steps == 30
    assert not open_run(stopped).facts.sessions[-1].bit_exact

    monkeypatch.setitem(ENGINES, Counting.name, Counting)  # it is back, but the run is PyTorch's
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


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_again_with_it(
    stopped: Path,
) -> None:
    for path in [*(stopped / "checkpoints").iterdir(), stopped / "metrics.jsonl"]:
        path.unlink()
    run = resume_run(stopped)
    assert Counting.steps == 30 + 42
    assert run.facts.conditions.engine == "counting"
