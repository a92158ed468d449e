"""Files from strangers: no bytes do anything but give one of our errors.

Whatever a run's folder, a checkpoint, a recipe or a tensor file may say: nothing but a
`TenfoldError` comes out, no code in it is run, nothing is written elsewhere, and no more memory is
taken than is stated here. The readers of data sets have their own such tests beside them.
"""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tenfold
from tenfold.deployment.bundle import KIND as BUNDLE
from tenfold.errors import TenfoldError
from tenfold.recipes import load_recipe
from tenfold.runs import resume_run
from tenfold.storage import read_tensors, write_tensors
from tenfold.training.checkpoint import KIND as CHECKPOINT
from tenfold.training.checkpoint import checkpoint_files

any_input = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.floats(allow_nan=False, allow_infinity=False)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2**31, 2**60, 10**30])
    | numbers
    | st.text(max_size=8)
    | st.just("touch harm-was-done"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places_in(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in nested tables and lists something stands."""
    yield place
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        yield from places_in(item, (*place, key))


def with_change(whole: Any, place: tuple[str | int, ...], change: object) -> Any:
    """A copy in which something else stands at one place; `...` takes away what stands there."""
    if not place:
        return change
    copy = dict(whole) if isinstance(whole, dict) else list(whole)
    if len(place) == 1 and change is ...:
        del copy[place[0]]
    else:
        copy[place[0]] = with_change(copy[place[0]], place[1:], change)
    return copy


def changed(data: st.DataObject, whole: dict[str, Any]) -> Any:
    """A sound table with one or two of its entries replaced by anything or taken away."""
    for _ in range(data.draw(st.integers(1, 2))):
        places = [place for place in places_in(whole) if place]
        place = data.draw(st.sampled_from(places))
        whole = with_change(whole, place, data.draw(json_values | st.just(...)))
    return whole


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of 16 pictures and a run of one epoch on it; the run can be resumed."""
    folder = tmp_path_factory.mktemp("small")
    pictures = np.arange(16 * 16, dtype=np.uint8).reshape(16, 4, 4)
    np.savez(folder / "data.npz", images=pictures, labels=np.arange(16) % 2)
    recipe = folder / "small.toml"
    recipe.write_text(
        'model = "softmax"\nval = 0.25\nbatch_size = 4\noptimizer = "adam"\naverage_decay = 0.5\n'
    )
    tenfold.train(folder / "data.npz", recipe=recipe, epochs=1, threads=1, out=folder / "run")
    return folder


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy of the small run."""
    return Path(shutil.copytree(small_run / "run", tmp_path / "home" / "run"))


def only_our_errors(action: Callable[[], object]) -> TenfoldError | None:
    """Do something with a hostile file: it works, or one of our errors says in one line why not."""
    refused: TenfoldError | None = None
    try:
        action()
    except TenfoldError as error:
        refused = error
    assert str(refused).isprintable(), "a message is one line without control characters"
    return refused


@pytest.fixture(autouse=True)
def _nothing_is_run_or_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Around every test: programs that a file starts, and files beside its folder, are found."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    beside = set(tmp_path.parent.iterdir())
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}
    assert set(tmp_path.parent.iterdir()) == beside
    assert not list(tmp_path.rglob("harm-was-done"))


# --- The files of a run -----------------------------------------------------------------------


@any_input
@given(data=st.data())
def test_any_checkpoint_is_resumed_from_or_refused(data: st.DataObject, run: Path) -> None:
    original = checkpoint_files(run / "checkpoints")[0]
    header, tensors = read_tensors(original, kind=CHECKPOINT, version=1)
    folder = run.with_name("again")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    (path,) = [p for p in checkpoint_files(folder / "checkpoints") if p.name == original.name]
    for other in checkpoint_files(folder / "checkpoints"):
        if other != path:
            other.unlink()
    write_tensors(path, tensors, kind=CHECKPOINT, version=1, header=changed(data, header))
    only_our_errors(lambda: resume_run(folder, epochs=2))


@any_input
@given(data=st.data())
def test_any_facts_are_read_or_refused(data: st.DataObject, run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    folder = run.with_name("again")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    (folder / "run.json").write_text(json.dumps(changed(data, facts)))
    for action in (tenfold.open_run, tenfold.load, tenfold.evaluate, resume_run):
        only_our_errors(lambda action=action: action(folder))


@any_input
@given(text=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_text_in_the_place_of_a_runs_files_is_read_or_refused(text: bytes, run: Path) -> None:
    for name in ("run.json", "metrics.jsonl", "recipe.toml"):
        folder = run.with_name("again")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)
        (folder / name).write_bytes(text)
        for action in (tenfold.open_run, tenfold.evaluate, resume_run):
            only_our_errors(lambda action=action, folder=folder: action(folder))


# --- Bundles and recipes ----------------------------------------------------------------------


@any_input
@given(data=st.data())
def test_any_bundle_predicts_or_is_refused(data: st.DataObject, run: Path) -> None:
    header, tensors = read_tensors(run / "model.safetensors", kind=BUNDLE, version=1)
    path = run / "other.safetensors"
    write_tensors(path, tensors, kind=BUNDLE, version=1, header=changed(data, header))
    pictures = np.zeros((2, 4, 4), np.uint8)
    only_our_errors(lambda: tenfold.load(path).predict_proba(pictures))


@any_input
@given(data=st.binary(max_size=400))
def test_any_bytes_are_no_bundle(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "home" / "model.safetensors"
    path.write_bytes(data)
    assert only_our_errors(lambda: tenfold.load(path)) is not None


@any_input
@given(data=st.data())
def test_any_recipe_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "home" / "any.toml"
    sound = load_recipe("lenet-mnist").to_dict()
    table = changed(data, {key: value for key, value in sound.items() if value is not None})
    try:
        path.write_text(tomli_w.dumps(table))
    except (TypeError, ValueError):  # TOML has no null, no surrogates, no numbers of any size
        assume(False)
    error = only_our_errors(lambda: load_recipe(path))
    if error is None:
        recipe = load_recipe(path)
        path.write_text(recipe.to_toml())
        assert load_recipe(path) == recipe


@any_input
@given(data=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
def test_any_bytes_are_a_recipe_or_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "home" / "any.toml"
    path.write_bytes(data)
    only_our_errors(lambda: load_recipe(path))


# --- Memory -----------------------------------------------------------------------------------

MOST_MEMORY = 256 * 2**20
"""Bytes that refusing a file may take, beside what the libraries take themselves."""


def declared(header_size: int, header: bytes) -> bytes:
    return header_size.to_bytes(8, "little") + header


def huge_tensor() -> bytes:
    header = json.dumps(
        {
            "__metadata__": {"kind": BUNDLE, "version": "1", "header": "{}", "sha256": "0" * 64},
            "a": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]},
        }
    ).encode()
    return declared(len(header), header)


def aliased_tensors(n: int = 20_000) -> bytes:
    entries: dict[str, Any] = {
        f"t{i}": {"dtype": "U8", "shape": [1024], "data_offsets": [0, 1024]} for i in range(n)
    }
    entries["__metadata__"] = {"kind": BUNDLE, "version": "1", "header": "{}", "sha256": "0" * 64}
    header = json.dumps(entries).encode()
    return declared(len(header), header) + bytes(1024)


def deep_header() -> bytes:
    header = b'{"__metadata__": ' + b"[" * 1_000_000
    return declared(len(header), header)


def deflated_zip() -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1024):
            member.write(bytes(2**20))
    return buffer.getvalue()


def huge_picture() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    sizes = (2**30).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = chunk(b"IDAT", zlib.compress(bytes(2**20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes) + rows + chunk(b"IEND", b"")


BOMBS = {
    "a header of 100 MB": ("bundle", lambda: declared(100 * 2**20, b"{" + b" " * (100 * 2**20))),
    "a header without end": ("bundle", lambda: declared(2**63, b"{}")),
    "a tensor of 2**62 bytes": ("bundle", huge_tensor),
    "tensors that share bytes": ("bundle", aliased_tensors),
    "a header a million brackets deep": ("bundle", deep_header),
    "a gigabyte of zeros in a zip": ("npz", deflated_zip),
    "a picture of 2**60 pixels": ("picture", huge_picture),
}

READ = """
import resource, sys
import torch, PIL.Image, numpy
import tenfold
from tenfold.data.images import decode_image
from tenfold.data.formats import read_npz
from tenfold.deployment import read_bundle
from pathlib import Path
path, kind, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
status = Path("/proc/self/status").read_text()
now = int(status.split("VmSize:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (now + most, now + most))
try:
    if kind == "bundle":
        read_bundle(path)
    elif kind == "npz":
        read_npz(path)
    else:
        decode_image(path.read_bytes(), path.name, channels=3, size=(8, 8))
except tenfold.TenfoldError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_without_the_memory_it_asks_for(name: str, tmp_path: Path) -> None:
    kind, make = BOMBS[name]
    path = tmp_path / "home" / "bomb"
    path.write_bytes(make())
    answer = subprocess.run(
        [sys.executable, "-c", READ, str(path), kind, str(MOST_MEMORY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.startswith("refused:"), answer.stderr[-2000:]


# --- The source -------------------------------------------------------------------------------

DANGEROUS = {"eval", "exec", "compile", "__import__"}
DANGEROUS_ATTRIBUTES = {"extractall", "load_module", "exec_module"}
DANGEROUS_OF = {("pickle", "load"), ("pickle", "loads"), ("torch", "load"), ("numpy", "load")}


@pytest.mark.parametrize("path", sorted(Path(tenfold.__file__).parent.rglob("*.py")), ids=str)
def test_nothing_in_the_source_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name):
            assert called.id not in DANGEROUS, f"line {node.lineno}"
        elif isinstance(called, ast.Attribute):
            assert called.attr not in DANGEROUS_ATTRIBUTES, f"line {node.lineno}"
            if isinstance(called.value, ast.Name):
                assert (called.value.id, called.attr) not in DANGEROUS_OF, f"line {node.lineno}"
