"""Pictures of runs and data, and explanations, from the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import tenfold as package
from command_line import Tenfold
from tenfold.data import ImageDataset
from tenfold.data.load import load_splits
from tenfold.reporting import show
from tenfold.reporting.explain import explain, explanation_text
from tenfold.reporting.show import WHATS
from tenfold.runs.evaluate import parts_of
from tenfold.runs.run import Run
from thoroughness import some


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return package.train(
        "digits", recipe="digits-quick", epochs=3, out=folder, quiet=True, report=False
    )


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test image."""
    path = tmp_path_factory.mktemp("pictures") / "seven.png"
    test = load_splits("digits").splits.test
    assert test is not None
    Image.fromarray(test.image_array[3, 0]).save(path)
    return path


def is_drawn(path: Path) -> bool:
    """Whether it is a picture with more than one color."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return min(pixels.shape[:2]) > 50 and len(np.unique(pixels)) > 2


def test_all_pictures_of_a_run(run: Run, tenfold: Tenfold) -> None:
    answer = tenfold("show", str(run.folder), "--json")
    assert answer.code == 0
    files = [Path(file) for file in json.loads(answer.out)["files"]]
    assert files == [run.folder / "pictures" / f"{name}.png" for name in WHATS]
    assert all(is_drawn(file) for file in files)


@pytest.mark.parametrize("model", some(["softmax", "mlp"]))
def test_what_a_run_does_not_have_is_told(model: str, tenfold: Tenfold) -> None:
    line = f"train digits --recipe digits-quick --model {model} --epochs 1 --out run --no-report"
    assert tenfold(*line.split(), "--set", "model_args={}").code == 0
    answer = tenfold("show", "run")
    assert answer.code == 0
    assert answer.out.split() == [
        f"run/pictures/{name}.png" for name in WHATS if name != "features"
    ]
    assert "the network has no convolution, so it has no feature maps" in answer.err
    answer = tenfold("show", "run", "--only", "features")
    assert (answer.code, answer.out) == (2, "")
    assert tenfold("train", ".", "--epochs", "1").code == 3  # the pictures are no data
    assert "run" not in answer.out


def test_samples_of_data_are_no_data_themselves(tenfold: Tenfold, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(12):
            color = (number, 100 * (name == "cat"), 0)
            Image.new("RGB", (16, 16), color).save(tmp_path / name / f"{number}.png")
    answer = tenfold("show", ".")
    assert answer.code == 0
    (file,) = answer.out.split()
    assert is_drawn(tmp_path / file)
    facts = json.loads(tenfold("data", ".", "--json").out)
    assert set(facts["classes"]) == {"cat", "dog"}
    assert sum(split["n"] for split in facts["splits"].values()) == 24


def test_pictures_go_into_no_folder_with_other_files(
    run: Run, tenfold: Tenfold, tmp_path: Path
) -> None:
    """Marked as one of pictures, it would not count as data any more."""
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "cat" / "1.png")
    for what in (str(run.folder), "digits"):
        answer = tenfold("show", what, "--out", "cat")
        assert answer.code == 2
        assert "cat: already exists and is not an empty folder" in answer.err
    assert [path.name for path in (tmp_path / "cat").iterdir()] == ["1.png"]


def test_what_needs_no_data_is_drawn_without_it(tenfold: Tenfold, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "data.npz",
        images=np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8),
        labels=np.arange(40) % 2,
    )
    line = "train data.npz --recipe digits-quick --epochs 1 --out run --no-report"
    assert tenfold(*line.split()).code == 0
    (tmp_path / "data.npz").unlink()
    answer = tenfold("show", "run")
    assert answer.code == 0
    assert answer.out.split() == ["run/pictures/history.png", "run/pictures/filters.png"]
    assert answer.err.count("the run's data is no longer at") == 1


def test_pictures_of_earlier_weights_are_removed(
    run: Run, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as mistakes, once there are none any more."""
    monkeypatch.setattr(show, "WHATS", {name: WHATS[name] for name in ("samples", "mistakes")})
    assert tenfold("show", str(run.folder), "--out", "pictures").code == 0
    assert Path("pictures/mistakes.png").exists()
    monkeypatch.setattr(show, "MOST_MISTAKES", 0)
    answer = tenfold("show", str(run.folder), "--out", "pictures")
    assert "there are no mistakes" in answer.err
    assert "mistakes.png" not in answer.out
    assert not Path("pictures/mistakes.png").exists()
    assert Path("pictures/samples.png").exists()


def test_samples_are_shown_without_a_model(run: Run, tenfold: Tenfold) -> None:
    shutil.copytree(run.folder, "run")
    Path("run/model.safetensors").unlink()
    assert tenfold("show", "run", "--only", "samples").code == 0


def test_data_of_python_cannot_be_put_back(tenfold: Tenfold) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    data = ImageDataset(images, np.arange(40) % 2, ("a", "b"))
    package.train(data, recipe="digits-quick", epochs=1, out="run", report=False, quiet=True)
    answer = tenfold("show", "run", "--only", "samples")
    assert answer.code == 2
    assert answer.err.endswith(
        "the run's data was passed in Python; show it in a report, with the same data: "
        f"tenfold.report('{Path('run').absolute()}', data)\n"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show {run} --only mistake", "there is no picture 'mistake'; did you mean 'mistakes'?"),
        ("show digits --only mistakes", "digits: a data set has no picture 'mistakes'"),
        ("show digits --split val", "digits: no val split, only train, test"),
        ("show {run} --split test", "a run has its own data, and shows its own images"),
        ("explain {run} {picture} --class seven", "there is no class 'seven'"),
        ("compare {run} {run} --open", "--open: there is no page to open; add --html FILE"),
        ("explain {run} {picture} --out map.jpg", "map.jpg: cannot write an image as '.jpg'"),
    ],
)
def test_wrong_wishes(line: str, said: str, run: Run, picture: Path, tenfold: Tenfold) -> None:
    answer = tenfold(*line.format(run=run.folder, picture=picture).split())
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize(
    ("line", "opened"),
    [
        ("report {run} --open", "report.html"),
        ("explain {run} {picture} --open", "-seven.png"),
        ("show {run} --only history --open", ".png"),
        ("check digits --quick --open", "check.html"),
        ("compare {run} other --html page.html --open", "page.html"),
    ],
)
def test_what_was_written_is_opened(
    line: str,
    opened: str,
    run: Run,
    picture: Path,
    tenfold: Tenfold,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str] = []
    monkeypatch.setattr(typer, "launch", found.append)
    if "other" in line:
        shutil.copytree(run.folder, "other")
    answer = tenfold(*line.format(run=run.folder, picture=picture).split())
    assert answer.code == 0, answer.err
    (name,) = found
    assert Path(name).is_file()
    assert name.endswith(opened)


def test_what_cannot_be_opened_is_told(
    run: Run, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typer, "launch", lambda _: 1)
    answer = tenfold("report", str(run.folder), "--open")
    assert answer.code == 0
    assert answer.err.endswith("report.html: no program here could open it\n")


def test_an_answer_is_explained(run: Run, picture: Path, tenfold: Tenfold) -> None:
    answer = tenfold("explain", str(run.folder), str(picture))
    assert answer.code == 0
    assert answer.out.startswith(f"answer     {run.model.predict(picture)[0]} (")
    assert answer.out.count("train image") == 8
    (drawn,) = (run.folder / "explained").glob("*-seven.png")
    assert is_drawn(drawn)


def test_an_explanation_as_facts(run: Run, picture: Path, tenfold: Tenfold) -> None:
    line = f"explain {run.folder} {picture} --json --class 3 --neighbors 2 --out why.svg"
    facts = json.loads(tenfold(*line.split()).out)
    assert facts["explained"] == "3"
    assert facts["is_training_image"] is False
    assert all(value == round(value, 4) for row in facts["evidence"] for value in row)
    assert facts["top"] == [guess.to_dict() for guess in run.model.top(picture, 8)[0]]
    assert np.shape(facts["evidence"]) == (8, 8)
    assert len(facts["nearest"]) == 2
    assert Path("why.svg").read_text().startswith("<?xml")


def test_whether_the_image_is_one_of_the_training_images(run: Run, tenfold: Tenfold) -> None:
    """Also if it is not among those that are shown."""
    train = parts_of(run.folder)["train"]
    found = explain(run.model, train.image_array[-1:], train=train)
    assert found.is_training_image is True
    assert "the network was trained on this image" in explanation_text(found, Path("x.png"))
    assert replace(found, neighbors=()).is_training_image is True
    Image.fromarray(train.image_array[-1, 0]).save("known.png")
    answer = tenfold("explain", str(run.folder), "known.png", "--neighbors", "0", "--json")
    assert json.loads(answer.out)["is_training_image"] is None


def test_images_whose_names_differ_in_their_suffix(
    run: Run, picture: Path, tenfold: Tenfold
) -> None:
    with Image.open(picture) as image:
        for name in ("a.png", "a.jpg"):
            image.save(name)
    pictures = [
        json.loads(tenfold("explain", str(run.folder), name, "--json").out)["picture"]
        for name in ("a.png", "a.jpg")
    ]
    assert [Path(each).name for each in pictures] == ["a.png", "a.jpg.png"]


def test_a_network_from_scratch_is_explained(picture: Path, tenfold: Tenfold) -> None:
    line = "train digits --model softmax-scratch --epochs 1 --out run --no-report"
    assert tenfold(*line.split()).code == 0
    answer = tenfold("explain", "run", str(picture))
    assert answer.code == 0, answer.err
    assert answer.out.count("train image") == 8


def test_a_model_file_alone_has_no_training_images(
    run: Run, picture: Path, tenfold: Tenfold, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((run.folder / "model.safetensors").read_bytes())
    answer = tenfold("explain", "alone.safetensors", str(picture))
    assert answer.code == 0
    assert "train image" not in answer.out
    (drawn,) = tmp_path.glob("explained-*-seven.png")
    assert is_drawn(drawn)


def test_negatives(run: Run, picture: Path, tenfold: Tenfold, tmp_path: Path) -> None:
    """A dark digit on light paper is noticed, and read right with --invert."""
    with Image.open(picture) as image:
        Image.fromarray(255 - np.asarray(image)).save(tmp_path / "dark.png")
    right = run.model.predict(picture)
    answer = tenfold("predict", str(run.folder), "dark.png")
    assert "the image is dark on light, but the model was trained on light on dark" in answer.err
    assert "--invert classifies the negatives" in answer.err
    answer = tenfold("predict", str(run.folder), "dark.png", "--invert", "--jsonl")
    assert answer.err == ""
    assert json.loads(answer.out)["top"][0]["class"] == right[0]
    both = tenfold("predict", str(run.folder), "dark.png", str(picture), "--jsonl")
    assert "1 of 2 images (dark.png) is dark on light" in both.err
    assert [json.loads(line).get("inverted") for line in both.out.splitlines()] == [True, None]
    line = f"explain {run.folder} dark.png --invert --json --out e.png"
    assert json.loads(tenfold(*line.split()).out)["top"][0]["class"] == right[0]
