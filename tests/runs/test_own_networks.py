"""Runs of a user's own networks: by their list of layers, or by their code."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tenfold
from command_line import Tenfold
from engines import needs_kernels
from stopping import StopsAt
from tenfold.deployment.bundle import KIND, VERSION, read_bundle, write_bundle
from tenfold.errors import FileRefusedError, InterruptedRunError, UsageError
from tenfold.models import Preprocessing
from tenfold.models.listed import ListedNetwork
from tenfold.models.own import own_model
from tenfold.runs import Run
from tenfold.storage import read_tensors
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Watcher
from thoroughness import some

NETWORKS = Path(__file__).parent.parent / "assets" / "networks" / "net.py"

FEW: dict[str, Any] = {"epochs": 2, "batch_size": 64, "seed": 3, "report": False, "threads": 1}


class TwoLayers(nn.Module):
    """A network that a user gives in Python."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, hidden), nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.second(torch.relu(self.first(x.flatten(1))))


class Tanh(TwoLayers):
    """The same, but no list of layers that tenfold knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.second(torch.tanh(self.first(x.flatten(1))))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's file in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(NETWORKS, tmp_path / "net.py"))


def weights_of(run: Run) -> dict[str, bytes]:
    bundle = read_bundle(run.folder / "model.safetensors")
    return {name: bytes(stored.data) for name, stored in bundle.weights.items()}


def train(model: object, out: str, **changes: object) -> Run:
    return tenfold.train("digits", model=model, out=out, quiet=True, **{**FEW, **changes})


# --- on the command line


@pytest.mark.parametrize("name", ["Net", "Curved"])
def test_every_command_works_with_a_network_in_a_file(
    net: Path, tenfold: Tenfold, name: str
) -> None:
    model, code = f"net.py:{name}", ["--code", f"net.py:{name}"] * (name == "Curved")
    answer = tenfold("train", "digits", "--model", model, "--epochs", "1", "--threads", "1")
    run = f"runs/digits-{name.lower()}-001"
    assert answer.code == 0, answer.err
    assert " ".join(["tenfold predict", run, "IMAGE...", *code]) in answer.out
    if not code:
        net.unlink()  # it is not needed any more
    for words in (
        ["predict", run],
        ["resume", run, "--epochs", "2"],
        ["evaluate", run],
        ["report", run],
        *some([["summary", run], ["export", run, "--to", "torch-export"]]),
    ):
        answer = tenfold(*words, *code)
        assert answer.code == 0, answer.err
    assert f"class {name}(nn.Module):" in tenfold("summary", run, "--source").out
    facts = json.loads(Path(run, "run.json").read_text("utf-8"))
    assert facts["own"]["name"] == name
    assert [session["bit_exact"] for session in facts["sessions"]] == [True, True]
    if not code:
        assert facts["conditions"]["engine"] == "native"


GRADIENTS_IN_FORWARD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone().requires_grad_()
            energy = self.conv(x).tanh().sum()
            (x,) = torch.autograd.grad(energy, x, create_graph=True)
        return self.out(x.flatten(1))
"""


def test_a_network_may_take_gradients_in_forward(net: Path, tenfold: Tenfold) -> None:
    net.write_text(GRADIENTS_IN_FORWARD, "utf-8")
    train("net.py:Net", "run", epochs=1)
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save("a.png")
    for words in (["evaluate", "run"], ["predict", "run", "a.png"], ["explain", "run", "a.png"]):
        answer = tenfold(*words, "--code", "net.py:Net")
        assert answer.code == 0, answer.err
    assert "features.png" in tenfold("show", "run", "--code", "net.py:Net").out
    answer = tenfold("export", "run", "--to", "torch-export", "--code", "net.py:Net")
    assert answer.code == 1
    assert answer.err.startswith("tenfold: PyTorch cannot export the network, because something in")
    assert "use the model as it is: tenfold predict and tenfold serve run its code" in answer.err
    assert not list(Path("run").glob("*.pt2"))


@pytest.mark.parametrize(
    "command", some(["predict", "evaluate", "resume", "summary", "report", "show", "export"], 4)
)
def test_code_is_asked_for_and_never_run_unasked(net: Path, tenfold: Tenfold, command: str) -> None:
    net.write_text(
        NETWORKS.read_text("utf-8") + "\nfrom pathlib import Path\nPath('ran').write_text('')\n",
        "utf-8",
    )
    words = ["--epochs", "1", "--threads", "1", "--no-report", "--out", "run"]
    assert tenfold("train", "digits", "--model", "net.py:Curved", *words).code == 0
    Path("ran").unlink()
    options = {"export": ["--to", "onnx"], "resume": ["--epochs", "2"]}.get(command, [])
    answer = tenfold(command, "run", *options)
    assert answer.code == 4
    assert "its network, net.py:Curved, needs its code, which is run only if you name" in answer.err
    assert "add --code net.py:Curved" in answer.err
    assert not Path("ran").exists()
    copy = tenfold(command, "run", *options, "--code", "run/network.py:Curved")
    assert copy.code == 0, copy.err
    assert Path("ran").exists()


def test_a_recipe_never_runs_code(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Net", "run", epochs=1)
    answer = tenfold("train", "--recipe", "run/recipe.toml", "--out", "again")
    assert answer.code == 2
    assert "the model net.py:Net is code, which is run only if you name it yourself" in answer.err
    again = tenfold("train", "--recipe", "run/recipe.toml", "--model", "net.py:Net", "--out", "b")
    assert again.code == 0, again.err


def test_other_contents_of_the_file_are_noted(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Curved", "run", epochs=1)
    net.write_text(NETWORKS.read_text("utf-8").replace("torch.tanh", "torch.sigmoid"), "utf-8")
    answer = tenfold("predict", "run", "--code", "net.py:Curved")
    assert answer.code == 0
    assert "it was trained with other contents of net.py, so its answers may differ" in answer.err
    resumed = tenfold("resume", "run", "--epochs", "2", "--code", "net.py:Curved")
    assert (
        "no longer bit-exact: net.py:Curved has changed since the run began; the epochs until now, "
        "perhaps the best among them, are of the earlier code"
    ) in resumed.err
    net.write_text(NETWORKS.read_text("utf-8").replace("torch.tanh", "torch.relu"), "utf-8")
    assert tenfold("resume", "run", "--epochs", "3", "--code", "net.py:Curved").code == 0
    copies = [Path("run", name).read_text("utf-8") for name in ("network.py", "network-1.py")]
    assert ["torch.relu" in copies[0], copies[1]] == [True, NETWORKS.read_text("utf-8")]
    assert "torch.sigmoid" in Path("run", "network-2.py").read_text("utf-8")
    assert tenfold("predict", "run").code == 0  # it is a list of layers now
    facts = json.loads(Path("run", "run.json").read_text("utf-8"))
    assert [layer["op"] for layer in facts["layers"]][-3:] == ["relu", "dropout", "linear"]
    sessions = json.loads(Path("run", "run.json").read_text("utf-8"))["sessions"]
    assert [session["bit_exact"] for session in sessions] == [True, False, False]


def test_code_of_other_sizes_is_refused_with_its_name(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Curved", "run", epochs=1)
    net.write_text(NETWORKS.read_text("utf-8").replace("hidden=16", "hidden=12"), "utf-8")
    answer = tenfold("resume", "run", "--epochs", "2", "--code", "net.py:Curved")
    assert answer.code == 4
    assert "its weights do not fit net.py:Curved: fc1.bias: [16] float32, wanted [12]" in answer.err
    assert "undo the change to the code, or train a new run" in answer.err


def test_code_is_named_where_it_is(net: Path, tenfold: Tenfold) -> None:
    (net.parent / "code").mkdir()
    net.rename(net.parent / "code" / "net.py")
    train("code/net.py:Curved", "run", epochs=1)
    for words in (["predict", "run"], ["resume", "run", "--epochs", "2"]):
        answer = tenfold(*words)
        assert answer.code == 4
        assert "add --code code/net.py:Curved, or in Python model=Curved" in answer.err
    assert "; a copy of it, without what it imports, is " in answer.err
    Path("run/model.safetensors").rename("elsewhere.safetensors")
    assert "add --code net.py:Curved" in tenfold("summary", "elsewhere.safetensors").err


def test_a_piece_of_code_is_kept_to_be_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Tenfold
) -> None:
    monkeypatch.chdir(tmp_path)
    train(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()), "run", epochs=1)
    assert not Path("run/network.py").exists()
    assert "nn.Tanh()" in Path("run/network.txt").read_text("utf-8")
    assert "nn.Tanh()" in tenfold("summary", "run", "--source").out
    answer = tenfold("resume", "run", "--epochs", "2")
    assert answer.code == 4
    assert "in Python, pass it again as in the training, with model=" in answer.err
    assert "a copy of it" not in answer.err


def test_arguments_in_a_model_file_are_not_believed(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Curved", "run", epochs=1)
    bundle = read_bundle(Path("run/model.safetensors"))
    for hidden, said in (
        (
            10**11,
            "its weights do not fit net.py:Curved: fc1.bias: [16] float32, wanted [100000000000]",
        ),
        (-1, "its arguments are hidden=-1: net.py line "),
    ):
        header = bundle.header.model_copy(update={"arguments": {"hidden": hidden}})
        write_bundle(Path("bad.safetensors"), replace(bundle, header=header))
        answer = tenfold("summary", "bad.safetensors", "--code", "net.py:Curved")
        assert answer.code == 4
        assert f"tenfold: bad.safetensors: {said}" in answer.err


TABLE = """
import torch
from torch import nn

TABLES = {}

class Net(nn.Module):
    def __init__(self, sizes=(64,)):
        super().__init__()
        (size,) = sizes
        if size not in TABLES:
            TABLES[size] = torch.arange(size) / size
        self.fc = nn.Linear(size, 10)
        self.register_buffer("table", TABLES[size], persistent=False)

    def forward(self, x):
        return self.fc(torch.tanh(x.flatten(1) + self.table))
"""


def test_code_that_keeps_tables_for_its_next_networks_is_not_made_without_memory(
    net: Path, tenfold: Tenfold
) -> None:
    net.write_text(TABLE, "utf-8")
    run = train("net.py:Net", "run", epochs=1, model_args={"sizes": [64]})
    answer = tenfold("evaluate", "run", "--code", "net.py:Net")
    assert answer.code == 0, answer.err
    assert len(weights_of(run)["fc.weight"]) == 4 * 64 * 10
    bundle = read_bundle(Path("run/model.safetensors"))
    header = bundle.header.model_copy(update={"arguments": {"sizes": [10**11]}})
    write_bundle(Path("bad.safetensors"), replace(bundle, header=header))
    answer = tenfold("summary", "bad.safetensors", "--code", "net.py:Net")
    assert answer.code == 4
    assert "its weights do not fit net.py:Net: fc.weight: [10, 64] float32, wanted" in answer.err


def test_weights_with_any_name_are_refused(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Curved", "run", epochs=1)
    bundle = read_bundle(Path("run/model.safetensors"))
    weights = {"{x}": bundle.weights["fc1.bias"], **bundle.weights}
    write_bundle(Path("bad.safetensors"), replace(bundle, weights=weights))
    answer = tenfold("summary", "bad.safetensors", "--code", "net.py:Curved")
    assert answer.code == 4
    assert "its weights do not fit net.py:Curved: {x}: [16] float32, wanted none" in answer.err


def test_code_of_another_network_is_refused(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Curved", "run", epochs=1)
    train("net.py:Net", "listed", epochs=1)
    for run, code, found in (
        ("run", "net.py:Net", "its weights do not fit net.py:Net: "),
        ("listed", "net.py:Curved", "its weights do not fit net.py:Curved"),
    ):
        answer = tenfold("evaluate", run, "--code", code)
        assert answer.code == 4
        assert found in answer.err
        assert tenfold("resume", run, "--epochs", "2", "--code", code).code == 4


def test_other_code_with_the_same_weights_is_refused_for_a_run_with_a_list(
    net: Path, tenfold: Tenfold
) -> None:
    train("net.py:Net", "run", epochs=1)
    for activation in ("torch.tanh", "F.relu6"):
        text = NETWORKS.read_text("utf-8").replace("F.relu(self.fc1", f"{activation}(self.fc1")
        net.write_text(text, "utf-8")
        for words in (["evaluate", "run"], ["predict", "run"], ["resume", "run", "--epochs", "2"]):
            answer = tenfold(*words, "--code", "net.py:Net")
            assert answer.code == 4
            assert "leave it out: the layers of net.py:Net are in the " in answer.err
    net.write_text(NETWORKS.read_text("utf-8") + "# changed\n", "utf-8")
    assert tenfold("evaluate", "run", "--code", "net.py:Net").code == 0


def test_models_of_tenfold_need_no_code(net: Path, tenfold: Tenfold) -> None:
    train("softmax", "run", epochs=1)
    for words in (["predict", "run"], ["resume", "run", "--epochs", "2"]):
        answer = tenfold(*words, "--code", "net.py:Net")
        assert answer.code == 2
        assert "its network is tenfold's softmax, which needs no other code" in answer.err


# --- exact resume


@pytest.mark.parametrize(
    ("name", "engine"),
    [pytest.param("Net", "native", marks=needs_kernels), ("Net", "torch"), ("Curved", "torch")],
)
def test_a_resumed_run_ends_with_the_same_bits(net: Path, name: str, engine: str) -> None:
    changes = {"engine": engine, "model_args": {"hidden": 12, "dropout": 0.2}}
    whole = train(f"net.py:{name}", "whole", **changes)
    with pytest.raises(InterruptedRunError):
        train(f"net.py:{name}", "parts", watcher=StopsAt(20), **changes)
    given = {"model": f"net.py:{name}"} if name == "Curved" else {}
    if not given:
        net.unlink()
    resumed = tenfold.resume("parts", quiet=True, **given)
    assert weights_of(resumed) == weights_of(whole)
    assert [m.train_loss for m in resumed.history] == [m.train_loss for m in whole.history]


class Counts(TwoLayers):
    """Doubles its dropout with every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        if self.training:
            self.drop.p = min(0.5, 2 * self.drop.p)
        return super().forward(self.drop(x))


def test_a_network_that_remembers_is_trained_as_it_is_and_not_resumed_as_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = train(Counts, "whole", watcher=(watcher := StopsAt()))
    assert whole.facts.layers is None
    said = "Counts.forward changes drop.p, which no checkpoint keeps"
    assert any(note.startswith(said) for note in watcher.notes)
    with pytest.raises(InterruptedRunError):
        train(Counts, "parts", watcher=StopsAt(20))
    resumed = tenfold.resume("parts", model=Counts, quiet=True)
    assert [session.bit_exact for session in resumed.facts.sessions] == [True, False]
    assert resumed.facts.sessions[1].notes[-1].startswith(f"not bit-exact: {said}")


class Grows(TwoLayers):
    """Has another layer after some batches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 10:
            self.third = nn.Linear(2, 2)
        return super().forward(x)


def test_a_network_whose_state_dict_changes_in_training_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"Grows: third.bias in its state dict was not there and"):
        train(Grows, "run")
    assert json.loads(Path("run/run.json").read_text("utf-8"))["status"] == "failed"


def test_a_traced_run_can_be_resumed_with_its_code_too(net: Path) -> None:
    train("net.py:Net", "run", epochs=1)
    with_code = tenfold.resume("run", epochs=2, model="net.py:Net", quiet=True)
    shutil.rmtree("run")
    train("net.py:Net", "run", epochs=1)
    assert weights_of(tenfold.resume("run", epochs=2, quiet=True)) == weights_of(with_code)


def test_without_a_checkpoint_the_code_is_needed(net: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train("net.py:Net", "run", watcher=StopsAt(5))
    shutil.rmtree("run/checkpoints")
    Path("run/metrics.jsonl").unlink(missing_ok=True)
    with pytest.raises(FileRefusedError, match="and the run has no checkpoint yet") as caught:
        tenfold.resume("run", quiet=True)
    assert "add --code net.py:Net" in caught.value.remedy
    assert tenfold.resume("run", model="net.py:Net", quiet=True).status == "finished"


# --- in Python


@pytest.mark.parametrize("kind", [TwoLayers, Tanh])
def test_a_network_given_in_python_ends_with_the_trained_weights(
    kind: type[TwoLayers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = kind()
    before = network.first.weight.detach().clone()
    run = train(network, "run")
    stored = run.model.bundle.weights["first.weight"].array()
    assert not torch.equal(network.first.weight, before)
    assert torch.equal(network.first.weight, torch.from_numpy(stored.copy()))
    assert not network.training
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(run.model.module.network(images), network(images))
    report = tenfold.evaluate(run)
    assert report.accuracy == run.figures["test_acc"]
    further = tenfold.resume(run, epochs=3, quiet=True)
    assert torch.equal(run.model.module.network(images), network(images)) is False
    assert torch.equal(further.model.module.network(images), network(images))


def test_classes_and_functions_make_networks_by_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = train(TwoLayers, "first", model_args={"hidden": 6}, epochs=1)
    again = train(TwoLayers, "again", model_args={"hidden": 6}, epochs=1)
    other = train(TwoLayers, "other", model_args={"hidden": 6}, epochs=1, seed=4)
    function = train(lambda: TwoLayers(6), "function", epochs=1)
    assert weights_of(first) == weights_of(again) == weights_of(function)
    assert weights_of(first) != weights_of(other)
    assert first.recipe.model == f"{Path(__file__).name}:TwoLayers"
    assert function.recipe.model == "own:network"
    assert first.model.bundle.weights["first.weight"].shape == (6, 64)


def test_seeds_take_what_makes_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    group = tenfold.train_seeds("digits", seeds=2, model=TwoLayers, out="group", quiet=True, **FEW)
    assert len({weights_of(run)["first.weight"] for run in group.runs}) == 2
    with pytest.raises(UsageError, match="all seeds would begin with the same weights"):
        tenfold.train_seeds("digits", seeds=2, model=TwoLayers(), quiet=True, **FEW)
    shutil.rmtree(group.folder / "seed-4")
    with pytest.raises(FileRefusedError, match="some runs have not begun") as caught:
        tenfold.resume_seeds("group", quiet=True)
    assert "add --code" in caught.value.remedy
    resumed = tenfold.resume_seeds("group", model=TwoLayers, quiet=True, report=False)
    assert [weights_of(run) for run in resumed.runs] == [weights_of(run) for run in group.runs]


def test_a_model_file_alone_gives_the_network(net: Path) -> None:
    run = train("net.py:Net", "run", epochs=1)
    net.unlink()
    loaded = tenfold.load("run/model.safetensors")
    assert isinstance(loaded.module.network, ListedNetwork)
    assert loaded.bundle.header.source == ""
    images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    assert (loaded.logits(images) == run.model.logits(images)).all()


def test_a_model_file_keeps_code_that_it_needs(net: Path) -> None:
    train("net.py:Curved", "run", epochs=1)
    bundle = read_bundle(Path("run/model.safetensors"))
    assert bundle.header.source == NETWORKS.read_text("utf-8")
    assert bundle.header.own is not None
    assert bundle.header.own.parameters == [
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ]
    with pytest.raises(FileRefusedError, match="needs its code"):
        tenfold.load("run/model.safetensors")
    loaded = tenfold.load("run/model.safetensors", model="net.py:Curved")
    assert type(loaded.module.network).__name__ == "Curved"


def test_parameters_that_are_not_trained_stay_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def half_frozen() -> nn.Module:
        network = TwoLayers()
        network.first.requires_grad_(False)
        return network

    run = train(half_frozen, "run", epochs=1)
    before = weights_of(run)
    after = weights_of(tenfold.resume("run", epochs=2, quiet=True))
    assert before["first.weight"] == after["first.weight"]
    assert before["second.weight"] != after["second.weight"]


def test_a_run_starts_from_another_of_the_same_network(net: Path) -> None:
    train("net.py:Net", "run", epochs=1)
    run = train("net.py:Net", "further", epochs=1, start="run", lr=1e-6)
    assert run.facts.start is not None
    with pytest.raises(UsageError, match="is code, which is run only if you name it"):
        tenfold.train("digits", start="run", out="c", quiet=True)


def test_cross_validation_trains_the_network_anew_in_each_fold(tenfold: Tenfold, net: Path) -> None:
    answer = tenfold(
        *("train", "digits", "--model", "net.py:Net", "--folds", "2", "--epochs", "1"),
        *("--threads", "1"),
    )
    assert answer.code == 0, answer.err
    assert "fold 2 of 2" in answer.err


@pytest.mark.parametrize(
    ("source", "name", "said", "remedy"),
    [
        ("import nothing_like_it\n", ":Net", "net.py line 1: running it raises", "nothing_like"),
        ("class Net(nn.Module\n", ":Net", "net.py line 1: '(' was never closed", "SyntaxError"),
        ("x = 1\n\nprint(undefined)\n", ":Net", "net.py line 3: running it raises Name", "unde"),
        (None, ":Nett", "net.py: it has no 'Nett'", "did you mean 'Net'?"),
        (None, "", "net.py: it defines 2 networks: Net, Curved", "name one: net.py:Curved"),
        (None, ":F", "net.py: F is of type module, wanted an nn.Module, or what", "choose one of"),
        ("class Net:\n    pass\n", ":Net", "Net makes an object of type Net", "(nn.Module):"),
        ("def Net(n): pass\n", ":Net", "Net: missing a required argument: 'n'", "model_args"),
        (None, ":Net:x", "net.py: it has no 'Net:x'", "did you mean 'Net'?"),
        pytest.param(
            "from torch import nn\ndef Net():\n    return nn.Linear(64, 10).cuda()\n",
            ":Net",
            "net.py line 3, return nn.Linear(64, 10).cuda(): PyTorch has no CUDA device here",
            "leave out .cuda(): a run moves the network",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_files_that_make_no_network_are_refused(
    net: Path, tenfold: Tenfold, source: str | None, name: str, said: str, remedy: str
) -> None:
    if source is not None:
        net.write_text(source, "utf-8")
    answer = tenfold("train", "digits", "--model", f"net.py{name}", "--out", "run")
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert remedy in answer.err
    assert not Path("run").exists()


def test_preprocessing_is_left_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="Sequential has a Preprocessing inside"):
        train(nn.Sequential(Preprocessing(), TwoLayers()), "run")
    assert train(nn.Sequential(TwoLayers()), "run", epochs=1).status == "finished"


def test_what_a_file_prints_does_not_mix_with_results(net: Path, tenfold: Tenfold) -> None:
    net.write_text(NETWORKS.read_text("utf-8") + "\nprint('loaded')\n", "utf-8")
    answer = tenfold("summary", "net.py:Net", "--shape", "1x8x8", "--json")
    assert json.loads(answer.out)["model"] == "Net"
    assert "loaded" in answer.err


def test_what_a_network_prints_does_not_mix_with_results(net: Path, tenfold: Tenfold) -> None:
    text = NETWORKS.read_text("utf-8").replace(
        "return self.fc2(self.dropout(torch",
        "print('computing'); return self.fc2(self.dropout(torch",
    )
    net.write_text(text, "utf-8")
    words = ["--epochs", "1", "--threads", "1", "--no-report", "--out", "run", "--json"]
    code = ["--code", "net.py:Curved"]
    for command in (
        ["train", "digits", "--model", "net.py:Curved", *words],
        ["predict", "run", "--json", *code],
        ["evaluate", "run", "--json", *code],
        ["summary", "run", "--json", *code],
        ["resume", "run", "--epochs", "2", "--no-report", "--json", *code],
    ):
        answer = tenfold(*command)
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["schema"] == 1
        assert "computing" in answer.err
    assert "computing" not in tenfold("predict", "run", *code).out


def test_what_fails_when_the_best_weights_are_loaded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Closed(Tanh):
        def _load_from_state_dict(self, *_: object) -> None:
            raise KeyError("no weights")

    with pytest.raises(UsageError, match="training Closed raises KeyError: 'no weights'"):
        train(Closed, "run", epochs=1)


def test_a_file_may_import_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Tenfold
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "code"
    folder.mkdir()
    shutil.copy(NETWORKS, folder / "parts_of_nets.py")
    (folder / "net.py").write_text("from parts_of_nets import Net as Base\nclass Net(Base): pass\n")
    answer = tenfold("summary", "code/net.py", "--shape", "1x8x8")
    assert answer.code == 0, answer.err
    assert "Net on images of 1x8x8" in answer.out


def test_networks_share_no_modules_of_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = """
from torch import nn
from blocks.sizes import WIDTH

def Net():
    import blocks.late
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.Linear(WIDTH, blocks.late.OUT))
"""
    networks = []
    for folder, width in (("a", 3), ("b", 14), ("a", 159)):
        package = tmp_path / folder / "blocks"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "sizes.py").write_text(f"WIDTH = {width}\n")
        (package / "late.py").write_text("OUT = 10\n")
        (tmp_path / folder / "net.py").write_text(code)
        (tmp_path / folder / "dill.py").write_text("raise SystemExit('nobody has imported this')\n")
        networks.append(own_model(f"{folder}/net.py:Net"))
        assert not {"blocks", "blocks.sizes"} & sys.modules.keys()
    assert not [place for place in sys.path if Path(place).parent == tmp_path]
    widths = [own.build({})[1].out_features for own in networks for _ in range(2)]
    assert widths == [3, 3, 14, 14, 159, 159]
    assert not {"blocks", "blocks.late"} & sys.modules.keys()


def test_modules_that_were_there_before_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "there_before.py").write_text("A = 1\n")
    (tmp_path / "net.py").write_text("import there_before\nfrom torch.nn import Identity as Net\n")
    module = importlib.import_module("there_before")
    own_model(tmp_path / "net.py:Net")
    assert sys.modules.pop("there_before") is module


def two_folders(tmp_path: Path, parts: str) -> list[str]:
    """Files with networks of another width each, which import `parts` from their folder."""
    net = "from torch import nn\nfrom parts import WIDTH\ndef Net(): return nn.Linear(64, WIDTH)\n"
    for folder, width in (("a", 3), ("b", 14)):
        (tmp_path / folder / parts).parent.mkdir(parents=True)
        (tmp_path / folder / parts).write_text(f"WIDTH = {width}\n")
        (tmp_path / folder / "net.py").write_text(
            net.replace("from parts", f"from {dotted(parts)}")
        )
    return [str(tmp_path / folder / "net.py:Net") for folder in "ab"]


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def width_of(file: str) -> int:
    own = own_model(file)
    assert own is not None
    return int(own.build({}).out_features)  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", ["parts.py", "parts/__init__.py", "parts/sizes.py"])
@pytest.mark.parametrize("is_imported", [True, False])
def test_modules_of_another_folder_are_not_taken_for_those_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: str, is_imported: bool
) -> None:
    files = two_folders(tmp_path, parts)
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    path = list(sys.path)
    module = importlib.import_module(dotted(parts)) if is_imported else None
    assert [width_of(file) for file in (*files, *files)] == [3, 14, 3, 14]
    (tmp_path / "a" / parts).write_text("WIDTH = 159\n")
    assert width_of(files[0]) == 159
    assert (sys.path, sys.modules.get(dotted(parts))) == (path, module)
    for name in {dotted(parts), "parts"}:
        sys.modules.pop(name, None)


def test_a_place_that_a_file_adds_to_the_path_stays_there_and_counts_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = two_folders(tmp_path, "parts.py")[0]
    monkeypatch.setattr(sys, "path", list(sys.path))
    added, source = str(tmp_path / "b"), (tmp_path / "a" / "net.py").read_text()
    for change, width in ((f"append({added!r})", 3), (f"insert(0, {added!r})", 14)):
        (tmp_path / "a" / "net.py").write_text(f"import sys\nsys.path.{change}\n{source}")
        assert width_of(file) == width
        sys.path.remove(added)
        sys.modules.pop("parts", None)


def test_installed_modules_come_before_those_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)  # to be imported by the file
    file = two_folders(tmp_path, "parts.py")[0]
    for name in ("pydantic", "wave", "tenfold"):
        (tmp_path / "a" / f"{name}.py").write_text("raise SystemExit('this is not the installed')")
        with (tmp_path / "a" / "net.py").open("a") as net:
            net.write(f"import {name}\n")
        assert width_of(file) == 3


def test_networks_made_in_threads_share_no_modules(tmp_path: Path) -> None:
    files = two_folders(tmp_path, "parts.py")
    for folder in "ab":
        with (tmp_path / folder / "parts.py").open("a") as parts:
            parts.write("import time\ntime.sleep(0.002)\n")
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(width_of, files * 10)] == [3, 14] * 10
    assert "parts" not in sys.modules


def test_modules_are_known_while_the_latest_of_trainings_that_overlap_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "parts", ModuleType("parts"))
    before = sys.modules["parts"]
    first, second = (own_model(file) for file in two_folders(tmp_path, "parts.py"))
    assert first is not None and second is not None  # noqa: PT018
    trainings = [first.imports_known(), second.imports_known()]
    trainings[0].__enter__()
    assert sys.modules["parts"].WIDTH == 3
    trainings[1].__enter__()
    trainings[0].__exit__(None, None, None)
    assert sys.modules["parts"].WIDTH == 14
    trainings[1].__exit__(None, None, None)
    assert sys.modules["parts"] is before


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("from .parts import A", "; its folder is searched: import by name, without the dot\n"),
        ("from . import parts", "; its folder is searched: import by name, without the dot\n"),
        ("from ..parts import A", "\n"),
    ],
)
def test_relative_imports_are_explained(
    net: Path, tenfold: Tenfold, line: str, remedy: str
) -> None:
    net.write_text(f"{line}\n", "utf-8")
    answer = tenfold("summary", "net.py:Net")
    assert answer.err == (
        "tenfold: net.py line 1: running it raises ImportError: attempted relative import with no "
        f"known parent package{remedy}"
    )


@pytest.mark.parametrize(
    ("helper", "said"),
    [
        (
            "x = 1\n\nprint(undefined)\n",
            "net.py line 1, in helper.py line 3: running it raises Nam",
        ),
        ("\nclass Net(nn.Module\n", "net.py line 1, in helper.py line 2: '(' was never closed"),
    ],
)
def test_mistakes_in_a_file_that_is_imported_are_told_there(
    net: Path, tenfold: Tenfold, helper: str, said: str
) -> None:
    (net.parent / "helper.py").write_text(helper, "utf-8")
    net.write_text("import helper\n", "utf-8")
    before = {*sys.modules}
    answer = tenfold("summary", "net.py:Net", "--shape", "1x8x8")
    assert said in answer.err
    left = sys.modules.keys() - before
    assert not [name for name in left if "helper" in name or "_tenfold_code" in name]


def test_what_a_network_imports_is_known_in_training_and_not_imported_late(
    net: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (net.parent / "code").mkdir()
    (net.parent / "code" / "parts.py").write_text(
        "import torch\ndef act(x):\n    return x.tanh()\n"
    )
    code = """
from torch import nn
from parts import act

class Net(nn.Linear):
    def __init__(self): super().__init__(64, 10)
    def forward(self, x): return act(super().forward(x.flatten(1)))

class Late(Net):
    def forward(self, x):
        from parts import act
        return act(x)
"""
    (net.parent / "code" / "net.py").write_text(code)
    network = own_model("code/net.py:Net")
    assert network is not None
    with network.imports_known():  # PyTorch's compiler looks for what a function was imported from
        assert (
            importlib.import_module("parts").act
            is vars(network.maker)["forward"].__globals__["act"]
        )
    answer = tenfold("train", "digits", "--model", "code/net.py:Late", "--out", "run")
    assert "net.py line 11, from parts import act: there is no module 'parts'" in answer.err
    assert "import it at the top of the file, and not in forward" in answer.err


def test_a_file_beside_is_proposed_for_a_name_of_no_model(net: Path, tenfold: Tenfold) -> None:
    answer = tenfold("train", "digits", "--model", "net")
    assert answer.code == 2
    assert "name your own network by its file: net.py" in tenfold("summary", "net").err
    assert "there is no model 'net'; name your own network by its file: net.py" in answer.err


# --- what was found by attacks


class Activated(TwoLayers):
    """What it computes depends on more than its code and its weights."""

    def __init__(self, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.second(self.activation(self.first(x.flatten(1))))


def test_frozen_features_are_those_of_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(Activated(torch.tanh), "start", epochs=1)
    losses = {
        name: train(Activated(function), name, start="start", freeze=True, epochs=1)
        .history[0]
        .train_loss
        for name, function in (("tanh", torch.tanh), ("cos", torch.cos))
    }
    assert losses["tanh"] != losses["cos"]


def test_a_name_in_a_model_file_is_no_code(net: Path, tenfold: Tenfold) -> None:
    train("net.py:Net", "run", epochs=1)
    bundle = read_bundle(Path("run/model.safetensors"))
    assert bundle.header.own is not None
    harm = 'x"""; open("harm", "w"); """'
    for own, model in (
        (bundle.header.own.model_copy(update={"name": harm}), f"net.py:{harm}"),
        (bundle.header.own.model_copy(update={"file": harm}), f"{harm}:Net"),
        (bundle.header.own, harm),
    ):
        header = bundle.header.model_copy(update={"own": own, "model": model})
        write_bundle(Path("bad.safetensors"), replace(bundle, header=header))
        answer = tenfold("export", "bad.safetensors", "--to", "state-dict", "--out", "out.pth")
        assert answer.code == 4 or own.file == harm, answer.err
        assert not Path("harm").exists()
    exec(Path("out.py").read_text("utf-8"), {"__name__": "out", "__file__": "out.py"})
    assert not Path("harm").exists()


def test_older_versions_of_tenfold_say_that_they_are_older(net: Path) -> None:
    train("net.py:Net", "run", epochs=1)
    train("softmax", "table", epochs=1)
    versions = [
        read_tensors(Path(run, "model.safetensors"), kind=KIND, version=VERSION).version
        for run in ("run", "table")
    ]
    assert versions == [5, 4]


def test_commands_are_said_as_they_work(net: Path, tenfold: Tenfold) -> None:
    folder = net.parent / "my code"
    folder.mkdir()
    net.rename(folder / "my net.py")
    answer = tenfold("train", "digits", "--model", "my code/my net.py:Curved", "--epochs", "1")
    assert answer.code == 0, answer.err
    (line,) = (line for line in answer.out.splitlines() if line.startswith("next"))
    assert tenfold(*shlex.split(line.removeprefix("next"))[1:]).code == 0


def test_a_missing_file_is_told_with_the_folder_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Tenfold
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = tenfold("train", "digits", "--model", "net.py:Net")
    assert answer.code == 2
    assert f"net.py: no such file in the folder {tmp_path}; name the file" in answer.err


def test_annotations_are_as_in_the_users_file(net: Path, tenfold: Tenfold) -> None:
    text = "def f(x: int): pass\nassert f.__annotations__ == {'x': int}\n"
    net.write_text(NETWORKS.read_text("utf-8") + text, "utf-8")
    assert tenfold("summary", "net.py:Net", "--shape", "1x8x8").code == 0


def test_a_script_that_trains_is_not_run_for_its_network(net: Path, tenfold: Tenfold) -> None:
    training = "\nimport tenfold\ntenfold.train('digits', model=Curved, epochs=1, out='again')\n"
    net.write_text(NETWORKS.read_text("utf-8") + training, "utf-8")
    answer = tenfold("summary", "net.py:Curved", "--shape", "1x8x8")
    assert answer.code == 2
    assert answer.err == (
        "tenfold: net.py: it is run for the network in it, and trains or evaluates when it is run; "
        'put that under if __name__ == "__main__":\n'
    )
    assert not Path("again").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "if len(x) not in (2, 100): raise KeyError('the last batch')",
            "Odd raises KeyError: 'the last",
        ),
        ("if len(x) != 2: return x.flatten(1)[:, :3]", "Odd raises IndexError: Target"),
        ("if len(x) not in (2, 100): raise SystemExit(3)", "training Odd raises SystemExit: 3"),
    ],
)
def test_what_a_network_raises_in_training_is_told(
    net: Path, tenfold: Tenfold, code: str, said: str
) -> None:
    odd = f"""

class Odd(Curved):
    def forward(self, x):
        {code}
        return super().forward(x)
"""
    net.write_text(NETWORKS.read_text("utf-8") + odd, "utf-8")
    line = "--model net.py:Odd --epochs 1 --batch-size 100 --out run --threads 1"
    answer = tenfold("train", "digits", *line.split())
    assert answer.code in (1, 2)
    assert "Traceback" not in answer.err
    assert said in answer.err
    assert json.loads(Path("run/run.json").read_text("utf-8"))["status"] == "failed"


def test_a_network_that_ends_the_process_when_it_is_made_is_told(
    net: Path, tenfold: Tenfold
) -> None:
    ends = "\nclass Ends(nn.Module):\n    def __init__(self): raise SystemExit(3)\n"
    net.write_text(NETWORKS.read_text("utf-8") + ends, "utf-8")
    answer = tenfold("train", "digits", "--model", "net.py:Ends")
    assert answer.code == 2
    assert "making Ends raises SystemExit: 3" in answer.err


def test_what_a_watcher_raises_is_not_blamed_on_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Fails(Watcher):
        def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
            raise KeyError("mine")

    with pytest.raises(
        UsageError, match=r"raise KeyError.*: training TwoLayers raises KeyError: 'mine'"
    ):
        train(TwoLayers, "run", watcher=Fails())


def test_arguments_that_a_recipe_cannot_hold_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model_args cannot be kept in a recipe: found an object"):
        train(TwoLayers, "run", model_args={"hidden": print})
    with pytest.raises(UsageError, match="model is a network, which has its arguments already"):
        train(TwoLayers(), "run", model_args={"hidden": 3})


def test_random_numbers_that_are_not_pytorchs_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Noisy(Tanh):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + float(np.random.rand())  # noqa: NPY002 - as users do

    watcher = StopsAt()
    train(Noisy, "run", epochs=1, watcher=watcher)
    assert any("Noisy draws random numbers from NumPy" in n for n in watcher.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"own": {"parameters": ["other"]}},
        {"own": {"frozen": ["other"]}},
        {"layers": [{"op": "flatten", "input": -1}]},
        {
            "layers": [
                {"op": "flatten", "input": -1},
                {
                    "op": "linear",
                    "input": 0,
                    "in_features": 64,
                    "transposed": False,
                    "out_features": 2**28,
                    "weight": "a.weight",
                    "bias": None,
                },
            ]
        },
    ],
    ids=str,
)
def test_a_run_with_other_layers_is_refused(
    net: Path, tenfold: Tenfold, change: dict[str, Any]
) -> None:
    train("net.py:Net", "run", epochs=1)
    path = Path("run/run.json")
    facts = json.loads(path.read_text("utf-8"))
    for key, value in change.items():
        facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(facts), "utf-8")
    answer = tenfold("resume", "run", "--epochs", "2")
    assert answer.code == 4
    assert "run.json: " in answer.err
