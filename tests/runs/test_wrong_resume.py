"""Wrong resumes and damaged files: each is refused or falls back, with a message."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kill import EVERYTHING, state_of

from stopping import StopsAt
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.errors import (
    DataError,
    FileRefusedError,
    InterruptedRunError,
    NewerFormatError,
    TenfoldError,
    UsageError,
)
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import resume_run, train_run
from tenfold.runs.facts import FORMAT
from tenfold.runs.resources import Resources
from tenfold.training.checkpoint import KIND, VERSION, checkpoint_files
from tensor_files import read_tensors, write_tensors

CLASSES = ("cat", "dog", "owl")
BATCHES = 5
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Case:
    """A run of 2 epochs of 5 batches, its data, and another run on the same data.

    The run was stopped after step 8, with checkpoints of the steps 8 and 5, or has finished.
    """

    run: Path
    data: Path
    other: Path

    @property
    def newest(self) -> Path:
        return checkpoint_files(self.run / "checkpoints")[0]

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.run / name).read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {text}"
        (self.run / name).write_text(text.replace(old, new, 1))

    def edit_facts(self, key: str, value: object) -> None:
        facts = table = json.loads((self.run / "run.json").read_text())
        *tables, last = key.split(".")
        for name in tables:
            table = table[name]
        if value is None:
            del table[last]
        else:
            table[last] = value
        (self.run / "run.json").write_text(json.dumps(facts))

    def edit_data(self, change: Callable[[dict[str, Any]], None]) -> None:
        with np.load(self.data) as file:
            arrays = dict(file)
        change(arrays)
        np.savez(self.data, **arrays)

    def rewrite_newest(self, version: int = VERSION, kind: str = KIND, **header: object) -> None:
        """Rewrite the checkpoint with a valid digest and other contents."""
        old, tensors = read_tensors(self.newest, kind=KIND, version=VERSION)
        write_tensors(self.newest, tensors, kind=kind, version=version, header={**old, **header})


def recipe(**changes: Any) -> Recipe:
    return load_recipe(
        EVERYTHING, {"epochs": 2, "batch_size": 12, "val": 0.2, "patience": 0, **changes}
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, an uninterrupted run, a stopped one, and one with another seed."""
    place = tmp_path_factory.mktemp("originals")
    numbers = np.random.default_rng(0)
    np.savez(
        place / "data.npz",
        x_train=numbers.integers(256, size=(75, 8, 8), dtype=np.uint8),
        y_train=np.arange(75) % 3,
        x_test=numbers.integers(256, size=(30, 8, 8), dtype=np.uint8),
        y_test=np.arange(30) % 3,
        classes=np.array(CLASSES),
    )
    data = place / "data.npz"
    train_run(recipe(), data, out=place / "whole", resources=Resources(threads=1))
    for name, changes in (("run", {}), ("other", {"seed": 7})):
        with pytest.raises(InterruptedRunError):
            train_run(
                recipe(**changes),
                data,
                out=place / name,
                resources=Resources(threads=1),
                checkpoint_every="5",
                watcher=StopsAt(8),
            )
    return place


@pytest.fixture
def place(originals: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the runs; their data is restored afterwards."""
    data = (originals / "data.npz").read_bytes()
    shutil.copytree(originals, tmp_path / "copy")
    yield tmp_path / "copy"
    (originals / "data.npz").write_bytes(data)


@pytest.fixture
def stopped(originals: Path, place: Path) -> Case:
    return Case(place / "run", originals / "data.npz", place / "other")


@pytest.fixture
def finished(originals: Path, place: Path) -> Case:
    return Case(place / "whole", originals / "data.npz", place / "other")


def flip(path: Path, place: int | float, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place if isinstance(place, int) else int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)


def flip_in(path: Path, text: bytes, after: int = 0, bit: int = 0) -> None:
    flip(path, path.read_bytes().index(text) + after, bit)


def cut(path: Path, size: int | float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: size if isinstance(size, int) else int(size * len(data))])


def header_end(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def untouched(run: Path) -> dict[str, bytes]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): path.read_bytes() for path in files}


VERSION_IN_HEADER = f'"version": "{VERSION}"'.encode()

FALLS_BACK: dict[str, Callable[[Case], object]] = {
    "header's length, lowest byte": lambda c: flip(c.newest, 0),
    "header's length, fourth byte": lambda c: flip(c.newest, 3),
    "header's length, highest byte": lambda c: flip(c.newest, 7, bit=7),
    "first byte of the header": lambda c: flip(c.newest, 8),
    "name of the metadata": lambda c: flip_in(c.newest, b"__metadata__"),
    "kind": lambda c: flip_in(c.newest, b"tenfold-checkpoint"),
    "version, to 0": lambda c: flip_in(c.newest, VERSION_IN_HEADER, 12, bit=2),
    "version, to no number": lambda c: flip_in(c.newest, VERSION_IN_HEADER, 12, bit=6),
    "digest": lambda c: flip_in(c.newest, b'"sha256": "', 13),
    "history": lambda c: flip_in(c.newest, b"train_loss", 15),
    "step": lambda c: flip_in(c.newest, b'\\"step\\":', 10),
    "name of a tensor": lambda c: flip_in(c.newest, b"model.network.stem"),
    "type of a tensor": lambda c: flip_in(c.newest, b'"F32"', 1),
    "shape of a tensor": lambda c: flip_in(c.newest, b'"shape": [', 10),
    "place of a tensor": lambda c: flip_in(c.newest, b'"data_offsets": [', 17),
    "last byte of the header": lambda c: flip(c.newest, header_end(c.newest) - 1),
    "first byte of the tensors": lambda c: flip(c.newest, header_end(c.newest)),
    "middle of the tensors": lambda c: flip(c.newest, 0.7, bit=6),
    "last byte": lambda c: flip(c.newest, -1, bit=7),
    "cut to nothing": lambda c: cut(c.newest, 0),
    "cut to 1 byte": lambda c: cut(c.newest, 1),
    "cut to 7 bytes": lambda c: cut(c.newest, 7),
    "cut to 8 bytes": lambda c: cut(c.newest, 8),
    "cut to 9 bytes": lambda c: cut(c.newest, 9),
    "cut within the header": lambda c: cut(c.newest, header_end(c.newest) // 2),
    "cut after the header": lambda c: cut(c.newest, header_end(c.newest)),
    "cut one byte into the tensors": lambda c: cut(c.newest, header_end(c.newest) + 1),
    "cut in the middle": lambda c: cut(c.newest, 0.5),
    "cut by one byte": lambda c: cut(c.newest, -1),
    "one byte more": lambda c: c.newest.write_bytes(c.newest.read_bytes() + b"\0"),
    "the file twice": lambda c: c.newest.write_bytes(c.newest.read_bytes() * 2),
    "nothing but zeros": lambda c: c.newest.write_bytes(bytes(c.newest.stat().st_size)),
    "a pickle": lambda c: c.newest.write_bytes(b"\x80\x04N."),
    "a folder": lambda c: (
        c.newest.unlink(),
        (c.run / "checkpoints/step-000000008.safetensors").mkdir(),
    ),
    "a bundle in its place": lambda c: shutil.copy(
        c.run.parent / "whole/model.safetensors", c.newest
    ),
    "an older checkpoint under its name": lambda c: shutil.copy(
        checkpoint_files(c.run / "checkpoints")[1], c.newest
    ),
    "a later name": lambda c: c.newest.rename(c.run / "checkpoints/step-000000999.safetensors"),
    "the version before the first": lambda c: c.rewrite_newest(version=0),
    "another kind": lambda c: c.rewrite_newest(kind="tenfold-parts"),
}


@pytest.mark.parametrize("name", FALLS_BACK)
def test_a_damaged_checkpoint_is_skipped_with_a_note(
    name: str, stopped: Case, originals: Path
) -> None:
    FALLS_BACK[name](stopped)
    damaged = stopped.newest
    watcher = StopsAt()
    resume_run(stopped.run, watcher=watcher)
    [reason] = [note for note in watcher.notes if note.startswith("skipped")]
    assert str(damaged) in reason
    assert any(note.startswith("renamed it to") for note in watcher.notes)
    assert damaged.with_name(f"{damaged.name}.damaged").exists()  # nothing is deleted
    assert state_of(stopped.run) == state_of(originals / "whole")


def test_any_flipped_bit_of_a_checkpoint(stopped: Case) -> None:
    """Whichever bit is wrong, the file is refused."""
    path, dice = stopped.newest, random.Random(1)
    whole = path.read_bytes()
    header = dice.sample(range(header_end(path)), 300)
    tensors = dice.sample(range(header_end(path), len(whole)), 100)
    for place in header + tensors:
        flip(path, place, dice.randrange(8))
        with pytest.raises(FileRefusedError):
            read_tensors(path, kind=KIND, version=VERSION)
        path.write_bytes(whole)


def damage_all(case: Case) -> None:
    for path in checkpoint_files(case.run / "checkpoints"):
        flip(path, 0.7)


def swap(case: Case) -> None:
    for path in checkpoint_files(case.run / "checkpoints"):
        shutil.copy(case.other / "checkpoints" / path.name, path)


def other_architecture(case: Case) -> None:
    header, tensors = read_tensors(case.newest, kind=KIND, version=VERSION)
    tensors = {name: t for name, t in tensors.items() if not name.endswith("classifier.bias")}
    write_tensors(case.newest, tensors, kind=KIND, version=VERSION, header=header)


def set_item(key: str, place: Any, change: Callable[[Any], Any]) -> Callable[[Case], None]:
    def edit(arrays: dict[str, Any]) -> None:
        arrays[key][place] = change(arrays[key][place])

    return lambda case: case.edit_data(edit)


def drop_last(case: Case) -> None:
    def edit(arrays: dict[str, Any]) -> None:
        arrays["x_train"], arrays["y_train"] = arrays["x_train"][:-1], arrays["y_train"][:-1]

    case.edit_data(edit)


def swap_two(case: Case) -> None:
    def edit(arrays: dict[str, Any]) -> None:
        for key in ("x_train", "y_train"):
            arrays[key][[0, -1]] = arrays[key][[-1, 0]]

    case.edit_data(edit)


def reorder_classes(case: Case) -> None:
    def edit(arrays: dict[str, Any]) -> None:
        arrays["classes"] = arrays["classes"][[1, 0, 2]]
        for key in ("y_train", "y_test"):
            arrays[key] = np.array([1, 0, 2])[arrays[key]]

    case.edit_data(edit)


def recipe_edit(old: str, new: str) -> Callable[[Case], None]:
    return lambda case: case.edit("recipe.toml", old, new)


def facts_edit(key: str, value: object) -> Callable[[Case], None]:
    return lambda case: case.edit_facts(key, value)


def write(name: str, data: bytes) -> Callable[[Case], object]:
    return lambda case: (case.run / name).write_bytes(data)


def remove(name: str) -> Callable[[Case], object]:
    return lambda case: (case.run / name).unlink()


REFUSED: dict[str, tuple[Callable[[Case], object], str, type[TenfoldError]]] = {
    # checkpoints
    "all damaged": (damage_all, "none of the 2 checkpoints is valid", FileRefusedError),
    "all gone": (
        lambda c: shutil.rmtree(c.run / "checkpoints"),
        "the checkpoints of this run are gone",
        FileRefusedError,
    ),
    "another run's": (swap, r"recipe\.seed was 7, is 0", FileRefusedError),
    "a newer format": (
        lambda c: c.rewrite_newest(version=VERSION + 1),
        f"its format is version {VERSION + 1}, this tenfold reads up to {VERSION}",
        NewerFormatError,
    ),
    "another architecture": (other_architecture, "another architecture", FileRefusedError),
    "no context in it": (
        lambda c: c.rewrite_newest(context=None),
        r"step-000000008\.safetensors: .* context is None, wanted a table; move it elsewhere",
        FileRefusedError,
    ),
    "nothing in its context": (
        lambda c: c.rewrite_newest(context={}),
        r"it belongs to: recipe is missing.*; move it elsewhere to continue from an older one",
        FileRefusedError,
    ),
    "another optimizer": (
        lambda c: c.rewrite_newest(optimizer={"kind": "Adam", "groups": [], "plain": {}}),
        "a run with Adam, this one has SGD",
        FileRefusedError,
    ),
    "counters missing": (
        lambda c: c.rewrite_newest(history=3),
        "does not hold the state of a run: history is 3, wanted a list",
        FileRefusedError,
    ),
    # the recipe
    "lr": (recipe_edit("lr = 0.2", "lr = 0.1"), r"recipe\.lr was 0\.2, is 0\.1", FileRefusedError),
    "batch size": (
        recipe_edit("batch_size = 12", "batch_size = 6"),
        r"recipe\.batch_size was 12, is 6",
        FileRefusedError,
    ),
    "seed": (recipe_edit("seed = 0", "seed = 1"), r"recipe\.seed was 0, is 1", FileRefusedError),
    "epochs": (recipe_edit("epochs = 2", "epochs = 3"), r"recipe\.epochs was 2", FileRefusedError),
    "momentum": (
        recipe_edit("momentum = 0.9", "momentum = 0.8"),
        r"recipe\.momentum",
        FileRefusedError,
    ),
    "nesterov": (recipe_edit("nesterov = true", ""), r"recipe\.nesterov", FileRefusedError),
    "schedule": (recipe_edit("one-cycle", "cosine"), r"recipe\.schedule", FileRefusedError),
    "flip": (recipe_edit("flip = true", ""), r"recipe\.augment\.flip", FileRefusedError),
    "cutout": (
        recipe_edit("cutout = 2", "cutout = 3"),
        r"recipe\.augment\.cutout",
        FileRefusedError,
    ),
    "dropout": (
        recipe_edit("dropout = 0.2", "dropout = 0.3"),
        r"recipe\.model_args\.dropout",
        FileRefusedError,
    ),
    "widths": (recipe_edit("widths = [\n    4,", "widths = [\n    5,"), "widths", FileRefusedError),
    "model": (recipe_edit('"resnet-small"', '"softmax"'), r"recipe\.model was", FileRefusedError),
    "average": (
        recipe_edit("average_decay = 0.9", "average_decay = 0.0"),
        r"recipe\.average_decay",
        FileRefusedError,
    ),
    "held-out share": (recipe_edit("val = 0.2", "val = 0.3"), r"recipe\.val", FileRefusedError),
    "choice": (recipe_edit('"val_loss"', '"val_acc"'), r"recipe\.choose_by", FileRefusedError),
    "clipping": (recipe_edit("clip_norm = 5", "clip_norm = 6"), "clip_norm", FileRefusedError),
    "name of the data": (
        recipe_edit('data.npz"', 'date.npz"'),
        r"recipe\.data was '.*data\.npz', is '.*date\.npz'",
        FileRefusedError,
    ),
    "an unknown key": (recipe_edit("lr = 0.2", "lr = 0.2\nrate = 1"), "'rate'", FileRefusedError),
    "no TOML": (write("recipe.toml", b"lr ="), r"recipe\.toml", FileRefusedError),
    "no text": (write("recipe.toml", b"\xff\xfe"), r"recipe\.toml", FileRefusedError),
    "no recipe": (remove("recipe.toml"), r"recipe\.toml: no such file", FileRefusedError),
    # run.json
    "no facts": (remove("run.json"), r"run\.json: no such file", FileRefusedError),
    "facts cut off": (lambda c: cut(c.run / "run.json", 0.5), "not JSON", FileRefusedError),
    "facts of another type": (write("run.json", b"[]"), "not a JSON object", FileRefusedError),
    "newer facts": (
        facts_edit("format", FORMAT + 1),
        f"format is version {FORMAT + 1}",
        NewerFormatError,
    ),
    "facts without format": (facts_edit("format", None), "format is None", FileRefusedError),
    "no status": (facts_edit("status", None), "status is missing", FileRefusedError),
    "no sessions": (facts_edit("sessions", None), "sessions is missing", FileRefusedError),
    "no data": (facts_edit("data", []), r"data is \[\], wanted a table", FileRefusedError),
    "no context": (facts_edit("context", None), "context is missing", FileRefusedError),
    "threads as text": (
        facts_edit("conditions.threads", "1"),
        r"conditions\.threads is '1', wanted a whole number",
        FileRefusedError,
    ),
    "no threads": (facts_edit("conditions.threads", 0), "threads is 0", FileRefusedError),
    "too many threads": (facts_edit("conditions.threads", 2000), "threads is 2000", UsageError),
    "an unknown device": (facts_edit("conditions.device", "tpu"), "device 'tpu'", TenfoldError),
    "another learning rate noted": (
        facts_edit("context.recipe.lr", 0.7),
        r"recipe\.lr was 0\.7, is 0\.2",
        FileRefusedError,
    ),
    "another fingerprint noted": (
        facts_edit("context.data.train", "0" * 64),
        r"with: the train images or labels have changed; undo",
        FileRefusedError,
    ),
    "other classes noted": (
        facts_edit("context.classes", ["a"]),
        r"classes was \['a'\]",
        FileRefusedError,
    ),
    "another source noted": (
        facts_edit("data.source", "digits"),
        r"recipe\.data was 'digits'",
        FileRefusedError,
    ),
    # the data
    "a pixel": (
        set_item("x_train", (3, 0, 0), lambda v: v ^ 1),
        "the train images",
        FileRefusedError,
    ),
    "a test pixel": (
        set_item("x_test", (3, 0, 0), lambda v: v ^ 1),
        r"with: the test images or labels have changed; undo",
        FileRefusedError,
    ),
    "a label": (
        set_item("y_train", 3, lambda v: (v + 1) % 3),
        "the train images",
        FileRefusedError,
    ),
    "a test label": (
        set_item("y_test", 3, lambda v: (v + 1) % 3),
        "the test images or labels have changed",
        FileRefusedError,
    ),
    "an image less": (
        drop_last,
        r"the train images or labels have changed \(60 before, 59 now\)",
        FileRefusedError,
    ),
    "two images swapped": (swap_two, "the train images", FileRefusedError),
    "order of the classes": (reorder_classes, r"classes was \['cat', 'dog', ", FileRefusedError),
    "a class's name": (set_item("classes", 2, lambda _: "bat"), "classes was", FileRefusedError),
    "no data any more": (lambda c: c.data.unlink(), r"data\.npz", DataError),
    "damaged data": (lambda c: cut(c.data, 0.6), r"data\.npz", DataError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_resume_is_refused_and_changes_nothing(name: str, stopped: Case) -> None:
    damage, reason, error = REFUSED[name]
    damage(stopped)
    before = untouched(stopped.run)
    with pytest.raises(error, match=reason) as caught:
        resume_run(stopped.run, watcher=StopsAt())
    assert "\n" not in str(caught.value)
    assert untouched(stopped.run) == before


def test_all_differences_are_listed(stopped: Case) -> None:
    stopped.edit("recipe.toml", "lr = 0.2", "lr = 0.1")
    stopped.edit("recipe.toml", "momentum = 0.9", "momentum = 0.8")
    with pytest.raises(FileRefusedError) as caught:
        resume_run(stopped.run)
    assert "recipe.lr was 0.2, is 0.1; recipe.momentum was 0.9, is 0.8" in str(caught.value)
    assert "--accept recipe" in str(caught.value)


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("recipe", recipe_edit("lr = 0.2", "lr = 0.1")),
        ("data", set_item("x_train", (3, 0, 0), lambda v: v ^ 1)),
    ],
)
def test_only_what_is_named_is_accepted(
    part: str, damage: Callable[[Case], None], stopped: Case
) -> None:
    damage(stopped)
    other = {"recipe": "data", "data": "recipe"}[part]
    with pytest.raises(FileRefusedError):
        resume_run(stopped.run, accept=[other])
    watcher = StopsAt()
    run = resume_run(stopped.run, accept=[part], watcher=watcher)
    changes = {"recipe": "recipe.lr was 0.2", "data": "the train images or labels have changed"}
    assert any(note.startswith(f"accepted: {changes[part]}") for note in watcher.notes)
    assert run.status == "finished"
    assert not run.facts.sessions[-1].bit_exact


def test_another_model_needs_a_new_run(stopped: Case) -> None:
    stopped.edit("recipe.toml", '"resnet-small"', '"softmax"')
    with pytest.raises(FileRefusedError, match="train a new run: a run keeps its model"):
        resume_run(stopped.run)


def test_accepted_classes(stopped: Case) -> None:
    reorder_classes(stopped)
    with pytest.raises(FileRefusedError, match="data"):
        resume_run(stopped.run, accept=["classes"])
    assert resume_run(stopped.run, accept=["classes", "data"]).status == "finished"


@pytest.mark.parametrize("how", ["recipe", "data"])
def test_a_run_without_a_checkpoint_is_also_compared(how: str, stopped: Case) -> None:
    """Killed before its first checkpoint, a run starts over, but only if it is the same run."""
    shutil.rmtree(stopped.run / "checkpoints")
    (stopped.run / "metrics.jsonl").unlink()
    if how == "recipe":
        stopped.edit("recipe.toml", "lr = 0.2", "lr = 0.1")
    else:
        set_item("x_train", (3, 0, 0), lambda v: v ^ 1)(stopped)
    with pytest.raises(FileRefusedError, match=f"accept it: add --accept {how}"):
        resume_run(stopped.run)


def test_a_missing_newest_checkpoint_is_noted(stopped: Case, originals: Path) -> None:
    with pytest.raises(InterruptedRunError):
        resume_run(stopped.run, checkpoint_every="1", watcher=StopsAt(9))
    for path in checkpoint_files(stopped.run / "checkpoints"):
        path.unlink()
    shutil.copy(
        originals / "run/checkpoints/step-000000005.safetensors", stopped.run / "checkpoints"
    )
    (stopped.run / "metrics.jsonl").write_text((originals / "whole/metrics.jsonl").read_text())
    watcher = StopsAt()
    resume_run(stopped.run, watcher=watcher)
    assert any("had finished 2 epochs, but its newest checkpoint has 1" in n for n in watcher.notes)
    assert state_of(stopped.run) == state_of(originals / "whole")


REPAIRED: dict[str, tuple[Callable[[Case], object], str]] = {
    "a bit of the model": (lambda c: flip(c.run / "model.safetensors", 0.7), "digest"),
    "half of the model": (lambda c: cut(c.run / "model.safetensors", 0.5), "damaged"),
    "no model": (remove("model.safetensors"), "no such file"),
    "a checkpoint as the model": (
        lambda c: shutil.copy(c.newest, c.run / "model.safetensors"),
        "this is a checkpoint of a run, wanted a model",
    ),
    "a damaged history": (write("metrics.jsonl", b'{"epoch": 1'), "this is not the history"),
    "a damaged history, and no digests": (
        lambda c: (
            c.edit_facts("digests", None),
            (c.run / "metrics.jsonl").write_text('{"epoch": 1'),
        ),
        "line 1 is damaged",
    ),
    "no history": (remove("metrics.jsonl"), "metrics.jsonl: no such file"),
    "a line of the history less": (
        lambda c: (c.run / "metrics.jsonl").write_text(
            (c.run / "metrics.jsonl").read_text().partition("\n")[0]
        ),
        "metrics.jsonl: this is not the history that the run ended with",
    ),
    "a figure of the history": (
        lambda c: c.edit("metrics.jsonl", '"train_loss": ', '"train_loss": 1'),
        "metrics.jsonl: this is not the history that the run ended with",
    ),
    "another run's history": (
        lambda c: shutil.copy(c.other / "metrics.jsonl", c.run),
        "metrics.jsonl: this is not the history that the run ended with",
    ),
    "another run's model": (
        lambda c: shutil.copy(c.other / "checkpoints/best.safetensors", c.run / MODEL),
        "model.safetensors: this is not the model that the run ended with",
    ),
    "epochs in the figures": (
        facts_edit("figures.epochs", 9),
        "run.json: these are not the results that the run ended with",
    ),
    "the accuracy": (facts_edit("figures.test_acc", 0.999), "these are not the results"),
    "the report": (facts_edit("test.confusion", [[1]]), "these are not the results"),
    "no report": (facts_edit("test", None), "these are not the results"),
    "a comment in the recipe": (
        lambda c: c.edit("recipe.toml", "lr = ", "# half of it is too slow\nlr = "),
        "recipe.toml: this is not the recipe that the run ended with",
    ),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_a_finished_run_is_repaired_from_its_checkpoint(
    name: str, finished: Case, originals: Path
) -> None:
    damage, reason = REPAIRED[name]
    damage(finished)
    watcher = StopsAt()
    resume_run(finished.run, watcher=watcher)
    assert any(reason in note and "rewriting" in note for note in watcher.notes)
    assert state_of(finished.run) == state_of(originals / "whole")


FINISHED_REFUSED: dict[str, tuple[Callable[[Case], object], str]] = {
    "lr": (recipe_edit("lr = 0.2", "lr = 0.1"), r"recipe\.lr was 0\.2, is 0\.1"),
    "epochs in the recipe": (recipe_edit("epochs = 2", "epochs = 4"), r"recipe\.epochs was 2"),
    "a line of the history less, and no digests": (
        lambda c: (
            c.edit_facts("digests", None),
            (c.run / "metrics.jsonl").write_text(
                (c.run / "metrics.jsonl").read_text().partition("\n")[0]
            ),
        ),
        "disagree on the number of finished epochs",
    ),
    "figures of another type": (facts_edit("figures", []), "figures is"),
}


@pytest.mark.parametrize("name", FINISHED_REFUSED)
def test_a_changed_finished_run_is_refused(name: str, finished: Case) -> None:
    damage, reason = FINISHED_REFUSED[name]
    damage(finished)
    before = untouched(finished.run)
    with pytest.raises(FileRefusedError, match=reason):
        resume_run(finished.run)
    assert untouched(finished.run) == before


def test_a_model_of_a_newer_format_is_not_overwritten(finished: Case) -> None:
    path = finished.run / "model.safetensors"
    header, tensors = read_tensors(path, kind="tenfold-bundle", version=BUNDLE_VERSION)
    write_tensors(path, tensors, kind="tenfold-bundle", version=BUNDLE_VERSION + 1, header=header)
    before = path.read_bytes()
    with pytest.raises(NewerFormatError, match="install a newer tenfold"):
        resume_run(finished.run)
    assert path.read_bytes() == before


def test_a_false_status_does_not_end_a_run(stopped: Case, originals: Path) -> None:
    stopped.edit_facts("status", "finished")
    watcher = StopsAt()
    resume_run(stopped.run, watcher=watcher)
    assert "no such file" in watcher.notes[0]
    assert state_of(stopped.run) == state_of(originals / "whole")


def test_the_table_is_as_long_as_promised() -> None:
    assert len(FALLS_BACK) + len(REFUSED) + len(REPAIRED) + len(FINISHED_REFUSED) >= 60
