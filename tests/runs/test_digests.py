"""A file that is not a finished run's own is named, and resume repairs it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
import tenfold as package
from command_line import Tenfold
from stopping import StopsAt
from tenfold.errors import FileRefusedError, InterruptedRunError
from tenfold.runs import evaluate_run
from tenfold.runs.folder import RunFolder

QUIET = {"quiet": True}
CHANGES = {"recipe": "digits-quick", "epochs": 1, "threads": 1, "quiet": True}
NAMES = ["model.safetensors", "metrics.jsonl", "recipe.toml"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in their seed."""
    place = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("run", "other")):
        tenfold.train("digits", out=place / name, seed=seed, **CHANGES)
    return place


@pytest.fixture
def run(originals: Path, tmp_path: Path) -> Path:
    """A copy of the first."""
    return Path(shutil.copytree(originals / "run", tmp_path / "run"))


def swap(name: str, run: Path, originals: Path) -> None:
    shutil.copy(originals / "other" / name, run / name)


READERS: dict[str, Callable[[Path], object]] = {
    "open_run": tenfold.open_run,
    "recipe": lambda run: tenfold.open_run(run).recipe,
    "to_dict": lambda run: tenfold.open_run(run).to_dict(),
    "model": lambda run: tenfold.open_run(run).model,
    "load": tenfold.load,
    "evaluate": tenfold.evaluate,
}

WHO_READS = {
    "model.safetensors": ["model", "load", "evaluate"],
    "metrics.jsonl": ["open_run", "recipe", "to_dict", "model"],
    "recipe.toml": ["recipe", "to_dict", "evaluate"],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_reading_another_runs_file_is_refused(
    name: str, reader: str, run: Path, originals: Path
) -> None:
    swap(name, run, originals)
    if reader not in WHO_READS[name]:
        READERS[reader](run)
        return
    with pytest.raises(FileRefusedError) as raised:
        READERS[reader](run)
    assert str(raised.value).startswith(f"{run / name}: this is not the ")
    assert f"tenfold resume {run}" in str(raised.value)  # how to repair it


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["predict", "RUN"], "model.safetensors"),
        (["evaluate", "RUN"], "model.safetensors"),
        (["evaluate", "RUN"], "recipe.toml"),
    ],
    ids=str,
)
def test_the_command_line_refuses_it_too(
    command: list[str], name: str, run: Path, originals: Path, tenfold: Tenfold
) -> None:
    swap(name, run, originals)
    answer = tenfold(*(str(run) if word == "RUN" else word for word in command))
    assert answer.code == 4
    assert f"{run / name}: this is not the" in answer.err


@pytest.mark.parametrize("edited", ["lr = 0.004", "lr = 0.003 # slower did not help"])
def test_an_edited_recipe_is_refused(edited: str, run: Path) -> None:
    edit_lr(run, edited)
    with pytest.raises(FileRefusedError, match=r"recipe\.toml: this is not the recipe that the"):
        tenfold.evaluate(run)


def edit_lr(run: Path, edited: str) -> None:
    text = (run / "recipe.toml").read_text()
    assert text.count("lr = 0.003\n") == 1
    (run / "recipe.toml").write_text(text.replace("lr = 0.003\n", f"{edited}\n"))


def test_a_file_named_explicitly_is_used_as_it_is(run: Path, originals: Path) -> None:
    """So another model, or the best so far, can be used."""
    swap("model.safetensors", run, originals)
    pixels = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    found = tenfold.load(run / "model.safetensors").logits(pixels)
    assert found.tolist() == tenfold.load(originals / "other").logits(pixels).tolist()


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl"])
def test_resume_rewrites_it(name: str, run: Path, originals: Path) -> None:
    wanted = tenfold.open_run(run)
    swap(name, run, originals)
    found = tenfold.resume(run, quiet=True)
    assert found.history == wanted.history
    assert found.facts.digests == wanted.facts.digests
    assert tenfold.evaluate(run).test_loss == wanted.figures["test_loss"]


def test_resume_accepts_a_recipe_that_means_the_same(run: Path) -> None:
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace('description = "', 'description = "my own: '))
    with pytest.raises(FileRefusedError, match=f"tenfold resume {run} --accept recipe"):
        tenfold.evaluate(run)
    tenfold.resume(run, accept=["recipe"], quiet=True)
    assert tenfold.open_run(run).recipe.description.startswith("my own: ")
    assert tenfold.evaluate(run).n == 359


def test_an_accepted_recipe_change_is_permanent(run: Path) -> None:
    edit_lr(run, "lr = 0.004")
    with pytest.raises(FileRefusedError, match=r"recipe\.lr was 0\.003, is 0\.004"):
        tenfold.resume(run, quiet=True)
    found = tenfold.resume(run, accept=["recipe"], quiet=True)
    assert not found.facts.sessions[-1].bit_exact
    assert tenfold.evaluate(run).test_acc == found.figures["test_acc"]


def test_the_digests_are_those_of_the_files(run: Path) -> None:
    facts = tenfold.open_run(run).facts
    assert facts.digests.keys() == {*NAMES, "run.json"}
    folder = RunFolder(run)
    assert facts.digests == folder.digests(facts, model=tenfold.load(run).bundle.sha256)


def test_a_run_that_trains_again_has_none_until_it_ends(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are about to change, and a kill must not leave wrong digests."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tenfold.runs.prepared.train_loop", killed)
        with pytest.raises(KeyboardInterrupt):
            tenfold.resume(run, epochs=2, quiet=True)
    assert tenfold.open_run(run).facts.digests == {}
    assert tenfold.resume(run, quiet=True).facts.digests.keys() == {*NAMES, "run.json"}


def change_accuracy(run: Path) -> None:
    """Claim another accuracy on the test images."""
    facts = json.loads((run / "run.json").read_text())
    facts["figures"]["test_acc"] = 0.999
    (run / "run.json").write_text(json.dumps(facts))


def test_other_figures_are_refused_told_of_and_repaired(run: Path, tenfold: Tenfold) -> None:
    wanted = package.open_run(run)
    change_accuracy(run)
    said = f"{run}/run.json: these are not the results that the run ended with"
    with pytest.raises(FileRefusedError) as caught:
        package.open_run(run)
    assert str(caught.value) == f"{said}; write them again with: tenfold resume {run}"
    for command in ("predict", "evaluate"):
        answer = tenfold(command, str(run))
        assert (answer.code, answer.err.count(said)) == (0, 1)
        assert f"tenfold resume {run}" in answer.err
    answer = tenfold("resume", str(run))
    assert f"note: {said}; rewriting it from the newest checkpoint" in answer.err
    found = package.open_run(run)
    assert found.figures == wanted.figures
    assert found.facts.test == wanted.facts.test


def test_another_history_is_told_of(run: Path, originals: Path, tenfold: Tenfold) -> None:
    swap("metrics.jsonl", run, originals)
    answer = tenfold("predict", str(run))
    assert "metrics.jsonl: this is not the history that the run ended with; write" in answer.err


def test_best_weights_of_another_run_are_refused_and_written_again(
    run: Path, originals: Path, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        tenfold.resume(run, epochs=3, watcher=StopsAt(50), **QUIET)
    assert tenfold.load(run)
    best = run / "checkpoints" / "best.safetensors"
    shutil.copy(originals / "other" / "checkpoints" / "best.safetensors", best)
    for reader in ("load", "evaluate"):
        with pytest.raises(FileRefusedError) as raised:
            READERS[reader](run)
        assert str(raised.value).startswith(
            f"{best}: these are not the best weights of this run; write them again with: "
            f"tenfold resume {run}; or name the file itself"
        )
    assert tenfold.load(best)
    tenfold.resume(run, **QUIET)
    assert tenfold.evaluate(run).test_acc == tenfold.open_run(run).figures["test_acc"]


@pytest.mark.parametrize("instead", [None, "a folder", "a pipe", "half"])
def test_a_finished_run_without_its_model_does_not_use_another(
    instead: str | None, run: Path, tenfold: Tenfold
) -> None:
    model = run / "model.safetensors"
    whole = model.read_bytes()
    model.unlink()
    if instead == "a folder":
        model.mkdir()
    elif instead == "a pipe":
        os.mkfifo(model)
    elif instead == "half":
        model.write_bytes(whole[: len(whole) // 2])
    for command in ("evaluate", "predict"):
        answer = tenfold(command, str(run))
        assert answer.code == 4
        assert answer.err.startswith(f"tenfold: {model}: ")
        first = "remove that folder, then " if instead == "a folder" else ""
        assert answer.err.endswith(f"; {first}write it again with: tenfold resume {run}\n")
    if instead == "a folder":
        model.rmdir()  # nothing of ours removes it
    assert tenfold("resume", str(run)).code == 0
    assert model.read_bytes() == whole


@pytest.mark.parametrize("name", ["recipe.toml", "run.json"])
def test_a_model_file_needs_no_other_file_of_its_run(
    name: str, run: Path, tenfold: Tenfold
) -> None:
    (run / name).unlink()
    answer = tenfold("evaluate", str(run / "model.safetensors"), "digits")
    assert answer.code == 0, answer.err
    if name == "run.json":
        assert "run.json: no such file; restore" in tenfold("resume", str(run)).err


@pytest.mark.parametrize("name", ["run.json", "recipe.toml"])
def test_a_model_file_may_be_used_beside_damaged_files(
    name: str, run: Path, tenfold: Tenfold
) -> None:
    """Its data cannot be told from other data, which is said."""
    (run / name).write_text("garbage")
    model = str(run / "model.safetensors")
    answer = tenfold("evaluate", model, "digits")
    assert answer.code == 0
    assert f"{name}: " in answer.err
    assert "the figures may include images that it was trained on" in answer.err
    answer = tenfold("evaluate", model)
    assert answer.code == 4
    assert f"{name}: " in answer.err
    assert tenfold("summary", model).code == 0
    Image.new("L", (8, 8)).save(run / "x.png")
    answer = tenfold("predict", model, str(run / "x.png"))
    assert answer.code == 0
    assert ("run.json: " in answer.err) == (name == "run.json")


def test_what_cannot_be_read_now_gets_a_remedy_that_works(
    run: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: object, *args: Any, **kwargs: Any) -> int:
        if str(path) == str(run / "metrics.jsonl"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)
    answer = tenfold("evaluate", str(run))
    assert "Permission denied; make it readable for this user" in answer.err
    assert "write them again" not in answer.err


def test_a_model_file_that_is_named_may_have_been_trained_on_the_data(
    run: Path, tenfold: Tenfold, tmp_path: Path
) -> None:
    """Those of a run are evaluated on its own test images, others on all, which is said."""
    said = "digits: all of it is evaluated, and the model was trained on data from there"
    for name in ("model.safetensors", "checkpoints/best.safetensors"):
        answer = tenfold("evaluate", str(run / name), "digits")
        assert "n = 359" in answer.out
        assert said not in answer.err
    shutil.copy(run / "model.safetensors", tmp_path / "copy.safetensors")
    answer = tenfold("evaluate", str(tmp_path / "copy.safetensors"), "digits")
    assert "n = 1,797" in answer.out
    assert said in answer.err


def test_a_run_may_have_the_name_of_its_checkpoints(
    run: Path, tenfold: Tenfold, tmp_path: Path
) -> None:
    run.rename(tmp_path / "checkpoints")
    for name in ("model.safetensors", "checkpoints/best.safetensors"):
        assert "n = 359" in tenfold("evaluate", str(tmp_path / "checkpoints" / name)).out


def test_a_model_file_is_its_runs_wherever_one_is(
    run: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in (
        (run, "model.safetensors"),
        (run, "checkpoints/best.safetensors"),
        (run / "checkpoints", "best.safetensors"),
        (run / "checkpoints", "../model.safetensors"),
    ):
        monkeypatch.chdir(place)
        assert "n = 359" in tenfold("evaluate", name).out


def test_a_folder_that_a_model_was_trained_on_is_known_by_any_name(
    tenfold: Tenfold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        place = tmp_path / "photos/all" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(place / f"{number}.png")
    shutil.copytree(tmp_path / "photos/all", tmp_path / "others")
    (tmp_path / "link").symlink_to("photos/all")
    tenfold("train", str(tmp_path / "photos/all"), "--epochs", "1", "--out", str(tmp_path / "run"))
    model = str(shutil.copy(tmp_path / "run/model.safetensors", tmp_path / "copy.safetensors"))
    monkeypatch.chdir(tmp_path / "photos")
    said = "all of it is evaluated, and the model was trained on data from there"
    for name in ("all", "../photos/all", str(tmp_path / "link")):
        assert said in tenfold("evaluate", model, name).err
    answer = tenfold("evaluate", model, "../others")
    assert answer.code == 0
    assert said not in answer.err


def test_data_from_python_is_not_known_by_its_type(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def images() -> torch.utils.data.TensorDataset:
        pixels = torch.from_numpy(rng.integers(0, 256, (40, 1, 8, 8), np.uint8))
        return torch.utils.data.TensorDataset(pixels, torch.arange(40) % 10)

    package.train(images(), out=tmp_path / "own", **CHANGES)
    model = shutil.copy(tmp_path / "own/model.safetensors", tmp_path / "copy.safetensors")
    listener = StopsAt()
    assert evaluate_run(Path(model), images(), listener=listener).n == 40
    assert not [note for note in listener.notes if "trained on" in note]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_not_called_empty(run: Path, tenfold: Tenfold) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}))
    (run / "checkpoints").chmod(0)
    try:
        answer = tenfold("evaluate", str(run))
    finally:
        (run / "checkpoints").chmod(0o700)
    assert "Permission denied; make it readable for this user" in answer.err
