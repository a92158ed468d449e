"""Runs that start from trained weights: what is taken over, what is refused, and resuming."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kill import state_of
from PIL import Image
from torch import Tensor

import tenfold as package
from command_line import Tenfold
from plain_resnet import plain_logits, shuffled
from small_bundles import weights_of
from stopping import StopsAt
from tenfold.data.dataset import ImageDataset
from tenfold.deployment.bundle import Bundle, read_bundle, write_bundle
from tenfold.errors import FileRefusedError, InterruptedRunError, TenfoldError, UsageError
from tenfold.listening import Listener, Recorder
from tenfold.models import build
from tenfold.recipes import AugmentRecipe, Recipe, load_recipe
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.export import export_run
from tenfold.runs.facts import StartFacts
from tenfold.runs.fit import fit
from tenfold.runs.folds import cross_validate
from tenfold.runs.resources import Resources
from tenfold.runs.starting import (
    IMAGENET,
    Start,
    freeze,
    put_into,
    read_start,
    with_own_names,
    with_start,
)
from tenfold.tensors import to_stored

SINGLE = Resources(threads=1)
NAMES = ("conv1", "conv2", "fc1", "fc2", "fc3")
SMALL = {"widths": [4, 8], "blocks": 1}


def made_up(classes: str = "abcd", n: int = 96, side: int = 12, channels: int = 3) -> ImageDataset:
    """Classes that differ by brightness, in color."""
    generator = np.random.default_rng(3)
    labels = np.arange(n) % len(classes)
    images = generator.integers(0, 60, (n, channels, side, side)) + 30 * labels[:, None, None, None]
    return ImageDataset(
        torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels), classes
    )


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on four classes."""
    recipe = load_recipe(
        "default", {"model": "resnet-small", "model_args": SMALL, "epochs": 3, "val": 0.0}
    )
    out = tmp_path_factory.mktemp("runs") / "before"
    return train_run(recipe, made_up(), out=out, resources=SINGLE).folder


def started(before: Path, **changes: Any) -> Recipe:
    return load_recipe("default", {"start": str(before), "epochs": 2, "val": 0.2, **changes})


# --- what is taken over


def test_a_model_decides_what_is_left_to_the_data(before: Path, tmp_path: Path) -> None:
    run = train_run(started(before), made_up("xyz"), out=tmp_path / "run", resources=SINGLE)
    own, recipe = package.load(before).bundle.header, run.recipe
    assert recipe.model == "resnet-small"
    assert recipe.model_args == own.arguments
    assert recipe.normalize == "start"
    assert recipe.start == str(before)
    assert package.load(run).bundle.header.preprocessing == own.preprocessing
    assert run.facts.start == StartFacts(
        place=str(before),
        sha256=package.load(before).bundle.sha256,
        preprocessing=own.preprocessing,
    )


def test_a_recipe_may_decide_otherwise(before: Path) -> None:
    recipe = started(before, normalize="dataset", image_size=20, **{"model_args.dropout": 0.3})
    start = read_start(recipe)
    found = with_start(recipe, start, Listener())
    assert found.normalize == "dataset"
    assert found.image_size == (20, 20)
    assert found.model_args["dropout"] == 0.3
    assert found.model_args["widths"] == [4, 8]
    assert with_start(found, start, Listener()) == found, "it can be decided again"


def test_folders_get_the_size_of_the_start(before: Path, tmp_path: Path) -> None:
    from PIL import Image

    data = made_up("xy", 24, 30)
    for number, (image, label) in enumerate(zip(data.image_array, data.label_array, strict=True)):
        path = tmp_path / "photos" / "xy"[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    recipe = started(before)
    run = train_run(recipe, tmp_path / "photos", out=tmp_path / "run", resources=SINGLE)
    assert run.recipe.image_size == (12, 12)


def weights_and_start(classes: str, known: str | None) -> tuple[dict[str, Tensor], Start]:
    network = build("resnet-small", (3, 12, 12), len(classes), widths=(4, 8), blocks=1)
    weights = shuffled(network)
    facts = StartFacts(place="w.pth", sha256="")
    return weights, Start(facts, to_stored(weights), None if known is None else tuple(known))


@pytest.mark.parametrize(
    ("now", "known", "rows", "note"),
    [
        ("abcd", "abcd", [0, 1, 2, 3], ""),
        ("dbca", "abcd", [3, 1, 2, 0], ""),
        ("ca", "abcd", [2, 0], ""),
        ("abcx", "abcd", None, "is new, because it does not know 'x'"),
        ("abcde", "abcd", None, "is new, because it does not know 'e'"),
        (
            "wxyz",
            None,
            [0, 1, 2, 3],
            "its last layer (classifier) too, because it has as many",
        ),
        ("xyz", None, None, "is new, because that of the weights has 4 outputs"),
    ],
)
def test_the_last_layer(now: str, known: str | None, rows: list[int] | None, note: str) -> None:
    weights, start = weights_and_start("abcd", known)
    network = build("resnet-small", (3, 12, 12), len(now), widths=(4, 8), blocks=1)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    said = put_into(network, start, now)
    assert said.startswith("the network starts from w.pth")
    assert note in said
    for name, tensor in network.state_dict().items():
        if not name.startswith("classifier."):
            wanted = weights[name]
        else:
            wanted = own[name] if rows is None else weights[name][rows]
        assert torch.equal(tensor, wanted), name


@pytest.mark.parametrize(("side", "now"), [(5, "abc"), (4, "abd"), (4, "ab")])
def test_a_start_of_which_nothing_is_left_is_refused(side: int, now: str) -> None:
    """Its only layer is the last one, and that is for other inputs or classes."""
    network = build("softmax", (1, 4, 4), 3)
    facts, weights = StartFacts(place="w.pth", sha256=""), to_stored(network.state_dict())
    start = Start(facts, weights, tuple("abc"))
    if now == "ab":  # these are known
        put_into(build("softmax", (1, side, side), len(now)), start, now)
        return
    with pytest.raises(FileRefusedError, match="nothing of it can be used: its only layer is the"):
        put_into(build("softmax", (1, side, side), len(now)), start, now)


def test_a_last_layer_with_other_inputs_is_new() -> None:
    network = build("mlp", (1, 4, 4), 3, hidden=(5, 4))
    weights = network.state_dict()
    weights["layers.5.weight"] = weights["layers.5.weight"][:, :1]
    start = Start(StartFacts(place="w.pth", sha256=""), to_stored(weights), tuple("abc"))
    said = put_into(build("mlp", (1, 4, 4), 3, hidden=(5, 4)), start, "abc")
    assert said.endswith("is new, because its inputs are others")


def test_weights_that_lack_a_last_layer_or_count_no_batches() -> None:
    """As old weights of torchvision, and bodies without a classifier."""
    weights, start = weights_and_start("abcd", None)
    few = {n: t for n, t in weights.items() if "num_batches" not in n and "classifier" not in n}
    network = build("resnet-small", (3, 12, 12), 4, widths=(4, 8), blocks=1)
    said = put_into(network, Start(start.facts, to_stored(few)), "abcd")
    assert said.endswith("is new, because the weights have none")
    assert torch.equal(network.state_dict()["stem.0.weight"], weights["stem.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("stem.0.weight"), "stem.0.weight is missing, wanted [4, 3, 3, 3]"),
        (
            lambda w: w.update({"stem.0.weight": torch.zeros(4, 1, 3, 3)}),
            "stem.0.weight is [4, 1, 3, 3], wanted [4, 3, 3, 3]",
        ),
        (lambda w: w.update(other=torch.zeros(1)), "other is not in the network"),
        (
            lambda w: w.update({"classifier.bias": torch.tensor(1.0)}),
            "classifier.bias is [], wante",
        ),
    ],
)
def test_weights_that_do_not_fit(change: Any, message: str) -> None:
    weights, start = weights_and_start("abcd", None)
    change(weights)
    network = build("resnet-small", (3, 12, 12), 4, widths=(4, 8), blocks=1)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(FileRefusedError, match="its weights do not fit the network") as caught:
        put_into(network, Start(start.facts, to_stored(weights)), "abcd")
    assert message in str(caught.value)
    assert "; choose the model, its arguments, the image size and the channels" in str(caught.value)
    assert all(torch.equal(tensor, own[n]) for n, tensor in network.state_dict().items())


# --- weights of other programs


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("channels", [1, 3])
def test_residual_networks_are_recognized(tmp_path: Path, name: str, channels: int) -> None:
    weights = build(name, (channels, 32, 32), 7).state_dict()
    torch.save(weights, tmp_path / "w.pth")
    recipe = load_recipe("default", {"weights": str(tmp_path / "w.pth")})
    found = with_start(recipe, read_start(recipe), Listener())
    assert (found.model, found.channels) == (name, channels)
    assert ("normalize" in found.left_to_data) == (channels == 1)
    assert "epochs" in found.left_to_data


def test_others_need_a_name(tmp_path: Path) -> None:
    weights = build("mlp", (1, 8, 8), 3, hidden=(5,)).state_dict()
    torch.save(weights, tmp_path / "w.pth")
    recipe = load_recipe("default", {"weights": str(tmp_path / "w.pth")})
    with pytest.raises(UsageError, match="if they are of another model, name it: --model NAME"):
        with_start(recipe, read_start(recipe), Listener())
    arguments = {"model": "mlp", "model_args": {"hidden": [5]}, "epochs": 1}
    recipe = load_recipe("default", {"weights": str(tmp_path / "w.pth"), **arguments})
    data = made_up("abc", 30, 8, channels=1)
    run = train_run(recipe, data, out=tmp_path / "run", resources=SINGLE)
    assert run.facts.start is not None
    assert run.facts.start.preprocessing is None


@pytest.mark.parametrize("renamed", [False, True])
def test_exported_weights_start_a_run_whatever_their_names(
    before: Path, tmp_path: Path, renamed: bool
) -> None:
    """The export calls them otherwise than the network does, and a person may, too."""
    path = export_run(before, "state-dict", tmp_path / "w.pth").path
    weights = torch.load(path, weights_only=True)
    if renamed:
        others = (name.replace("conv", "convolution") for name in weights)
        torch.save(dict(zip(others, weights.values(), strict=True)), path)
    recorder = StopsAt()
    recipe = load_recipe(
        "default",
        {"model": "resnet-small", "model_args": SMALL, "weights": str(path), "val": 0.0}
        | {"epochs": 1, "lr": 1e-9, "weight_decay": 0.0},
    )
    run = train_run(recipe, made_up(), out=tmp_path / "run", resources=SINGLE, watcher=recorder)
    old, new = (package.load(each).bundle.weights for each in (before, run))
    for name in old:
        if "running" not in name and "batches" not in name:
            assert np.allclose(old[name].array(), new[name].array(), rtol=0, atol=1e-6), name
    conv = "convolution" if renamed else "conv"
    (note,) = [note for note in recorder.notes if "matched by order and shape" in note]
    assert f"shape: {conv}1 as stem.0, bn1 as stem.1, layer1.{conv}1 as stages.0.0.resid" in note
    assert note.endswith(" and 7 more (all are in run.json)")
    start = open_run(run.folder).facts.start
    assert start is not None
    assert set(start.renamed.values()) == old.keys()
    assert start.renamed[f"layer2.{conv}2.weight"] == "stages.1.0.residual.3.weight"


def test_a_tutorials_checkpoint_starts_a_run(tenfold: Tenfold, tmp_path: Path) -> None:
    """With an optimizer's state and figures beside the weights, whose names are others."""
    network = build("cifar-cnn", (3, 32, 32), 4)
    weights = shuffled(network, seed=2)
    names = [f"{layer}.{kind}" for layer in NAMES for kind in ("weight", "bias")]
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "model_state_dict": {
            f"module.{name}": t for name, t in zip(names, weights.values(), strict=True)
        },
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": torch.tensor(0.5, requires_grad=True) * 2,
        "history": [[1, torch.tensor(0.5)], [2, [0.25, "best"]]],
    }
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    data = made_up("abcd", 40, 32)
    np.savez(
        tmp_path / "data.npz", train_images=data.image_array.transpose(0, 2, 3, 1),
        train_labels=data.label_array,
    )  # fmt: skip
    answer = tenfold(
        "train", str(tmp_path / "data.npz"), "--recipe", "cnn-cifar10", "--weights",
        str(tmp_path / "checkpoint.pth"), "--epochs", "1", "--set", "lr=1e-9", "--out",
        str(tmp_path / "run"), "--threads", "1",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "shape: conv1 as features.0, conv2 as features.3, fc1 as classifier.1" in answer.err
    trained = package.load(tmp_path / "run").bundle.weights
    for name, tensor in weights.items():
        assert np.allclose(trained[name].array(), tensor, rtol=0, atol=1e-6), name


def test_names_that_cannot_be_matched() -> None:
    weights, start = weights_and_start("abcd", None)
    other = {f"x.{name}": tensor for name, tensor in weights.items()}
    network = build("resnet-small", (3, 12, 12), 4, widths=(4, 8), blocks=1)
    found = with_own_names(network, replace(start, weights=to_stored(other)))
    assert found.facts.renamed == {f"x.{name}": name for name in weights}
    assert with_own_names(network, start) is start
    sorted_away = replace(start, weights=to_stored(other), keeps_order=False)
    with pytest.raises(FileRefusedError, match=r"w.pth: its weights have other names .* apart: st"):
        with_own_names(network, sorted_away)
    partly = {name.replace("stem", "root"): tensor for name, tensor in weights.items()}
    del partly["root.0.weight"]
    kept = replace(start, weights=to_stored(partly))
    assert with_own_names(network, kept) is kept, "the names that differ are the better message"


def test_a_frozen_resnet18_from_the_command_line(tenfold: Tenfold, tmp_path: Path) -> None:
    """Its predictions are those of a plain computation with the weights in its file."""
    weights = shuffled(build("resnet18", (3, 32, 32), 1000), seed=4)
    torch.save(weights, tmp_path / "resnet18.pth")
    data = made_up("ab", 40, 32)
    np.savez(
        tmp_path / "data.npz", train_images=data.image_array.transpose(0, 2, 3, 1),
        train_labels=data.label_array,
    )  # fmt: skip
    answer = tenfold(
        "train", str(tmp_path / "data.npz"), "--weights", str(tmp_path / "resnet18.pth"),
        "--freeze", "--epochs", "2", "--out", str(tmp_path / "run"), "--threads", "1", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "its last layer (fc) is new, because that of the weights has 1,000 outputs" in answer.err
    assert "1,026 weights of 11,177,538 are trained: those of the last layer (fc)" in answer.err
    assert json.loads(answer.out)["engine"] == "torch"
    model = package.load(tmp_path / "run")
    assert model.bundle.header.preprocessing == IMAGENET
    ours = {name: torch.from_numpy(w.array()) for name, w in model.bundle.weights.items()}
    for name, tensor in weights.items():
        if not name.startswith("fc."):
            assert torch.equal(ours[name], tensor), name
    pixels = data.images[:8].float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET.mean, IMAGENET.std))
    wanted = plain_logits("resnet18", ours, (pixels - mean) / std)
    with torch.no_grad():
        found = model.module(data.images[:8])
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


# --- only the last layer


def test_only_the_last_layer_is_trained(before: Path, tmp_path: Path) -> None:
    recipe = started(before, freeze=True)
    run = train_run(recipe, made_up("xyz"), out=tmp_path / "run", resources=SINGLE)
    old, new = weights_of(before), weights_of(run)
    changed = {name for name in old if old[name] != new[name]}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert run.facts.conditions.engine == "torch"


def test_freezing_a_network_without_a_linear_layer() -> None:
    with pytest.raises(UsageError, match="no linear layer that could be trained alone"):
        freeze(build("softmax-scratch", (1, 8, 8), 3))


def test_freezing_a_network_of_one_layer() -> None:
    with pytest.raises(UsageError, match="no other layers than its last"):
        freeze(build("softmax", (1, 8, 8), 3))


def test_augmentation_needs_views(before: Path) -> None:
    recorder = Recorder(Listener())
    recipe = started(before, freeze=True, **{"augment.flip": True})
    found = with_start(recipe, read_start(recipe), recorder)
    (note,) = recorder.notes
    assert note.startswith("images are not augmented (flip), because features are computed once")
    assert not any(found.augment.model_dump().values())
    recipe = started(before, freeze=True, views=3, **{"augment.flip": True})
    found = with_start(recipe, read_start(recipe), recorder)
    assert found.augment.flip
    assert len(recorder.notes) == 1


def test_views_of_images_that_are_not_augmented_are_one(before: Path, tmp_path: Path) -> None:
    recorder = StopsAt()
    nothing = AugmentRecipe().model_dump()
    recipe = started(before, freeze=True, views=3, augment=nothing, val=0.0)
    train_run(recipe, made_up(), out=tmp_path / "run", resources=SINGLE, watcher=recorder)
    assert any(note.startswith("views is 3, but images are not augm") for note in recorder.notes)


def test_another_view_network_or_preprocessing_has_other_features(before: Path) -> None:
    """What is not among the weights counts too."""
    data = made_up()
    augment = {"augment.flip": True, "views": 2}

    def key(**changes: Any) -> str:
        recipe = started(before, **{"freeze": True, "val": 0.0, **changes})
        features = fit(recipe, data, resources=SINGLE).prepared.features
        assert features is not None
        return features.key

    keys = [
        key(),
        key(normalize="image"),
        key(**{"model_args.dropout": 0.3}),
        key(**augment),
        key(**augment, seed=1),
        key(**{**augment, "augment.shift": 0.2}),
    ]
    assert len(set(keys)) == len(keys)
    assert key(seed=1, lr=0.1, **{"augment.flip": True}) == keys[0]


def test_the_model_of_an_unfinished_run_may_be_a_start(tmp_path: Path) -> None:
    recipe = load_recipe(
        "default", {"model": "resnet-small", "model_args": SMALL, "epochs": 3, "val": 0.2}
    )
    with pytest.raises(InterruptedRunError):
        train_run(recipe, made_up(), out=tmp_path / "run", resources=SINGLE, watcher=StopsAt(8))
    recorder = Recorder(Listener())
    recipe = started(tmp_path / "run")
    with_start(recipe, read_start(recipe), recorder)
    (note,) = recorder.notes
    assert "the run has not finished (status: interrupted), its model is from epoch" in note
    assert f"tenfold resume {tmp_path / 'run'}" in note


@pytest.mark.parametrize(
    ("of_start", "given", "found"), [(12, None, 12), (12, 10, 10), (16, None, None), (16, 10, 10)]
)
def test_as_many_bits_of_16_count_as_for_the_start(
    before: Path, of_start: int, given: int | None, found: int | None
) -> None:
    recipe = started(before, depth=given)
    start = read_start(recipe)
    assert start is not None
    recorder = Recorder(Listener())
    assert with_start(recipe, replace(start, depth=of_start), recorder).depth == found
    assert [note[:30] for note in recorder.notes] == (
        ["in 16-bit images, 12 bits coun"] if (of_start, given) == (12, None) else []
    )


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({}, 0), ({"test": 0.3}, 1), ({"val": 0.3}, 1), ({"image_size": 10}, 1), ({"other": 1}, 0)],
)
def test_a_start_that_may_know_what_is_held_out(
    tenfold: Tenfold, tmp_path: Path, changes: dict[str, Any], wanted: int
) -> None:
    for name in ("photos", "others"):
        for place, image in enumerate(made_up(n=40).image_array):
            (tmp_path / name / f"class{place % 4}").mkdir(parents=True, exist_ok=True)
            pixels = Image.fromarray(np.moveaxis(image, 0, -1))
            pixels.save(tmp_path / name / f"class{place % 4}" / f"{place}.png")
    recipe = load_recipe(
        "default", {"model": "resnet-small", "model_args": SMALL, "epochs": 1, "val": 0.0}
    )
    photos = tmp_path / "photos"
    run = train_run(recipe, photos, out=tmp_path / "first", resources=SINGLE)
    recorder = StopsAt()
    data = tmp_path / "others" if changes.pop("other", 0) else photos
    again = started(run.folder, **{"val": 0.0, "epochs": 1, **changes})
    train_run(again, data, out=tmp_path / "second", resources=SINGLE, watcher=recorder)
    said = [note for note in recorder.notes if "may know the images that are held out" in note]
    assert len(said) == wanted
    found = cross_validate(again, data, folds=2, resources=SINGLE, watcher=recorder)
    assert len(found.reports) == 2
    said = [note for note in recorder.notes if "may know the images that are held out" in note]
    assert bool(said) == (data == photos)


def test_a_run_that_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="cifar10: no such folder or file; name a run's fol"):
        read_start(started(Path("cifar10")))


# --- resuming


@pytest.mark.parametrize("changes", [{}, {"freeze": True}, {"freeze": True, "views": 2}])
def test_a_resumed_run_needs_no_start(
    before: Path, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the same bits, also where features have to be computed again."""
    data = made_up("wxyz")
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(before, start)
    recipe = started(start, average_decay=0.9, **{"augment.flip": True}, **changes)
    whole = train_run(recipe, data, out=tmp_path / "whole", resources=SINGLE)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, data, out=run, resources=SINGLE, watcher=StopsAt(1))
    shutil.rmtree(start)
    for step in (2, 5):
        monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / f"cache {step}"))
        with pytest.raises(InterruptedRunError):
            resume_run(run, data=data, resources=SINGLE, watcher=StopsAt(step))
    resumed = resume_run(run, data=data, resources=SINGLE)
    assert resumed.status == "finished"
    assert state_of(run) == state_of(whole.folder)
    assert resumed.facts.start is not None
    assert resumed.facts.start.place == str(start)


def test_a_run_without_a_checkpoint_starts_from_the_same_weights(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if its process had died before the first checkpoint."""
    start, run, data = tmp_path / "start", tmp_path / "run", made_up("wxyz")
    shutil.copytree(before, start)
    recipe = started(start, freeze=True)
    whole = train_run(recipe, data, out=tmp_path / "whole", resources=SINGLE)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, data, out=run, resources=SINGLE, watcher=StopsAt(1))
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(run, tmp_path / "again")
    assert resume_run(run, data=data, resources=SINGLE).status == "finished"
    assert weights_of(run) == weights_of(whole.folder)
    shutil.rmtree(start)
    shutil.copytree(whole.folder, start)
    with pytest.raises(FileRefusedError, match="it has changed since the run started from it"):
        resume_run(tmp_path / "again", data=data, resources=SINGLE)


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "lenet"}, "which is of the model resnet-small, and not lenet; choose --model"),
        ({"model_args": {"widths": [5, 8]}}, "its weights do not fit the network: stem.0.weight"),
        ({"start": "nowhere"}, "nowhere: no such folder or file"),
        ({"freeze": True, "precision": "bfloat16"}, "leave out precision, channels_last"),
    ],
)
def test_what_does_not_fit(
    before: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    recipe = started(before, **changes)
    with pytest.raises((UsageError, FileRefusedError)) as caught:
        train_run(recipe, made_up(), out=tmp_path / "run", resources=SINGLE)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "w.pth"}, "start and weights are both given"),
        ({"start": "", "freeze": True}, "but the network starts from random weights"),
        ({"views": 2}, "views is 2, but only features of a frozen network"),
        ({"start": "", "normalize": "start"}, "normalize is 'start', but the network does not"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        started(Path("run"), **changes)
    assert message in str(caught.value)


def test_the_native_engine_trains_all_layers(before: Path, tmp_path: Path) -> None:
    resources = Resources(threads=1, engine="native")
    with pytest.raises(UsageError, match="the native engine trains all layers"):
        train_run(started(before, freeze=True), made_up(), out=tmp_path / "r", resources=resources)


def test_gray_images_become_those_that_the_start_knows(before: Path, tmp_path: Path) -> None:
    run = train_run(started(before), made_up(channels=1), out=tmp_path / "run", resources=SINGLE)
    assert run.facts.data.image_shape == (3, 12, 12)


def test_channels_that_a_recipe_asks_for_have_to_fit(before: Path, tmp_path: Path) -> None:
    recipe = started(before, channels=1)
    with pytest.raises(
        UsageError, match=r"has 3 channels, but the images have 1; choose --set channels=3$"
    ):
        train_run(recipe, made_up(channels=1), out=tmp_path / "run", resources=SINGLE)


@pytest.mark.parametrize("has_checkpoint", [True, False])
@pytest.mark.parametrize("change", ["added", "removed", "another"])
def test_a_run_keeps_its_start(
    before: Path, tmp_path: Path, change: str, has_checkpoint: bool
) -> None:
    """Whatever is accepted: its weights are of that start, or of none."""
    recipe = started(before, val=0.0, normalize="none")
    if change == "added":
        recipe = recipe.model_copy(update={"start": ""})
    run, data = tmp_path / "run", made_up()
    with pytest.raises(InterruptedRunError):
        train_run(recipe, data, out=run, resources=SINGLE, watcher=StopsAt(2))
    if not has_checkpoint:
        shutil.rmtree(run / "checkpoints")
        (run / "metrics.jsonl").unlink(missing_ok=True)
    text = (run / "recipe.toml").read_text()
    own = next(line for line in text.splitlines() if line.startswith("start = "))
    new = {"added": str(before), "removed": "", "another": str(tmp_path / "elsewhere")}[change]
    (run / "recipe.toml").write_text(text.replace(own, f'start = "{new}"'))
    if change == "another":
        shutil.copytree(before, tmp_path / "elsewhere")
    with pytest.raises(FileRefusedError, match="undo the change, or train a new run: a run keeps"):
        resume_run(run, data=data, accept=["recipe"], resources=SINGLE)
    (run / "recipe.toml").write_text(text)
    assert resume_run(run, data=data, resources=SINGLE).status == "finished"


def test_a_start_that_is_gone_is_named(before: Path, tmp_path: Path) -> None:
    start, run, data = tmp_path / "before", tmp_path / "run", made_up()
    shutil.copytree(before, start)
    with pytest.raises(InterruptedRunError):
        train_run(started(start), data, out=run, resources=SINGLE, watcher=StopsAt(1))
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(start)
    with pytest.raises(FileRefusedError) as caught:
        resume_run(run, data=data, resources=SINGLE)
    assert "has no checkpoint yet; put it back at " in str(caught.value)


def test_a_way_of_resizing_that_is_given_is_kept(before: Path) -> None:
    start = read_start(started(before))
    assert start is not None
    cropping = replace(start, resize="crop")
    assert with_start(started(before), cropping, Listener()).resize == "crop"
    for given in ("squash", "crop"):
        recipe = started(before, resize=given)
        assert with_start(recipe, replace(start, resize="pad"), Listener()).resize == given


def test_other_classes_need_a_last_layer() -> None:
    network = build("softmax-scratch", (1, 4, 4), 3)
    start = Start(
        StartFacts(place="w", sha256=""), to_stored(network.state_dict()), ("a", "b", "c")
    )
    new = build("softmax-scratch", (1, 4, 4), 3)
    assert put_into(new, start, "abc") == "the network starts from w"
    with pytest.raises(FileRefusedError, match="in another order, and its network has no last"):
        put_into(new, start, "cab")


@pytest.mark.parametrize("name", ["stem.0.weight", "classifier.weight"])
def test_weights_of_another_type_are_refused(name: str) -> None:
    weights, start = weights_and_start("abcd", "abcd")
    weights[name] = weights[name].to(torch.int8)
    network = build("resnet-small", (3, 12, 12), 4, widths=(4, 8), blocks=1)
    with pytest.raises(FileRefusedError, match=r"of type torch.int8, wanted torch.float32"):
        put_into(network, replace(start, weights=to_stored(weights)), "abcd")


def test_a_model_file_whose_weights_are_not_of_its_model_is_refused(
    before: Path, tmp_path: Path
) -> None:
    """Before anything is done with it, whether it has a list of layers or not."""
    bundle = read_bundle(before / "model.safetensors")
    few = {name: t for name, t in bundle.weights.items() if name != "classifier.bias"}
    few["classifier.bias"] = to_stored({"b": torch.zeros(())})["b"]
    header = bundle.header.model_copy(update={"layers": None})
    write_bundle(tmp_path / "m.safetensors", Bundle(header, few))
    unknown = header.model_copy(update={"model": "nix"})
    write_bundle(tmp_path / "n.safetensors", Bundle(unknown, bundle.weights))
    for name in ("m", "n"):
        with pytest.raises(FileRefusedError, match=f"{name}.safetensors: "):
            read_start(started(tmp_path / f"{name}.safetensors"))


@pytest.mark.parametrize("key", ["start", "weights", "corrections"])
def test_a_user_that_is_not_there(tmp_path: Path, key: str) -> None:
    recipe = load_recipe("default", {key: "~nobody-here/x"})
    with pytest.raises(TenfoldError, match="~nobody-here/x: no such"):
        train_run(recipe, made_up(), out=tmp_path / "run", resources=SINGLE)


def test_folds_start_from_it(before: Path) -> None:
    recorder = StopsAt()
    found = cross_validate(
        started(before, val=0.0), made_up("xyz"), folds=3, resources=SINGLE, watcher=recorder
    )
    assert len(found.reports) == 3
    assert sum("the network starts from" in note for note in recorder.notes) == 1


def test_in_python_it_may_be_a_run(before: Path, tmp_path: Path) -> None:
    start = open_run(before)
    run = package.train(made_up("xyz"), start=start, epochs=1, out=tmp_path / "run", quiet=True)
    assert run.recipe.start == str(before)
