"""Exports: what is in the files, that they compute the same, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_models import BY_IMAGE, bundle_of

import tenfold as package
from command_line import Tenfold
from small_images import image_dataset
from tenfold._version import __version__
from tenfold.deployment import Classifier, read_bundle, write_bundle
from tenfold.deployment.background import Background
from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export import onnx as onnx_module
from tenfold.deployment.export import state_dict
from tenfold.deployment.export.checking import Compute, images_to_check, require_agreement
from tenfold.deployment.export.formats import FORMATS, Exported, export_bundle, export_path
from tenfold.deployment.export.made_up import made_up_images
from tenfold.deployment.export.torch_export import FACTS
from tenfold.errors import ExportError, StorageError, TenfoldError, UsageError
from tenfold.evaluation.metrics import softmax
from tenfold.recipes import load_recipe
from tenfold.reporting.exports import export_text
from tenfold.runs import train_run
from tenfold.runs.export import export_run
from tenfold.types import ImageShape, PixelArray

GRAY = ImageShape(1, 12, 12)
NAMES = ("猫", 'a "dog"', "\udc80")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "export.md").read_text()

BACKGROUND = Background(shade="dark", extent=0.5, least_extent=0.4, most_offset=0.25)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With everything that may be in a header, from a file."""
    path = tmp_path_factory.mktemp("bundle") / "model.safetensors"
    made = bundle_of(
        "resnet-small",
        ImageShape(3, 12, 12),
        classes=[*NAMES],
        depth=12,
        resize="pad",
        background=BACKGROUND,
        data={"fingerprint": "abc", "source": "/a/secret/place"},
    )
    write_bundle(path, made)
    return read_bundle(path)


@pytest.fixture(scope="module")
def exported(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle in every format."""
    folder = tmp_path_factory.mktemp("exported")
    for to in FORMATS:
        export_bundle(bundle, to, export_path(to, folder, Path("x")), images_of(bundle, 200))
    return folder


def images_of(bundle: Bundle, n: int = 20) -> PixelArray:
    return made_up_images(bundle.input_shape, n)


def facts_of(path: Path) -> dict[str, str]:
    if path.suffix == ".onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    files = {FACTS: ""}
    torch.export.load(io.BytesIO(path.read_bytes()), extra_files=files)
    found: dict[str, str] = json.loads(files[FACTS])
    return found


# --- what is in the files


def test_an_onnx_file_takes_raw_pixels_in_any_number(bundle: Bundle, exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    (images,), outputs = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == (
        "images", "tensor(uint8)", ["batch", 3, 12, 12],
    )  # fmt: skip
    assert [(each.name, each.type, each.shape) for each in outputs] == [
        (name, "tensor(float)", ["batch", 3]) for name in ("logits", "probabilities")
    ]
    classifier = Classifier(bundle)
    for n in (1, 3, 150):
        some = images_of(bundle, 150)[-n:]
        logits, probabilities = session.run(None, {"images": some})
        wanted = classifier.logits(some)
        assert np.abs(logits - wanted).max() <= 1e-5 * max(10, np.abs(wanted).max())
        assert np.abs(probabilities - softmax(wanted, bundle.header.temperature)).max() < 1e-4
    onnx.checker.check_model(exported / "model.onnx", full_check=True)


def test_a_program_takes_raw_pixels_in_any_number(bundle: Bundle, exported: Path) -> None:
    module = torch.export.load(exported / "model.pt2").module()
    for n in (1, 3, 150):
        some = images_of(bundle, 150)[-n:]
        logits, probabilities = module(torch.from_numpy(some))
        wanted = Classifier(bundle).logits(some)
        assert np.abs(logits.detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert torch.allclose(probabilities, torch.softmax(logits / 1.7, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_what_a_file_says_about_its_model(name: str, bundle: Bundle, exported: Path) -> None:
    found = facts_of(exported / name)
    assert json.loads(found.pop("classes")) == [*NAMES]
    assert json.loads(found.pop("background")) == BACKGROUND.model_dump()
    assert found == {
        "model": "resnet-small",
        "input_shape": "[3, 12, 12]",
        "resize": "pad",
        "depth": "12",
        "temperature": "1.7",
        "data_fingerprint": "abc",
        "model_sha256": bundle.sha256,
        "tenfold_version": __version__,
    }


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", "model.pth", "model.py"])
def test_no_file_says_where_it_was_made(name: str, exported: Path) -> None:
    data = (exported / name).read_bytes()
    root = Path(package.__file__).parents[2]
    for place in (str(root), str(Path.home()), sys.prefix, "/a/secret/place", "site-packages"):
        assert place.encode() not in data, place


def test_each_image_may_be_normalized_by_itself(tmp_path: Path) -> None:
    made = bundle_of("softmax", GRAY, preprocessing=BY_IMAGE, classes=["a"])
    for to in ("onnx", "torch-export"):
        path = export_path(to, tmp_path, Path("x"))
        found = export_bundle(made, to, path, None)
        assert (found.images, found.are_real, found.others) == (1000, False, ())
        assert found.largest_difference < 1e-5
        assert found.size == path.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.pt2"}


# --- the check


def computed(bundle: Bundle, change: Callable[[np.ndarray], object]) -> Compute:
    """The model itself, with changed logits."""
    classifier = Classifier(bundle)

    def compute(images: PixelArray) -> tuple[np.ndarray, np.ndarray]:
        logits = classifier.logits(images).copy()
        change(logits)
        return logits, softmax(logits, bundle.header.temperature).astype(np.float32)

    return compute


@pytest.fixture(scope="module")
def small() -> Bundle:
    """A model with logits from -1 to 1."""
    made = bundle_of("softmax", GRAY, preprocessing=BY_IMAGE)
    largest = np.abs(Classifier(made).logits(images_of(made))).max()
    for name in ("linear.weight", "linear.bias"):
        array = made.weights[name].array()
        array /= largest
    return made


def test_a_model_agrees_with_itself(small: Bundle) -> None:
    found = require_agreement(computed(small, lambda logits: None), small, images_of(small, 7))
    assert (found.images, found.largest_difference, found.tolerance) == (7, 0, 1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 300])
def test_images_are_computed_one_two_and_many_at_a_time(small: Bundle, n: int) -> None:
    sizes: list[int] = []
    images = made_up_images(GRAY, 300)[:n]
    require_agreement(computed(small, lambda logits: sizes.append(len(logits))), small, images)
    assert sum(sizes) == n
    assert sizes == {1: [1], 2: [1, 1], 3: [1, 2], 4: [1, 2, 1], 300: [1, 2, 128, 128, 41]}[n]


def shift(by: float) -> Callable[[np.ndarray], object]:
    def change(logits: np.ndarray) -> None:
        logits[-1, 0] += by

    return change


@pytest.mark.parametrize("by", [2e-4, -2e-4, float("nan")])
def test_a_logit_that_differs_is_refused(small: Bundle, by: float) -> None:
    with pytest.raises(ExportError, match=r"differs from the model by .* in a logit"):
        require_agreement(computed(small, shift(by)), small, images_of(small))


def test_a_small_difference_is_accepted_and_reported(small: Bundle) -> None:
    found = require_agreement(computed(small, shift(5e-5)), small, images_of(small))
    assert found.largest_difference == pytest.approx(5e-5, rel=0.01)


def test_large_logits_may_differ_by_as_much_as_they_are_exact(small: Bundle) -> None:
    large = bundle_of("softmax", GRAY, preprocessing=BY_IMAGE)
    for name in ("linear.weight", "linear.bias"):
        array = large.weights[name].array()
        array *= 1e4
    largest = np.abs(Classifier(large).logits(images_of(large))).max()
    found = require_agreement(computed(large, shift(5e-6 * largest)), large, images_of(large))
    assert found.tolerance == pytest.approx(1e-5 * largest)
    with pytest.raises(ExportError, match="differs from the model"):
        require_agreement(computed(large, shift(2e-5 * largest)), large, images_of(large))


def test_another_class_is_refused(small: Bundle) -> None:
    """Both logits differ by less than the tolerance, but what they differ by together is more."""
    made = bundle_of("softmax", GRAY, classes=["a", "b"], preprocessing=BY_IMAGE)
    made.weights["linear.weight"].array()[:] = 0
    made.weights["linear.bias"].array()[:] = [0.00015, 0]

    def change(logits: np.ndarray) -> None:
        logits += [-8e-5, 8e-5]

    with pytest.raises(ExportError, match="answers another class for 20 images of 20"):
        require_agreement(computed(made, change), made, images_of(made))
    made.weights["linear.bias"].array()[:] = [0.00005, 0]
    found = require_agreement(computed(made, change), made, images_of(made))
    assert found.near_ties == 20


def test_near_ties_that_change_are_told() -> None:
    exported = Exported("onnx", Path("m.onnx"), (), 10, 7, True, 1e-6)
    assert "a logit 1.0e-06, no class changed\n" in export_text(exported)
    tied = replace(exported, near_ties=1)
    assert "a logit 1.0e-06, no class changed except in 1 near-tie\n" in export_text(tied)
    assert (exported.to_dict()["near_ties"], tied.to_dict()["near_ties"]) == (0, 1)


def test_probabilities_of_another_temperature_are_refused(small: Bundle) -> None:
    def compute(images: PixelArray) -> tuple[np.ndarray, np.ndarray]:
        logits = Classifier(small).logits(images)
        return logits, softmax(logits, 1.0).astype(np.float32)

    with pytest.raises(ExportError, match=r"probabilities differ by .* from those of its logits"):
        require_agreement(compute, small, images_of(small))


def test_nothing_is_written_if_the_check_fails(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = computed(small, shift(1))
    monkeypatch.setattr(state_dict, "PlainModel", lambda source, weights: wrong)
    with pytest.raises(ExportError, match="nothing was written"):
        export_bundle(small, "state-dict", tmp_path / "new" / "model.pth", None)
    assert not [*tmp_path.iterdir()]


def test_large_models_are_checked_on_fewer_images() -> None:
    assert images_to_check(bundle_of("softmax")) == 1000
    big = bundle_of("resnet-small").header.model_copy(update={"input_shape": (3, 4096, 4096)})
    assert images_to_check(Bundle(big, {})) == 64


def test_made_up_images_are_the_same_each_time_and_none_is_like_another() -> None:
    for shape in (GRAY, ImageShape(3, 1, 1), ImageShape(4, 2, 9)):
        images = made_up_images(shape, 50)
        assert images.shape == (50, *shape)
        assert np.array_equal(images, made_up_images(shape, 50))
    assert len({image.tobytes() for image in made_up_images(GRAY, 300)}) > 290
    assert images[0].max() == 0
    assert images[1].min() == 255


# --- where to


@pytest.mark.parametrize(
    ("to", "out", "wanted"),
    [
        ("onnx", None, "run/model.onnx"),
        ("torch-export", None, "run/model.pt2"),
        ("state-dict", None, "run/model.pth"),
        ("onnx", "there", "there/model.onnx"),
        ("onnx", "new/er", "new/er/model.onnx"),
        ("state-dict", "x.pt", "x.pt"),
        ("torch-export", "there.d", "there.d/model.pt2"),
    ],
)
def test_where_an_export_goes(
    to: str, out: str | None, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("there", "there.d"):
        Path(name).mkdir()
    found = export_path(to, None if out is None else Path(out), Path("run/model"))
    assert found == Path(wanted)


@pytest.mark.parametrize(
    ("to", "out", "message"),
    [
        ("onxx", None, "there is no format 'onxx'; did you mean 'onnx'?"),
        (
            "onnx",
            "x.pt",
            "x.pt: the name of the file ends in .pt, wanted .onnx; choose a name",
        ),
        ("state-dict", "x.py", "ends in .py, wanted .pth, .pt; choose a name such as x.pth, or a"),
    ],
)
def test_where_no_export_goes(to: str, out: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        export_path(to, None if out is None else Path(out), Path("run/model"))


def test_code_that_tenfold_has_not_written_is_not_replaced(small: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    export_bundle(small, "state-dict", path, images_of(small))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    export_bundle(small, "state-dict", path, images_of(small))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    (tmp_path / "model.py").write_text("import torch\n")
    with pytest.raises(UsageError, match="not of an earlier export, and would be replaced; choose"):
        export_bundle(small, "state-dict", path, images_of(small))
    assert (tmp_path / "model.py").read_text() == "import torch\n"


def test_code_of_other_weights_is_not_replaced(small: Bundle, tmp_path: Path) -> None:
    export_bundle(small, "state-dict", tmp_path / "n.pth", images_of(small))
    before = (tmp_path / "n.py").read_bytes()
    with pytest.raises(UsageError, match=r"n\.py: this file belongs to other weights than n\.pt,"):
        export_bundle(small, "state-dict", tmp_path / "n.pt", images_of(small))
    assert (tmp_path / "n.py").read_bytes() == before
    assert not (tmp_path / "n.pt").exists()


def test_weights_and_code_are_written_both_or_neither(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: Path, target: Path) -> None:
        if Path(target).suffix == ".py" and Path(source).suffix == ".tmp":
            monkeypatch.setattr(os, "replace", replace)
            raise OSError(errno.EIO, "input or output failed")
        replace(source, target)

    replace = os.replace
    for there in ({}, {"model.pth": b"old weights"}):
        for name, contents in there.items():
            (tmp_path / name).write_bytes(contents)
        monkeypatch.setattr(os, "replace", fails)
        with pytest.raises(StorageError, match=r"model\.py: writing .* bytes failed"):
            export_bundle(small, "state-dict", tmp_path / "model.pth", images_of(small))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == there


def test_a_link_is_followed_and_a_pipe_is_not_replaced(
    small: Bundle, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model.pth").symlink_to(tmp_path / "elsewhere" / "weights")
    export_bundle(small, "state-dict", tmp_path / "model.pth", images_of(small))
    assert (tmp_path / "model.pth").is_symlink()
    assert (tmp_path / "elsewhere" / "weights").stat().st_size > 100
    (tmp_path / "model.pth").unlink()
    os.mkfifo(tmp_path / "model.pth")
    with pytest.raises(StorageError, match="this is a device or a pipe, wanted a file"):
        export_run(run, "state-dict", tmp_path / "model.pth")
    assert (tmp_path / "model.pth").is_fifo()


def test_missing_packages_are_named(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnxruntime: .*; install .* 'tenfold\[export\]'"):
        export_bundle(small, "onnx", tmp_path / "model.onnx", None)


def test_what_does_not_fit_into_the_format_is_refused(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_module, "_LARGEST", 1000)
    with pytest.raises(UsageError, match=r"take 5,800 bytes, more than .* --to torch-"):
        export_bundle(small, "onnx", tmp_path / "model.onnx", None)


# --- runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = load_recipe("digits-quick", {"model": "softmax", "model_args": {}, "epochs": 1})
    return train_run(recipe, "digits", out=tmp_path_factory.mktemp("runs") / "run").folder


def test_the_documented_lines_use_an_export(
    run: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tenfold("export", str(run), "--to", "onnx")
    assert answer.code == 0, answer.err
    assert f"wrote    {run / 'model.onnx'}" in answer.out
    assert "checked  359 test images with ONNX Runtime: largest difference of a logit" in answer.out
    lines = answer.out[answer.out.index("use      ") + 9 :]
    lines = "\n".join(line.strip() for line in lines.splitlines())
    first, second, *_ = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert lines.replace(str(run / "model.onnx"), "model.onnx") in first.replace("\n\n", "\n")
    monkeypatch.chdir(run)
    names: dict[str, Any] = {"images": np.zeros((2, 1, 8, 8), np.uint8)}
    exec(first + second, names)
    assert names["probabilities"].shape == (2, 10)
    assert names["classes"] == list("0123456789")


def test_from_the_command_line_as_json(run: Path, tenfold: Tenfold, tmp_path: Path) -> None:
    answer = tenfold("export", str(run), "--to", "state-dict", "--out", "x", "--json")
    found = json.loads(answer.out)
    assert found["others"] == ["x/model.py"]
    assert found["images"] == 359
    assert found["are_real"]
    assert found["largest_difference"] <= 1e-4


def test_the_documented_function(run: Path, tmp_path: Path) -> None:
    found = package.export(run, "torch-export", out=tmp_path)
    assert found.path == tmp_path / "model.pt2"
    assert found.are_real
    assert found.images == 359
    again = package.export(run / "model.safetensors", "state-dict", out=tmp_path / "y.pth")
    assert again.are_real
    assert again.others == (tmp_path / "y.py",)


def test_without_test_images_made_up_ones_are_used(
    tmp_path: Path, tenfold: Tenfold, small: Bundle
) -> None:
    data = image_dataset(np.random.default_rng(0).integers(0, 256, (40, 1, 9, 9), dtype=np.uint8))
    recipe = load_recipe("default", {"model": "softmax", "epochs": 1, "val": 0.0})
    run = train_run(recipe, data, out=tmp_path / "run").folder
    answer = tenfold("export", str(run), "--to", "state-dict")
    assert "note: the run's test images cannot be read (" in answer.err
    assert "the run's data was passed in Python" in answer.err
    assert "checked  1,000 made-up images with model.py" in answer.out
    write_bundle(tmp_path / "alone.safetensors", small)
    found = export_run(tmp_path / "alone.safetensors", "state-dict")
    assert found.path == tmp_path / "alone.pth"
    assert not found.are_real


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(TenfoldError, match="no such folder or file"):
        export_run(tmp_path / "nothing", "onnx")
