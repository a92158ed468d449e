"""Runs of a user's own networks: by their list of layers, or by their code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tenfold
from command_line import Tenfold
from stopping import StopsAt
from tenfold.deployment.bundle import read_bundle
from tenfold.errors import FileRefusedError, InterruptedRunError, UsageError
from tenfold.models import Preprocessing
from tenfold.models.listed import ListedNetwork
from tenfold.runs import Run
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
    assert "no longer bit-exact: net.py:Curved has changed since the run began" in resumed.err
    sessions = json.loads(Path("run", "run.json").read_text("utf-8"))["sessions"]
    assert [session["bit_exact"] for session in sessions] == [True, False]


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


def test_models_of_tenfold_need_no_code(net: Path, tenfold: Tenfold) -> None:
    train("softmax", "run", epochs=1)
    for words in (["predict", "run"], ["resume", "run", "--epochs", "2"]):
        answer = tenfold(*words, "--code", "net.py:Net")
        assert answer.code == 2
        assert "its network is tenfold's softmax, which needs no other code" in answer.err


# --- exact resume


@pytest.mark.parametrize("name", ["Net", "Curved"])
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_resumed_run_ends_with_the_same_bits(net: Path, name: str, engine: str) -> None:
    if (name, engine) == ("Curved", "native"):
        pytest.skip("the kernels do not know the network")
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
        ("import nothing_like_it\n", ":Net", "net.py line 1: running it raises Module", ""),
        ("class Net(nn.Module\n", ":Net", "net.py line 1: '(' was never closed", ""),
        ("x = 1\n\nprint(undefined)\n", ":Net", "net.py line 3: running it raises Name", ""),
        (None, ":Nett", "net.py: it has no 'Nett'", "did you mean 'Net'?"),
        (None, "", "net.py: it defines 2 networks: Net, Curved", "name one: net.py:Curved"),
        (None, ":F", "net.py: F is of type module, wanted an nn.Module, or what makes", ""),
        ("class Net:\n    pass\n", ":Net", "Net makes an object of type Net", "(nn.Module):"),
        ("def Net(n): pass\n", ":Net", "Net: missing a required argument: 'n'", "model_args"),
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
