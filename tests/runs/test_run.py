"""Runs read back from their folders: figures, models, and evaluation on any data."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from stopping import StopsAt
from tenfold.data import ImageDataset, Splits, load_splits
from tenfold.deployment import read_bundle
from tenfold.errors import (
    DataError,
    FileRefusedError,
    InterruptedRunError,
    TrainingError,
    UsageError,
)
from tenfold.runs import folder as folder_module
from tenfold.runs import resume_run
from tenfold.runs.folder import RunFolder
from tenfold.training import Watcher

CHANGES = {"recipe": "digits-quick", "epochs": 2, "threads": 1, "quiet": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits."""
    return tenfold.train("digits", out=tmp_path_factory.mktemp("runs") / "run", **CHANGES).folder


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits").splits


def test_evaluation_gives_exactly_what_training_ended_with(folder: Path) -> None:
    run = tenfold.open_run(folder)
    report = tenfold.evaluate(run)
    for figure, value in report.figures().items():
        assert run.figures[figure] == value, figure
    assert run.facts.test == json.loads(json.dumps(report.to_dict()))


def test_a_moved_run_and_a_moved_bundle_still_work(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert tenfold.evaluate(moved).test_loss == tenfold.evaluate(folder).test_loss
    bundle = shutil.copy(folder / "model.safetensors", tmp_path / "some.safetensors")
    assert tenfold.load(bundle).classes == tuple("0123456789")
    with pytest.raises(UsageError, match="does not say where its data is"):
        tenfold.evaluate(bundle)
    assert tenfold.evaluate(bundle, "digits").n == 1797


def test_the_runs_own_data_named_again_is_split_as_it_was(
    folder: Path, digits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    test_loss = tenfold.evaluate(folder).test_loss
    assert capsys.readouterr().err == ""
    assert tenfold.evaluate(folder, "digits").test_loss == test_loss
    assert "this is the run's own data, so its test split is evaluated" in capsys.readouterr().err
    again = tenfold.evaluate(folder, digits)
    assert (again.n, again.test_loss) == (359, tenfold.evaluate(folder).test_loss)


def test_other_data_is_evaluated_whole(folder: Path, digits: Splits) -> None:
    assert digits.test is not None
    other = digits.test.select(torch.arange(100), split="train")
    assert tenfold.evaluate(folder, other).n == 100


def test_a_subset_of_the_classes_in_another_order_is_matched_by_name(
    folder: Path, digits: Splits
) -> None:
    assert digits.test is not None
    chosen = ((digits.test.labels == 3) | (digits.test.labels == 7)).nonzero().squeeze(1)
    some = digits.test.select(chosen)
    named = ImageDataset(some.images, (some.labels == 3).long(), ("7", "3"))
    assert tenfold.evaluate(folder, named).correct == tenfold.evaluate(folder, some).correct
    foreign = ImageDataset(some.images, (some.labels == 3).long(), ("seven", "three"))
    with pytest.raises(
        DataError, match="some images are of 'seven', 'three', but the model's classes are '0', '1'"
    ):
        tenfold.evaluate(folder, foreign)


def test_changed_data_is_not_mistaken_for_the_same(tmp_path: Path) -> None:
    from numpy import savez

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8, generator=generator).numpy()
    labels = (torch.arange(60) % 3).numpy()
    savez(tmp_path / "set.npz", images=images, labels=labels)
    run = tenfold.train(
        tmp_path / "set.npz", out=tmp_path / "run", **{**CHANGES, "batch_size": 8, "epochs": 1}
    )
    images[0, 0, 0] ^= 1
    savez(tmp_path / "set.npz", images=images, labels=labels)
    with pytest.raises(DataError, match="the data has changed since the run was trained on it"):
        tenfold.evaluate(run)
    assert tenfold.evaluate(run, tmp_path / "set.npz").n == 60


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_split_has_its_own_figures(folder: Path, split: str) -> None:
    run = tenfold.open_run(folder)
    report = tenfold.evaluate(run, split=split)
    assert report.n == run.figures[f"n_{split}"]
    if split == "val":
        assert report.val_loss == run.figures["val_loss"]


def test_a_run_describes_itself(folder: Path) -> None:
    run = tenfold.open_run(folder)
    assert run.status == "finished"
    assert len(run.history) == 2
    assert run.recipe.image_size == (8, 8)
    assert run.recipe.model_args["channels"] == [32, 64]
    assert run.facts.data.n == {"train": 1294, "val": 144, "test": 359}
    assert run.facts.sessions[0].bit_exact is True
    shown = run._repr_html_()
    assert "convpool on digits" in shown
    assert f"{100 * run.figures['test_acc']:.2f} % of 359 images (95 % interval" in shown
    assert run.model.logits(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)


def test_its_report_is_shown_in_a_notebook(folder: Path, tmp_path: Path) -> None:
    page = tenfold.open_run(folder).report()
    assert page.path == folder / "report.html"
    shown = page._repr_html_()
    assert shown.startswith("<iframe sandbox ")  # no script of a page runs in the notebook
    (inside,) = re.findall(r'srcdoc="([^"]*)"', shown)
    assert html.unescape(inside) == page.path.read_text()
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "report.html").unlink()
    with pytest.raises(FileRefusedError, match=r"report\.html: no such file") as raised:
        tenfold.open_run(copy).report()
    assert raised.value.remedy == f"make it with: tenfold report {copy}"


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    for call in (tenfold.open_run, tenfold.load, tenfold.evaluate, tenfold.resume):
        with pytest.raises(FileRefusedError, match=r"nowhere: no such folder"):
            call(tmp_path / "nowhere")


def test_an_unfinished_run_is_used_with_its_best_weights_so_far(
    folder: Path, tmp_path: Path
) -> None:
    """Not with the model of its earlier end, which stays there until the run ends again."""
    run = shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        resume_run(run, epochs=6, watcher=StopsAt(5 * 21))
    best = read_bundle(run / "checkpoints" / "best.safetensors")
    assert best.header.figures["epochs"] > 2
    assert tenfold.load(run).bundle.sha256 == best.sha256
    assert tenfold.open_run(run).model.bundle.sha256 == best.sha256
    resume_run(run)
    assert tenfold.load(run).bundle.place == str(run / "model.safetensors")


def test_moved_data_is_named_once(tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8)
    np.savez(old, images=pixels, labels=np.arange(200) % 4)
    run = tenfold.train(old, out=tmp_path / "run", **CHANGES)
    old.rename(new)
    for use in (tenfold.evaluate, partial(tenfold.resume, epochs=3)):
        with pytest.raises(DataError, match=r"no longer at .*old\.npz; say where it is now"):
            use(run)
    resumed = tenfold.resume(run, epochs=3, data=new, quiet=True)
    assert tenfold.evaluate(run).test_acc == resumed.figures["test_acc"]


# ---- What a run says of itself ------------------------------------------------------------------


def test_a_relative_folder_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Leaves(Watcher):
        def epoch_done(self, metrics: object, epochs: int) -> None:
            monkeypatch.chdir("/")

    run = tenfold.train("digits", out="run", watcher=Leaves(), **CHANGES)
    assert run.folder == tmp_path / "run"
    assert run.model.classes == run.model.bundle.classes
    assert tenfold.evaluate(run).test_acc == run.figures["test_acc"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    monkeypatch.chdir(tmp_path)
    assert tenfold.open_run("run").folder == tmp_path / "run"


def test_the_status_says_whether_a_process_is_still_running_it(
    tmp_path: Path, folder: Path
) -> None:
    """`run.json` has what the process last wrote, and the process may have died since."""
    seen = []

    class Looks(Watcher):
        def epoch_done(self, metrics: object, epochs: int) -> None:
            seen.append(tenfold.open_run(tmp_path / "run").status)

    tenfold.train("digits", out=tmp_path / "run", watcher=Looks(), **CHANGES)
    assert seen == ["running", "running"]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    text = json.dumps({**facts, "status": "running"})
    (tmp_path / "run" / "run.json").write_text(text)
    run = tenfold.open_run(tmp_path / "run")
    assert run.status == run.to_dict()["status"] == "crashed"
    assert "crashed" in repr(run)
    (tmp_path / "run" / ".lock").unlink()  # as in a copy without hidden files
    assert run.status == "crashed"


def test_a_lock_that_is_held_only_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at a run holds its lock that long, which must not keep others from writing."""
    monkeypatch.setattr(folder_module, "LOCK_TIMEOUT", 60.0)  # on a busy machine, moments are long
    run, is_held = RunFolder(tmp_path), threading.Event()

    def hold() -> None:
        with run.locked():
            is_held.set()
            time.sleep(0.1)

    onlooker = threading.Thread(target=hold)
    onlooker.start()
    assert is_held.wait(60)
    with run.locked():
        assert run.is_being_written()
    onlooker.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    assert not RunFolder(tmp_path).is_being_written()


def test_those_who_look_at_a_run_do_not_see_each_other(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    run = RunFolder(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        seen = pool.map(lambda _: run.is_being_written(), range(2000))
    assert not any(seen)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users as on Unix")
def test_a_run_can_be_looked_at_without_permission_to_write() -> None:
    with tempfile.TemporaryDirectory() as home:
        run = RunFolder(Path(home))
        with run.locked():
            Path(home).chmod(0o555)
            (run.path / ".lock").chmod(0o444)
            with other_user():
                assert run.is_being_written()
        with other_user():
            assert not run.is_being_written()
        Path(home).chmod(0o755)


@contextmanager
def other_user() -> Iterator[None]:
    """Be nobody, if we are root, who may write everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_evaluating_a_run_that_has_not_finished_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        tenfold.train("digits", out=run, watcher=StopsAt(30), **(CHANGES | {"epochs": 3}))
    tenfold.evaluate(run)
    assert capsys.readouterr().err == (
        f"note: {run}: the run has not finished (status: interrupted), its model is from epoch 1; "
        f"finish it with: tenfold resume {run}\n"
    )
    tenfold.resume(run, quiet=True)
    capsys.readouterr()
    tenfold.evaluate(run)
    assert capsys.readouterr().err == ""


def test_a_model_that_knows_only_one_answer_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After training and at each evaluation; all images are the same black one."""
    black = ImageDataset(np.zeros((60, 1, 8, 8), np.uint8), np.arange(60) % 2, ("cat", "dog"))
    run = tenfold.train(black, model="softmax", batch_size=10, out=tmp_path / "run", **CHANGES)
    assert "note: all 12 test images were predicted as '" in capsys.readouterr().err
    tenfold.evaluate(run, black, split="train")
    assert "note: all 43 training images were predicted as '" in capsys.readouterr().err


def test_a_failed_run_does_not_suggest_finishing_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        tenfold.train("digits", out=tmp_path / "run", lr=1e6, optimizer="sgd", **CHANGES)
    for use in (tenfold.load, tenfold.evaluate):
        with pytest.raises(
            FileRefusedError, match="has no model, because it failed: the loss"
        ) as e:
            use(tmp_path / "run")
        assert "tenfold resume" not in str(e.value)


@pytest.mark.parametrize("name", ["recipe.toml", "run.json", "metrics.jsonl"])
def test_an_editor_s_byte_order_mark_and_line_ends_change_nothing(
    name: str, folder: Path, tmp_path: Path
) -> None:
    """As Notepad saves files; once a run has ended, the digest is compared too."""
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    text = (run / name).read_bytes()
    (run / name).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    again = tenfold.open_run(run)
    assert again.recipe == tenfold.open_run(folder).recipe
    assert again.history == tenfold.open_run(folder).history
    assert tenfold.evaluate(run).test_loss == again.figures["test_loss"]
    assert tenfold.resume(run, quiet=True).status == "finished"


# ---- Data that could not be trained on ----------------------------------------------------------


def write_pictures(folder: Path, **counts: int) -> Path:
    """Pictures of digits in class folders, named as `test__3=2`: two threes in `test/3`."""
    digits = load_splits("digits").splits.train
    for name, count in counts.items():
        place = folder.joinpath(*name.split("__"))
        place.mkdir(parents=True)
        label = int(place.name[-1]) if place.name[-1].isdigit() else 0
        chosen = np.flatnonzero(digits.label_array == label)[:count]
        for index in chosen.tolist():
            Image.fromarray(digits.image_array[index, 0]).save(place / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("counts", "n"),
    [
        ({"test__3": 4, "test__7": 5}, 9),
        ({"test__3": 4}, 4),
        ({"3": 4}, 4),
        ({"train__3": 2, "train__7": 2, "test__3": 5, "test__7": 0}, 5),
        ({"train__3": 2, "test__3": 3, "test__7": 1}, 4),
        ({"test__3": 4, "test__x7": 0}, 4),
        ({"train__x7": 2, "test__3": 4}, 4),
    ],
    ids=str,
)
def test_evaluation_requires_only_images_of_known_classes(
    counts: dict[str, int], n: int, folder: Path, tmp_path: Path
) -> None:
    data = write_pictures(tmp_path / "data", **counts)
    report = tenfold.evaluate(folder, data)
    assert report.n == n
    assert report.accuracy > 0.5
    assert report.classes == tuple("0123456789")


def test_a_missing_split_is_named_with_those_that_exist(folder: Path, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", train__1=2, val__1=2)
    with pytest.raises(DataError, match=r"no test split, only train, val; .* --split val"):
        tenfold.evaluate(folder, data)
    assert tenfold.evaluate(folder, data, split="val").n == 2
    only = write_pictures(tmp_path / "only", val__1=3)
    with pytest.raises(DataError, match=r"no test split, only val; .* --split val"):
        tenfold.evaluate(folder, only)
    assert tenfold.evaluate(folder, only, split="val").n == 3


def test_the_remedies_for_classes_that_differ_do_not_lead_in_a_circle(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", train__1=20, train__2=20, test__1=5, test__x3=5)
    train = partial(tenfold.train, data, **(CHANGES | {"batch_size": 8, "epochs": 1}))
    with pytest.raises(DataError, match="test images of 'x3', but no training images") as caught:
        train(out=tmp_path / "a")
    assert caught.value.remedy == "add training images of that class, or remove its test images"
    for picture in (data / "test" / "x3").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="class folders have no images: 'x3'") as caught:
        train(out=tmp_path / "b")
    assert caught.value.remedy == "add images to these folders, or remove them"
    (data / "test" / "x3").rmdir()
    run = train(out=tmp_path / "c")  # class 2 has no test images, which gives only a note
    assert "there are no test images of '2'" in run.facts.data.notes


def test_nothing_is_downloaded_if_that_is_turned_off(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["source"] = "mnist"
    (run / "run.json").write_text(json.dumps(facts))
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace('data = "digits"', 'data = "mnist"'))
    monkeypatch.delenv("TENFOLD_DATA", raising=False)
    facts["digests"] = {}
    (run / "run.json").write_text(json.dumps(facts))
    for use in (tenfold.evaluate, partial(tenfold.resume, epochs=9)):
        with pytest.raises(DataError, match="downloading is switched off"):
            use(run, download=False)
