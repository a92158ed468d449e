"""Untrusted files: any bytes raise only our errors.

For any contents of a run's folder, a checkpoint, a recipe or a tensor file: only a `TenfoldError`
is raised, no code in it is run, and nothing is written elsewhere. The readers of data sets and the
bundle have their own such tests; how much memory hostile files take is measured in `hostile/`.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import struct
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import tenfold
from bad_inputs.makers.bundles import framed
from small_bundles import bundle_with
from tenfold.deployment import read_bundle, write_bundle
from tenfold.deployment.bundle import PreprocessingHeader
from tenfold.errors import FileRefusedError, TenfoldError, UsageError
from tenfold.models import build
from tenfold.models.tracing import layer_list
from tenfold.recipes import load_recipe, recipe_names, validate
from tenfold.runs import evaluate_run, load, open_run, resume_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.training.checkpoint import KIND as CHECKPOINT
from tenfold.training.checkpoint import VERSION, Checkpointer, checkpoint_files, read_newest
from tenfold.training.history import EpochMetrics
from tenfold.training.optimizers import build_optimizer
from tenfold.training.state import Best, TrainingState
from tenfold.types import ImageShape
from tensor_files import read_tensors, sha256_of_tensors, write_tensors
from thoroughness import IS_THOROUGH

any_input = settings(
    deadline=None,
    max_examples=100 if IS_THOROUGH else 15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

finite = st.floats(allow_nan=False, allow_infinity=False)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2**31, 2**60, 10**30])
    | finite
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places_in(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The position of a value in nested tables and lists."""
    yield place
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else inner:
        yield from places_in(item, (*place, key))


def with_change(whole: Any, place: tuple[str | int, ...], change: object) -> Any:
    """A copy with one value replaced; `...` removes it."""
    if not place:
        return change
    copy = dict(whole) if isinstance(whole, dict) else list(whole)
    if len(place) == 1 and change is ...:
        del copy[place[0]]
    else:
        copy[place[0]] = with_change(copy[place[0]], place[1:], change)
    return copy


def changed(data: st.DataObject, whole: dict[str, Any]) -> dict[str, Any]:
    """A valid table with one or two of its entries replaced by anything or removed."""
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from([place for place in places_in(whole) if place] or [()]))
        if place:
            whole = with_change(whole, place, data.draw(json_values | st.just(...)))
    return whole


def only_our_errors(action: Callable[[], object]) -> TenfoldError | None:
    """Use a hostile file: it works, or one of our errors says why not, in one line."""
    refusal = None
    try:
        action()
    except TenfoldError as error:
        refusal = error
    assert str(refusal).isprintable(), "a message is one line without control characters"
    return refusal


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on 16 images, with everything that a checkpoint can hold."""
    folder = tmp_path_factory.mktemp("small")
    pictures = np.arange(16 * 16, dtype=np.uint8).reshape(16, 4, 4)
    np.savez(folder / "data.npz", images=pictures, labels=np.arange(16) % 2)
    recipe = folder / "small.toml"
    recipe.write_text(
        'model = "softmax"\nval = 0.25\nbatch_size = 4\noptimizer = "adam"\naverage_decay = 0.5\n'
    )
    run = tenfold.train(folder / "data.npz", recipe=recipe, epochs=1, threads=1, out=folder / "run")
    # To have a changed file read, remove the digests that it would not match.
    RunFolder(run.folder).write_facts(run.facts.updated(digests={}))
    return run.folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; afterwards, nothing was written beside it and no program was run."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    beside = set(tmp_path.parent.iterdir())
    yield folder
    assert list(tmp_path.iterdir()) == [folder]
    assert set(tmp_path.parent.iterdir()) == beside
    assert not list(folder.rglob(CANARY))


@pytest.fixture
def run(small_run: Path, home: Path) -> Path:
    """A copy of the small run."""
    return Path(shutil.copytree(small_run, home / "run"))


def another(run: Path) -> Path:
    """A fresh copy of a run, replacing the last one."""
    folder = run.with_name("another")
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(run, folder))


def resuming(run: Path) -> Callable[[], object]:
    return partial(
        resume_run, run, epochs=2, accept=["recipe", "data"], resources=Resources(threads=1)
    )


def evaluating(run: Path) -> Callable[[], object]:
    return partial(evaluate_run, run, resources=Resources(threads=1))


# --- The files of a run -----------------------------------------------------------------------

OTHER_SHAPES: list[Callable[[Tensor], Tensor]] = [
    lambda tensor: torch.zeros(0),
    lambda tensor: torch.zeros(()),
    lambda tensor: torch.zeros(10_000),
]
OTHER_CONTENTS: list[Callable[[Tensor], Tensor]] = [
    lambda tensor: torch.full_like(tensor.float(), torch.nan),
    lambda tensor: torch.full_like(tensor.float(), 3e38),
    lambda tensor: tensor.double(),
    lambda tensor: tensor.to(torch.int64),
    lambda tensor: tensor.bool(),
]
"""Replacements for a checkpoint's tensor."""


def rewrite_checkpoint(
    run: Path,
    change: Callable[[dict[str, Any], dict[str, Tensor]], dict[str, Any]],
    version: int = VERSION,
) -> None:
    """Leave a run with one checkpoint, with other contents and a correct digest."""
    newest, *older = checkpoint_files(run / "checkpoints")
    header, tensors = read_tensors(newest, kind=CHECKPOINT, version=VERSION)
    for path in older:
        path.unlink()
    header = change(header, tensors)
    write_tensors(newest, tensors, kind=CHECKPOINT, version=version, header=header)


@pytest.mark.parametrize("version", [1, VERSION])
@any_input
@given(data=st.data())
def test_a_run_with_any_header_in_its_checkpoint_is_resumed_or_refused(
    data: st.DataObject, version: int, run: Path
) -> None:
    folder = another(run)
    rewrite_checkpoint(folder, lambda header, _: changed(data, header), version)
    only_our_errors(resuming(folder))


def other_tensor(
    run: Path, name: str, other: Callable[[Tensor], Tensor] | None
) -> Callable[[], object]:
    """Resume a run with one tensor of its checkpoint replaced, or removed if `other` is None."""

    def change(header: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        tensor = tensors.pop(name)
        if other is not None:
            tensors[name] = other(tensor)
        return header

    rewrite_checkpoint(run, change)
    return resuming(run)


@pytest.mark.parametrize(
    "name",
    [
        "model.network.linear.weight",
        "averaged.network.linear.bias",
        "best.network.linear.weight",
        "random.cpu",
    ],
)
def test_other_weights_in_a_checkpoint_are_refused(name: str, run: Path) -> None:
    for other in (None, *OTHER_SHAPES, *OTHER_CONTENTS[2:]):
        error = only_our_errors(other_tensor(another(run), name, other))
        assert isinstance(error, FileRefusedError)


@pytest.mark.parametrize("name", ["optimizer.0.step", "optimizer.0.exp_avg"])
def test_a_run_with_other_moments_in_its_checkpoint_is_resumed_or_refused(
    name: str, run: Path
) -> None:
    for other in (None, *OTHER_CONTENTS):
        only_our_errors(other_tensor(another(run), name, other))


@pytest.mark.parametrize("name", ["losses", "correct"])
def test_running_figures_of_another_shape_are_refused(name: str, run: Path) -> None:
    for other in (None, OTHER_SHAPES[2]):
        error = only_our_errors(other_tensor(another(run), name, other))
        assert isinstance(error, FileRefusedError)


def test_running_figures_of_another_type_are_refused(run: Path) -> None:
    for other in OTHER_CONTENTS:
        only_our_errors(other_tensor(another(run), "correct", other))


@pytest.mark.parametrize("other", OTHER_SHAPES, ids=["empty", "scalar", "long"])
@pytest.mark.parametrize(
    ("optimizer", "name"),
    [("sgd", "momentum_buffer"), ("adam", "exp_avg"), ("adamw", "exp_avg_sq")],
)
def test_moments_of_another_shape_are_refused_before_a_step_is_taken(
    optimizer: str,
    name: str,
    other: Callable[[Tensor], Tensor],
) -> None:
    state = state_of(optimizer)
    state.model(torch.ones(2, 1, 4, 4)).sum().backward()
    state.optimizer.step()
    header, tensors = state.to_checkpoint()
    moment = f"optimizer.0.{name}"
    assert moment in tensors
    with pytest.raises(FileRefusedError):
        state_of(optimizer).restore(header, {**tensors, moment: other(tensors[moment])})


@pytest.mark.parametrize("act", [resuming, evaluating])
@any_input
@given(data=st.data())
def test_a_run_of_any_facts_is_used_or_refused(
    data: st.DataObject, act: Callable[[Path], Callable[[], object]], run: Path
) -> None:
    folder = another(run)
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(changed(data, facts)))
    only_our_errors(act(folder))


@pytest.mark.parametrize("act", [resuming, evaluating])
@any_input
@given(data=st.data())
def test_a_run_of_any_recipe_is_used_or_refused(
    data: st.DataObject, act: Callable[[Path], Callable[[], object]], run: Path
) -> None:
    folder = another(run)
    table = changed(data, tomllib.loads((folder / "recipe.toml").read_text()))
    (folder / "recipe.toml").write_text(as_toml(table))
    only_our_errors(act(folder))


def as_toml(table: dict[str, Any]) -> str:
    """The table as TOML; values that TOML cannot hold are left out."""

    def known(value: object) -> object:
        if isinstance(value, dict):
            return {key: known(item) for key, item in value.items() if item is not None}
        if isinstance(value, list):
            return [known(item) for item in value if item is not None]
        return value

    return tomli_w.dumps(known(table))  # type: ignore[arg-type]


@any_input
@given(
    name=st.sampled_from(["run.json", "metrics.jsonl", "recipe.toml"]),
    content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
)
@example(name="run.json", content=b"[" * 100_000)
@example(name="metrics.jsonl", content=b'{"a":' * 50_000)
@example(name="metrics.jsonl", content=b'{"epoch": 1e999}\n')
@example(name="recipe.toml", content=b"x = " + b"[" * 50_000)
@example(name="recipe.toml", content=b"x = " + b"9" * 50_000)
def test_any_bytes_may_replace_a_runs_file(name: str, content: bytes, run: Path) -> None:
    folder = another(run)
    (folder / name).write_bytes(content)
    only_our_errors(lambda: open_run(folder).to_dict())
    only_our_errors(evaluating(folder))
    only_our_errors(resuming(folder))


@pytest.mark.parametrize("key", ["source", "root"])
@pytest.mark.parametrize("place", ["/etc", "../../../..", "/dev/zero", "/proc/self/mem"])
def test_a_run_may_name_any_place_for_its_data(key: str, place: str, run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["data"][key] = place
    (run / "run.json").write_text(json.dumps(facts))
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace(facts["data"]["source"], place))
    only_our_errors(resuming(run))


# --- Programs in files ------------------------------------------------------------------------

CANARY = "harm-was-done"


class Harm:
    """Its pickle runs a program when loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {CANARY}",)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Harm()}))


def write_checkpoint_of_torch(path: Path) -> None:
    torch.save({"model": Harm()}, path)


def test_the_canary_sings(home: Path) -> None:
    write_pickle(home / "file")
    pickle.loads((home / "file").read_bytes())
    (home / CANARY).unlink()


@pytest.mark.parametrize("write", [write_pickle, write_checkpoint_of_torch])
def test_no_pickle_is_read_instead_of_our_file(write: Callable[[Path], None], run: Path) -> None:
    for path in checkpoint_files(run / "checkpoints"):
        write(path)
    assert isinstance(only_our_errors(resuming(run)), FileRefusedError)
    write(run / "model.safetensors")
    assert isinstance(only_our_errors(lambda: load(run)), FileRefusedError)
    write(run / "own.toml")
    assert isinstance(only_our_errors(lambda: load_recipe(run / "own.toml")), UsageError)
    for name in ("data.npz", "data.zip", "data.tar"):
        write(run / name)
        assert only_our_errors(lambda name=name: evaluate_run(run, run / name)) is not None


SOURCES = sorted(Path(tenfold.__file__).parent.rglob("*.py"))

RESTRICTED_READER = "data/files/pickles.py"
"""The only module that may use pickle, for a subclass of its reader without globals."""

OWN_CODE = ("deployment/export/state_dict.py", "models/own_files.py")
"""One runs the code that it has just written, to compare it with the model; the other a file that
the user has named to be run."""

WEIGHTS_READER = "models/torch_files.py"
"""The only module that may use `torch.load`, for weights only."""

RUNNERS = {"eval", "exec", "compile", "__import__"}
READERS = {
    "torch.load", "torch.hub", "torch.jit.load", "torch.package", "torch.serialization",
    "numpy.load", "np.load", "os.system", "os.popen", "yaml.load", "joblib.load",
}  # fmt: skip
METHODS = {"extractall", "unpack_archive"}
MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def forbidden(source: str) -> list[str]:
    """Lines of a module that run outside code or unpack without checks.

    `model.eval()` is a method of modules, `re.compile` creates a pattern, and a recipe has a field
    `compile`; only uses of Python's builtins of these names count.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Name) and node.id in RUNNERS:
            names += [node.id] if isinstance(node.ctx, ast.Load) else []
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            owner = dotted.rpartition(".")[0]
            if dotted in READERS or node.attr in METHODS or owner in MODULES | {"builtins"}:
                names.append(dotted)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom):
            taken = {f"{node.module}.{alias.name}" for alias in node.names}
            names += taken & READERS
            names += [node.module] if node.module in MODULES | {"builtins"} else []
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            is_off = isinstance(node.value, ast.Constant) and node.value.value is False
            names += [] if is_off else [f"{node.arg}={ast.unparse(node.value)}"]
        found += [f"{getattr(node, 'lineno', 0)}: {name}" for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_runs_or_unpacks_what_it_reads(path: Path) -> None:
    found = forbidden(path.read_text())
    if path.as_posix().endswith(RESTRICTED_READER):
        names = [each.partition(": ")[2] for each in found]
        assert names == ["pickle", "pickle.Unpickler"], "imported, and subclassed once"
        assert "class _ArrayUnpickler(pickle.Unpickler)" in path.read_text()
    elif path.as_posix().endswith(WEIGHTS_READER):
        assert [each.partition(": ")[2] for each in found] == ["torch.load"]
        (call,) = (each for each in ast.walk(ast.parse(path.read_text())) if is_torch_load(each))
        assert "weights_only=True" in ast.unparse(call)
    elif path.as_posix().endswith(OWN_CODE):
        assert {each.partition(": ")[2] for each in found} == {"exec", "compile"}
    else:
        assert found == []


def is_torch_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "run = exec",
        "__import__('os')",
        "import builtins; builtins.eval('1')",
        "from builtins import exec as run",
        "import pickle",
        "from pickle import load",
        "import torch; torch.load(path)",
        "from torch import load",
        "import numpy as np; np.load(path)",
        "tarfile.open(path).extractall(folder)",
        "shutil.unpack_archive(path)",
        "from os import system",
        "read(path, allow_pickle=True)",
        "run(line, shell=wanted)",
        "import joblib",
    ],
)
def test_what_runs_code_is_found(source: str) -> None:
    assert forbidden(source)


@pytest.mark.parametrize(
    "source",
    ["network.eval()", "re.compile('x')", "torch.compile(f)", "evaluate(x)", "run(shell=False)"],
)
def test_similar_names_are_not_found(source: str) -> None:
    assert not forbidden(source)


# --- Recipes and tensor files -----------------------------------------------------------------


@any_input
@given(text=st.text(max_size=60) | st.text("abmodel.=[]{}'\"\n 1#,-:", max_size=60))
@example(text="model = '" + "x" * 70_000)
@example(text="model = 'mlp'\nlr = " + "9" * 5_000)
@example(text="model = 'mlp'\nepochs = 0x" + "f" * 5_000)
@example(text="model = 'mlp'\nepochs = 9999-99-99")
@example(text="a" + ".a" * 20_000 + " = 1")
@example(text="[" + "a." * 20_000 + "a]")
@example(text="a = " + "{a = " * 5_000)
@example(text="model = 'mlp'\nmodel_args = {hidden = [0x" + "f" * 5_000 + "]}")
def test_any_text_is_a_recipe_or_refused(text: str, home: Path) -> None:
    path = home / "own.toml"
    path.write_bytes(text.encode(errors="replace"))
    error = only_our_errors(lambda: load_recipe(path))
    assert error is None or isinstance(error, UsageError)


@any_input
@given(data=st.data())
def test_any_values_are_a_recipe_or_refused(data: st.DataObject) -> None:
    values = changed(data, load_recipe("cnn-cifar10").to_dict())
    error = only_our_errors(lambda: validate(values, "of a stranger"))
    assert error is None or isinstance(error, UsageError)


@any_input
@given(data=st.data())
def test_any_entries_are_a_tensor_file_or_refused(data: st.DataObject, home: Path) -> None:
    path = home / "x.safetensors"
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    write_tensors(path, tensors, kind="sound", version=1, header={"n": 1})
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    entries = changed(data, json.loads(whole[8 : 8 + size]))
    path.write_bytes(framed(json.dumps(entries).encode()) + whole[8 + size :])
    error = only_our_errors(lambda: read_tensors(path, kind="sound", version=1))
    assert error is None or isinstance(error, FileRefusedError)


# --- Round trips ------------------------------------------------------------------------------

metrics = st.builds(
    EpochMetrics,
    epoch=st.integers(1, 2**31),
    train_loss=finite,
    train_acc=st.floats(0, 1),
    val_loss=st.none() | finite,
    val_acc=st.none() | st.floats(0, 1),
    lr=finite,
    seconds=st.floats(0, 1e9),
)


def numbered(history: list[EpochMetrics]) -> list[EpochMetrics]:
    """The entries numbered from 1, as in a run."""
    return [each.model_copy(update={"epoch": place}) for place, each in enumerate(history, 1)]


@any_input
@given(history=st.lists(metrics, max_size=5).map(numbered))
def test_a_history_comes_back_to_the_last_bit(
    history: list[EpochMetrics], home: Path, run: Path
) -> None:
    folder = RunFolder(home)
    facts = RunFolder(run).read_facts().updated(digests={})
    folder.write_metrics(history)
    assert folder.read_history(facts) == history


@any_input
@given(data=st.data())
def test_facts_come_back(data: st.DataObject, run: Path) -> None:
    folder = RunFolder(run)
    found = folder.read_facts()
    assert found.figures is not None
    loss = data.draw(finite)
    facts = found.updated(
        figures=found.figures.model_copy(update={"train_loss": loss}),
        test=data.draw(st.none() | st.dictionaries(st.text(max_size=8), json_values, max_size=3)),
        failure=data.draw(st.none() | st.text()),
        digests=data.draw(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)),
    )
    folder.write_facts(facts)
    assert folder.read_facts() == facts


@any_input
@given(data=st.data(), name=st.sampled_from(recipe_names()))
def test_a_recipe_comes_back(data: st.DataObject, name: str, home: Path) -> None:
    recipe = load_recipe(
        name,
        {
            "description": data.draw(st.text(max_size=50)),
            "lr": data.draw(st.floats(1e-300, 1e6)),
            "seed": data.draw(st.integers(-(2**63), 2**63 - 1)),
            "image_size": data.draw(st.none() | st.tuples(*[st.integers(1, 4096)] * 2).map(list)),
            "augment.flip": data.draw(st.booleans()),
        },
    )
    (home / "own.toml").write_text(recipe.to_toml())
    assert load_recipe(home / "own.toml") == recipe


@any_input
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), unique=True,
                   min_size=1, max_size=5),
    moments=st.lists(st.tuples(st.floats(-9, 9), st.floats(1e-3, 9)), min_size=3, max_size=3),
    figures=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)  # fmt: skip
def test_a_bundle_comes_back(
    names: list[str], moments: list[tuple[float, float]], figures: dict[str, Any], home: Path
) -> None:
    shape = ImageShape(3, 4, 5)
    means, deviations = zip(*moments, strict=True)
    network = build("mlp", shape, len(names), hidden=[7])
    written = bundle_with(
        network.state_dict(),
        model="mlp",
        arguments={"hidden": [7], "dropout": 0.25},
        input_shape=shape,
        classes=names,
        preprocessing=PreprocessingHeader(mean=list(means), std=list(deviations)),
        layers=layer_list(network),
        data={"source": names[0]},
        figures=figures,
    )
    digest = write_bundle(home / "model.safetensors", written)
    read = read_bundle(home / "model.safetensors")
    assert read.header == written.header
    assert read.sha256 == digest
    assert read.weights.keys() == written.weights.keys()
    for name, stored in read.weights.items():
        assert np.array_equal(stored.array(), written.weights[name].array())


@any_input
@given(
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    history=st.lists(metrics, min_size=1, max_size=4).map(numbered),
    steps=st.integers(1, 4),
    losses=st.lists(st.floats(-9, 9, width=32), max_size=4),
    value=finite,
)
def test_a_checkpoint_comes_back(
    optimizer: str,
    history: list[EpochMetrics],
    steps: int,
    losses: list[float],
    value: float,
    home: Path,
) -> None:
    written, read = state_of(optimizer), state_of(optimizer)
    for _ in range(steps):
        written.model(torch.ones(2, 1, 4, 4)).sum().backward()
        written.optimizer.step()
    written.epoch, written.batch, written.step = len(history), len(losses), 10**9 + len(losses)
    written.losses, written.correct = torch.tensor(losses), torch.tensor(steps)
    written.history = history
    written.best = Best(1, value, written.copy_of_final_weights())
    shutil.rmtree(home / "checkpoints", ignore_errors=True)
    Checkpointer(home / "checkpoints", {"who": "me"}).save(written)
    checkpoint = read_newest(home / "checkpoints")
    read.restore(checkpoint.header, checkpoint.tensors)
    assert checkpoint.header.context == {"who": "me"}
    (header, tensors), (again, tensors_again) = written.to_checkpoint(), read.to_checkpoint()
    assert again == header
    assert sha256_of_tensors(tensors_again) == sha256_of_tensors(tensors)


def state_of(optimizer: str) -> TrainingState:
    model = build("softmax", (1, 4, 4), 3)
    momentum = 0.9 if optimizer == "sgd" else 0.0
    made = build_optimizer(optimizer, model.parameters(), lr=0.1, momentum=momentum)
    return TrainingState(model=model, optimizer=made)
