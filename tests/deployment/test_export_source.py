"""The exported `model.py`: one suite for every model of the table, run without tenfold."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import BY_IMAGE, CHANNELS, bundle_of
from PIL import Image

from tenfold.deployment import Classifier
from tenfold.deployment.bundle import Bundle, BundleHeader
from tenfold.deployment.export.formats import export_bundle
from tenfold.deployment.export.made_up import made_up_images
from tenfold.deployment.export.source import model_source
from tenfold.deployment.export.text import text_literal
from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.models import MODELS, build, resnet
from tenfold.models.layers import Add, Conv2d, Flatten, Linear, ReLU
from tenfold.runs.starting import RESIDUAL
from tenfold.types import ImageShape

CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in MODELS},
    "resnet-small, one block": {"name": "resnet-small", "arguments": {"widths": [4], "blocks": 1}},
    "mlp without hidden layers": {"name": "mlp", "arguments": {"hidden": []}},
    "lenet, each image normalized": {"name": "lenet", "preprocessing": BY_IMAGE},
    "resnet18": {"arguments": {"stem_stride": 1, "stem_pool": False, "dropout": 0.3}},
}

ODD = ['say "hi"', "it's", "back\\slash", "line\nbreak", "帽子", "\udc80", "x" * 90, "a b"]

ANSWERS = """
import json, runpy, sys
sys.modules["tenfold"] = None  # whoever imports it gets a ModuleNotFoundError
import numpy as np, torch
torch.set_num_threads(1)
images = torch.from_numpy(np.load("images.npy"))
for folder in json.loads(sys.argv[1]):
    model = runpy.run_path(f"{folder}/model.py")
    net = model["load"]()
    with torch.no_grad():
        logits = net(model["scaled"](images))
    np.save(f"{folder}/logits.npy", logits)
    np.save(f"{folder}/probabilities.npy", model["predict"](net, images))
sys.argv = ["model.py", "picture.png"]
runpy.run_path("lenet/model.py", run_name="__main__")
"""


RUFF = (sys.executable, "-m", "ruff")


@functools.cache
def bundle(case: str) -> Bundle:
    return bundle_of(**({"name": case} | CASES[case]))


def header(**changes: Any) -> BundleHeader:
    return bundle_of("softmax", **changes).header


@pytest.fixture(scope="module", autouse=True)
def _thin_networks() -> Iterator[None]:
    """The residual networks of the paper with all their blocks, but few channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "WIDTHS", (8, 16, 24, 32))
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each case, with what its `model.py` answers for some images."""
    root = tmp_path_factory.mktemp("exported")
    images = made_up_images(ImageShape(3, 32, 32), 10)
    np.save(root / "images.npy", images)
    for case in CASES:
        export_bundle(bundle(case), "state-dict", root / case / "model.pth", images)
    Image.fromarray(images[7].transpose(1, 2, 0)).save(root / "picture.png")
    command = [sys.executable, "-c", ANSWERS, json.dumps([*CASES])]
    with (root / "said.txt").open("w") as said:
        subprocess.run(command, cwd=root, check=True, stdout=said)
    return root


@pytest.mark.parametrize("case", CASES)
def test_without_tenfold_it_computes_the_same(case: str, exported: Path) -> None:
    classifier, images = Classifier(bundle(case)), np.load(exported / "images.npy")
    wanted = classifier.logits(images)
    found = np.load(exported / case / "logits.npy")
    assert np.abs(found - wanted).max() <= 1e-5 * max(10, np.abs(wanted).max())
    chances = np.load(exported / case / "probabilities.npy")
    assert np.abs(chances - classifier.predict_proba(images)).max() < 1e-3


def test_it_reads_as_formatted_code(exported: Path) -> None:
    for work in (["format", "--check"], ["check"]):
        subprocess.run([*RUFF, *work, "--isolated", "--quiet", str(exported)], check=True)


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_names_of_these_networks_are_torchvisions(name: str) -> None:
    _, names = model_source(bundle(name).header, "model.pth", "")
    theirs = build(name, (3, 32, 32), 10, device="meta").state_dict()
    assert names == {name: name for name in theirs}
    assert list(names) == list(theirs)


def test_lenet_reads_like_the_tutorials(exported: Path) -> None:
    source = (exported / "lenet" / "model.py").read_text()
    assert source.split("super().__init__()\n")[1].split("\n\n\n")[0] == (
        "        self.conv1 = nn.Conv2d(3, 6, kernel_size=5, padding=2)\n"
        "        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)\n"
        "        self.conv3 = nn.Conv2d(16, 120, kernel_size=5)\n"
        "        self.fc1 = nn.Linear(480, 84)\n"
        "        self.fc2 = nn.Linear(84, 10)\n"
        "\n"
        "    def forward(self, x):\n"
        "        x = F.max_pool2d(F.relu(self.conv1(x)), 2)\n"
        "        x = F.max_pool2d(F.relu(self.conv2(x)), 2)\n"
        "        x = F.relu(self.conv3(x))\n"
        "        x = x.flatten(1)\n"
        "        x = F.relu(self.fc1(x))\n"
        "        return self.fc2(x)"
    )


def test_as_a_script_it_names_the_class_of_image_files(exported: Path) -> None:
    ((guess,),) = Classifier(bundle("lenet")).top(exported / "picture.png", 1)
    said = (exported / "said.txt").read_text()
    assert said == f"picture.png: {guess.name} {guess.probability:.4f}\n"


def test_as_a_script_without_files_it_says_how_to_use_it(exported: Path) -> None:
    command = [sys.executable, str(exported / "lenet" / "model.py")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (1, "usage: python model.py IMAGE...\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.png", "missing.png: [Errno 2] No such file or directory: "),
        (".", ".: [Errno 21] Is a directory: "),
        ("model.py", "model.py: cannot identify image file "),
    ],
)
def test_as_a_script_it_names_files_that_it_cannot_read(
    name: str, said: str, exported: Path
) -> None:
    command = [sys.executable, "model.py", name]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=exported / "lenet"
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith(said)
    assert answer.stderr.count("\n") == 1


def pictures() -> dict[str, Image.Image]:
    generator = np.random.default_rng(2)
    color = Image.fromarray(generator.integers(0, 256, (37, 23, 3), dtype=np.uint8))
    deep = Image.fromarray(generator.integers(0, 5000, (20, 41)).astype(np.uint16))
    clear = color.copy()
    clear.putalpha(Image.fromarray(generator.integers(0, 256, (37, 23), dtype=np.uint8)))
    return {
        "color.png": color,
        "gray.png": color.convert("L").resize((60, 31)),
        "black and white.png": color.convert("1"),
        "palette.gif": color.quantize(16),
        "clear.png": clear,
        "clear gray.png": clear.convert("LA"),
        "deep.png": deep,
        "deep.pgm": deep.convert("I"),
        "wide.bmp": color.resize((200, 3)),
        "fits.png": color.resize((11, 8)),
    }


@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_reads_image_files_as_tenfold_does(channels: int, resize: str, tmp_path: Path) -> None:
    made = bundle_of(
        "softmax",
        ImageShape(channels, 8, 11),
        resize=resize,
        depth=12 if channels == 1 else 16,
        preprocessing=BY_IMAGE,
    )
    source, _ = model_source(made.header, "model.pth", "")
    names: dict[str, Any] = {"__file__": "model.py", "__name__": "model"}
    exec(source, names)
    for name, picture in pictures().items():
        exif = Image.Exif()
        exif[274] = 6  # to be turned by 90 degrees
        picture.save(tmp_path / name, **({"exif": exif} if name == "color.png" else {}))
        (wanted,) = Classifier(made).pixels(tmp_path / name)
        assert torch.equal(names["read"](tmp_path / name), torch.from_numpy(wanted)), name
    for name, number in (("whole.tiff", np.int32), ("real.tiff", np.float32)):
        Image.fromarray(np.ones((20, 41), number)).save(tmp_path / name)
        for read in (names["read"], Classifier(made).pixels):
            with pytest.raises((ValueError, DataError), match=r"whole|real"):
                read(tmp_path / name)


def test_any_class_name_can_be_written() -> None:
    source, _ = model_source(header(classes=ODD), 'odd "name".pth', "")
    names: dict[str, Any] = {"__file__": "model.py", "__name__": "model"}
    exec(source.encode(), names)
    assert names["CLASSES"] == ODD
    assert names["WEIGHTS"].name == 'odd "name".pth'
    source = model_source(header(classes=ODD[:3] + ODD[6:]), "model.pth", "")[0]
    answer = subprocess.run(
        [*RUFF, "format", "--isolated", "--diff", "-"],
        input=source,
        text=True,
        capture_output=True,
    )
    assert answer.returncode == 0, answer.stdout


def test_a_literal_is_ascii_where_characters_do_not_print() -> None:
    assert text_literal("a\u202e\x00\U000e0001b") == r'"a\u202e\x00\U000e0001b"'


def test_images_that_no_file_has_are_not_read_from_files() -> None:
    made = bundle_of("softmax", ImageShape(2, 4, 4), preprocessing=BY_IMAGE)
    source, _ = model_source(made.header, "model.pth", "")
    assert "Pillow" not in source
    assert "def read" not in source
    assert "import sys" not in source


def test_weights_load_without_code(exported: Path) -> None:
    data = (exported / "lenet" / "model.pth").read_bytes()
    weights = torch.load(io.BytesIO(data), weights_only=True)
    assert list(weights)[:3] == ["conv1.weight", "conv1.bias", "conv2.weight"]


def test_a_bundle_without_layers_is_refused() -> None:
    without = header().model_copy(update={"layers": None})
    with pytest.raises(
        FileRefusedError, match=r"x.safetensors: the model file does not list the l"
    ):
        model_source(without, "model.pth", "x.safetensors")


def conv(source: int, name: str) -> Conv2d:
    return Conv2d(
        input=source,
        kernel_size=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        in_channels=3,
        out_channels=3,
        weight=name,
        bias=None,
    )


def test_other_branches_are_refused() -> None:
    """A block within a block."""
    last = Linear(input=6, in_features=48, out_features=10, weight="w", bias=None, transposed=False)
    layers = (
        conv(-1, "a"),
        ReLU(input=0),
        conv(1, "b"),
        Add(input=2, other=1),
        conv(3, "c"),
        Add(input=4, other=0),
        Flatten(input=5),
        last,
    )
    made = header().model_copy(update={"layers": layers})
    with pytest.raises(UsageError, match="branches in another way than by residual blocks"):
        model_source(made, "model.pth", "")


def test_the_normalization_is_that_of_the_bundle() -> None:
    source, _ = model_source(header(), "model.pth", "")
    assert f"MEAN = {CHANNELS.mean}\nSTD = {CHANNELS.std}\n" in source
    assert "TEMPERATURE = 1.7\n" in source
