"""Notebooks run in a real kernel; they store what a reader sees on opening them."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image
from torch import nn

from small_bundles import bundle_with
from tenfold.data.dataset import ImageDataset
from tenfold.deployment.classifier import Classifier
from tenfold.errors import DataError, UsageError
from tenfold.models import Preprocessing, build
from tenfold.notebook import images_figure, show_images
from tenfold.reporting.style import figure_bytes
from tenfold.types import ImageShape

CELLS = {
    "imports": """
import torch
import tenfold
from tenfold import scratch
from tenfold.data import ImageDataset, Splits
from tenfold.notebook import LivePlot, confusion_figure, show_figure, show_images

def part(split, n=40):
    labels = torch.arange(n) % 2
    noise = torch.randint(0, 50, (n, 1, 8, 8), generator=torch.Generator().manual_seed(len(split)))
    images = (noise + 200 * labels.view(n, 1, 1, 1)).to(torch.uint8)
    return ImageDataset(images, labels, ("dark", "bright"), split=split)

data = Splits(part("train"), part("val"), part("test"))
plot = LivePlot()
""",
    "by hand": """
for epoch in range(1, 8):
    plot.add(epoch, train_loss=1 / epoch, train_acc=0.5, test_acc=0.25)
""",
    "by hand again": """
for epoch in range(1, 3):
    plot.add(epoch, train_loss=1 / epoch)
""",
    "two plots": """
one, other = LivePlot(), LivePlot()
for epoch in range(1, 4):
    one.add(epoch, train_loss=epoch)
    other.add(epoch, test_acc=epoch / 8)
""",
    "an error": """
broken = LivePlot()
for epoch in range(1, 9):
    broken.add(epoch, train_loss=1)
    if epoch == 5:
        raise RuntimeError("in the user's own loop")
""",
    "slowly": """
import time
slow = LivePlot(epochs=3)
for epoch in range(1, 4):
    slow.add(epoch, train_loss=1)
    time.sleep(0.6)
""",
    "from scratch": """
weights, bias = scratch.new_parameters(64, 2)
history = scratch.train(
    lambda images: scratch.linear(images, weights, bias),
    [(data.train.images, data.train.labels)], [(data.test.images, data.test.labels)],
    scratch.cross_entropy, 4, lambda n: scratch.sgd([weights, bias], 0.1, n), watch=LivePlot(),
)
""",
    "a run": """
run = tenfold.train(
    data, recipe="softmax-fashion", epochs=6, batch_size=20, plot=True, quiet=True, threads=1,
    device="cpu", engine="torch", out="run",
)
""",
    "pictures": "show_images(data.test, run.model, rows=1, columns=4)",
    "a figure": "show_figure(confusion_figure(tenfold.evaluate(run, data)), alt='Confusion')",
}


@dataclass
class Executed:
    """An executed notebook, and the kernel's messages for each cell."""

    notebook: nbformat.NotebookNode
    sent: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)
    folder: Path = Path()

    def outputs(self, cell: str) -> list[Any]:
        return self.notebook.cells[list(CELLS).index(cell)].outputs

    def picture(self, cell: str) -> Any:
        """The one output of a cell, which must be an image."""
        (output,) = self.outputs(cell)
        assert output.output_type == "display_data"
        assert "image/png" in output.data
        return output

    def alt(self, cell: str) -> str:
        return self.picture(cell).metadata["image/png"]["alt"]


class Recorder(NotebookClient):
    """Keeps the kernel's display messages with their display ids."""

    messages: dict[int, list[tuple[str, str | None]]]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        kind = msg["header"]["msg_type"]
        if kind in ("display_data", "update_display_data", "stream", "clear_output"):
            display_id = msg["content"].get("transient", {}).get("display_id")
            self.messages.setdefault(cell_index, []).append((kind, display_id))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                source, metadata={"tags": ["raises-exception"] if name == "an error" else []}
            )
            for name, source in CELLS.items()
        ]
    )
    client = Recorder(
        notebook, kernel_name="python3", timeout=None, resources={"metadata": {"path": str(folder)}}
    )
    client.messages = {}
    without_screen = {name: text for name, text in os.environ.items() if name != "DISPLAY"}
    client.execute(env={**without_screen, "IPYTHONDIR": str(folder / ".ipython")})
    path = folder / "executed.ipynb"
    nbformat.write(notebook, path)
    reopened = nbformat.read(path, as_version=4)
    nbformat.validate(reopened)
    sent = {name: client.messages.get(i, []) for i, name in enumerate(CELLS)}
    return Executed(reopened, sent, folder)


PLOTS = {
    "by hand": 7,
    "by hand again": 2,
    "an error": 5,
    "slowly": 3,
    "from scratch": 4,
    "a run": 6,
}
"""Cells with one plot, and the last epoch it must show."""


class TestKernel:
    @pytest.mark.parametrize("cell", [cell for cell in PLOTS if cell != "an error"])
    def test_a_plot_is_one_output_and_nothing_else(self, executed: Executed, cell: str) -> None:
        assert executed.picture(cell).metadata["image/png"]["width"] >= 400

    @pytest.mark.parametrize("cell", PLOTS)
    def test_it_is_shown_once_and_then_updated_in_place(
        self, executed: Executed, cell: str
    ) -> None:
        kinds = Counter(kind for kind, _ in executed.sent[cell])
        assert kinds["display_data"] == 1
        assert kinds["update_display_data"] >= 1
        assert kinds.keys() == {"display_data", "update_display_data"}
        (display_id,) = {display_id for _, display_id in executed.sent[cell]}
        assert display_id

    def test_no_cell_writes_lines(self, executed: Executed) -> None:
        for cell in CELLS:
            assert "stream" not in [output.output_type for output in executed.outputs(cell)], cell

    @pytest.mark.parametrize("cell", [cell for cell in PLOTS if cell != "an error"])
    def test_the_stored_picture_has_the_last_epoch(self, executed: Executed, cell: str) -> None:
        assert f"up to epoch {PLOTS[cell]}:" in executed.alt(cell)

    def test_the_image_has_twice_the_resolution_of_its_display_size(
        self, executed: Executed
    ) -> None:
        output = executed.picture("by hand")
        shown = output.metadata["image/png"]
        with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as image:
            assert image.size == (2 * shown["width"], 2 * shown["height"])
            assert len(np.unique(np.asarray(image))) > 10

    def test_the_alternative_text_has_the_newest_figures(self, executed: Executed) -> None:
        assert executed.alt("by hand") == (
            "Plot of the training up to epoch 7: "
            "train_loss 0.1429, train_acc 0.5000, test_acc 0.2500"
        )

    def test_an_error_in_the_loop_leaves_the_plot_up_to_it(self, executed: Executed) -> None:
        plot, error = sorted(executed.outputs("an error"), key=lambda output: output.output_type)
        assert error.ename == "RuntimeError"
        assert "up to epoch 5:" in plot.metadata["image/png"]["alt"]

    def test_two_plots_are_two_outputs(self, executed: Executed) -> None:
        alts = [output.metadata["image/png"]["alt"] for output in executed.outputs("two plots")]
        assert len(alts) == 2
        assert "up to epoch 3: train_loss 3.0000" in alts[0]
        assert "up to epoch 3: test_acc 0.3750" in alts[1]

    def test_a_run_in_a_notebook_leaves_no_picture_in_its_folder(self, executed: Executed) -> None:
        assert (executed.folder / "run" / "model.safetensors").is_file()
        assert not [*executed.folder.rglob("*.png")]

    def test_pictures_and_figures_are_shown(self, executed: Executed) -> None:
        assert executed.alt("pictures") == "4 images of memory (test)"
        assert executed.alt("a figure") == "Confusion"


def shades(n: int = 40) -> ImageDataset:
    """Pictures of classes 0..3 in order, each in a different shade."""
    images = torch.arange(n).to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4)
    return ImageDataset(images, torch.arange(n) * 4 // n, ("a", "b", "c", "d"), source="shades")


def classifier(side: int = 4) -> Classifier:
    """A classifier that predicts class c for everything."""
    shape = ImageShape(1, side, side)
    network = build("softmax", shape, 4)
    weights = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    bias = next(name for name in weights if name.endswith("bias"))
    weights[bias][2] = 1
    named = {"model": "softmax", "input_shape": shape, "classes": ["a", "b", "c", "d"]}
    return Classifier(bundle_with(weights, **named))


class TestShowImages:
    """Outside a notebook: the same figures, in files."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "a.png"

    def expected(self, places: Any, predictions: Any = None, columns: int = 8) -> bytes:
        return figure_bytes(images_figure(shades(), places, predictions, columns=columns), "png")

    def test_images_are_spread_over_the_data_set(self, path: Path) -> None:
        show_images(shades(), rows=1, columns=4, path=path)
        assert path.read_bytes() == self.expected([0, 13, 26, 39], columns=4)

    def test_a_small_data_set_is_shown_whole(self, path: Path) -> None:
        show_images(shades(), rows=9, path=path)
        assert path.read_bytes() == self.expected(range(40))

    def test_predictions_for_all_images_go_with_them(self, path: Path) -> None:
        predictions = [i % 4 for i in range(40)]
        show_images(shades(), predictions, [7, 30], path=path)
        assert path.read_bytes() == self.expected([7, 30], [3, 2])

    def test_predictions_for_the_indices_go_with_them(self, path: Path) -> None:
        show_images(shades(), ["b", "c"], [7, 30], path=path)
        assert path.read_bytes() == self.expected([7, 30], [1, 2])

    @pytest.mark.parametrize("n", [3, 30])
    def test_predictions_for_the_first_images_show_them(self, path: Path, n: int) -> None:
        show_images(shades(), [1] * n, rows=1, columns=5, path=path)
        shown = min(n, 5)
        assert path.read_bytes() == self.expected(range(shown), [1] * shown, columns=5)

    def test_tensors_and_arrays_work_like_lists(self, path: Path) -> None:
        show_images(shades(), torch.tensor([1, 2]), np.array([7, 30]), path=path)
        assert path.read_bytes() == self.expected([7, 30], [1, 2])

    def test_a_classifier_predicts(self, path: Path) -> None:
        show_images(shades(), classifier(), [0, 25], path=path)
        assert path.read_bytes() == self.expected([0, 25], ["c", "c"])

    def test_a_network_predicts(self, path: Path) -> None:
        """With its expected input: raw pixels if it scales them itself, otherwise floats 0..1."""
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        floats = shades().images / 255
        wanted = net(floats[[0, 25]]).argmax(1).tolist()
        for asked in (net, lambda images: net(images), nn.Sequential(Preprocessing(), net)):
            show_images(shades(), asked, [0, 25], path=path)
            assert path.read_bytes() == self.expected([0, 25], wanted)

    def test_a_network_in_training_mode_predicts_in_evaluation_mode(self, path: Path) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4)).train()
        show_images(shades(), net, [0, 25], path=path)
        assert net.training
        assert net[2].num_batches_tracked == 0

    def test_a_network_with_other_outputs_is_refused(self, path: Path) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        with pytest.raises(UsageError, match=r"returned \[2, 3\], wanted logits of shape \[2, 4\]"):
            show_images(shades(), net, [0, 25], path=path)
        with pytest.raises(UsageError, match="returned NoneType, wanted logits"):
            show_images(shades(), lambda images: None, [0, 25], path=path)

    def test_a_classifier_of_other_shapes_is_refused(self, path: Path) -> None:
        with pytest.raises(DataError, match="1, 5, 5"):
            show_images(shades(), classifier(5), path=path)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"predictions": [0] * 41}, "41 predictions for 40 images"),
            ({"predictions": [0] * 3, "indices": [1, 2]}, "2 indices but 3 predictions"),
            ({"predictions": [0] * 40, "indices": [40]}, "index 40 is out of range"),
            ({"predictions": []}, "no indices"),
            ({"rows": 0}, "rows and columns are 0 and 8"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, path: Path, arguments: dict, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            show_images(shades(), **arguments, path=path)
        assert not path.exists()

    def test_without_a_path_it_says_what_to_do(self) -> None:
        with pytest.raises(UsageError, match="not in a notebook"):
            show_images(shades())
