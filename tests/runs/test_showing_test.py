"""Test accuracy after every epoch, for a person to see: it changes nothing else in a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from kill import EVERYTHING, state_of

import tenfold as package
from command_line import Tenfold
from engines import ENGINES
from small_groups import ONE_THREAD, small_recipe
from stopping import StopsAt
from tenfold.errors import InterruptedRunError
from tenfold.evaluation.report import Report
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.preparing import NO_TEST_TO_SHOW, SHOWS_TEST
from tenfold.runs.resources import Resources
from tenfold.training import loop
from thoroughness import some

SHOWN = {"test_loss", "test_acc"}


def without_shown(value: object) -> object:
    """A run's state without the figures of its history that are only shown."""
    if isinstance(value, dict):
        is_epoch = "train_acc" in value and "epoch" in value
        kept = {key: each for key, each in value.items() if not (is_epoch and key in SHOWN)}
        return {key: without_shown(each) for key, each in kept.items()}
    return [without_shown(each) for each in value] if isinstance(value, list) else value


def lines_of(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("val", some([0.1, 0.0]))
def test_the_run_ends_with_the_same_bits(engine: str, val: float, tmp_path: Path) -> None:
    """Weights, averages, moments, random numbers, best epoch, patience; also when resumed."""
    changes = {"val": val, "patience": 3 if val else 0}
    recipe = load_recipe(EVERYTHING, {"epochs": 2, **changes})
    resources = Resources(threads=1, engine=engine)
    train_run(recipe, out=tmp_path / "plain", resources=resources)
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=run, resources=resources, watcher=StopsAt(30), show_test=True)
    resume_run(run, show_test=True)
    found, wanted = state_of(run), state_of(tmp_path / "plain")
    for name in ("digests", "sessions"):
        assert found.pop(name) == wanted.pop(name) == True  # noqa: E712 - both are booleans
    for each in (found, wanted):
        assert isinstance(each["history"], list)
    assert all(epoch.keys() >= SHOWN for epoch in found["history"])  # type: ignore[attr-defined]
    assert not any(SHOWN & epoch.keys() for epoch in wanted["history"])  # type: ignore[attr-defined]
    assert without_shown(found) == without_shown(wanted)


def test_the_figures_are_those_of_each_epochs_model(tmp_path: Path) -> None:
    """A run that ends there has the same test figures in its results."""
    out = tmp_path / "run"
    for epochs in (1, 2, 3):
        recipe = small_recipe(schedule="constant", val=0.0, epochs=epochs)
        if epochs == 1:
            run = train_run(recipe, out=out, resources=ONE_THREAD, show_test=True)
        else:
            run = resume_run(out, epochs=epochs, resources=ONE_THREAD, show_test=epochs != 2)
        last = run.history[-1]
        if epochs == 2:
            assert (last.test_loss, last.test_acc) == (None, None)
        else:
            assert last.test_acc == run.figures["test_acc"]
            assert last.test_loss == pytest.approx(run.figures["test_loss"], rel=1e-6)
    assert [line.keys() >= SHOWN for line in lines_of(out)] == [True, False, True]
    assert open_run(out).history == run.history


def test_only_the_last_layer_is_trained(tmp_path: Path) -> None:
    first = train_run(small_recipe(model="mlp"), out=tmp_path / "first", resources=ONE_THREAD)
    recipe = small_recipe(model="mlp", start=str(first.folder), freeze=True)
    run = train_run(recipe, out=tmp_path / "run", resources=ONE_THREAD, show_test=True)
    plain = train_run(recipe, out=tmp_path / "plain", resources=ONE_THREAD)
    assert run.facts.digests["model.safetensors"] != ""
    assert [each.val_loss for each in run.history] == [each.val_loss for each in plain.history]
    assert run.figures["best_epoch"] == 2
    assert run.history[-1].test_acc == run.figures["test_acc"]
    assert run.history[-1].test_loss == pytest.approx(run.figures["test_loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_is_left_out_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reported(logits: object, dataset: object, weights: object) -> Report:
        found = original(logits, dataset, weights)  # type: ignore[arg-type]
        split = found.split
        loss = math.inf if split == "test" else found.loss
        return Report(split, found.n, loss, found.confusion, found.classes)

    original = loop.report_of
    monkeypatch.setattr(loop, "report_of", reported)
    run = train_run(small_recipe(), out=tmp_path / "run", resources=ONE_THREAD, show_test=True)
    assert run.status == "finished"
    assert [each.test_loss for each in run.history] == [None, None]
    assert all(each.test_acc is not None for each in run.history)
    assert open_run(run.folder).history == run.history


def test_it_is_told_that_it_decides_nothing(tenfold: Tenfold) -> None:
    line = "train digits --recipe softmax-fashion --epochs 2 --set val=0.1 --show-test --plot"
    answer = tenfold(*line.split(), "--out", "run")
    assert answer.code == 0, answer.err
    assert answer.err.count(f"note: {SHOWS_TEST}\n") == 1
    (last,) = [line for line in answer.err.splitlines() if line.startswith("epoch 2/2: ")]
    shown = open_run(Path("run")).history[-1]
    assert (
        f", test_loss {shown.test_loss:.4f}, test_acc {shown.test_acc:.4f} (not used for choosing)"
        in last
    )
    page = Path("run/report.html").read_text(encoding="utf-8")
    for title in ("Loss", "Accuracy"):
        assert f"{title} (test: not used for choosing)" in page
    answer = tenfold("resume", "run", "--epochs", "3", "--show-test", "--no-report")
    assert "test_acc" in answer.err
    assert SHOWS_TEST in answer.err
    answer = tenfold("resume", "run", "--epochs", "4", "--no-report")
    assert "test_acc" not in answer.err
    assert [line.keys() >= SHOWN for line in lines_of(Path("run"))] == [True, True, True, False]


def test_without_test_images_there_is_nothing_to_show(tenfold: Tenfold) -> None:
    line = "train digits --recipe softmax-fashion --epochs 1 --set test=0 --show-test --no-report"
    answer = tenfold(*line.split(), "--out", "run")
    assert answer.code == 0, answer.err
    assert f"note: {NO_TEST_TO_SHOW}\n" in answer.err
    assert SHOWS_TEST not in answer.err
    assert not SHOWN & lines_of(Path("run"))[0].keys()


def test_a_group_tells_once_and_shows_it_in_every_run(tmp_path: Path, tenfold: Tenfold) -> None:
    """Also in those that are trained when the group is resumed."""
    line = "train digits --recipe softmax-fashion --epochs 1 --seeds 2 --show-test --no-report"
    answer = tenfold(*line.split(), "--out", "group")
    assert answer.code == 0, answer.err
    assert answer.err.count(SHOWS_TEST) == 1
    for file in sorted(Path("group/seed-1").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    package.resume_seeds("group", show_test=True, report=False, quiet=True)
    for seed in (0, 1):
        assert lines_of(tmp_path / f"group/seed-{seed}")[0].keys() >= SHOWN


def test_it_is_no_key_of_a_recipe() -> None:
    assert "show_test" not in Recipe.model_fields
